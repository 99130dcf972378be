//! What can go wrong, shaped by what the caller does next. Every error has one stable code (contract, section 2);
//! turning it into HTTP, gRPC or a WebSocket frame is one table in each transport.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Shorthand for results of the use cases.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One field of a request that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// The path of the field, as `payload.body`.
    pub field: String,
    /// What the rule is.
    pub message: String,
}

/// Why a caller counts as unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthenticated {
    /// No credentials, or a refresh token that is unknown, revoked, expired or already rotated.
    Missing,
    /// An access token whose time has passed.
    Expired,
    /// An access token that is not ours, was altered, or whose session was ended.
    Invalid,
}

/// Why a known caller may not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// A rule forbids it; the text names the rule.
    Forbidden(&'static str),
    /// The caller was a participant once and no longer is.
    NotChatMember,
    /// Only admins of the group may do it.
    NotAdmin,
    /// The caller has blocked the other side.
    UserBlocked,
}

/// What was not there, or may not be known to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Anything without a code of its own.
    Resource,
    /// A user.
    User,
    /// A chat.
    Chat,
    /// A message.
    Message,
    /// A device of the caller.
    Device,
}

/// Why the request does not fit the present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The same key was used for something else, or the object no longer allows it; the text says which.
    State(&'static str),
    /// Everybody to be added already is a member.
    AlreadyMember,
    /// A group must keep one admin.
    LastAdmin,
    /// The group would grow past its limit.
    GroupFull,
}

/// What was too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLarge {
    /// The body of a request.
    Payload,
    /// An uploaded file.
    Media,
}

/// Why a one-time password was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtpRefusal {
    /// Wrong, with attempts left.
    Invalid,
    /// Too old, already used, or never requested.
    Expired,
}

