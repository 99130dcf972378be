//! Errors on their way over gRPC, both ways: the code of the contract (section 2), the invalid fields and how long to wait survive
//! the hop in the standard status details (google.rpc.ErrorInfo, BadRequest, RetryInfo). The only table between the two.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use prost::bytes::Bytes;
use tonic::{Code, Status};
use uuid::Uuid;
use wa_core::error::{Conflict, Denied, Error, FieldError, Missing, OtpRefusal, TooLarge, Unauthenticated};

/// The domain of the codes in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "wa";

const TYPES: &str = "type.googleapis.com/google.rpc.";

#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

/// The gRPC code of an error (contract, section 2).
const fn code_of(error: &Error) -> Code {
    match error {
        Error::BadRequest(_) | Error::Validation(_) | Error::Otp(_) | Error::MediaInvalidType(_) => Code::InvalidArgument,
        Error::Unauthenticated(_) => Code::Unauthenticated,
        Error::Denied(_) => Code::PermissionDenied,
        Error::NotFound { .. } => Code::NotFound,
        Error::Conflict(Conflict::State(_) | Conflict::AlreadyMember) => Code::AlreadyExists,
        Error::Conflict(Conflict::LastAdmin | Conflict::GroupFull) => Code::FailedPrecondition,
        Error::TooLarge(_) | Error::RateLimited { .. } | Error::OtpMaxAttempts { .. } => Code::ResourceExhausted,
        Error::Unavailable { .. } => Code::Unavailable,
        Error::Internal(_) => Code::Internal,
    }
}

fn any(name: &str, message: &impl prost::Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("{TYPES}{name}"), value: message.encode_to_vec() }
}

/// An error as it is answered. Causes are logged and stay here.
pub(super) fn to_status(error: &Error) -> Status {
    match error {
        Error::Internal(cause) => {
            let incident = Uuid::now_v7();
            tracing::error!(%incident, %cause, "a call failed inside");
        }
        Error::Unavailable { source: Some(cause), .. } => tracing::warn!(%cause, "a call cannot be answered now"),
        _ => {}
    }
    let mut details = vec![any("ErrorInfo", &ErrorInfo { reason: error.code().to_owned(), domain: DOMAIN.to_owned() })];
    if !error.details().is_empty() {
        let field_violations = error.details().iter().map(|field| FieldViolation { field: field.field.clone(), description: field.message.clone() });
        details.push(any("BadRequest", &BadRequest { field_violations: field_violations.collect() }));
    }
    if let Some(wait) = error.retry_after() {
        details.push(any("RetryInfo", &RetryInfo { retry_delay: prost_types::Duration::try_from(wait).ok() }));
    }
    let (code, message) = (code_of(error), error.to_string());
    // A person at a command line sees the message alone.
    let message = match error {
        Error::Validation(fields) => fields.iter().map(|field| format!("{} {}", field.field, field.message)).collect::<Vec<_>>().join("; "),
        _ => message,
    };
    let status = RpcStatus { code: code.into(), message: message.clone(), details };
    Status::with_details(code, message, Bytes::from(status.encode_to_vec()))
}

