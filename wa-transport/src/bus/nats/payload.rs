//! Events as flat JSON (contract, section 5.1) and back. Besides what the contract lists, a payload holds what our own
//! consumers need; unknown keys are ignored.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wa_core::chat::{ChatKind, ChatView};
use wa_core::event::{
    ChatChanges, ChatUpdated, Event, Fact, MemberChanged, MessageDeleted, MessageEdited, MessageNew, MessageReaction, MessageStarred, MessageStatus,
};
use wa_core::id::{ChatId, ConnectionId, DeviceId, EventId, UserId};
use wa_core::message::{MessageView, Rev};
use wa_core::receipt::Located;
use wa_core::time::Timestamp;

/// What a payload tells beside the event itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// Who is in the chat; of a new message, who is to get it.
    pub(super) users: Vec<UserId>,
    /// What a group is called.
    pub(super) chat_name: String,
}

#[derive(Serialize, Deserialize)]
struct New {
    #[serde(flatten)]
    message: Arc<MessageView>,
    #[serde(default)]
    recipients: Vec<UserId>,
    chat_type: ChatKind,
    #[serde(default)]
    chat_name: String,
    sender_name: String,
    answered: Option<Located>,
    withheld_from: Option<UserId>,
    origin: Option<ConnectionId>,
    timestamp: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Edited {
    #[serde(flatten)]
    message: Arc<MessageView>,
    answered: Option<Located>,
    withheld_from: Option<UserId>,
    #[serde(default)]
    withheld_reactions: Vec<(UserId, UserId)>,
    #[serde(default)]
    starred_by: Vec<UserId>,
    #[serde(default)]
    hidden_by: Vec<UserId>,
    origin: Option<ConnectionId>,
    timestamp: Timestamp,
}

/// A fact whose own fields are flat already.
#[derive(Serialize, Deserialize)]
struct Flat<T> {
    #[serde(flatten)]
    fact: T,
    timestamp: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Created {
    chat_id: ChatId,
    #[serde(rename = "type")]
    kind: ChatKind,
    #[serde(default)]
    participants: Vec<UserId>,
    #[serde(default)]
    changes: ChatChanges,
    by: UserId,
    #[serde(default)]
    rev: Rev,
    group: Option<Arc<ChatView>>,
    timestamp: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Updated {
    chat_id: ChatId,
    #[serde(rename = "type")]
    kind: ChatKind,
    #[serde(default)]
    participants: Vec<UserId>,
    changes: ChatChanges,
    by: UserId,
    rev: Rev,
    timestamp: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Member {
    chat_id: ChatId,
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_by: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_by: Option<UserId>,
    display_name: String,
    group_name: String,
    rev: Rev,
    timestamp: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Revoked {
    user_id: UserId,
    devices: Vec<DeviceId>,
    timestamp: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Presence {
    Online,
    Offline,
}

#[derive(Serialize, Deserialize)]
struct PresenceChanged {
    user_id: UserId,
    status: Presence,
    last_seen: Option<Timestamp>,
    timestamp: Timestamp,
}

/// Writes an event.
pub(super) fn encode(event: &Event, described: Described) -> serde_json::Result<Vec<u8>> {
    fn flat<T: Serialize>(fact: T, timestamp: Timestamp) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Flat { fact, timestamp })
    }
    let (timestamp, Described { users, chat_name }) = (event.at, described);
    match &event.fact {
        Fact::MessageNew(MessageNew { message, answered, withheld_from, chat_kind, sender_name, origin }) => serde_json::to_vec(&New {
            message: Arc::clone(message),
            recipients: users,
            chat_type: *chat_kind,
            chat_name,
            sender_name: sender_name.clone(),
            answered: *answered,
            withheld_from: *withheld_from,
            origin: *origin,
            timestamp,
        }),
        Fact::MessageEdited(MessageEdited { message, answered, withheld_from, withheld_reactions, starred_by, hidden_by, origin }) => {
            serde_json::to_vec(&Edited {
                message: Arc::clone(message),
                answered: *answered,
                withheld_from: *withheld_from,
                withheld_reactions: withheld_reactions.clone(),
                starred_by: starred_by.clone(),
                hidden_by: hidden_by.clone(),
                origin: *origin,
                timestamp,
            })
        }
        Fact::MessageStatus(fact) => flat(fact, timestamp),
        Fact::MessageDeleted(fact) => flat(fact, timestamp),
        Fact::MessageReaction(fact) => flat(fact, timestamp),
        Fact::MessageStarred(fact) => flat(fact, timestamp),
        Fact::ChatCreated { chat_id, created_by, group } => serde_json::to_vec(&Created {
            chat_id: *chat_id,
            kind: group.as_ref().map_or(ChatKind::Direct, |group| group.kind),
            participants: users,
            changes: ChatChanges::default(),
            by: *created_by,
            rev: group.as_ref().map_or(Rev::ZERO, |group| group.rev),
            group: group.clone(),
            timestamp,
        }),
        Fact::ChatUpdated(ChatUpdated { chat_id, chat_kind, changes, updated_by, rev }) => serde_json::to_vec(&Updated {
            chat_id: *chat_id,
            kind: *chat_kind,
            participants: users,
            changes: changes.clone(),
            by: *updated_by,
            rev: *rev,
            timestamp,
        }),
        Fact::MemberAdded(member) | Fact::MemberRemoved(member) => {
            let was_added = matches!(event.fact, Fact::MemberAdded(_));
            serde_json::to_vec(&Member {
                chat_id: member.chat_id,
                user_id: member.user_id,
                added_by: was_added.then_some(member.by),
                removed_by: (!was_added).then_some(member.by),
                display_name: member.display_name.clone(),
                group_name: member.group_name.clone(),
                rev: member.rev,
                timestamp,
            })
        }
        Fact::SessionsRevoked { user_id, devices } => serde_json::to_vec(&Revoked { user_id: *user_id, devices: devices.clone(), timestamp }),
        Fact::Presence { user_id, online, last_seen } => {
            let status = if *online { Presence::Online } else { Presence::Offline };
            serde_json::to_vec(&PresenceChanged { user_id: *user_id, status, last_seen: *last_seen, timestamp })
        }
        // It lives for seconds, and is in no stream.
        Fact::Typing { .. } => flat(&event.fact, timestamp),
    }
}

/// Why a message is no event.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// Nobody publishes such events.
    #[error("unknown subject")]
    Subject,
    /// What it says is not what its subject promises.
    #[error("not the payload of its subject: {0}")]
    Payload(#[from] serde_json::Error),
    /// It has no id.
    #[error("no event id in its headers")]
    Id,
}

/// Reads an event back.
pub(super) fn decode(subject: &str, id: Option<EventId>, payload: &[u8]) -> Result<Event, Unreadable> {
    let id = id.ok_or(Unreadable::Id)?;
    let (fact, at) = match subject {
        "msg.new" => {
            let New { message, chat_type, sender_name, answered, withheld_from, origin, timestamp, .. } = serde_json::from_slice(payload)?;
            (Fact::MessageNew(MessageNew { message, answered, withheld_from, chat_kind: chat_type, sender_name, origin }), timestamp)
        }
        "msg.edited" => {
            let Edited { message, answered, withheld_from, withheld_reactions, starred_by, hidden_by, origin, timestamp } = serde_json::from_slice(payload)?;
            (Fact::MessageEdited(MessageEdited { message, answered, withheld_from, withheld_reactions, starred_by, hidden_by, origin }), timestamp)
        }
        "msg.status.updated" => serde_json::from_slice(payload).map(|Flat { fact, timestamp }: Flat<MessageStatus>| (Fact::MessageStatus(fact), timestamp))?,
        "msg.deleted" => serde_json::from_slice(payload).map(|Flat { fact, timestamp }: Flat<MessageDeleted>| (Fact::MessageDeleted(fact), timestamp))?,
        "msg.reaction" => serde_json::from_slice(payload).map(|Flat { fact, timestamp }: Flat<MessageReaction>| (Fact::MessageReaction(fact), timestamp))?,
        "msg.starred" => serde_json::from_slice(payload).map(|Flat { fact, timestamp }: Flat<MessageStarred>| (Fact::MessageStarred(fact), timestamp))?,
        "chat.created" => {
            let Created { chat_id, by, group, timestamp, .. } = serde_json::from_slice(payload)?;
            (Fact::ChatCreated { chat_id, created_by: by, group }, timestamp)
        }
        "chat.updated" => {
            let Updated { chat_id, kind, changes, by, rev, timestamp, .. } = serde_json::from_slice(payload)?;
            (Fact::ChatUpdated(ChatUpdated { chat_id, chat_kind: kind, changes, updated_by: by, rev }), timestamp)
        }
        "group.member.added" | "group.member.removed" => {
            let Member { chat_id, user_id, added_by, removed_by, display_name, group_name, rev, timestamp } = serde_json::from_slice(payload)?;
            let by = added_by.or(removed_by).unwrap_or(user_id);
            let member = MemberChanged { chat_id, user_id, display_name, by, group_name, rev };
            (if subject == "group.member.added" { Fact::MemberAdded(member) } else { Fact::MemberRemoved(member) }, timestamp)
        }
        "chat.session.revoked" => {
            let Revoked { user_id, devices, timestamp } = serde_json::from_slice(payload)?;
            (Fact::SessionsRevoked { user_id, devices }, timestamp)
        }
        "presence.changed" => {
            let PresenceChanged { user_id, status, last_seen, timestamp } = serde_json::from_slice(payload)?;
            (Fact::Presence { user_id, online: matches!(status, Presence::Online), last_seen }, timestamp)
        }
        _ => return Err(Unreadable::Subject),
    };
    Ok(Event { id, at, fact, cause: None })
}

#[cfg(test)]
#[path = "payload/tests.rs"]
mod tests;
