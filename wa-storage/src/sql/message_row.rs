//! A message as a row: its columns, how it is written, and how it is read back.

use wa_core::id::UserId;
use wa_core::message::{Content, Fingerprint, Message, MessageKind, MessageView, Rev, Seq, Source};
use wa_core::ports::Stored;

use super::db::Row;
use super::statement::Value;

/// The columns [`read`] expects, in its order, of the table under the name `m`.
pub(super) const COLUMNS_OF_M: &str = "m.message_id, m.chat_id, m.sender_id, m.client_msg_id, m.seq, m.rev, m.type, m.payload, m.reply_to, \
     m.forwarded_chat_id, m.forwarded_message_id, m.withheld_from, m.edited_at, m.expires_at, m.created_at, m.updated_at, \
     m.sender_payload, m.sender_edited_at";

/// Inserts [`values`].
pub(super) const INSERT: &str = "INSERT INTO messages (message_id, chat_id, sender_id, client_msg_id, seq, rev, type, payload, reply_to, \
     forwarded_chat_id, forwarded_message_id, withheld_from, edited_at, expires_at, created_at, updated_at, fingerprint)";

/// How many [`COLUMNS_OF_M`] are.
pub(super) const COUNT: usize = 18;

/// The values of a new message, as [`INSERT`] names them.
pub(super) fn values(view: &MessageView, seq: Seq, rev: Rev, withheld_from: Option<UserId>, fingerprint: &Fingerprint) -> [Value; 17] {
    [
        view.message_id.into(),
        view.chat_id.into(),
        view.sender_id.into(),
        view.client_msg_id.as_str().into(),
        seq.into(),
        rev.into(),
        view.kind.as_str().into(),
        view.payload.as_str().into(),
        view.reply_to_message_id.into(),
        view.forwarded_from.map(|source| source.chat_id).into(),
        view.forwarded_from.map(|source| source.message_id).into(),
        withheld_from.into(),
        view.edited_at.into(),
        view.expires_at.into(),
        view.created_at.into(),
        view.updated_at.into(),
        Value::Bytes(fingerprint.as_bytes().to_vec()),
    ]
}

/// Reads the message whose columns start at this one, as this viewer sees it: an edit that was withheld from the other side
/// shows to its sender alone.
pub(super) fn read(row: &Row, at: usize, viewer: UserId) -> Stored<Message> {
    let sender_id: UserId = row.id(at + 2)?;
    let edited_at = match row.maybe_time(at + 17)? {
        Some(edited_at) if viewer == sender_id => Some(edited_at),
        _ => row.maybe_time(at + 12)?,
    };
    let payload = match row.maybe_text(at + 16)? {
        Some(payload) if viewer == sender_id => Some(payload),
        _ => row.maybe_text(at + 7)?,
    };
    let kind = MessageKind::parse(&row.text(at + 6)?).ok_or_else(|| row.corrupt("an unknown message type"))?;
    let content = match payload {
        Some(payload) => Some(Content::from_stored(kind, &payload).map_err(|_| row.corrupt("a payload that is not of its type"))?),
        None => None,
    };
    let forwarded_from = match (row.maybe_id(at + 9)?, row.maybe_id(at + 10)?) {
        (Some(chat_id), Some(message_id)) => Some(Source { chat_id, message_id }),
        _ => None,
    };
    Ok(Message {
        id: row.id(at)?,
        chat_id: row.id(at + 1)?,
        sender_id,
        client_msg_id: row.text(at + 3)?,
        seq: Seq::new(row.int(at + 4)?),
        rev: Rev::new(row.int(at + 5)?),
        content,
        kind,
        reply_to: row.maybe_id(at + 8)?,
        forwarded_from,
        withheld_from: row.maybe_id(at + 11)?,
        edited_at,
        expires_at: row.maybe_time(at + 13)?,
        created_at: row.time(at + 14)?,
        updated_at: row.time(at + 15)?,
    })
}
