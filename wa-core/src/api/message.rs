//! Sending, reading, receipts and sync.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chat::ChatView;
use crate::error::Result;
use crate::event::{MessageDeleted, MessageReaction, MessageStarred};
use crate::id::{ChatId, ConnectionId, MessageId};
use crate::message::{MessageView, Rev, Seq};
use crate::receipt::{MarksView, ReceiptView};
use crate::session::Caller;
use crate::star::StarMark;

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct SendMessage {
    /// The chat.
    pub chat_id: ChatId,
    /// The sender's own key, 1 to 128 characters.
    pub client_msg_id: String,
    /// The contract's message type.
    pub kind: String,
    /// The payload, unchecked.
    pub payload: Value,
    /// The message it answers.
    pub reply_to_message_id: Option<MessageId>,
    /// The socket it came over; `None` if it came another way.
    pub origin: Option<ConnectionId>,
}

/// A message was accepted and is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The stored message.
    pub message: MessageView,
    /// Whether it had been stored before under the same key.
    pub duplicate: bool,
}

/// Which page of a chat's history.
#[derive(Debug, Clone, Copy, Default)]
pub struct HistoryQuery {
    /// Older than this message.
    pub cursor: Option<MessageId>,
    /// Newer than this place, oldest first. Takes precedence over the cursor.
    pub after_seq: Option<i64>,
    /// Clamped to 1..=100; 50 if absent.
    pub limit: Option<i64>,
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<MessageView>,
    /// Where the next page starts: a message id; with `after_seq`, the last seq.
    pub next_cursor: Option<String>,
    /// Whether there is one.
    pub has_more: bool,
}

/// What is searched for, and where.
#[derive(Clone)]
pub struct SearchRequest {
    /// In this chat; in all of the caller's chats if absent.
    pub chat: Option<ChatId>,
    /// What the user typed ([`crate::search`]).
    pub query: String,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Clamped to 1..=100; 20 if absent.
    pub limit: Option<i64>,
}

impl std::fmt::Debug for SearchRequest {
    /// Search texts are in no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchRequest").field("chat", &self.chat).finish_non_exhaustive()
    }
}

/// A message that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SearchHit {
    /// The message.
    pub message: MessageView,
    /// How well it fits: higher is better.
    pub score: f64,
}

/// What was found, best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SearchPage {
    /// The messages.
    pub results: Vec<SearchHit>,
    /// Where the next page starts.
    pub next_cursor: Option<String>,
    /// Whether there is one.
    pub has_more: bool,
}

/// What a client knows (contract, section 3.5).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SyncRequest {
    /// The rev up to which it has each chat.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = HashMap<String, i64>))]
    pub chats: HashMap<ChatId, Rev>,
    /// Messages in the whole answer: 500 if absent, 1,000 at most.
    #[serde(default)]
    pub limit: Option<i64>,
}

/// What a client missed of one chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SyncChat {
    /// The chat as it is now.
    pub chat: ChatView,
    /// The rev up to which this item is complete.
    pub rev: Rev,
    /// The first place whose message the caller may see. It rises when they are let in again after they had left: what a
    /// client has from before is not theirs any more.
    #[serde(default = "first_place")]
    pub history_from_seq: Seq,
    /// The messages changed above the rev the client named, oldest change first.
    pub messages: Vec<MessageView>,
    /// Messages the caller deleted for themselves above that rev.
    #[serde(default)]
    pub hidden_message_ids: Vec<MessageId>,
    /// Messages the caller starred, or took the star from, above that rev.
    #[serde(default)]
    pub stars: Vec<StarMark>,
    /// Everybody's present marks.
    pub receipts: Vec<MarksView>,
    /// Whether `rev` is below `chat.rev`: ask again with it.
    pub limited: bool,
}

fn first_place() -> Seq {
    Seq::ZERO.next()
}

/// What a client missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SyncAnswer {
    /// The chats that changed or that the client did not name.
    pub chats: Vec<SyncChat>,
    /// Named chats the caller may not see.
    pub removed_chat_ids: Vec<ChatId>,
    /// Whether that was all; if not, ask again with the returned revs.
    pub complete: bool,
}

