//! Sending, reading, receipts and sync (contract, sections 1.4, 3 and 7). One file per use case; this one holds what they
//! stand on.

mod change;
mod forward;
mod order;
mod receipts;
mod search;
mod send;
mod star;
mod sync;
mod view;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use self::order::Order;
use super::access::{enter, enter_by};
use super::attachments::Attachments;
use super::inbox::Inbox;
use super::names::Names;
use super::page_size;
use super::people::People;
use crate::api::{
    ForwardMessage, ForwardedMessage, HistoryQuery, MessageApi, MessagePage, Pending, SearchPage, SearchRequest, SendMessage, Sent, SyncAnswer, SyncRequest,
};
use crate::error::{Error, Missing, Result};
use crate::event::{MessageDeleted, MessageReaction, MessageStarred};
use crate::id::{ChatId, ConnectionId, MessageId};
use crate::limits::Limits;
use crate::message::{MessageView, Seq};
use crate::ports::{AnnotationStore, ChangeStore, ChatStore, ContactStore, Env, EnvExt, MessageStore, Page, ReceiptStore, SearchStore, UserStore};
use crate::receipt::{Located, ReceiptView, Receipted};
use crate::session::Caller;

/// What the message service stands on.
#[derive(Clone)]
pub struct MessageDeps {
    /// The log of every chat.
    pub messages: Arc<dyn MessageStore>,
    /// Changes to messages that stand.
    pub changes: Arc<dyn ChangeStore>,
    /// Reactions and stars.
    pub annotations: Arc<dyn AnnotationStore>,
    /// Who received and read what.
    pub receipts: Arc<dyn ReceiptStore>,
    /// Finds messages by their words.
    pub search: Arc<dyn SearchStore>,
    /// Chats and who is in them.
    pub chats: Arc<dyn ChatStore>,
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

impl fmt::Debug for MessageDeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageDeps")
    }
}

/// Sending, reading, receipts and sync.
#[derive(Debug, Clone)]
pub struct MessageService {
    deps: MessageDeps,
    inbox: Inbox,
    order: Arc<Order>,
}

impl MessageService {
    /// Messages over these ports.
    #[must_use]
    pub fn new(deps: MessageDeps) -> Self {
        let people = People::new(Arc::clone(&deps.users), Arc::clone(&deps.contacts)).linked(deps.attachments.links());
        let inbox = Inbox { chats: Arc::clone(&deps.chats), messages: Arc::clone(&deps.messages), people };
        Self { deps, inbox, order: Arc::default() }
    }

    fn people(&self) -> &People {
        &self.inbox.people
    }

    /// Where one message stands, if there is such a message.
    async fn locate(&self, id: MessageId) -> Result<Option<Located>> {
        Ok(self.deps.messages.locate(&[id]).await?.into_iter().next())
    }
}

#[async_trait]
impl MessageApi for MessageService {
    async fn send(&self, caller: &Caller, message: SendMessage) -> Result<Sent> {
        self.send_message(caller, message).await
    }

    async fn history(&self, caller: &Caller, chat: ChatId, query: HistoryQuery) -> Result<MessagePage> {
        let access = enter(&*self.deps.chats, chat, caller.user_id).await?;
        let page = match (query.after_seq, query.cursor) {
            // Before the first message nothing is missed, however far before.
            (Some(after), _) => Page::After(Seq::new(after.max(0))),
            (None, None) => Page::Newest,
            (None, Some(cursor)) => {
                // Located, not read: a cursor stays good when its message disappears between two pages.
                let message = self.locate(cursor).await?.filter(|message| access.reaches(message));
                let unknown =
                    || Error::BadRequest("The cursor is no message of this chat: take next_cursor of the page before, or none for the newest".to_owned());
                Page::Before(message.ok_or_else(unknown)?.seq)
            }
        };
        let limit = page_size(query.limit, self.deps.limits.history_page_default, self.deps.limits.page);
        let mut messages = self.deps.messages.page(&access.viewer(self.deps.env.now()), page, limit + 1).await?;
        let has_more = messages.len() > limit;
        messages.truncate(limit);
        let next_cursor = messages.last().filter(|_| has_more).map(|last| match page {
            Page::After(_) => last.seq.to_string(),
            Page::Newest | Page::Before(_) => last.id.to_string(),
        });
        Ok(MessagePage { messages: self.views(&access, messages).await?, next_cursor, has_more })
    }

