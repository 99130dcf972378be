//! The log of every chat in SQL. Writing goes through `append.rs`; here are the ways to read it.

use std::sync::Arc;

use async_trait::async_trait;
use wa_core::error::StoreError;
use wa_core::event::{Event, Fact, MessageDeleted};
use wa_core::faults::planted;
use wa_core::id::{ChatId, ConnectionId, EventId, MessageId, UserId};
use wa_core::message::{Message, Rev, Seq};
use wa_core::ports::{Appended, Changed, MessageStore, NewMessage, Page, Revision, Stored, Summary, Undelivered, Viewer};
use wa_core::receipt::{Located, Status};
use wa_core::star::StarMark;
use wa_core::time::Timestamp;

use super::append::{Append, Placed};
use super::db::{Db, Row};
use super::message_row::{self, COLUMNS_OF_M};
use super::places::Places;
use super::receive::read_marks;
use super::statement::{Statement, pieces};
use super::writer::Writer;

/// Messages in SQL.
#[derive(Debug)]
pub(crate) struct SqlMessageStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
    places: Arc<Places>,
}

/// Whether anything of a list goes on past its limit, and what to keep of it.
fn within<T>(mut items: Vec<T>, limit: usize) -> (Vec<T>, bool) {
    let more = items.len() > limit;
    items.truncate(limit);
    (items, more)
}

pub(super) fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The condition under which the viewer sees the message `m`.
pub(super) fn visible(statement: Statement, viewer: &Viewer) -> Statement {
    statement
        .text("m.chat_id = ")
        .value(viewer.chat_id)
        .text(" AND m.seq > ")
        .value(viewer.above)
        .text(" AND (m.withheld_from IS NULL OR m.withheld_from <> ")
        .value(viewer.user_id)
        .text(if planted("withheld_shown") { " OR 1 = 1" } else { "" })
        .text(") AND (m.expires_at IS NULL OR m.expires_at > ")
        .value(viewer.now)
        .text(") AND NOT EXISTS (SELECT 1 FROM hidden_messages h WHERE h.chat_id = m.chat_id AND h.seq = m.seq AND h.user_id = ")
        .value(viewer.user_id)
        .text(if planted("hidden_shown") { " AND 1 = 0)" } else { ")" })
}

impl SqlMessageStore {
    pub(crate) fn new(db: Arc<Db>, writer: Arc<Writer>, places: Arc<Places>) -> Self {
        Self { db, writer, places }
    }

    fn select_visible(&self, viewer: &Viewer) -> Statement {
        visible(self.db.build("SELECT ").text(COLUMNS_OF_M).text(" FROM messages m WHERE "), viewer)
    }

    async fn messages(&self, viewer: UserId, query: Statement) -> Stored<Vec<Message>> {
        self.db.read(query).await?.iter().map(|row| message_row::read(row, 0, viewer)).collect()
    }

    /// One chat's part of what waits, oldest first, and whether it goes on past the limit.
    async fn undelivered_in(&self, viewer: &Viewer, marks: &wa_core::receipt::Marks, limit: usize) -> Stored<(Vec<Message>, bool)> {
        let mut found = Vec::new();
        let mut from = viewer.above.max(marks.delivered_up_to);
        loop {
            let page = limit.saturating_sub(found.len()) + 1;
            let query = self
                .select_visible(&Viewer { above: from, ..*viewer })
                .text(" AND m.sender_id <> ")
                .value(viewer.user_id)
                .text(" ORDER BY m.seq LIMIT ")
                .value(bound(page));
            let messages = self.messages(viewer.user_id, query).await?;
            let exhausted = messages.len() < page;
            from = messages.last().map_or(from, |message| message.seq);
            // What was delivered past the first gap does not wait.
            found.extend(messages.into_iter().filter(|message| marks.status_of(message.seq) == Status::Sent));
            if exhausted || found.len() > limit {
                return Ok(within(found, limit));
            }
        }
    }
}

