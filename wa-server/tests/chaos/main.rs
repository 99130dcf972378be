//! What must hold when things break: the server is killed, starved and raced, its disk fails, and afterwards everything is
//! compared with what it had promised.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod crash;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod disk;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod image;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod machine;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod power;
mod support;
