//! One-time passwords between their request and their use.

use async_trait::async_trait;

use super::Stored;
use crate::phone::Phone;
use crate::session::OtpAttempt;
use crate::time::Timestamp;

/// One-time passwords.
///
/// * `a_new_code_replaces_the_old_and_its_attempts`
/// * `attempts_are_counted_atomically`
/// * `a_code_is_consumed_once`
/// * `a_replaced_code_cannot_be_consumed`
/// * `an_expired_code_is_absent`
/// * `an_exhausted_code_stays_exhausted_until_replaced`
/// * `a_store_that_can_take_a_code_is_ready`
#[async_trait]
pub trait OtpStore: Send + Sync {
    /// Makes sure that a code of this phone could be stored now. It is asked before one is sent: nobody should be sent a
    /// code that cannot be used.
    async fn ready(&self, phone: &Phone) -> Stored<()>;

    /// Stores the hash of a phone's new code with no attempts made, in place of any older one.
    async fn put(&self, phone: &Phone, hash: &str, expires_at: Timestamp) -> Stored<()>;

    /// Counts one attempt, then tells whether the code may be compared. The count comes first, so that parallel guesses
    /// cannot share an attempt.
    async fn attempt(&self, phone: &Phone, max_attempts: u32, now: Timestamp) -> Stored<OtpAttempt>;

    /// Uses up the code with this hash. Of concurrent calls one gets `true`.
    async fn consume(&self, phone: &Phone, hash: &str) -> Stored<bool>;
}
