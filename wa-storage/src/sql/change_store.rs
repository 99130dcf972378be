//! Changes to messages that stand, in SQL. Each is one piece of the writer's work: what is there is looked at, the chat's
//! next revision is taken, and the row and its event are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use wa_core::error::StoreError;
use wa_core::event::{Event, Fact, MessageDeleted, MessageEdited};
use wa_core::id::{ChatId, UserId};
use wa_core::message::{Message, MessageView, Reaction, Rev};
use wa_core::ports::{Change, ChangeStore, Edit, Forward, Forwarded, Outcome, Revision, Stored};
use wa_core::receipt::Status;
use wa_core::time::Timestamp;

use super::append::{self, Append, Heads, Placed};
use super::message_row::{self, COLUMNS_OF_M};
use super::message_store::{bound, first, visible};
use super::statement::Statement;
use super::writer::{Tx, Writer};

/// Changes to messages in SQL.
#[derive(Debug)]
pub(crate) struct SqlChangeStore {
    writer: Arc<Writer>,
}

impl SqlChangeStore {
    pub(crate) const fn new(writer: Arc<Writer>) -> Self {
        Self { writer }
    }
}

/// What is there to be changed.
pub(super) enum Found {
    /// The message as the viewer sees it, and whether what it says is an edit that only its sender sees.
    Message(Box<Message>, bool),
    Absent,
    MembershipChanged,
}

/// The message of a change, if the viewer can see it, and if the membership still is the one the change was decided on.
pub(super) async fn find(tx: &mut Tx<'_>, change: &Change) -> Stored<Found> {
    tx.hold_chat(change.viewer.chat_id).await?;
    look_up(tx, change).await
}

/// The same, without keeping it from changing.
async fn look_up(tx: &mut Tx<'_>, change: &Change) -> Stored<Found> {
    let query = tx.build("SELECT ").text(COLUMNS_OF_M).text(", c.membership_version FROM messages m JOIN chats c ON c.id = m.chat_id WHERE ");
    let rows = tx.fetch(visible(query, &change.viewer).text(" AND m.message_id = ").value(change.message_id)).await?;
    let Some(row) = rows.first() else {
        return Ok(Found::Absent);
    };
    if row.int(message_row::COUNT)? != change.membership_version {
        return Ok(Found::MembershipChanged);
    }
    let is_senders_alone = row.maybe_text(message_row::COUNT - 2)?.is_some();
    Ok(Found::Message(Box::new(message_row::read(row, 0, change.viewer.user_id)?), is_senders_alone))
}

/// Takes the chat's next revision. `None` if the membership changed meanwhile.
pub(super) async fn raise(tx: &mut Tx<'_>, change: &Change) -> Stored<Option<Rev>> {
    let raise = Statement::fixed("UPDATE chats SET rev = rev + 1, updated_at = $1 WHERE id = $2 AND membership_version = $3 RETURNING rev");
    let rows = tx.fetch(raise.bind(change.viewer.now).bind(change.viewer.chat_id).bind(change.membership_version)).await?;
    first(&rows, |row| row.int(0).map(Rev::new))
}

/// Leaves an event of the change.
pub(super) fn announce(tx: &mut Tx<'_>, change: &Change, fact: Fact) {
    tx.announce(Event { id: change.event_id, at: change.viewer.now, fact, cause: None });
}

