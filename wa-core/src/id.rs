//! Typed identifiers: every id is a UUID of its own Rust type, so that a chat id cannot be passed as a user id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// The text was not a UUID in its canonical, hyphenated form of 36 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID")]
pub struct InvalidId;

fn parse_uuid(text: &str) -> Result<Uuid, InvalidId> {
    // The crate also reads braces, URNs and bare hex; one spelling per id keeps logs and caches comparable.
    if text.len() != 36 {
        return Err(InvalidId);
    }
    Uuid::try_parse(text).map_err(|_| InvalidId)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Takes over an existing UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself, for storage and wire formats.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_uuid(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = Uuid;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a UUID")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Uuid, E> {
                        parse_uuid(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor).map(Self)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Uuid)))
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    )*};
}

ids! {
    /// An account: one phone number.
    UserId;
    /// One login of a user; it has a session, and it is what the token claim `sid` names.
    DeviceId;
    /// A direct chat or a group.
    ChatId;
    /// A message, in whichever chat it is.
    MessageId;
    /// An uploaded file.
    MediaId;
    /// One announced fact; consumers drop an event whose id they have seen.
    EventId;
    /// One open socket, from upgrade to close.
    ConnectionId;
    /// What somebody shows for a day.
    StatusId;
    /// One place that pushes go to.
    PushTokenId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let canonical = "018f3f6e-7b1c-7c4e-8a57-0242ac120002";
        assert_eq!(canonical.parse::<UserId>().map(|id| id.to_string()), Ok(canonical.to_owned()));
        for other in ["", "018f3f6e7b1c7c4e8a570242ac120002", "{018f3f6e-7b1c-7c4e-8a57-0242ac120002}", "x18f3f6e-7b1c-7c4e-8a57-0242ac120002"] {
            assert_eq!(other.parse::<UserId>(), Err(InvalidId), "{other}");
        }
    }
}
