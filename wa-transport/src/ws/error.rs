//! Turns errors into `error` frames: the only table of numeric codes (contract, section 2).

use serde::Serialize;
use wa_core::error::{Error, FieldError};

/// The data of an `error` frame.
#[derive(Debug, Serialize)]
pub(super) struct ErrorData<'a> {
    /// The numeric code.
    code: u16,
    /// The REST code.
    name: &'static str,
    /// A sentence for people.
    message: String,
    /// The fields that broke rules, as on REST.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [FieldError],
    /// How long to wait, where waiting helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl<'a> From<&'a Error> for ErrorData<'a> {
    fn from(error: &'a Error) -> Self {
        Self {
            code: code(error),
            name: error.code(),
            message: error.to_string(),
            details: error.details(),
            // A part of a millisecond is a whole one more: the client must not come back too early.
            retry_after_ms: error.retry_after().map(|wait| u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)),
        }
    }
}

/// The numeric code of an error.
#[must_use]
pub const fn code(error: &Error) -> u16 {
    match error {
        Error::BadRequest(_) | Error::Validation(_) | Error::Otp(_) | Error::MediaInvalidType(_) | Error::TooLarge(_) => 4000,
        Error::Unauthenticated(_) => 4001,
        Error::Denied(_) => 4003,
        Error::NotFound { .. } => 4004,
        Error::Conflict(_) => 4009,
        Error::RateLimited { .. } | Error::OtpMaxAttempts { .. } => 4029,
        Error::Internal(_) => 5000,
        Error::Unavailable { .. } => 5003,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use wa_core::error::{Conflict, Denied, Missing, OtpRefusal, TooLarge, Unauthenticated};

    #[test]
    fn every_error_has_its_frame() {
        let wait = Duration::from_micros(1500);
        let errors = [
            Error::BadRequest("The frame is not JSON".to_owned()),
            Error::invalid("chat_id", "must be a UUID"),
            Error::Unauthenticated(Unauthenticated::Missing),
            Error::Unauthenticated(Unauthenticated::Expired),
            Error::Unauthenticated(Unauthenticated::Invalid),
            Error::Denied(Denied::Forbidden("Only the sender may do this")),
            Error::Denied(Denied::NotChatMember),
            Error::Denied(Denied::NotAdmin),
            Error::Denied(Denied::UserBlocked),
            Error::not_found(Missing::Resource),
            Error::not_found(Missing::User),
            Error::not_found(Missing::Chat),
            Error::not_found(Missing::Message),
            Error::not_found(Missing::Device),
            Error::Conflict(Conflict::State("The key was used for another message")),
            Error::Conflict(Conflict::AlreadyMember),
            Error::Conflict(Conflict::LastAdmin),
            Error::Conflict(Conflict::GroupFull),
            Error::Otp(OtpRefusal::Invalid),
            Error::Otp(OtpRefusal::Expired),
            Error::MediaInvalidType("Not a picture".to_owned()),
            Error::TooLarge(TooLarge::Payload),
            Error::TooLarge(TooLarge::Media),
            Error::RateLimited { retry_after: wait },
            Error::OtpMaxAttempts { retry_after: wait },
            Error::unavailable("disk on fire"),
            Error::internal("secret cause"),
        ];
        let table: Vec<_> = errors.iter().map(|error| serde_json::to_string(&ErrorData::from(error)).expect("encodes")).collect();
        assert!(!table.concat().contains("secret cause") && !table.concat().contains("on fire"), "causes are never sent out");
        insta::assert_snapshot!(table.join("\n"));
    }
}
