//! What must hold when things break: the server is killed, starved and raced, and afterwards everything is compared with
//! what it had promised.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod bounds;
mod convergence;
#[path = "../e2e/support.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use the rest")]
mod embedded;
mod order;
mod races;
mod scene;
mod soak;
#[allow(dead_code, reason = "a check may be left out")]
mod support;
