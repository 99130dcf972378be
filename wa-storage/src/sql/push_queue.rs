//! Pushes that wait, in SQL. The tables are apart from those of messages; only what a push tells of is read there.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use wa_core::id::UserId;
use wa_core::message::{Message, Seq};
use wa_core::ports::{Due, Note, PushQueue, Stored, Turn, Viewer, Waiting};
use wa_core::push::{Lane, PushKey, PushKind};
use wa_core::time::Timestamp;

use super::db::{Db, Row};
use super::device_token_store::{self, COLUMNS_OF_T};
use super::message_row::{self, COLUMNS_OF_M};
use super::message_store::{bound, first, visible};
use super::statement::{Statement, Value, padded, pieces};
#[cfg(feature = "postgres")]
use super::turn::SharedTurn;
use super::writer::Writer;

/// Messages of one push that are counted, at the most.
const COUNTED: i64 = 1000;

/// Notes of one transaction, so that nobody's message waits for long.
const AT_A_TIME: usize = 1024;

/// Pushes in SQL.
#[derive(Debug)]
pub(crate) struct SqlPushQueue {
    db: Arc<Db>,
    writer: Arc<Writer>,
    had_turn: AtomicBool,
    #[cfg(feature = "postgres")]
    shared_turn: SharedTurn,
}

fn due(row: &Row) -> Stored<Due> {
    Ok(Due {
        chat_id: row.id(0)?,
        kind: PushKind::parse(&row.text(1)?).ok_or_else(|| row.corrupt("an unknown kind of push"))?,
        done: row.int(2)?,
        up_to: row.int(3)?,
        by: row.maybe_id(4)?,
        noted_at: row.time(5)?,
        attempts: u32::try_from(row.int(6)?).unwrap_or(u32::MAX),
        token: device_token_store::read(row, 7)?,
    })
}

fn values(note: &Note) -> [Value; 8] {
    [
        note.user_id.into(),
        note.chat_id.into(),
        note.kind.as_str().into(),
        (note.first - 1).into(),
        note.last.into(),
        note.by.into(),
        note.due_at.into(),
        note.at.into(),
    ]
}

/// Cuts where a note would meet one of the same row: a statement changes a row once.
fn waves(mut notes: &[Note]) -> impl Iterator<Item = &[Note]> {
    std::iter::from_fn(move || {
        let mut rows = HashSet::with_capacity(notes.len());
        let fits = notes.iter().take_while(|note| rows.insert((note.user_id, note.chat_id, note.kind.as_str()))).count();
        let (wave, rest) = notes.split_at(fits);
        notes = rest;
        (fits > 0).then_some(wave)
    })
}

impl SqlPushQueue {
    pub(super) fn new(db: Arc<Db>, writer: Arc<Writer>) -> Self {
        Self {
            db,
            writer,
            had_turn: AtomicBool::default(),
            #[cfg(feature = "postgres")]
            shared_turn: SharedTurn::default(),
        }
    }

    async fn change(&self, change: Statement) -> Stored<()> {
        self.writer.run_apart(move |tx| Box::pin(async move { tx.execute(change).await.map(drop) })).await
    }

    /// Messages that are told of, without their columns and their order.
    fn told(&self, columns: &'static str, viewer: &Viewer, since: Timestamp) -> Statement {
        let query = visible(self.db.build("SELECT ").text(columns).text(" FROM messages m WHERE "), viewer);
        query.text(" AND m.sender_id <> ").value(viewer.user_id).text(" AND m.payload IS NOT NULL AND m.type <> 'system' AND m.created_at > ").value(since)
    }

    async fn message(&self, viewer: &Viewer, query: Statement) -> Stored<Option<Message>> {
        first(&self.db.read(query).await?, |row| message_row::read(row, 0, viewer.user_id))
    }
}

#[async_trait]
impl PushQueue for SqlPushQueue {
    async fn reachable(&self, users: &[UserId]) -> Stored<Vec<UserId>> {
        let mut found = BTreeSet::new();
        for piece in padded(users) {
            let query = self.db.build("SELECT user_id FROM device_tokens WHERE user_id IN (").list(piece.into_iter().copied()).text(")");
            for row in self.db.read_apart(query).await? {
                found.insert(row.id(0)?);
            }
        }
        Ok(found.into_iter().collect())
    }

