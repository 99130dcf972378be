//! The only table from errors to HTTP (contract, section 2).

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use wa_core::error::{Conflict, Denied, Error, FieldError, Missing, OtpRefusal, TooLarge};

use super::envelope::Note;

/// Why a request is refused: an error of the core, or one that only HTTP knows.
#[derive(Debug, Clone)]
pub(crate) enum ApiError {
    /// An error of the core.
    Core(Arc<Error>),
    /// The path exists, the method does not.
    MethodNotAllowed,
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::Core(Arc::new(error))
    }
}

/// The table.
const fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::BadRequest(_) | Error::Otp(OtpRefusal::Invalid | OtpRefusal::Expired) | Error::MediaInvalidType(_) => StatusCode::BAD_REQUEST,
        Error::Validation(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        Error::Denied(Denied::Forbidden(_) | Denied::NotChatMember | Denied::NotAdmin | Denied::UserBlocked) => StatusCode::FORBIDDEN,
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        Error::Conflict(Conflict::State(_) | Conflict::AlreadyMember | Conflict::LastAdmin | Conflict::GroupFull) => StatusCode::CONFLICT,
        Error::TooLarge(TooLarge::Payload | TooLarge::Media) => StatusCode::PAYLOAD_TOO_LARGE,
        Error::RateLimited { .. } | Error::OtpMaxAttempts { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl ApiError {
    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Core(error) => status_of(error),
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Core(error) => error.code(),
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
        }
    }

    /// A sentence for people, free of internals.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Core(error) => error.to_string(),
            Self::MethodNotAllowed => "This method is not allowed here; the Allow header names those that are".to_owned(),
        }
    }

    /// The invalid fields.
    pub(super) fn details(&self) -> &[FieldError] {
        match self {
            Self::Core(error) => error.details(),
            Self::MethodNotAllowed => &[],
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Core(error) => error.retry_after(),
            Self::MethodNotAllowed => None,
        }
    }

    /// Writes down the cause that clients are not told. The log line carries the request id, which they have.
    pub(super) fn log(&self) {
        let Self::Core(error) = self else { return };
        match &**error {
            Error::Internal(_) => tracing::error!(cause = %causes(error), "request failed"),
            Error::Unavailable { source: Some(_), .. } => tracing::warn!(cause = %causes(error), "request could not be answered now"),
            _ => {}
        }
    }
}

/// The chain of causes as one line.
fn causes(error: &Error) -> String {
    let mut line = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some(wait) = self.retry_after() {
            // Whole seconds, rounded up, so that whoever waits them is not refused again (RFC 9110, section 10.2.3).
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Note::Failure(self));
        response
    }
}

/// Answers paths that no route serves.
pub(crate) async fn unknown_route() -> ApiError {
    no_such_route()
}

/// What is said of a path that leads nowhere.
pub(super) fn no_such_route() -> ApiError {
    Error::NotFound { what: Missing::Resource, message: Some("There is no such route".to_owned()) }.into()
}

/// Answers methods that a route does not have.
pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}
