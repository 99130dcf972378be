//! Every fact the system announces, and to whom. Durable events leave a store through its outbox, in the order of its
//! commits; transient ones (typing, presence) are sent straight away and may be lost. Events are hints: the store is the truth.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chat::{AutoDeleteTimer, ChatKind, ChatView, Role};
use crate::emoji::Emoji;
use crate::faults::planted;
use crate::group::ProfileChange;
use crate::id::{ChatId, ConnectionId, DeviceId, EventId, MessageId, UserId};
use crate::message::{MessageView, Rev, Seq};
use crate::receipt::{Located, Status};
use crate::time::Timestamp;

/// An announced fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its id; a consumer drops one it has seen.
    pub id: EventId,
    /// When it came about.
    pub at: Timestamp,
    /// What it is.
    pub fact: Fact,
    /// The request that brought it about, where that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Cause>>,
}

/// The request that brought something about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The request's id.
    pub request_id: String,
    /// Its place in a trace (W3C Trace Context, section 3.2), if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// What came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A message was stored.
    MessageNew(MessageNew),
    /// A recipient received or read messages.
    MessageStatus(MessageStatus),
    /// A message was deleted.
    MessageDeleted(MessageDeleted),
    /// A message was edited.
    MessageEdited(MessageEdited),
    /// Somebody reacted to a message, or took their reaction back.
    MessageReaction(MessageReaction),
    /// Somebody starred a message for themselves, or took the star back.
    MessageStarred(MessageStarred),
    /// A chat was made.
    ChatCreated {
        /// The chat.
        chat_id: ChatId,
        /// Who made it.
        created_by: UserId,
        /// A group as it was made, the same for everybody; `None` for a direct chat, which each side sees in its own way.
        group: Option<Arc<ChatView>>,
    },
    /// A chat changed, or what somebody is in it.
    ChatUpdated(ChatUpdated),
    /// Somebody came into a group.
    MemberAdded(MemberChanged),
    /// Somebody left a group or was removed.
    MemberRemoved(MemberChanged),
    /// Sessions were ended: their sockets close.
    SessionsRevoked {
        /// Whose.
        user_id: UserId,
        /// Which.
        devices: Vec<DeviceId>,
    },
    /// Somebody started or stopped typing.
    Typing {
        /// Where.
        chat_id: ChatId,
        /// Who.
        user_id: UserId,
        /// Whether they type.
        is_typing: bool,
    },
    /// Somebody came or went.
    Presence {
        /// Who.
        user_id: UserId,
        /// Whether any device is connected.
        online: bool,
        /// When the last device went.
        last_seen: Option<Timestamp>,
    },
}

/// A message was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageNew {
    /// The message object: newly sent, without reactions. What it tells of other messages is not for everybody.
    pub message: Arc<MessageView>,
    /// Where the message stands that it answers.
    pub answered: Option<Located>,
    /// Who never sees it.
    pub withheld_from: Option<UserId>,
    /// Direct or group.
    pub chat_kind: ChatKind,
    /// What the sender is called.
    pub sender_name: String,
    /// The socket it came over, which is spared the event; `None` if it came another way.
    pub origin: Option<ConnectionId>,
}

impl MessageNew {
    /// Where the message stands.
    #[must_use]
    pub fn located(&self) -> Located {
        let message = &self.message;
        Located { message_id: message.message_id, chat_id: message.chat_id, seq: message.seq, sender_id: message.sender_id, withheld_from: self.withheld_from }
    }
}

/// A recipient received or read messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageStatus {
    /// The chat.
    pub chat_id: ChatId,
    /// The message; of a range, the newest.
    pub message_id: MessageId,
    /// Its place.
    pub seq: Seq,
    /// Of a range, the first place that rose; `None` for a single message.
    pub from_seq: Option<Seq>,
    /// Who received or read.
    pub user_id: UserId,
    /// Delivered or read.
    pub status: Status,
    /// The senders to be told; others are not. Of a read, the reader's own devices are told as well.
    pub sender_ids: Vec<UserId>,
    /// The socket it came over, which is spared the event.
    pub origin: Option<ConnectionId>,
}

/// A message was deleted, for one user or for everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDeleted {
    /// The message.
    pub message_id: MessageId,
    /// Its chat.
    pub chat_id: ChatId,
    /// Its place.
    pub seq: Seq,
    /// The chat's revision of the change.
    pub rev: Rev,
    /// Who deleted it.
    pub deleted_by: UserId,
    /// Whether for everyone; otherwise only `deleted_by`'s devices are told.
    pub for_everyone: bool,
    /// Who never saw it.
    pub withheld_from: Option<UserId>,
    /// The socket it came over, which is answered with the request's id instead.
    pub origin: Option<ConnectionId>,
}

/// A message was edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageEdited {
    /// The message object as it is now, with everybody's reactions and no star. What it tells of other messages is not for
    /// everybody.
    pub message: Arc<MessageView>,
    /// Where the message stands that it answers.
    pub answered: Option<Located>,
    /// Who does not see the edit.
    pub withheld_from: Option<UserId>,
    /// Reactions that one user does not see: whose, and who does not.
    pub withheld_reactions: Vec<(UserId, UserId)>,
    /// Who starred it.
    pub starred_by: Vec<UserId>,
    /// Who deleted it for themselves, and is not told.
    pub hidden_by: Vec<UserId>,
    /// The socket it came over, which is answered with the request's id instead.
    pub origin: Option<ConnectionId>,
}