async fn edit(tx: &mut Tx<'_>, change: Change, edit: Edit) -> Stored<Outcome<Message>> {
    let (mut message, is_senders_alone) = match find(tx, &change).await? {
        Found::Message(message, is_senders_alone) => (*message, is_senders_alone),
        Found::Absent => return Ok(Outcome::Absent),
        Found::MembershipChanged => return Ok(Outcome::MembershipChanged),
    };
    if message.is_deleted() {
        return Ok(Outcome::Deleted);
    }
    let is_seen_by_all = !is_senders_alone || edit.withheld_from.is_some();
    if message.content.as_ref() == Some(&edit.content) && message.edited_at.is_some() && is_seen_by_all {
        return Ok(Outcome::Unchanged(message));
    }
    let Some(rev) = raise(tx, &change).await? else {
        return Ok(Outcome::MembershipChanged);
    };
    let set = if edit.withheld_from.is_some() {
        "UPDATE messages SET sender_payload = $1, sender_edited_at = $2, updated_at = $3, rev = $4 WHERE chat_id = $5 AND seq = $6"
    } else {
        "UPDATE messages SET payload = $1, edited_at = $2, sender_payload = NULL, sender_edited_at = NULL, updated_at = $3, rev = $4
         WHERE chat_id = $5 AND seq = $6"
    };
    let now = change.viewer.now;
    let set = Statement::fixed(set).bind(edit.content.payload().as_str()).bind(now).bind(now).bind(rev).bind(message.chat_id).bind(message.seq);
    tx.execute(set).await?;
    (message.content, message.edited_at, message.updated_at, message.rev) = (Some(edit.content), Some(now), now, rev);

    let reactions = tx
        .fetch(Statement::fixed(ALL_REACTIONS).bind(message.chat_id).bind(message.seq))
        .await?
        .iter()
        .map(|row| Ok((Reaction { user_id: row.id(0)?, emoji: row.text(1)?, timestamp: row.time(2)? }, row.maybe_id(3)?)))
        .collect::<Stored<Vec<(Reaction, Option<UserId>)>>>()?;
    let starred_by = Statement::fixed("SELECT user_id FROM stars WHERE chat_id = $1 AND seq = $2 AND is_starred");
    let starred_by = tx.fetch(starred_by.bind(message.chat_id).bind(message.seq)).await?;
    let hidden_by = Statement::fixed("SELECT user_id FROM hidden_messages WHERE chat_id = $1 AND seq = $2 ORDER BY user_id");
    let hidden_by = tx.fetch(hidden_by.bind(message.chat_id).bind(message.seq)).await?;
    let (preview, answered) = edit.reply.map(|reply| (reply.preview, reply.at)).unzip();
    let withheld_reactions = reactions.iter().filter_map(|(reaction, from)| Some((reaction.user_id, (*from)?))).collect();
    let reactions = reactions.into_iter().map(|(reaction, _)| reaction).collect();
    let fact = Fact::MessageEdited(MessageEdited {
        message: Arc::new(MessageView { reactions, ..MessageView::of(&message, Status::Sent, preview) }),
        answered,
        withheld_from: message.withheld_from.or(edit.withheld_from),
        withheld_reactions,
        starred_by: starred_by.iter().map(|row| row.id(0)).collect::<Stored<_>>()?,
        hidden_by: hidden_by.iter().map(|row| row.id(0)).collect::<Stored<_>>()?,
        origin: change.origin,
    });
    announce(tx, &change, fact);
    Ok(Outcome::Made(message))
}

const ALL_REACTIONS: &str = "SELECT user_id, emoji, reacted_at, withheld_from FROM reactions WHERE chat_id = $1 AND seq = $2 ORDER BY reacted_at, user_id";

async fn delete(tx: &mut Tx<'_>, change: Change) -> Stored<Outcome<Revision>> {
    let message = match find(tx, &change).await? {
        Found::Message(message, _) => message,
        Found::Absent => return Ok(Outcome::Absent),
        Found::MembershipChanged => return Ok(Outcome::MembershipChanged),
    };
    let seq = message.seq;
    if message.is_deleted() {
        return Ok(Outcome::Unchanged(Revision { seq, rev: message.rev }));
    }
    let Some(rev) = raise(tx, &change).await? else {
        return Ok(Outcome::MembershipChanged);
    };
    let bury = "UPDATE messages SET payload = NULL, sender_payload = NULL, sender_edited_at = NULL, updated_at = $1, rev = $2 WHERE chat_id = $3 AND seq = $4";
    tx.execute(Statement::fixed(bury).bind(change.viewer.now).bind(rev).bind(message.chat_id).bind(seq)).await?;
    for clear in ["DELETE FROM reactions WHERE chat_id = $1 AND seq = $2", "DELETE FROM stars WHERE chat_id = $1 AND seq = $2"] {
        tx.execute(Statement::fixed(clear).bind(message.chat_id).bind(seq)).await?;
    }
    let fact = Fact::MessageDeleted(MessageDeleted {
        message_id: message.id,
        chat_id: message.chat_id,
        seq,
        rev,
        deleted_by: change.viewer.user_id,
        for_everyone: true,
        withheld_from: message.withheld_from,
        origin: change.origin,
    });
    announce(tx, &change, fact);
    Ok(Outcome::Made(Revision { seq, rev }))
}