#[async_trait]
impl MessageStore for SqlMessageStore {
    async fn append(&self, message: NewMessage) -> Stored<Appended> {
        let (mut stored, append) = Append::of(message, self.writer.cause());
        Ok(match self.writer.append(append).await? {
            Placed::At(seq, rev) => {
                (stored.seq, stored.rev) = (seq, rev);
                Appended::Stored(stored)
            }
            Placed::Duplicate(message) => Appended::Duplicate(*message),
            Placed::KeyConflict => Appended::KeyConflict,
            Placed::MembershipChanged => Appended::MembershipChanged,
        })
    }

    async fn locate(&self, ids: &[MessageId]) -> Stored<Vec<Located>> {
        let mut found = self.places.of(ids);
        let missing: Vec<MessageId> = ids.iter().filter(|id| !found.contains_key(id)).copied().collect();
        for piece in missing.chunks(256) {
            let query =
                self.db.build("SELECT message_id, chat_id, seq, sender_id, withheld_from FROM messages WHERE message_id IN (").list(piece.iter().copied());
            for row in self.db.read(query.text(")")).await? {
                let located =
                    Located { message_id: row.id(0)?, chat_id: row.id(1)?, seq: Seq::new(row.int(2)?), sender_id: row.id(3)?, withheld_from: row.maybe_id(4)? };
                self.places.insert([located]);
                found.insert(located.message_id, located);
            }
        }
        Ok(ids.iter().filter_map(|id| found.get(id).copied()).collect())
    }

    async fn get(&self, viewer: &Viewer, ids: &[MessageId]) -> Stored<Vec<Message>> {
        let mut found = Vec::with_capacity(ids.len());
        for piece in pieces(ids) {
            let query = self.db.build("SELECT ").text(COLUMNS_OF_M).text(" FROM (VALUES ").rows(piece.iter().map(|&id| [id.into()]));
            // The cross join says what to start from: the ids, not the whole chat.
            let query = visible(query.text(") AS v CROSS JOIN messages m WHERE m.message_id = v.column1 AND "), viewer);
            found.extend(self.messages(viewer.user_id, query).await?);
        }
        Ok(found)
    }

    async fn page(&self, viewer: &Viewer, page: Page, limit: usize) -> Stored<Vec<Message>> {
        // One lower bound, not two: SQLite starts from whichever it pleases, and reads everything up to the other.
        let query = match page {
            Page::Newest => self.select_visible(viewer).text(" ORDER BY m.seq DESC"),
            Page::Before(seq) => self.select_visible(viewer).text(" AND m.seq < ").value(seq).text(" ORDER BY m.seq DESC"),
            Page::After(seq) => self.select_visible(&Viewer { above: viewer.above.max(seq), ..*viewer }).text(" ORDER BY m.seq"),
        };
        self.messages(viewer.user_id, query.text(" LIMIT ").value(bound(limit))).await
    }

