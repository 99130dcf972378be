//! Who may see what of whom: one policy function for every field on every protocol (contract, section 7). It fails
//! closed: without a known relation only what everybody may see is shown.

use serde::{Deserialize, Serialize};

use crate::faults::planted;
use crate::id::UserId;

/// Whom a user shows something to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShownTo {
    /// Every user.
    #[default]
    Everyone,
    /// Users who are in the owner's contacts.
    Contacts,
    /// Nobody but the owner.
    Nobody,
}

impl ShownTo {
    /// As it is written on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::Contacts => "contacts",
            Self::Nobody => "nobody",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Everyone, Self::Contacts, Self::Nobody].into_iter().find(|value| value.as_str() == text)
    }
}

/// A user's privacy settings. The defaults hold for users who never set any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrivacySettings {
    /// Who sees `online` and `last_seen`.
    pub last_seen: ShownTo,
    /// Who sees the picture.
    pub profile_photo: ShownTo,
    /// Who sees the status text.
    pub about: ShownTo,
    /// Whether read receipts are given and taken.
    pub read_receipts: bool,
}

impl Default for PrivacySettings {
    fn default() -> Self {
        Self { last_seen: ShownTo::Everyone, profile_photo: ShownTo::Everyone, about: ShownTo::Everyone, read_receipts: true }
    }
}

/// How a viewer stands to the owner of what they want to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relation {
    /// They are the same user.
    pub is_self: bool,
    /// The viewer is in the owner's contacts.
    pub viewer_is_contact: bool,
    /// The owner is in the viewer's contacts.
    pub owner_is_contact: bool,
    /// The owner has blocked the viewer.
    pub owner_blocked_viewer: bool,
    /// The viewer has blocked the owner.
    pub viewer_blocked_owner: bool,
}

/// What can be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `online`, `last_seen` and their changes.
    Presence,
    /// The picture.
    ProfilePhoto,
    /// The status text.
    About,
    /// The phone number.
    Phone,
    /// That somebody is typing.
    Typing,
}

/// Whether a viewer who stands so to the owner may see the field. `None`: the relation is not known.
#[must_use]
pub fn may_see(field: Field, settings: &PrivacySettings, relation: Option<&Relation>) -> bool {
    let Some(relation) = relation else {
        return false;
    };
    if relation.is_self {
        return true;
    }
    // A phone number is known to whoever has it in their address book; blocking cannot take it back.
    if field == Field::Phone {
        return relation.owner_is_contact;
    }
    if relation.owner_blocked_viewer {
        return false;
    }
    let shown_to = match field {
        // Whoever blocks somebody does not watch them either.
        Field::Presence | Field::Typing if relation.viewer_blocked_owner => return false,
        Field::Presence => settings.last_seen,
        Field::ProfilePhoto => settings.profile_photo,
        Field::About => settings.about,
        Field::Typing | Field::Phone => ShownTo::Everyone,
    };
    match shown_to {
        ShownTo::Everyone => true,
        ShownTo::Contacts => relation.viewer_is_contact,
        ShownTo::Nobody => false,
    }
}

/// Whether a viewer may know that somebody has read: both must give read receipts, and one's own reading is known to
/// oneself. Settings that are not known hide it.
#[must_use]
pub fn may_see_reads(reader: (UserId, Option<&PrivacySettings>), viewer: (UserId, Option<&PrivacySettings>)) -> bool {
    reader.0 == viewer.0
        || planted("silent_reads_told")
        || [reader.1, viewer.1].into_iter().all(|settings| settings.is_some_and(|settings| settings.read_receipts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIELDS: [Field; 5] = [Field::Presence, Field::ProfilePhoto, Field::About, Field::Phone, Field::Typing];

    fn shown_to() -> impl Strategy<Value = ShownTo> {
        prop_oneof![Just(ShownTo::Everyone), Just(ShownTo::Contacts), Just(ShownTo::Nobody)]
    }

    fn settings() -> impl Strategy<Value = PrivacySettings> {
        (shown_to(), shown_to(), shown_to(), any::<bool>()).prop_map(|(last_seen, profile_photo, about, read_receipts)| PrivacySettings {
            last_seen,
            profile_photo,
            about,
            read_receipts,
        })
    }

    fn relation() -> impl Strategy<Value = Relation> {
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(viewer_is_contact, owner_is_contact, owner_blocked_viewer, viewer_blocked_owner)| Relation {
                is_self: false,
                viewer_is_contact,
                owner_is_contact,
                owner_blocked_viewer,
                viewer_blocked_owner,
            },
        )
    }

    proptest! {
        #[test]
        fn self_sees_all_and_an_unknown_relation_sees_nothing(settings in settings()) {
            let own = Relation { is_self: true, ..Relation::default() };
            for field in FIELDS {
                prop_assert!(may_see(field, &settings, Some(&own)));
                prop_assert!(!may_see(field, &settings, None));
            }
        }

        #[test]
        fn the_blocked_see_nothing_but_a_number_they_have(settings in settings(), relation in relation()) {
            let relation = Relation { owner_blocked_viewer: true, ..relation };
            for field in [Field::Presence, Field::ProfilePhoto, Field::About, Field::Typing] {
                prop_assert!(!may_see(field, &settings, Some(&relation)));
            }
        }

        #[test]
        fn nobody_means_nobody_and_contacts_means_the_owners_contacts(settings in settings(), relation in relation()) {
            for (field, value) in [(Field::Presence, settings.last_seen), (Field::ProfilePhoto, settings.profile_photo), (Field::About, settings.about)] {
                if may_see(field, &settings, Some(&relation)) {
                    prop_assert!(value == ShownTo::Everyone || (value == ShownTo::Contacts && relation.viewer_is_contact));
                }
            }
        }

        #[test]
        fn more_privacy_never_shows_more(settings in settings(), relation in relation()) {
            let closed = PrivacySettings { last_seen: ShownTo::Nobody, profile_photo: ShownTo::Nobody, about: ShownTo::Nobody, read_receipts: false };
            for field in FIELDS {
                prop_assert!(may_see(field, &settings, Some(&relation)) || !may_see(field, &closed, Some(&relation)));
            }
        }
    }
}