/// A message to be sent on.
#[derive(Debug, Clone)]
pub struct ForwardMessage {
    /// The message.
    pub message_id: MessageId,
    /// Where to; repeats count once.
    pub target_chat_ids: Vec<ChatId>,
    /// Names the request: repeated under the same key, it sends nothing twice. Without one, every request sends anew.
    pub key: Option<String>,
}

/// A message that was made by forwarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForwardedMessage {
    /// Where it stands.
    pub chat_id: ChatId,
    /// The new message.
    pub message_id: MessageId,
}

/// What waits for a device that connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    /// Undelivered messages, oldest first per chat.
    pub messages: Vec<MessageView>,
    /// Chats in which more wait.
    pub more_in: Vec<ChatId>,
}

/// Sending, reading, receipts and sync (contract, sections 1.4, 3 and 7).
#[async_trait]
pub trait MessageApi: Send + Sync {
    /// Stores a message and announces it. When this returns, it is durable.
    ///
    /// Sends of one caller into one chat are stored in the order in which they were begun (first polled), without each
    /// waiting for the one before to be durable: transports that keep many in flight rely on it. Only where the chat's
    /// membership changes in between may two change places.
    async fn send(&self, caller: &Caller, message: SendMessage) -> Result<Sent>;

    /// A page of a chat's history.
    async fn history(&self, caller: &Caller, chat: ChatId, query: HistoryQuery) -> Result<MessagePage>;

    /// The caller's device received these messages. Unknown and foreign ones are passed over.
    async fn mark_delivered(&self, caller: &Caller, messages: &[MessageId], origin: Option<ConnectionId>) -> Result<()>;

    /// The caller read everything in the chat up to this message; `chat` is derived from the message if absent, the
    /// message is the chat's newest if absent. One of the two is needed.
    async fn mark_read(&self, caller: &Caller, chat: Option<ChatId>, up_to: Option<MessageId>, origin: Option<ConnectionId>) -> Result<()>;

    /// How far a message got with each recipient.
    async fn receipts(&self, caller: &Caller, message: MessageId) -> Result<Vec<ReceiptView>>;

    /// Hides a message from the caller alone. Repeating it changes nothing, and is answered alike.
    async fn delete_for_me(&self, caller: &Caller, message: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted>;

    /// Deletes a message for everyone: the sender's right, and in a group its admins'. Repeating it changes nothing, and is
    /// answered alike.
    async fn delete_for_everyone(&self, caller: &Caller, message: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted>;

    /// Changes the text or caption of one of the caller's own messages, within the window for edits.
    async fn edit(&self, caller: &Caller, message: MessageId, payload: &Value, origin: Option<ConnectionId>) -> Result<MessageView>;

    /// Sends a message on to other chats: to all of them, or to none. In the order of the request.
    async fn forward(&self, caller: &Caller, forward: ForwardMessage) -> Result<Vec<ForwardedMessage>>;

    /// Sets the caller's reaction to a message, in place of any other, or takes it back.
    async fn react(&self, caller: &Caller, message: MessageId, emoji: Option<String>, origin: Option<ConnectionId>) -> Result<MessageReaction>;

    /// Marks a message for the caller alone, or takes the mark back.
    async fn star(&self, caller: &Caller, message: MessageId, is_starred: bool) -> Result<MessageStarred>;

    /// The caller's starred messages as far as they still may see them, newest star first.
    async fn starred(&self, caller: &Caller, cursor: Option<String>, limit: Option<i64>) -> Result<MessagePage>;

    /// Deletes a bounded number of messages whose time has come. Returns whether more may be left.
    async fn expire(&self) -> Result<bool>;

    /// The messages that match, best first, of one chat or of all the caller's.
    async fn search(&self, caller: &Caller, request: SearchRequest) -> Result<SearchPage>;

    /// What the caller missed.
    async fn sync(&self, caller: &Caller, request: SyncRequest) -> Result<SyncAnswer>;

    /// The caller's undelivered messages, for a socket that connects.
    async fn pending(&self, caller: &Caller) -> Result<Pending>;
}
