//! Chats and the chat list.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::chat::{AutoDeleteTimer, ChatView, Role};
use crate::error::Result;
use crate::group::ProfileChange;
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

/// A group to be made.
#[derive(Debug, Clone, Default)]
pub struct CreateGroup {
    /// Its name, 1 to 100 characters.
    pub name: String,
    /// What it is for, up to 512 characters.
    pub description: String,
    /// Who is in it beside the caller. The caller and repeats are ignored; at least one other must be left.
    pub participant_ids: Vec<UserId>,
}

/// Chats (contract, section 1.3). Group calls on a direct chat are VALIDATION_ERROR.
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

    /// Makes a group, of which the caller is the admin.
    ///
    /// # Errors
    /// VALIDATION_ERROR, USER_NOT_FOUND naming the unknown, FORBIDDEN where a block stands between, GROUP_FULL.
    async fn create_group(&self, caller: &Caller, request: CreateGroup) -> Result<ChatView>;

    /// Changes a group's properties. For admins.
    async fn update(&self, caller: &Caller, chat: ChatId, change: ProfileChange) -> Result<ChatView>;

    /// Adds people to a group. The caller, repeats and present members are ignored. For admins.
    ///
    /// # Errors
    /// As for [`Self::create_group`], and ALREADY_MEMBER if nobody is left to add.
    async fn add_members(&self, caller: &Caller, chat: ChatId, users: &[UserId]) -> Result<()>;

    /// Removes somebody from a group, for admins; or leaves it, if that is the caller.
    async fn remove_member(&self, caller: &Caller, chat: ChatId, user: UserId) -> Result<()>;

    /// Makes a member an admin or the reverse. For admins.
    ///
    /// # Errors
    /// LAST_ADMIN for the only one.
    async fn set_role(&self, caller: &Caller, chat: ChatId, user: UserId, role: Role) -> Result<()>;

    /// Sets when messages sent from now on disappear: anybody in a direct chat, admins in a group.
    async fn set_timer(&self, caller: &Caller, chat: ChatId, timer: AutoDeleteTimer) -> Result<()>;

    /// A new invite code, which revokes the one before. For admins.
    async fn create_invite(&self, caller: &Caller, chat: ChatId) -> Result<String>;

    /// Revokes the invite, if there is one. For admins.
    async fn revoke_invite(&self, caller: &Caller, chat: ChatId) -> Result<()>;

    /// Comes into a group by an invite code; who is in already finds the chat.
    ///
    /// # Errors
    /// NOT_FOUND for a code that is unknown or was revoked, GROUP_FULL.
    async fn join(&self, caller: &Caller, code: &str) -> Result<ChatView>;
}