/// Why nothing of a forward was stored. It takes the way of an error, so that what was written before is taken back.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not every message of a forward could be stored")]
struct Refused(Forwarded);

async fn forward(tx: &mut Tx<'_>, source: Change, appends: Vec<Append>) -> Stored<Forwarded> {
    // The chats that it goes to are held in their order, and the one that it comes from is not: it is only read.
    match look_up(tx, &source).await? {
        Found::Message(message, _) if message.is_deleted() => return Ok(Forwarded::Deleted),
        Found::Message(..) => {}
        Found::Absent => return Ok(Forwarded::Absent),
        Found::MembershipChanged => return Ok(Forwarded::MembershipChanged),
    }
    let mut made = Vec::with_capacity(appends.len());
    let ids: Vec<_> = appends.iter().map(|append| (append.view.chat_id, append.view.message_id)).collect();
    for (id, placed) in ids.into_iter().zip(append::append_all(tx, &mut Heads::new(), appends).await?) {
        let refused = |why| StoreError::other(tx.dialect().name(), Refused(why));
        match placed? {
            Placed::At(..) => made.push(id),
            Placed::Duplicate(message) => made.push((message.chat_id, message.id)),
            Placed::KeyConflict => return Err(refused(Forwarded::KeyConflict)),
            Placed::MembershipChanged => return Err(refused(Forwarded::MembershipChanged)),
        }
    }
    Ok(Forwarded::Made(made))
}

/// What hangs on a message, and then the message itself.
const OF_A_MESSAGE: [&str; 4] = [
    "DELETE FROM reactions WHERE chat_id = ",
    "DELETE FROM stars WHERE chat_id = ",
    "DELETE FROM hidden_messages WHERE chat_id = ",
    "DELETE FROM messages WHERE chat_id = ",
];

async fn expire(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Stored<usize> {
    let query = Statement::fixed("SELECT chat_id, seq FROM messages WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2");
    let rows = tx.fetch(query.bind(now).bind(bound(limit))).await?;
    let mut expired: BTreeMap<ChatId, Vec<i64>> = BTreeMap::new();
    for row in &rows {
        expired.entry(row.id(0)?).or_default().push(row.int(1)?);
    }
    for (chat, places) in expired {
        for some in places.chunks(64) {
            for delete in OF_A_MESSAGE {
                let delete = tx.build(delete).value(chat).text(" AND seq IN (").list(some.iter().copied()).text(")");
                tx.execute(delete).await?;
            }
        }
    }
    Ok(rows.len())
}

#[async_trait]
impl ChangeStore for SqlChangeStore {
    async fn edit(&self, change: Change, new: Edit) -> Stored<Outcome<Message>> {
        self.writer.run(move |tx| Box::pin(edit(tx, change, new))).await
    }

    async fn delete(&self, change: Change) -> Stored<Outcome<Revision>> {
        self.writer.run(move |tx| Box::pin(delete(tx, change))).await
    }

    async fn forward(&self, new: Forward) -> Stored<Forwarded> {
        let Forward { viewer, message_id, membership_version, messages } = new;
        let Some(event_id) = messages.first().map(|message| message.event_id) else {
            return Ok(Forwarded::Made(Vec::new()));
        };
        let source = Change { viewer, message_id, membership_version, event_id, origin: None };
        let appends = messages.into_iter().map(|message| Append::of(message, self.writer.cause()).1).collect();
        match self.writer.run(move |tx| Box::pin(forward(tx, source, appends))).await {
            Err(error) => match error.source.downcast_ref::<Refused>() {
                Some(Refused(why)) => Ok(why.clone()),
                None => Err(error),
            },
            forwarded => forwarded,
        }
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Stored<usize> {
        self.writer.run(move |tx| Box::pin(expire(tx, now, limit))).await
    }
}