/// An error of a use case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request could not be read at all: correct it, do not repeat it.
    #[error("{0}")]
    BadRequest(String),
    /// Fields broke rules: correct them.
    #[error("The request has invalid fields; details names each with its rule")]
    Validation(Vec<FieldError>),
    /// Log in or refresh the token.
    #[error("{}", match .0 { Unauthenticated::Missing => "Authentication is required; log in and send the access token", Unauthenticated::Expired => "The access token has expired; refresh it", Unauthenticated::Invalid => "The access token is not valid; log in again" })]
    Unauthenticated(Unauthenticated),
    /// Not allowed to this caller.
    #[error("{}", match .0 { Denied::Forbidden(why) => why, Denied::NotChatMember => "You are no longer a participant of this chat", Denied::NotAdmin => "Only admins of the group may do this; ask one of them", Denied::UserBlocked => "You have blocked this user; unblock them to write to them" })]
    Denied(Denied),
    /// Not there, or not for this caller to know.
    #[error("{}", .message.as_deref().unwrap_or(match .what { Missing::Resource => "Not found", Missing::User => "User not found", Missing::Chat => "Chat not found", Missing::Message => "Message not found", Missing::Device => "Device not found" }))]
    NotFound {
        /// What was not found.
        what: Missing,
        /// A text that names the objects, where it helps and tells nothing that is hidden.
        message: Option<String>,
    },
    /// Does not fit the present state: look again, then decide.
    #[error("{}", match .0 { Conflict::State(why) => why, Conflict::AlreadyMember => "Everybody named is a member already", Conflict::LastAdmin => "A group must keep at least one admin", Conflict::GroupFull => "The group is full; somebody must leave before anybody can join" })]
    Conflict(Conflict),
    /// The one-time password was refused.
    #[error("{}", match .0 { OtpRefusal::Invalid => "The code is wrong; check it and try again", OtpRefusal::Expired => "The code has expired, was used, or was never requested; request a new one" })]
    Otp(OtpRefusal),
    /// The file is not of an allowed kind, or not what it was declared to be.
    #[error("{0}")]
    MediaInvalidType(String),
    /// Send less.
    #[error("{}", match .0 { TooLarge::Payload => "The request body is too large; send less at once", TooLarge::Media => "The file is too large; send a smaller one" })]
    TooLarge(TooLarge),
    /// Wait, then repeat.
    #[error("Too many requests; wait a moment and try again")]
    RateLimited {
        /// How long until it is worth trying again.
        retry_after: Duration,
    },
    /// Too many wrong codes: request a new one.
    #[error("Too many wrong attempts; request a new code")]
    OtpMaxAttempts {
        /// How long the dead code blocks further attempts, at the most.
        retry_after: Duration,
    },
    /// A backend cannot answer now. The outcome of a write is unknown: repeat it by its key.
    #[error("The service is temporarily unavailable; try again in a moment")]
    Unavailable {
        /// How long until it is worth trying again.
        retry_after: Duration,
        /// The cause, for the log only.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A defect or a broken backend. The cause is logged, never sent out.
    #[error("Something went wrong on our side; try again, and tell the operator if it goes on")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// How long clients are told to wait when a backend is down.
    pub const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

    /// A single invalid field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Validation(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// Not found, with the standard text.
    #[must_use]
    pub const fn not_found(what: Missing) -> Self {
        Self::NotFound { what, message: None }
    }

    /// A defect, told by a text.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// A backend that cannot answer now.
    pub fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable { retry_after: Self::UNAVAILABLE_RETRY, source: Some(cause.into()) }
    }

    /// The stable code of the contract, section 2.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "BAD_REQUEST",
            Self::Validation(_) => "VALIDATION_ERROR",
            Self::Unauthenticated(Unauthenticated::Missing) => "UNAUTHORIZED",
            Self::Unauthenticated(Unauthenticated::Expired) => "TOKEN_EXPIRED",
            Self::Unauthenticated(Unauthenticated::Invalid) => "TOKEN_INVALID",
            Self::Denied(Denied::Forbidden(_)) => "FORBIDDEN",
            Self::Denied(Denied::NotChatMember) => "NOT_CHAT_MEMBER",
            Self::Denied(Denied::NotAdmin) => "NOT_ADMIN",
            Self::Denied(Denied::UserBlocked) => "USER_BLOCKED",
            Self::NotFound { what, .. } => match what {
                Missing::Resource => "NOT_FOUND",
                Missing::User => "USER_NOT_FOUND",
                Missing::Chat => "CHAT_NOT_FOUND",
                Missing::Message => "MESSAGE_NOT_FOUND",
                Missing::Device => "DEVICE_NOT_FOUND",
            },
            Self::Conflict(Conflict::State(_)) => "CONFLICT",
            Self::Conflict(Conflict::AlreadyMember) => "ALREADY_MEMBER",
            Self::Conflict(Conflict::LastAdmin) => "LAST_ADMIN",
            Self::Conflict(Conflict::GroupFull) => "GROUP_FULL",
            Self::Otp(OtpRefusal::Invalid) => "OTP_INVALID",
            Self::Otp(OtpRefusal::Expired) => "OTP_EXPIRED",
            Self::MediaInvalidType(_) => "MEDIA_INVALID_TYPE",
            Self::TooLarge(TooLarge::Payload) => "PAYLOAD_TOO_LARGE",
            Self::TooLarge(TooLarge::Media) => "MEDIA_TOO_LARGE",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::OtpMaxAttempts { .. } => "OTP_MAX_ATTEMPTS",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// The invalid fields; empty for every other error.
    #[must_use]
    pub fn details(&self) -> &[FieldError] {
        match self {
            Self::Validation(fields) => fields,
            _ => &[],
        }
    }

    /// How long the caller should wait, where waiting helps.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::OtpMaxAttempts { retry_after } | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

/// What a failed port call means to the use case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Not reachable, timed out, overloaded, out of space, shutting down: may work later, outcome unknown.
    Unavailable,
    /// What is stored cannot be read: no repetition will help.
    Corrupt,
    /// Anything else: a defect.
    Other,
}

/// An error of a port. It is logged; a client sees UNAVAILABLE or INTERNAL only.
#[derive(Debug, thiserror::Error)]
#[error("{backend}: {source}")]
pub struct StoreError {
    /// What it means.
    pub kind: StoreErrorKind,
    /// Which backend failed, as "sqlite".
    pub backend: &'static str,
    /// The backend's own error.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// The backend cannot answer now.
    pub fn unavailable(backend: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: StoreErrorKind::Unavailable, backend, source: source.into() }
    }

    /// What is stored cannot be read.
    pub fn corrupt(backend: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: StoreErrorKind::Corrupt, backend, source: source.into() }
    }

    /// A defect.
    pub fn other(backend: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: StoreErrorKind::Other, backend, source: source.into() }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::Unavailable => Self::unavailable(error),
            StoreErrorKind::Corrupt | StoreErrorKind::Other => Self::internal(error),
        }
    }
}
