//! What can go wrong for a client, shaped by what its caller does next.

use std::time::Duration;

use wa_core::error::FieldError;

/// Any error, as its own type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error answer of the server (contract, section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status; on the WebSocket the code of the error frame, as 4003.
    pub status: u16,
    /// The stable code, as `NOT_CHAT_MEMBER`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The fields that broke rules.
    pub details: Vec<FieldError>,
    /// How long to wait before trying again, where the server says so.
    pub retry_after: Option<Duration>,
    /// The server's id of the request, for its operator.
    pub request_id: Option<String>,
}

/// An error of the client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server could not be reached, or the connection broke. The outcome of a write is unknown.
    #[error("the server cannot be reached: {}", chain(.0.as_ref()))]
    Transport(#[source] BoxError),
    /// The server answered with an error.
    #[error("{} ({})", .0.message, .0.code)]
    Api(Box<ApiError>),
    /// The server's answer is none of this protocol: it is another server, or one of another version.
    #[error("the server's answer cannot be understood: {0}")]
    Protocol(String),
    /// What was given to the client cannot be used, such as a malformed address.
    #[error("{0}")]
    Invalid(String),
    /// There are no tokens: log in.
    #[error("not logged in")]
    NotLoggedIn,
    /// The session was ended or has expired: log in again.
    #[error("the session has ended; log in again")]
    SessionEnded,
    /// The same device connected elsewhere (close code 4010).
    #[error("this device has connected elsewhere; one device holds one connection")]
    ConnectedElsewhere,
    /// The connection was closed by its user.
    #[error("the connection is closed")]
    Closed,
    /// No answer came in time. The outcome is unknown; repeating with the same `client_msg_id` is safe.
    #[error("no answer within {} s; the outcome is unknown", .0.as_secs())]
    Timeout(Duration),
    /// The token store failed.
    #[error("the tokens cannot be stored or read: {0}")]
    TokenStore(#[source] BoxError),
}

impl ClientError {
    /// The stable code of the contract, if the server sent one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Api(error) => Some(&error.code),
            _ => None,
        }
    }

    /// The server's error answer, if this is one.
    #[must_use]
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    /// Whether logging in again is what helps.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        match self {
            Self::NotLoggedIn | Self::SessionEnded => true,
            Self::Api(error) => matches!(error.code.as_str(), "UNAUTHORIZED" | "TOKEN_EXPIRED" | "TOKEN_INVALID"),
            _ => false,
        }
    }

    /// Whether the server is unreachable or cannot answer now, so that the same may work later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Transport(_) | Self::Timeout(_) => true,
            Self::Api(error) => error.code == "UNAVAILABLE",
            _ => false,
        }
    }

    /// How long to wait before trying again, where the server says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.api().and_then(|error| error.retry_after)
    }

    pub(super) fn transport(cause: impl Into<BoxError>) -> Self {
        Self::Transport(cause.into())
    }
}

/// The causes of an error in one line: the outer ones of HTTP libraries rarely name what happened.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_transport_error_names_its_innermost_cause() {
        let error = ClientError::transport(Outer(std::io::Error::other("connection refused")));
        assert_eq!(error.to_string(), "the server cannot be reached: outer: connection refused");
    }
}
