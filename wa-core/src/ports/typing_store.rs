//! Who is typing.

use async_trait::async_trait;

use super::Stored;
use crate::id::{ChatId, UserId};
use crate::time::Timestamp;

/// Who is typing where, for a few seconds at a time.
///
/// * `starting_again_prolongs_and_is_not_new`
/// * `stopping_what_was_not_started_is_nothing`
/// * `an_expired_notice_is_returned_once`
#[async_trait]
pub trait TypingStore: Send + Sync {
    /// Notes that a user types until then. Returns whether that is new.
    async fn start(&self, chat: ChatId, user: UserId, until: Timestamp) -> Stored<bool>;

    /// Forgets it. Returns whether there was anything to forget.
    async fn stop(&self, chat: ChatId, user: UserId) -> Stored<bool>;

    /// Forgets and returns the notices that have run out.
    async fn take_expired(&self, now: Timestamp) -> Stored<Vec<(ChatId, UserId)>>;
}
