//! End to end: a real server, real sockets, and what the contract says.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod auth;
mod support;
mod tokens;