    async fn changed(&self, viewer: &Viewer, since: Rev, limit: usize) -> Stored<Changed> {
        // The chat's revision is read first: what changes in between lies above it and is left for the next call.
        let rows = self.db.read(Statement::fixed("SELECT rev FROM chats WHERE id = $1").bind(viewer.chat_id)).await?;
        let Some(row) = rows.first() else {
            return Ok(Changed { complete_to: since, ..Changed::default() });
        };
        let rev = Rev::new(row.int(0)?);
        if rev <= since || limit == 0 {
            return Ok(Changed { complete_to: since.min(rev), limited: rev > since, ..Changed::default() });
        }
        let query = self.select_visible(viewer).text(" AND m.rev > ").value(since).text(" AND m.rev <= ").value(rev);
        let query = query.text(" ORDER BY m.rev LIMIT ").value(bound(limit).saturating_add(1));
        let (mut messages, more) = within(self.messages(viewer.user_id, query).await?, limit);
        let mut complete_to = if more { messages.last().map_or(since, |message| message.rev) } else { rev };
        // Each list may end the answer earlier than the one before.
        let own = |query: &'static str, up_to: Rev| {
            let query = Statement::fixed(query).bind(viewer.chat_id).bind(viewer.user_id).bind(since).bind(up_to);
            self.db.read(query.bind(bound(limit).saturating_add(1)))
        };
        let rows = own(
            "SELECT rev, message_id FROM hidden_messages WHERE chat_id = $1 AND user_id = $2 AND rev > $3 AND rev <= $4 ORDER BY rev LIMIT $5",
            complete_to,
        );
        let hidden: Vec<(Rev, MessageId)> = rows.await?.iter().map(|row| Ok((Rev::new(row.int(0)?), row.id(1)?))).collect::<Stored<_>>()?;
        let (mut hidden, more) = within(hidden, limit);
        if more {
            complete_to = hidden.last().map_or(since, |(rev, _)| *rev);
        }
        let rows = own(
            "SELECT rev, message_id, is_starred FROM stars WHERE chat_id = $1 AND user_id = $2 AND rev > $3 AND rev <= $4 ORDER BY rev LIMIT $5",
            complete_to,
        );
        let star = |row: &Row| Ok((Rev::new(row.int(0)?), StarMark { message_id: row.id(1)?, is_starred: row.flag(2)? }));
        let (stars, more) = within(rows.await?.iter().map(star).collect::<Stored<Vec<(Rev, StarMark)>>>()?, limit);
        if more {
            complete_to = stars.last().map_or(since, |(rev, _)| *rev);
        }
        messages.retain(|message| message.rev <= complete_to);
        hidden.retain(|(rev, _)| *rev <= complete_to);
        Ok(Changed {
            messages,
            hidden: hidden.into_iter().map(|(_, id)| id).collect(),
            stars: stars.into_iter().map(|(_, star)| star).collect(),
            complete_to,
            limited: complete_to < rev,
        })
    }

    async fn undelivered(&self, user: UserId, now: Timestamp, limit: usize) -> Stored<Undelivered> {
        let chats = self
            .db
            .read(
                Statement::fixed(
                    "SELECT p.chat_id, p.joined_seq, COALESCE(r.delivered_up_to, 0), COALESCE(r.delivered_beyond, ''), COALESCE(r.read_up_to, 0)
                     FROM chat_participants p JOIN chats c ON c.id = p.chat_id
                     LEFT JOIN receipt_marks r ON r.chat_id = p.chat_id AND r.user_id = p.user_id
                     WHERE p.user_id = $1 AND p.left_seq IS NULL AND c.last_seq > p.joined_seq AND c.last_seq > COALESCE(r.delivered_up_to, 0)
                     AND EXISTS (SELECT 1 FROM messages m WHERE m.chat_id = p.chat_id AND m.seq > CASE WHEN r.delivered_up_to > p.joined_seq THEN r.delivered_up_to ELSE p.joined_seq END
                         AND m.sender_id <> $1 AND (m.withheld_from IS NULL OR m.withheld_from <> $1) AND (m.expires_at IS NULL OR m.expires_at > $2))
                     ORDER BY c.last_activity_at DESC, c.id DESC",
                )
                .bind(user)
                .bind(now),
            )
            .await?;
        let mut undelivered = Undelivered::default();
        for row in chats {
            let chat_id: ChatId = row.id(0)?;
            let viewer = Viewer { chat_id, user_id: user, above: Seq::new(row.int(1)?), now };
            let room = limit - undelivered.messages.len();
            let (messages, more) = self.undelivered_in(&viewer, &read_marks(&row, 2)?, room).await?;
            undelivered.messages.extend(messages);
            if more {
                undelivered.more_in.push(chat_id);
            }
        }
        Ok(undelivered)
    }

    async fn summaries(&self, viewers: &[Viewer]) -> Stored<Vec<Summary>> {
        let mut summaries = Vec::with_capacity(viewers.len());
        for piece in pieces(viewers) {
            let query = self
                .db
                .build(
                    "SELECT v.column1, (SELECT COUNT(*) FROM messages m WHERE m.chat_id = v.column1
                     AND m.seq > CASE WHEN r.read_up_to > v.column3 THEN r.read_up_to ELSE v.column3 END
                     AND m.sender_id <> v.column2 AND m.payload IS NOT NULL AND m.type <> 'system'
                     AND (m.withheld_from IS NULL OR m.withheld_from <> v.column2) AND (m.expires_at IS NULL OR m.expires_at > v.column4)
                     AND NOT EXISTS (SELECT 1 FROM hidden_messages h WHERE h.chat_id = m.chat_id AND h.seq = m.seq AND h.user_id = v.column2)), ",
                )
                .text(COLUMNS_OF_M)
                .text(" FROM (VALUES ")
                .rows(piece.iter().map(|viewer| [viewer.chat_id.into(), viewer.user_id.into(), viewer.above.into(), viewer.now.into()]))
                .text(
                    ") AS v LEFT JOIN receipt_marks r ON r.chat_id = v.column1 AND r.user_id = v.column2 LEFT JOIN messages m ON m.chat_id = v.column1 AND m.seq = (SELECT n.seq FROM messages n WHERE n.chat_id = v.column1
                     AND n.seq > v.column3 AND (n.withheld_from IS NULL OR n.withheld_from <> v.column2) AND (n.expires_at IS NULL OR n.expires_at > v.column4)
                     AND NOT EXISTS (SELECT 1 FROM hidden_messages h WHERE h.chat_id = n.chat_id AND h.seq = n.seq AND h.user_id = v.column2)
                     ORDER BY n.seq DESC LIMIT 1)",
                );
            for row in self.db.read(query).await? {
                let last_message = if row.maybe_uuid(2)?.is_some() { Some(message_row::read(&row, 2, piece[0].user_id)?) } else { None };
                summaries.push(Summary { chat_id: row.id(0)?, last_message, unread: u64::try_from(row.int(1)?).unwrap_or(0) });
            }
        }
        Ok(summaries)
    }

    async fn hide(&self, viewer: &Viewer, id: MessageId, event_id: EventId, origin: Option<ConnectionId>) -> Stored<Option<Revision>> {
        let viewer = *viewer;
        self.writer
            .run(move |tx| {
                Box::pin(async move {
                    tx.hold_chat(viewer.chat_id).await?;
                    // Only a message that can be seen is not hidden yet.
                    let query = visible(tx.build("SELECT m.seq FROM messages m WHERE "), &viewer).text(" AND m.message_id = ").value(id);
                    let Some(seq) = first(&tx.fetch(query).await?, |row| row.int(0))? else {
                        let query = Statement::fixed(
                            "SELECT h.seq, h.rev FROM messages m JOIN hidden_messages h ON h.chat_id = m.chat_id AND h.seq = m.seq
                             WHERE m.message_id = $1 AND h.user_id = $2",
                        );
                        let rows = tx.fetch(query.bind(id).bind(viewer.user_id)).await?;
                        return first(&rows, |row| Ok(Revision { seq: Seq::new(row.int(0)?), rev: Rev::new(row.int(1)?) }));
                    };
                    let raise = Statement::fixed(if planted("rev_kept") {
                        "UPDATE chats SET rev = rev + 0, updated_at = $2 WHERE id = $1 RETURNING rev"
                    } else {
                        "UPDATE chats SET rev = rev + 1, updated_at = $2 WHERE id = $1 RETURNING rev"
                    });
                    let rev = first(&tx.fetch(raise.bind(viewer.chat_id).bind(viewer.now)).await?, |row| row.int(0))?;
                    let rev = rev.ok_or_else(|| StoreError::corrupt(tx.dialect().name(), "a message without a chat"))?;
                    let hide =
                        Statement::fixed("INSERT INTO hidden_messages (user_id, chat_id, seq, message_id, rev, hidden_at) VALUES ($1, $2, $3, $4, $5, $6)");
                    tx.execute(hide.bind(viewer.user_id).bind(viewer.chat_id).bind(seq).bind(id).bind(rev).bind(viewer.now)).await?;
                    let hidden = Revision { seq: Seq::new(seq), rev: Rev::new(rev) };
                    tx.announce(Event {
                        id: event_id,
                        at: viewer.now,
                        fact: Fact::MessageDeleted(MessageDeleted {
                            message_id: id,
                            chat_id: viewer.chat_id,
                            seq: hidden.seq,
                            rev: hidden.rev,
                            deleted_by: viewer.user_id,
                            for_everyone: false,
                            withheld_from: None,
                            origin,
                        }),
                        cause: None,
                    });
                    Ok(Some(hidden))
                })
            })
            .await
    }
}

/// What this reads from the first row, if there is one.
pub(super) fn first<T>(rows: &[Row], read: impl FnOnce(&Row) -> Stored<T>) -> Stored<Option<T>> {
    rows.first().map(read).transpose()
}
