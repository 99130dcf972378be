//! Receipts in SQL. Taking them goes through `receive.rs`; here are the ways to read them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use wa_core::error::StoreError;
use wa_core::id::{ChatId, EventId, UserId};
use wa_core::message::Seq;
use wa_core::ports::{ReceiptStore, Stored};
use wa_core::receipt::{Marks, NewReceipt, ReceiptTimes};

use super::append::following;
use super::db::Db;
use super::receive::{READ_AT_ONCE, Receive, read_marks};
use super::statement::Statement;
use super::writer::Writer;

/// For marking very many messages as read, a part at a time; every answer comes within 5 s.
const LONGEST: Duration = Duration::from_secs(3);

/// Receipts in SQL.
#[derive(Debug)]
pub(crate) struct SqlReceiptStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
}

impl SqlReceiptStore {
    pub(crate) const fn new(db: Arc<Db>, writer: Arc<Writer>) -> Self {
        Self { db, writer }
    }
}

#[async_trait]
impl ReceiptStore for SqlReceiptStore {
    async fn give(&self, receipt: NewReceipt, event_id: EventId) -> Stored<bool> {
        let (started, mut event_id, mut rose) = (Instant::now(), event_id, false);
        loop {
            let taken = self.writer.receive(Receive { receipt: receipt.clone(), event_id, cause: self.writer.cause() }).await?;
            rose |= taken.rose;
            if !taken.is_part {
                return Ok(rose);
            }
            if started.elapsed() > LONGEST {
                return Err(StoreError::unavailable(self.db.dialect().name(), "there is more to be marked as read; the same request goes on with it"));
            }
            // A part has at most two events for each of its places.
            event_id = following(event_id, 2 * usize::try_from(READ_AT_ONCE).unwrap_or(0));
        }
    }

    async fn marks(&self, chats: &[ChatId]) -> Stored<BTreeMap<ChatId, BTreeMap<UserId, Marks>>> {
        let mut marks: BTreeMap<ChatId, BTreeMap<UserId, Marks>> = BTreeMap::new();
        for piece in chats.chunks(256) {
            let query = self.db.build("SELECT chat_id, user_id, delivered_up_to, delivered_beyond, read_up_to FROM receipt_marks WHERE chat_id IN (");
            for row in self.db.read(query.list(piece.iter().copied()).text(")")).await? {
                marks.entry(row.id(0)?).or_default().insert(row.id(1)?, read_marks(&row, 2)?);
            }
        }
        Ok(marks)
    }

    async fn times(&self, chat: ChatId, seq: Seq) -> Stored<Vec<ReceiptTimes>> {
        // Runs of one user and status do not overlap: the first that ends at or after the place holds it, or none does.
        let query = Statement::fixed(
            "SELECT r.user_id,
                 (SELECT CASE WHEN h.from_seq <= $2 THEN h.at END FROM receipt_history h
                  WHERE h.chat_id = $1 AND h.user_id = r.user_id AND h.status = 'delivered' AND h.to_seq >= $2 ORDER BY h.to_seq LIMIT 1),
                 (SELECT CASE WHEN h.from_seq <= $2 THEN h.at END FROM receipt_history h
                  WHERE h.chat_id = $1 AND h.user_id = r.user_id AND h.status = 'read' AND h.to_seq >= $2 ORDER BY h.to_seq LIMIT 1)
             FROM receipt_marks r JOIN messages m ON m.chat_id = r.chat_id AND m.seq = $2
             WHERE r.chat_id = $1 AND m.sender_id <> r.user_id AND (m.withheld_from IS NULL OR m.withheld_from <> r.user_id)",
        );
        let mut times = Vec::new();
        for row in self.db.read(query.bind(chat).bind(seq)).await? {
            let read_at = row.maybe_time(2)?;
            // What was read without having been delivered first was delivered by being read.
            let delivered_at = row.maybe_time(1)?.or(read_at);
            if delivered_at.is_some() {
                times.push(ReceiptTimes { user_id: row.id(0)?, delivered_at, read_at });
            }
        }
        Ok(times)
    }
}