/// What the details of a status tell.
#[derive(Default)]
struct Told {
    reason: Option<String>,
    fields: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl Told {
    fn by(status: &Status) -> Self {
        let mut told = Self::default();
        // Details of others are no concern of ours.
        let Ok(rpc) = RpcStatus::decode(status.details()) else { return told };
        for detail in rpc.details {
            match detail.type_url.strip_prefix(TYPES) {
                Some("ErrorInfo") => told.reason = ErrorInfo::decode(&*detail.value).ok().filter(|info| info.domain == DOMAIN).map(|info| info.reason),
                Some("BadRequest") => {
                    let fields = BadRequest::decode(&*detail.value).unwrap_or_default().field_violations;
                    told.fields = fields.into_iter().map(|field| FieldError { field: field.field, message: field.description }).collect();
                }
                Some("RetryInfo") => {
                    let delay = RetryInfo::decode(&*detail.value).ok().and_then(|info| info.retry_delay);
                    told.retry_after = delay.and_then(|delay| Duration::try_from(delay).ok());
                }
                _ => {}
            }
        }
        told
    }
}

/// Whether a peer answered at all: what it said of its own may be an error, but it is there.
pub(super) fn is_answer(status: &Status) -> bool {
    Told::by(status).reason.is_some()
}

/// How long the peer asks to wait before the call is tried again, if it is of use at all.
pub(super) fn retry_delay(status: &Status) -> Option<Duration> {
    let told = Told::by(status);
    match (status.code(), told.reason.as_deref()) {
        (_, Some("PAYLOAD_TOO_LARGE" | "MEDIA_TOO_LARGE" | "OTP_MAX_ATTEMPTS")) => None,
        (Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted, _) => Some(told.retry_after.unwrap_or_default()),
        _ => None,
    }
}

/// The error that a peer answered, or that not reaching it is.
pub(super) fn to_error(status: Status) -> Error {
    let told = Told::by(&status);
    let wait = told.retry_after.unwrap_or(Error::UNAVAILABLE_RETRY);
    let message = || status.message().to_owned();
    let missing = |what: Missing| {
        let standard = Error::not_found(what).to_string();
        Error::NotFound { what, message: Some(message()).filter(|message| *message != standard) }
    };
    match told.reason.as_deref() {
        Some("BAD_REQUEST") => Error::BadRequest(message()),
        Some("VALIDATION_ERROR") => Error::Validation(told.fields),
        Some("UNAUTHORIZED") => Error::Unauthenticated(Unauthenticated::Missing),
        Some("TOKEN_EXPIRED") => Error::Unauthenticated(Unauthenticated::Expired),
        Some("TOKEN_INVALID") => Error::Unauthenticated(Unauthenticated::Invalid),
        Some("FORBIDDEN") => Error::Denied(Denied::Forbidden(known(status.message(), "This is not allowed"))),
        Some("NOT_CHAT_MEMBER") => Error::Denied(Denied::NotChatMember),
        Some("NOT_ADMIN") => Error::Denied(Denied::NotAdmin),
        Some("USER_BLOCKED") => Error::Denied(Denied::UserBlocked),
        Some("NOT_FOUND") => missing(Missing::Resource),
        Some("USER_NOT_FOUND") => missing(Missing::User),
        Some("CHAT_NOT_FOUND") => missing(Missing::Chat),
        Some("MESSAGE_NOT_FOUND") => missing(Missing::Message),
        Some("DEVICE_NOT_FOUND") => missing(Missing::Device),
        Some("CONFLICT") => Error::Conflict(Conflict::State(known(status.message(), "This does not fit the present state"))),
        Some("ALREADY_MEMBER") => Error::Conflict(Conflict::AlreadyMember),
        Some("LAST_ADMIN") => Error::Conflict(Conflict::LastAdmin),
        Some("GROUP_FULL") => Error::Conflict(Conflict::GroupFull),
        Some("OTP_INVALID") => Error::Otp(OtpRefusal::Invalid),
        Some("OTP_EXPIRED") => Error::Otp(OtpRefusal::Expired),
        Some("MEDIA_INVALID_TYPE") => Error::MediaInvalidType(message()),
        Some("PAYLOAD_TOO_LARGE") => Error::TooLarge(TooLarge::Payload),
        Some("MEDIA_TOO_LARGE") => Error::TooLarge(TooLarge::Media),
        Some("RATE_LIMITED") => Error::RateLimited { retry_after: wait },
        Some("OTP_MAX_ATTEMPTS") => Error::OtpMaxAttempts { retry_after: wait },
        Some("UNAVAILABLE") => Error::Unavailable { retry_after: wait, source: Some(status.into()) },
        Some(_) => Error::internal(status),
        // It never came to an answer of the service itself.
        None => match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted | Code::Unknown => Error::unavailable(status),
            _ => Error::internal(status),
        },
    }
}

/// Different sentences of peers that are kept. All come from the table of errors of some version of this program.
const SENTENCES: usize = 256;

/// The longest sentence that is kept, in bytes.
const LONGEST_SENTENCE: usize = 300;

