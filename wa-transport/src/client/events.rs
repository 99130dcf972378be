//! What travels over the socket, decoded, and what the user of a connection is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wa_core::chat::ChatView;
use wa_core::id::{ChatId, MessageId, UserId};
use wa_core::message::{MessageView, Rev, Seq};
use wa_core::receipt::Status;
use wa_core::time::Timestamp;
use wa_core::user::PresenceView;

use super::error::{ApiError, ClientError};

/// What the user of a connection is told. As JSON it has the contract's event names where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", content = "data")]
#[non_exhaustive]
pub enum ServerEvent {
    /// A message: each once, and within a chat in the order of `seq`. Messages sent over this connection are told too.
    #[serde(rename = "message.new")]
    Message(Box<MessageView>),
    /// A message told before has changed; this is it now. One that was never told was deleted meanwhile: ignore it.
    #[serde(rename = "message.edited")]
    MessageChanged(Box<MessageView>),
    /// A message told before is gone for this user.
    #[serde(rename = "message.deleted")]
    MessageDeleted(Deleted),
    /// Somebody reacted to a message told before, or took their reaction back.
    #[serde(rename = "message.reaction")]
    Reaction(Reaction),
    /// This user starred a message told before on one of their devices, or took the star back.
    #[serde(rename = "message.starred")]
    Starred(Starred),
    /// Somebody received or read messages.
    #[serde(rename = "message.status")]
    Receipt(Receipt),
    /// Somebody started or stopped typing.
    #[serde(rename = "typing")]
    Typing(Typing),
    /// Somebody whose presence was subscribed to came or went.
    #[serde(rename = "presence")]
    Presence(PresenceView),
    /// A chat is new or has changed; this is it now.
    #[serde(rename = "chat.updated")]
    Chat(Box<ChatView>),
    /// A chat is no longer the user's to see.
    #[serde(rename = "chat.removed")]
    ChatRemoved {
        /// The chat.
        chat_id: ChatId,
    },
    /// This user was out of a group for a while and is in it again: what was told before this place is not theirs to see
    /// any more.
    #[serde(rename = "chat.history_from")]
    HistoryFrom {
        /// The chat.
        chat_id: ChatId,
        /// The first place whose message they may see.
        seq: Seq,
    },
    /// The connection stands, for the first time or again.
    #[serde(rename = "connection.up")]
    Connected,
    /// The connection broke. It comes back by itself; what happens meanwhile is told then.
    #[serde(rename = "connection.down")]
    Disconnected {
        /// What happened.
        reason: String,
        /// When the next attempt is made.
        #[serde(rename = "retry_in_ms", serialize_with = "as_millis")]
        retry_in: Duration,
    },
}

/// A message is gone for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Its chat.
    pub chat_id: ChatId,
    /// The message.
    pub message_id: MessageId,
    /// Whether for everyone, not for this user alone.
    #[serde(rename = "deleted_for_everyone")]
    pub for_everyone: bool,
}

/// Somebody reacted to a message. Each has one reaction: this one takes the place of theirs before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// The chat.
    pub chat_id: ChatId,
    /// The message.
    pub message_id: MessageId,
    /// Who.
    pub user_id: UserId,
    /// The emoji; `None` if they took their reaction back.
    pub emoji: Option<String>,
}

/// This user starred a message, or took the star back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starred {
    /// The chat.
    pub chat_id: ChatId,
    /// The message.
    pub message_id: MessageId,
    /// Whether it has a star now.
    pub is_starred: bool,
}

/// Somebody received or read messages. Receipts only rise: an older state after a newer one means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The chat.
    pub chat_id: ChatId,
    /// The message; absent where only the place is known.
    #[serde(default)]
    pub message_id: Option<MessageId>,
    /// Everything up to this place, where the receipt covers more than one message.
    #[serde(default)]
    pub up_to_seq: Option<Seq>,
    /// Who.
    pub user_id: UserId,
    /// Delivered or read.
    pub status: Status,
}

/// Somebody started or stopped typing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    /// Where.
    pub chat_id: ChatId,
    /// Who.
    pub user_id: UserId,
    /// Whether they type.
    pub is_typing: bool,
}

/// A message was accepted and is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The message.
    pub message_id: MessageId,
    /// The key it was sent under.
    pub client_msg_id: String,
    /// Its chat.
    pub chat_id: ChatId,
    /// Its place there.
    pub seq: Seq,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Whether it had been stored before under the same key.
    pub duplicate: bool,
    /// The chat's revision of it; absent where the server does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<Rev>,
}

/// A frame from the server.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) req_id: Option<String>,
    pub(super) event: Wire,
}