    async fn note(&self, notes: Vec<Note>) -> Stored<()> {
        for some in notes.chunks(AT_A_TIME).map(<[Note]>::to_vec) {
            self.writer
                .run_apart(move |tx| {
                    Box::pin(async move {
                        for piece in waves(&some).flat_map(pieces) {
                            let insert = tx
                                .build(
                                    "INSERT INTO push_queue (token_id, chat_id, kind, is_web, done, up_to, by_user, due_at, noted_at)
                                     SELECT t.id, v.column2, v.column3, t.platform = 'web', v.column4, v.column5, v.column6, v.column7, v.column8 FROM (VALUES ",
                                )
                                .rows(piece.iter().map(values))
                                // A chat that ended since is told of no more.
                                .text(
                                    ") AS v CROSS JOIN device_tokens t WHERE t.user_id = v.column1 AND EXISTS (SELECT 1 FROM chats c WHERE c.id = v.column2)
                                     ON CONFLICT (token_id, chat_id, kind) DO UPDATE SET
                                     done = CASE WHEN push_queue.due_at IS NULL AND excluded.done > push_queue.done THEN excluded.done ELSE push_queue.done END,
                                     up_to = excluded.up_to, by_user = excluded.by_user, noted_at = excluded.noted_at, is_web = excluded.is_web,
                                     due_at = COALESCE(push_queue.due_at, excluded.due_at)
                                     WHERE excluded.up_to > push_queue.up_to",
                                );
                            tx.execute(insert).await?;
                        }
                        Ok(())
                    })
                })
                .await?;
        }
        Ok(())
    }

    async fn take_turn(&self) -> Stored<Turn> {
        #[cfg(feature = "postgres")]
        if let Some(server) = self.db.server() {
            return self.shared_turn.take(server, "wa_pushes").await;
        }
        // One process alone has the database open.
        Ok(if self.had_turn.swap(true, Ordering::Relaxed) { Turn::Kept } else { Turn::Gained })
    }

    async fn due(&self, lane: Lane, by: Timestamp, failed: u32, limit: usize) -> Stored<Vec<Due>> {
        let query = self
            .db
            .build("SELECT q.chat_id, q.kind, q.done, q.up_to, q.by_user, q.noted_at, q.attempts, ")
            .text(COLUMNS_OF_T)
            .text(" FROM push_queue q JOIN device_tokens t ON t.id = q.token_id WHERE q.is_web = ")
            .value(lane == Lane::Browsers)
            .text(" AND q.due_at <= ")
            .value(by)
            .text(" AND q.attempts <= ")
            .value(i64::from(failed))
            .text(" ORDER BY q.due_at LIMIT ")
            .value(bound(limit));
        self.db.read_apart(query).await?.iter().map(due).collect()
    }

    async fn waiting(&self, viewer: &Viewer, since: Timestamp) -> Stored<Option<Waiting>> {
        let read = Statement::fixed("SELECT read_up_to FROM receipt_marks WHERE chat_id = $1 AND user_id = $2").bind(viewer.chat_id).bind(viewer.user_id);
        let read = first(&self.db.read(read).await?, |row| row.int(0))?.unwrap_or(0);
        let viewer = Viewer { above: viewer.above.max(Seq::new(read)), ..*viewer };
        let Some(oldest) = self.message(&viewer, self.told(COLUMNS_OF_M, &viewer, since).text(" ORDER BY m.seq LIMIT 1")).await? else {
            return Ok(None);
        };
        // What comes in between the queries is in none of them.
        let up_to = self.told(COLUMNS_OF_M, &viewer, since).text(" ORDER BY m.seq DESC LIMIT 1");
        let Some(newest) = self.message(&viewer, up_to).await? else { return Ok(None) };
        let count = self.told("m.seq", &viewer, since).text(" AND m.seq <= ").value(newest.seq).text(" LIMIT ").value(COUNTED);
        let count = self.db.read(count).await?.len();
        Ok(Some(Waiting { count: u64::try_from(count).unwrap_or(u64::MAX).max(1), oldest, newest }))
    }

    async fn told(&self, key: PushKey, up_to: i64, next_due: Timestamp) -> Stored<()> {
        let told = Statement::fixed(
            "UPDATE push_queue SET done = CASE WHEN $4 > done THEN $4 ELSE done END, due_at = CASE WHEN up_to > $4 THEN $5 END, attempts = 0
             WHERE token_id = $1 AND chat_id = $2 AND kind = $3",
        );
        self.change(told.bind(key.token_id).bind(key.chat_id).bind(key.kind.as_str()).bind(up_to).bind(next_due)).await
    }

    async fn postpone(&self, key: PushKey, until: Timestamp, failed: bool) -> Stored<()> {
        let postpone = Statement::fixed("UPDATE push_queue SET due_at = $4, attempts = attempts + $5 WHERE token_id = $1 AND chat_id = $2 AND kind = $3");
        self.change(postpone.bind(key.token_id).bind(key.chat_id).bind(key.kind.as_str()).bind(until).bind(i64::from(failed))).await
    }

    async fn resume(&self, not_before: Timestamp) -> Stored<()> {
        self.change(Statement::fixed("UPDATE push_queue SET due_at = $1 WHERE due_at < $1").bind(not_before)).await
    }
}