/// Somebody reacted to a message, or took their reaction back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageReaction {
    /// The message.
    pub message_id: MessageId,
    /// Its chat.
    pub chat_id: ChatId,
    /// Its place.
    pub seq: Seq,
    /// The chat's revision of the change.
    pub rev: Rev,
    /// Whose reaction it is.
    pub user_id: UserId,
    /// The reaction; `None` if it was taken back.
    pub emoji: Option<Emoji>,
    /// Who does not see it.
    pub withheld_from: Option<UserId>,
    /// The socket it came over, which is answered with the request's id instead.
    pub origin: Option<ConnectionId>,
}

/// Somebody starred a message for themselves, or took the star back. Only their own devices are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageStarred {
    /// The message.
    pub message_id: MessageId,
    /// Its chat.
    pub chat_id: ChatId,
    /// Its place.
    pub seq: Seq,
    /// The chat's revision of the change.
    pub rev: Rev,
    /// Whose star it is.
    pub user_id: UserId,
    /// Whether the message has it now.
    pub is_starred: bool,
}

/// A chat changed, or what somebody is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatUpdated {
    /// The chat.
    pub chat_id: ChatId,
    /// Direct or group.
    pub chat_kind: ChatKind,
    /// What changed.
    pub changes: ChatChanges,
    /// Who changed it.
    pub updated_by: UserId,
    /// The chat's revision of the change.
    pub rev: Rev,
}

/// What changed of a chat; absent is what stayed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChatChanges {
    /// Name, description, picture, admin-only.
    #[serde(flatten)]
    pub profile: ProfileChange,
    /// When messages disappear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_delete_timer: Option<AutoDeleteTimer>,
    /// Whose role changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// What they are now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// Somebody came into a group or went out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberChanged {
    /// The group.
    pub chat_id: ChatId,
    /// Who.
    pub user_id: UserId,
    /// What they are called.
    pub display_name: String,
    /// Who added or removed them: themselves, if they came by an invite or left.
    pub by: UserId,
    /// What the group is called.
    pub group_name: String,
    /// The chat's revision of the change.
    pub rev: Rev,
}

/// Whom an event is for. Who is present is asked at fan-out, so that whoever left by then gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody present in the chat but the one named.
    Chat {
        /// The chat.
        chat_id: ChatId,
        /// Who gets nothing.
        except: Option<UserId>,
    },
    /// Everybody present in the chat, and this user, who may have left it.
    ChatAnd {
        /// The chat.
        chat_id: ChatId,
        /// Who gets it in any case.
        user_id: UserId,
    },
    /// These users, as far as they are present in the chat.
    MembersOf {
        /// The chat.
        chat_id: ChatId,
        /// Which of its members.
        users: Vec<UserId>,
    },
    /// Whoever subscribed to this user's presence and may see it.
    Watchers(UserId),
    /// Sockets of these devices, which are closed.
    Devices(Vec<DeviceId>),
}

impl Event {
    /// Whom it is for.
    #[must_use]
    pub fn audience(&self) -> Audience {
        match &self.fact {
            Fact::MessageNew(new) => Audience::Chat { chat_id: new.message.chat_id, except: new.withheld_from.filter(|_| !planted("withheld_announced")) },
            Fact::MessageStatus(status) => {
                let reader = (status.status == Status::Read).then_some(status.user_id);
                Audience::MembersOf { chat_id: status.chat_id, users: status.sender_ids.iter().copied().chain(reader).collect() }
            }
            Fact::MessageDeleted(deleted) if deleted.for_everyone => Audience::Chat { chat_id: deleted.chat_id, except: deleted.withheld_from },
            Fact::MessageDeleted(deleted) => Audience::MembersOf { chat_id: deleted.chat_id, users: vec![deleted.deleted_by] },
            Fact::MessageEdited(edited) => Audience::Chat { chat_id: edited.message.chat_id, except: edited.withheld_from },
            Fact::MessageReaction(reaction) => Audience::Chat { chat_id: reaction.chat_id, except: reaction.withheld_from },
            Fact::MessageStarred(starred) => Audience::MembersOf { chat_id: starred.chat_id, users: vec![starred.user_id] },
            Fact::ChatCreated { chat_id, .. } => Audience::Chat { chat_id: *chat_id, except: None },
            Fact::ChatUpdated(updated) => Audience::Chat { chat_id: updated.chat_id, except: None },
            Fact::MemberAdded(added) => Audience::Chat { chat_id: added.chat_id, except: None },
            Fact::MemberRemoved(removed) => Audience::ChatAnd { chat_id: removed.chat_id, user_id: removed.user_id },
            Fact::Typing { chat_id, user_id, .. } => Audience::Chat { chat_id: *chat_id, except: Some(*user_id) },
            Fact::Presence { user_id, .. } => Audience::Watchers(*user_id),
            Fact::SessionsRevoked { devices, .. } => Audience::Devices(devices.clone()),
        }
    }

    /// The subject it travels under between nodes (contract, section 5.1).
    #[must_use]
    pub const fn subject(&self) -> &'static str {
        match &self.fact {
            Fact::MessageNew(_) => "msg.new",
            Fact::MessageStatus(_) => "msg.status.updated",
            Fact::MessageDeleted(_) => "msg.deleted",
            Fact::MessageEdited(_) => "msg.edited",
            Fact::MessageReaction(_) => "msg.reaction",
            Fact::MessageStarred(_) => "msg.starred",
            Fact::ChatCreated { .. } => "chat.created",
            Fact::ChatUpdated(_) => "chat.updated",
            Fact::MemberAdded(_) => "group.member.added",
            Fact::MemberRemoved(_) => "group.member.removed",
            Fact::SessionsRevoked { .. } => "chat.session.revoked",
            Fact::Typing { .. } => "typing",
            Fact::Presence { .. } => "presence.changed",
        }
    }
}