/// What a frame says.
#[derive(Debug)]
pub(super) enum Wire {
    New(Box<MessageView>),
    Sent(Sent),
    Status(Receipt),
    Edited(Box<MessageView>),
    Deleted(WireDeleted),
    Reaction(Annotated<Reaction>),
    Starred(Annotated<Starred>),
    Typing(Typing),
    Presence(PresenceView),
    ChatCreated(Box<ChatView>),
    /// A chat or who is in it changed.
    ChatChanged(WireChange),
    Resync,
    Ack,
    Pong,
    Error(Box<ApiError>),
    /// An event of a newer server; whatever it changed is found by `rev` at the next sync.
    Unknown,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireDeleted {
    pub(super) message_id: MessageId,
    pub(super) chat_id: ChatId,
    pub(super) seq: Seq,
    pub(super) rev: Rev,
    #[serde(default)]
    pub(super) deleted_for_everyone: bool,
}

/// What was added to the message at this place, by the change that took this revision.
#[derive(Debug, Deserialize)]
pub(super) struct Annotated<T> {
    pub(super) seq: Seq,
    pub(super) rev: Rev,
    #[serde(flatten)]
    pub(super) what: T,
}

#[derive(Debug, Deserialize)]
pub(super) struct WireChange {
    pub(super) chat_id: ChatId,
    pub(super) rev: Rev,
}

#[derive(Deserialize)]
struct Frame<'a> {
    event: &'a str,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    req_id: Option<String>,
}

#[derive(Deserialize)]
struct WireReceipt {
    #[serde(flatten)]
    receipt: Receipt,
    #[serde(default)]
    up_to_message_id: Option<MessageId>,
}

#[derive(Deserialize)]
struct WireError {
    code: u16,
    #[serde(default)]
    name: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

impl Incoming {
    /// Reads a frame.
    pub(super) fn decode(text: &str) -> Result<Self, ClientError> {
        let frame: Frame<'_> = serde_json::from_str(text).map_err(|e| ClientError::Protocol(format!("a malformed frame: {e}")))?;
        let data = frame.data.map_or("null", RawValue::get);
        let event = read(frame.event, data).map_err(|e| ClientError::Protocol(format!("a malformed {} event: {e}", frame.event)))?;
        Ok(Self { req_id: frame.req_id, event })
    }
}

fn read(event: &str, data: &str) -> serde_json::Result<Wire> {
    Ok(match event {
        "message.new" => Wire::New(serde_json::from_str(data)?),
        "message.sent" => Wire::Sent(serde_json::from_str(data)?),
        "message.status" => {
            let WireReceipt { receipt, up_to_message_id } = serde_json::from_str(data)?;
            Wire::Status(Receipt { message_id: up_to_message_id.or(receipt.message_id), ..receipt })
        }
        "message.edited" => Wire::Edited(serde_json::from_str(data)?),
        "message.deleted" => Wire::Deleted(serde_json::from_str(data)?),
        "message.reaction" => Wire::Reaction(serde_json::from_str(data)?),
        "message.starred" => Wire::Starred(serde_json::from_str(data)?),
        "typing" => Wire::Typing(serde_json::from_str(data)?),
        "presence" => Wire::Presence(serde_json::from_str(data)?),
        "chat.created" => Wire::ChatCreated(serde_json::from_str(data)?),
        "chat.updated" | "group.member.added" | "group.member.removed" => Wire::ChatChanged(serde_json::from_str(data)?),
        "resync" => Wire::Resync,
        "ack" => Wire::Ack,
        "pong" => Wire::Pong,
        "error" => {
            let WireError { code, name, message, retry_after_ms } = serde_json::from_str(data)?;
            let retry_after = retry_after_ms.map(Duration::from_millis);
            Wire::Error(Box::new(ApiError { status: code, code: name, message, details: Vec::new(), retry_after, request_id: None }))
        }
        _ => Wire::Unknown,
    })
}

fn as_millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_an_unknown_event_is_no_error_and_a_malformed_one_is() {
        assert!(matches!(Incoming::decode(r#"{"event":"call.offer","data":{}}"#).map(|f| f.event), Ok(Wire::Unknown)));
        assert!(matches!(Incoming::decode(r#"{"event":"pong","data":{},"req_id":"7"}"#), Ok(Incoming { req_id: Some(id), event: Wire::Pong }) if id == "7"));
        for bad in ["", "[]", "{}", r#"{"event":"message.new","data":null}"#, r#"{"event":"typing","data":{"chat_id":"x"}}"#] {
            assert!(matches!(Incoming::decode(bad), Err(ClientError::Protocol(_))), "{bad}");
        }
    }

    #[test]
    fn an_error_frame_keeps_its_code_and_its_wait() {
        let frame = r#"{"event":"error","data":{"code":4029,"name":"RATE_LIMITED","message":"Too many requests","retry_after_ms":250},"req_id":"1"}"#;
        let Ok(Incoming { event: Wire::Error(error), .. }) = Incoming::decode(frame) else { panic!("an error frame") };
        assert_eq!((error.status, error.code.as_str(), error.retry_after), (4029, "RATE_LIMITED", Some(Duration::from_millis(250))));
    }

    #[test]
    fn a_receipt_of_a_range_names_its_last_place() {
        let id = "018f3f6e-7b1c-7c4e-8a57-0242ac120002";
        let frame = format!(
            r#"{{"event":"message.status","data":{{"chat_id":"{id}","message_id":"{id}","user_id":"{id}","status":"read","timestamp":"2026-01-31T12:00:00.000Z","up_to_message_id":"{id}","up_to_seq":9}}}}"#
        );
        let Ok(Incoming { event: Wire::Status(receipt), .. }) = Incoming::decode(&frame) else { panic!("a receipt") };
        assert_eq!((receipt.status, receipt.up_to_seq), (Status::Read, Some(Seq::new(9))));
    }
}
