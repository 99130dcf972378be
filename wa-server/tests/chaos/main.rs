//! What must hold when things break: the server is killed, starved and raced, and afterwards everything is compared with
//! what it had promised.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod crash;
mod support;
