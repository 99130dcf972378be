//! Chats: the list, direct chats, mute and pin here; groups and invites in files of their own (contract, section 1.3).

mod group;
mod invite;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub(super) use self::group::Departure;
use super::access::enter;
use super::attachments::Attachments;
use super::inbox::{Detail, Inbox};
use super::names::Names;
use super::page_size;
use super::people::People;
use crate::api::{ChatApi, ChatPage, CreateGroup};
use crate::chat::{AutoDeleteTimer, ChatCursor, ChatView, Pair, Role};
use crate::error::{Error, Missing, Result};
use crate::group::ProfileChange;
use crate::id::{ChatId, UserId};
use crate::limits::Limits;
use crate::ports::{ChatStore, ContactStore, Env, EnvExt, GroupStore, ListedChat, MessageStore, NewDirectChat, PersonalUpdate, UserStore};
use crate::session::Caller;
use crate::time::Timestamp;

/// What the chat service stands on.
#[derive(Clone)]
pub struct ChatDeps {
    /// Chats and who is in them.
    pub chats: Arc<dyn ChatStore>,
    /// Groups and invites.
    pub groups: Arc<dyn GroupStore>,
    /// The log of every chat, for newest messages and unread counts.
    pub messages: Arc<dyn MessageStore>,
    /// Accounts and privacy settings.
    pub users: Arc<dyn UserStore>,
    /// Address books and blocks.
    pub contacts: Arc<dyn ContactStore>,
    /// Names kept at hand, shared with the user service.
    pub names: Arc<Names>,
    /// Files, and where people reach the server.
    pub attachments: Arc<Attachments>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// Limits.
    pub limits: Arc<Limits>,
}

impl fmt::Debug for ChatDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChatDeps")
    }
}

/// Chats, groups and the chat list.
#[derive(Debug, Clone)]
pub struct ChatService {
    deps: ChatDeps,
    inbox: Inbox,
}

impl ChatService {
    /// Chats over these ports.
    #[must_use]
    pub fn new(deps: ChatDeps) -> Self {
        let people = People::new(Arc::clone(&deps.users), Arc::clone(&deps.contacts)).linked(deps.attachments.links());
        let inbox = Inbox { chats: Arc::clone(&deps.chats), messages: Arc::clone(&deps.messages), people };
        Self { deps, inbox }
    }

    async fn set_personal(&self, caller: &Caller, chat: ChatId, update: PersonalUpdate) -> Result<()> {
        enter(&*self.deps.chats, chat, caller.user_id).await?;
        if self.deps.chats.set_personal(caller.user_id, chat, update).await? {
            return Ok(());
        }
        // They left between the two calls; the membership tells what they may know of that.
        enter(&*self.deps.chats, chat, caller.user_id).await?;
        Err(Error::not_found(Missing::Chat))
    }

    async fn view(&self, caller: &Caller, chat: ChatId) -> Result<ChatView> {
        let listed = self.deps.chats.get(caller.user_id, &[chat]).await?;
        let views = self.inbox.views(caller.user_id, listed, Detail::Whole, self.deps.env.now()).await?;
        views.into_iter().next().ok_or(Error::not_found(Missing::Chat))
    }
}

#[async_trait]
impl ChatApi for ChatService {
    /// Who was blocked may still open the chat: a refusal would tell them of the block.
    async fn create_direct(&self, caller: &Caller, participant: UserId) -> Result<(ChatView, bool)> {
        let Some(pair) = Pair::of(caller.user_id, participant) else {
            return Err(Error::invalid("participant_id", "must be another user than yourself"));
        };
        if !self.deps.users.get(&[participant]).await?.iter().any(|user| !user.is_deleted) {
            return Err(Error::NotFound { what: Missing::User, message: Some(format!("There is no user {participant}")) });
        }
        let env = &self.deps.env;
        let new = NewDirectChat { id: env.new_id(), event_id: env.new_id(), pair, created_by: caller.user_id, at: env.now() };
        let (chat, is_new) = self.deps.chats.create_direct(new).await?;
        Ok((self.view(caller, chat.id).await?, is_new))
    }

    async fn list(&self, caller: &Caller, cursor: Option<&str>, limit: Option<i64>) -> Result<ChatPage> {
        let limits = &self.deps.limits;
        let limit = page_size(limit, limits.list_page_default, limits.page);
        let after = cursor
            .map(|text| {
                ChatCursor::decode(text, caller.user_id).ok_or_else(|| {
                    Error::BadRequest("The cursor is not one of yours: take next_cursor of the page before, or none for the first page".to_owned())
                })
            })
            .transpose()?;
        let mut listed = self.deps.chats.list(caller.user_id, after, limit + 1).await?;
        let has_more = listed.len() > limit;
        listed.truncate(limit);
        let next_cursor = listed.last().filter(|_| has_more).map(|ListedChat { chat, personal }| {
            ChatCursor { is_pinned: personal.is_pinned, last_activity_at: chat.last_activity_at, chat_id: chat.id }.encode(caller.user_id)
        });
        let chats = self.inbox.views(caller.user_id, listed, Detail::Row, self.deps.env.now()).await?;
        Ok(ChatPage { chats, next_cursor, has_more })
    }

    async fn get(&self, caller: &Caller, chat: ChatId) -> Result<ChatView> {
        enter(&*self.deps.chats, chat, caller.user_id).await?;
        self.view(caller, chat).await
    }

    async fn mute(&self, caller: &Caller, chat: ChatId, is_muted: bool, until: Option<Timestamp>) -> Result<()> {
        if is_muted && until.is_some_and(|until| until <= self.deps.env.now()) {
            return Err(Error::invalid("mute_until", "must be in the future, or null to mute for ever"));
        }
        self.set_personal(caller, chat, if is_muted { PersonalUpdate::Mute(until) } else { PersonalUpdate::Unmute }).await
    }

    async fn pin(&self, caller: &Caller, chat: ChatId, is_pinned: bool) -> Result<()> {
        self.set_personal(caller, chat, PersonalUpdate::Pin(is_pinned)).await
    }
    async fn create_group(&self, caller: &Caller, request: CreateGroup) -> Result<ChatView> {
        self.make_group(caller, request).await
    }

    async fn update(&self, caller: &Caller, chat: ChatId, change: ProfileChange) -> Result<ChatView> {
        self.change_profile(caller, chat, change).await?;
        self.view(caller, chat).await
    }

    async fn add_members(&self, caller: &Caller, chat: ChatId, users: &[UserId]) -> Result<()> {
        self.add(caller, chat, users).await
    }

    async fn remove_member(&self, caller: &Caller, chat: ChatId, user: UserId) -> Result<()> {
        self.remove(caller, chat, user).await
    }

    async fn set_role(&self, caller: &Caller, chat: ChatId, user: UserId, role: Role) -> Result<()> {
        self.change_role(caller, chat, user, role).await
    }

    async fn set_timer(&self, caller: &Caller, chat: ChatId, timer: AutoDeleteTimer) -> Result<()> {
        self.change_timer(caller, chat, timer).await
    }

    async fn create_invite(&self, caller: &Caller, chat: ChatId) -> Result<String> {
        self.new_invite(caller, chat).await
    }

    async fn revoke_invite(&self, caller: &Caller, chat: ChatId) -> Result<()> {
        self.end_invite(caller, chat).await
    }

    async fn join(&self, caller: &Caller, code: &str) -> Result<ChatView> {
        let chat = self.join_by(caller, code).await?;
        self.view(caller, chat).await
    }
}
