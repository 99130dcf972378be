//! Chats, who is in them, and what each set for themselves.

use std::sync::Arc;

use async_trait::async_trait;

use super::Stored;
use crate::chat::{Chat, ChatCursor, Membership, Pair, Personal};
use crate::id::{ChatId, EventId, UserId};
use crate::message::Rev;
use crate::time::Timestamp;

/// A direct chat to be made, unless the pair has one.
#[derive(Debug, Clone, Copy)]
pub struct NewDirectChat {
    /// The id it gets if it is new.
    pub id: ChatId,
    /// The id of its event.
    pub event_id: EventId,
    /// Who are in it.
    pub pair: Pair,
    /// Which of them makes it.
    pub created_by: UserId,
    /// When.
    pub at: Timestamp,
}

/// A chat of a user, with what they set for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedChat {
    /// The chat.
    pub chat: Chat,
    /// What the user set.
    pub personal: Personal,
}

/// What a participant sets for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonalUpdate {
    /// Mutes until then, or for ever.
    Mute(Option<Timestamp>),
    /// Ends the mute.
    Unmute,
    /// Puts on top of the list, or back.
    Pin(bool),
}

/// Chats and who is in them.
///
/// * `a_pair_has_one_chat_also_under_concurrency`
/// * `a_new_chat_leaves_one_event`
/// * `membership_of_an_absent_chat_is_none`
/// * `a_block_makes_a_new_membership_version`
/// * `the_list_is_pinned_first_then_newest_activity`
/// * `the_list_pages_without_loss_or_repeat`
/// * `personal_settings_are_the_users_own`
/// * `a_user_knows_the_rev_of_each_of_their_chats`
#[async_trait]
pub trait ChatStore: Send + Sync {
    /// Makes the pair's chat, or finds it. Returns whether it is new; a new one leaves its event in the same transaction.
    async fn create_direct(&self, new: NewDirectChat) -> Stored<(Chat, bool)>;

    /// The present membership. Cheap: implementations keep it at hand, and never return one older than the last change
    /// committed through this process.
    async fn membership(&self, chat: ChatId) -> Stored<Option<Arc<Membership>>>;

    /// The membership has changed, perhaps through another process: what is kept at hand of it is not to be trusted any more.
    /// Nothing to do where no other process writes.
    fn changed(&self, chat: ChatId) {
        let _ = chat;
    }

    /// Those of these chats in which the user is present, with their settings, in no order.
    async fn get(&self, user: UserId, chats: &[ChatId]) -> Stored<Vec<ListedChat>>;

    /// The user's chats after the cursor, pinned first, then newest activity, then greatest id, at most `limit`.
    async fn list(&self, user: UserId, after: Option<ChatCursor>, limit: usize) -> Stored<Vec<ListedChat>>;

    /// The present revision of every chat the user is present in, by chat id.
    async fn revs(&self, user: UserId) -> Stored<Vec<(ChatId, Rev)>>;

    /// Changes what the user set for themselves. Returns whether they are present in the chat.
    async fn set_personal(&self, user: UserId, chat: ChatId, update: PersonalUpdate) -> Stored<bool>;
}