    async fn mark_delivered(&self, caller: &Caller, messages: &[MessageId], origin: Option<ConnectionId>) -> Result<()> {
        self.give_delivered(caller, messages, origin).await
    }

    async fn mark_read(&self, caller: &Caller, chat: Option<ChatId>, up_to: Option<MessageId>, origin: Option<ConnectionId>) -> Result<()> {
        self.give_read(caller, chat, up_to, origin).await
    }

    async fn receipts(&self, caller: &Caller, message: MessageId) -> Result<Vec<ReceiptView>> {
        self.receipt_rows(caller, message).await
    }

    async fn delete_for_me(&self, caller: &Caller, message: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted> {
        let (access, located) = enter_by(&*self.deps.chats, self.locate(message).await?, caller.user_id).await?;
        let viewer = access.viewer(self.deps.env.now());
        if located.sender_id != caller.user_id {
            // What somebody deletes has arrived. Never confirmed, it would hold up the mark of all that follow.
            self.give(caller, located.chat_id, Receipted::Delivered(vec![located]), true, origin).await?;
        }
        let hidden = self.deps.messages.hide(&viewer, message, self.deps.env.new_id(), origin).await?;
        let hidden = hidden.ok_or(Error::not_found(Missing::Message))?;
        Ok(MessageDeleted {
            message_id: message,
            chat_id: located.chat_id,
            seq: hidden.seq,
            rev: hidden.rev,
            deleted_by: caller.user_id,
            for_everyone: false,
            withheld_from: None,
            origin,
        })
    }

    async fn delete_for_everyone(&self, caller: &Caller, message: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted> {
        self.bury(caller, message, origin).await
    }

    async fn edit(&self, caller: &Caller, message: MessageId, payload: &Value, origin: Option<ConnectionId>) -> Result<MessageView> {
        self.edit_message(caller, message, payload, origin).await
    }

    async fn forward(&self, caller: &Caller, forward: ForwardMessage) -> Result<Vec<ForwardedMessage>> {
        self.forward_message(caller, forward).await
    }

    async fn react(&self, caller: &Caller, message: MessageId, emoji: Option<String>, origin: Option<ConnectionId>) -> Result<MessageReaction> {
        self.set_reaction(caller, message, emoji.as_deref(), origin).await
    }

    async fn star(&self, caller: &Caller, message: MessageId, is_starred: bool) -> Result<MessageStarred> {
        self.set_star(caller, message, is_starred).await
    }

    async fn starred(&self, caller: &Caller, cursor: Option<String>, limit: Option<i64>) -> Result<MessagePage> {
        self.starred_page(caller, cursor.as_deref(), limit).await
    }

    async fn expire(&self) -> Result<bool> {
        let batch = self.deps.limits.expiry_batch;
        Ok(self.deps.changes.expire(self.deps.env.now(), batch).await? == batch)
    }

    async fn search(&self, caller: &Caller, request: SearchRequest) -> Result<SearchPage> {
        self.found(caller, request).await
    }

    async fn sync(&self, caller: &Caller, request: SyncRequest) -> Result<SyncAnswer> {
        self.missed(caller, request).await
    }

    async fn pending(&self, caller: &Caller) -> Result<Pending> {
        let undelivered = self.deps.messages.undelivered(caller.user_id, self.deps.env.now(), self.deps.limits.connect_backlog).await?;
        Ok(Pending { messages: self.views_of_many(caller.user_id, undelivered.messages).await?, more_in: undelivered.more_in })
    }
}
