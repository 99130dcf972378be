//! What must hold when things break: the server is killed, starved and raced, its disk fails, and afterwards everything is
//! compared with what it had promised.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod bounds;
mod cluster;
mod crash;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod disk;
#[path = "../e2e/support.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use the rest")]
mod embedded;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod image;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod machine;
mod order;
mod planted;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod power;
mod races;
mod scene;
mod simulation;
mod soak;
mod storm;
mod support;
mod uploads;
