//! What needs no disk and lives in one process: one-time passwords, presence, typing and rate limits. Every map is bounded.

mod otp;
mod presence;
mod rate_limit;
mod typing;

pub(crate) use otp::MemoryOtpStore;
pub(crate) use presence::MemoryPresenceStore;
pub(crate) use rate_limit::MemoryRateLimiter;
pub(crate) use typing::MemoryTypingStore;

/// The name of these in errors and health reports.
const BACKEND: &str = "memory";

/// Locks a state that no panic can leave half changed: every change to it is made whole before the lock is let go.
fn locked<T>(state: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
