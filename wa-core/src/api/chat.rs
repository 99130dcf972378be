//! Chats and the chat list.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::chat::ChatView;
use crate::error::Result;
use crate::id::{ChatId, UserId};
use crate::session::Caller;
use crate::time::Timestamp;

/// A page of the chat list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatPage {
    /// The chats, pinned first, then newest activity.
    pub chats: Vec<ChatView>,
    /// Where the next page starts.
    pub next_cursor: Option<String>,
    /// Whether there is one.
    pub has_more: bool,
}

/// Chats (contract, section 1.3).
#[async_trait]
pub trait ChatApi: Send + Sync {
    /// The direct chat with this user, made if there is none. Returns whether it is new.
    async fn create_direct(&self, caller: &Caller, participant: UserId) -> Result<(ChatView, bool)>;

    /// A page of the caller's chats. `limit` is clamped to 1..=100, 20 if absent.
    async fn list(&self, caller: &Caller, cursor: Option<&str>, limit: Option<i64>) -> Result<ChatPage>;

    /// One chat with its participants.
    async fn get(&self, caller: &Caller, chat: ChatId) -> Result<ChatView>;

    /// Mutes until then (`None`: for ever), or ends the mute.
    async fn mute(&self, caller: &Caller, chat: ChatId, is_muted: bool, until: Option<Timestamp>) -> Result<()>;

    /// Pins or unpins.
    async fn pin(&self, caller: &Caller, chat: ChatId, is_pinned: bool) -> Result<()>;
}