/// A sentence of a peer as the table of errors has it: for ever. Past the bound, and if it is no sentence, the one that always
/// holds.
fn known(sentence: &str, otherwise: &'static str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut kept = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = kept.get(sentence) {
        return kept;
    }
    if sentence.is_empty() || sentence.len() > LONGEST_SENTENCE || kept.len() >= SENTENCES {
        return otherwise;
    }
    let sentence: &'static str = Box::leak(sentence.to_owned().into_boxed_str());
    kept.insert(sentence);
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One error of every code.
    fn every_error() -> Vec<(Error, Code)> {
        let wait = Duration::from_millis(1500);
        vec![
            (Error::BadRequest("not JSON".to_owned()), Code::InvalidArgument),
            (
                Error::Validation(vec![
                    FieldError { field: "payload.body".to_owned(), message: "must not be empty".to_owned() },
                    FieldError { field: "type".to_owned(), message: "must be known".to_owned() },
                ]),
                Code::InvalidArgument,
            ),
            (Error::Unauthenticated(Unauthenticated::Missing), Code::Unauthenticated),
            (Error::Unauthenticated(Unauthenticated::Expired), Code::Unauthenticated),
            (Error::Unauthenticated(Unauthenticated::Invalid), Code::Unauthenticated),
            (Error::Denied(Denied::Forbidden("Only admins may send messages in this group")), Code::PermissionDenied),
            (Error::Denied(Denied::NotChatMember), Code::PermissionDenied),
            (Error::Denied(Denied::NotAdmin), Code::PermissionDenied),
            (Error::Denied(Denied::UserBlocked), Code::PermissionDenied),
            (Error::not_found(Missing::Resource), Code::NotFound),
            (Error::NotFound { what: Missing::User, message: Some("Unknown users: 1, 2".to_owned()) }, Code::NotFound),
            (Error::not_found(Missing::Chat), Code::NotFound),
            (Error::not_found(Missing::Message), Code::NotFound),
            (Error::not_found(Missing::Device), Code::NotFound),
            (Error::Conflict(Conflict::State("The file of this message is gone")), Code::AlreadyExists),
            (Error::Conflict(Conflict::AlreadyMember), Code::AlreadyExists),
            (Error::Conflict(Conflict::LastAdmin), Code::FailedPrecondition),
            (Error::Conflict(Conflict::GroupFull), Code::FailedPrecondition),
            (Error::Otp(OtpRefusal::Invalid), Code::InvalidArgument),
            (Error::Otp(OtpRefusal::Expired), Code::InvalidArgument),
            (Error::MediaInvalidType("no picture".to_owned()), Code::InvalidArgument),
            (Error::TooLarge(TooLarge::Payload), Code::ResourceExhausted),
            (Error::TooLarge(TooLarge::Media), Code::ResourceExhausted),
            (Error::RateLimited { retry_after: wait }, Code::ResourceExhausted),
            (Error::OtpMaxAttempts { retry_after: wait }, Code::ResourceExhausted),
            (Error::Unavailable { retry_after: wait, source: None }, Code::Unavailable),
            (Error::internal("a secret cause"), Code::Internal),
        ]
    }

    #[test]
    fn every_error_survives_the_hop() {
        for (error, code) in every_error() {
            let status = to_status(&error);
            assert_eq!(status.code(), code, "{error:?}");
            let there = to_error(status);
            assert_eq!((there.code(), there.details(), there.retry_after()), (error.code(), error.details(), error.retry_after()));
            assert_eq!(there.to_string(), error.to_string());
        }
    }

    #[test]
    fn causes_stay_here() {
        let status = to_status(&Error::internal("a secret cause"));
        assert!(!status.message().contains("secret") && !String::from_utf8_lossy(status.details()).contains("secret"));
    }

    #[test]
    fn what_never_reached_the_service_is_unavailable_or_a_defect() {
        assert_eq!(to_error(Status::unavailable("connection refused")).code(), "UNAVAILABLE");
        assert_eq!(to_error(Status::deadline_exceeded("")).code(), "UNAVAILABLE");
        assert_eq!(to_error(Status::unimplemented("")).code(), "INTERNAL");
        assert_eq!(to_error(Status::with_details(Code::Unavailable, "", Bytes::from_static(b"\xff\xff"))).code(), "UNAVAILABLE");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let delays: Vec<_> = every_error().iter().filter_map(|(error, _)| retry_delay(&to_status(error)).map(|wait| (error.code(), wait))).collect();
        let wait = Duration::from_millis(1500);
        assert_eq!(delays, [("RATE_LIMITED", wait), ("UNAVAILABLE", wait)]);
        assert_eq!(retry_delay(&Status::deadline_exceeded("")), Some(Duration::ZERO));
    }

    #[test]
    fn only_so_many_sentences_of_peers_are_kept() {
        assert_eq!(known("", "otherwise"), "otherwise");
        assert_eq!(known(&"x".repeat(LONGEST_SENTENCE + 1), "otherwise"), "otherwise");
        for number in 0..2 * SENTENCES {
            known(&format!("sentence {number}"), "otherwise");
        }
        assert_eq!(known("one too many", "otherwise"), "otherwise");
        assert_eq!(known("sentence 0", "otherwise"), "sentence 0");
    }
}
