//! Why the server closes a socket: the only table of close codes (contract, sections 3 and 10).

use std::borrow::Cow;

use wa_core::error::{Error, Unauthenticated};

/// A reason to close a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The server shuts down: reconnect, elsewhere or later, after so many milliseconds.
    GoingAway(u16),
    /// Too many bad frames in a row.
    BadFrames,
    /// An inbound message was larger than allowed.
    TooLarge,
    /// What the socket needs cannot be had now, or events for it may have been missed: reconnect and sync.
    Unavailable,
    /// The token of the query is not good, or the session of the device was ended: log in or refresh.
    Unauthorized(Unauthenticated),
    /// The client reads more slowly than events come, or not at all: reconnect and sync.
    SlowReader,
    /// Nothing was received for too long.
    Idle,
    /// The same device connected again.
    Replaced,
}

impl Close {
    /// The close code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::GoingAway(_) => 1001,
            Self::BadFrames => 1008,
            Self::TooLarge => 1009,
            Self::Unavailable => 1013,
            Self::Unauthorized(_) => 4001,
            Self::SlowReader | Self::Idle => 4008,
            Self::Replaced => 4010,
        }
    }

    /// A word for programs and people, at most 123 bytes; where there is an error code for it, that.
    #[must_use]
    pub fn reason(self) -> Cow<'static, str> {
        let word = match self {
            Self::GoingAway(wait) => return format!("server is shutting down; retry_after_ms={wait}").into(),
            Self::BadFrames => "too many bad frames",
            Self::TooLarge => "message too large",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unauthorized(Unauthenticated::Missing) => "UNAUTHORIZED",
            Self::Unauthorized(Unauthenticated::Expired) => "TOKEN_EXPIRED",
            Self::Unauthorized(Unauthenticated::Invalid) => "TOKEN_INVALID",
            Self::SlowReader => "reader too slow",
            Self::Idle => "idle",
            Self::Replaced => "replaced by a newer connection",
        };
        word.into()
    }

    /// Whether what waits for the client is still sent before the close.
    #[must_use]
    pub const fn is_graceful(self) -> bool {
        matches!(self, Self::GoingAway(_) | Self::BadFrames)
    }
}

impl From<&Error> for Close {
    /// How a socket ends that cannot be opened because of this error.
    fn from(error: &Error) -> Self {
        match error {
            Error::Unauthenticated(why) => Self::Unauthorized(*why),
            _ => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const ALL: [Close; 10] = [
        Close::GoingAway(u16::MAX),
        Close::BadFrames,
        Close::TooLarge,
        Close::Unavailable,
        Close::Unauthorized(Unauthenticated::Missing),
        Close::Unauthorized(Unauthenticated::Expired),
        Close::Unauthorized(Unauthenticated::Invalid),
        Close::SlowReader,
        Close::Idle,
        Close::Replaced,
    ];

    #[test]
    fn every_close_can_be_sent() {
        for close in ALL {
            let code = tokio_websockets::CloseCode::try_from(close.code()).expect("a valid code");
            assert!(!code.is_reserved(), "{close:?}");
            assert!(close.reason().len() <= 123, "{close:?}");
        }
    }

    #[test]
    fn the_table_of_close_codes_stands() {
        let table: Vec<_> = ALL.iter().map(|close| format!("{} {}", close.code(), close.reason())).collect();
        insta::assert_snapshot!(table.join("\n"), @r"
        1001 server is shutting down; retry_after_ms=65535
        1008 too many bad frames
        1009 message too large
        1013 UNAVAILABLE
        4001 UNAUTHORIZED
        4001 TOKEN_EXPIRED
        4001 TOKEN_INVALID
        4008 reader too slow
        4008 idle
        4010 replaced by a newer connection
        ");
    }
}
