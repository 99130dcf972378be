//! What is committed to the outbox and not yet in its tables. Messages and delivery receipts are made durable as one row
//! of the outbox for the whole group, which is little to write, and are brought to their tables many at a time. Nobody sees
//! the difference: whoever reads waits until everything committed is there ([`Deferral`]).

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wa_core::error::StoreError;
use wa_core::event::{Event, Fact};
use wa_core::id::{MessageId, UserId};
use wa_core::message::Fingerprint;
use wa_core::ports::Stored;

use super::append::{self, Append, New};
use super::db::Connection;
use super::receive;
use super::statement::Statement;
use super::writer::{Job, Tx};

/// Messages and receipts after which they are brought to their tables, however busy the writer is. The more they are, the
/// fewer times pages that change often are written; but who writes meanwhile waits for it.
const ENOUGH: usize = 4096;

/// While groups usually are of fewer than these, the writer is not busy, and takes this much along at a time, for which
/// nobody waits long.
const FEW: usize = 16;
const SOME: usize = 32;

/// How long a reader may wait for the writer. It stays below the 5 s within which everything is answered.
const WITHIN: Duration = Duration::from_secs(2);

/// What is committed and not yet in its tables, in the order of its commits.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    rows: VecDeque<Kept>,
    len: usize,
    /// How large groups usually are, in sixteenths.
    usual: usize,
    /// Hashes of the keys and ids of the messages: a repeat is looked for in the table, so it has to be there.
    known: HashSet<u64>,
    hasher: RandomState,
}

/// What of a row of the outbox is to be brought to its tables.
#[derive(Debug)]
struct Kept {
    row: i64,
    new: Vec<New>,
    delivered: Vec<Arc<Event>>,
}

impl Kept {
    fn len(&self) -> usize {
        self.new.len() + self.delivered.len()
    }
}

impl Deferred {
    /// Reads what an earlier connection, or process, left.
    pub(super) async fn load(connection: &mut Connection) -> Stored<Self> {
        let query = "SELECT id, events, deferred, fingerprints FROM outbox
             WHERE deferred > 0 AND id > (SELECT applied FROM outbox_position WHERE id = 1) ORDER BY id";
        let mut deferred = Self::default();
        for row in connection.fetch(Statement::fixed(query)).await? {
            let unreadable = || row.corrupt("a row of the outbox that cannot be read");
            let events: Vec<Arc<Event>> = serde_json::from_str(&row.text(1)?).map_err(|_| unreadable())?;
            let count = usize::try_from(row.int(2)?).map_err(|_| unreadable())?;
            let prints = row.bytes(3)?;
            let mut prints = prints.as_chunks::<16>().0.iter().copied().map(Fingerprint::from_bytes);
            let (mut new, mut delivered) = (Vec::new(), Vec::new());
            for event in events.into_iter().take(count) {
                if matches!(event.fact, Fact::MessageNew(_)) {
                    new.push(New { event, fingerprint: prints.next().ok_or_else(unreadable)? });
                } else {
                    delivered.push(event);
                }
            }
            deferred.push(row.int(0)?, new, delivered);
        }
        Ok(deferred)
    }

    /// Takes up what was committed as this row of the outbox.
    pub(super) fn push(&mut self, row: i64, new: Vec<New>, delivered: Vec<Arc<Event>>) {
        let kept = Kept { row, new, delivered };
        self.known.extend(hashes(&self.hasher, &kept.new));
        self.len += kept.len();
        self.rows.push_back(kept);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The first row of the outbox that is still needed after so many of them were brought to their tables.
    pub(super) fn needed_from(&self, applied: usize) -> Option<i64> {
        self.rows.get(applied).map(|kept| kept.row)
    }

    /// How many rows are all.
    pub(super) fn all(&self) -> usize {
        self.rows.len()
    }

    /// How many rows a group of this size takes along: all if they are enough; none if the writer is busy, so that they
    /// become more; if it is not, some whenever so many have come together.
    pub(super) fn due(&mut self, group: usize) -> usize {
        self.usual = (self.usual * 7 + group * 16) / 8;
        if self.len >= ENOUGH {
            return self.all();
        }
        if self.len < SOME || self.is_busy() {
            return 0;
        }
        let mut left = SOME;
        let fits = |kept: &&Kept| {
            let goes_on = left > 0;
            left = left.saturating_sub(kept.len());
            goes_on
        };
        self.rows.iter().take_while(fits).count()
    }

    /// Whether groups usually are large.
    pub(super) const fn is_busy(&self) -> bool {
        self.usual >= FEW * 16
    }

    /// Whether one of these may be a repeat of what is in here.
    pub(super) fn may_hold(&self, appends: &[Append]) -> bool {
        let is_known = |append: &Append| {
            let view = &append.view;
            hash_pair(&self.hasher, view.sender_id, &view.client_msg_id, view.message_id).iter().any(|hash| self.known.contains(hash))
        };
        !self.known.is_empty() && appends.iter().any(is_known)
    }

    /// Brings the first so many rows to their tables, in this transaction.
    pub(super) async fn apply(&self, tx: &mut Tx<'_>, rows: usize) -> Stored<()> {
        let rows = || self.rows.iter().take(rows);
        let Some(last) = rows().next_back() else { return Ok(()) };
        append::store(tx, &rows().flat_map(|kept| &kept.new).collect::<Vec<_>>()).await?;
        receive::store(tx, rows().flat_map(|kept| &kept.delivered)).await?;
        tx.execute(Statement::fixed("UPDATE outbox_position SET applied = $1 WHERE id = 1").bind(last.row)).await?;
        Ok(())
    }

    /// Forgets the first so many rows, as the transaction that brought them to their tables is committed.
    pub(super) fn forget(&mut self, rows: usize) {
        for kept in self.rows.drain(..rows) {
            self.len -= kept.len();
            for hash in hashes(&self.hasher, &kept.new) {
                self.known.remove(&hash);
            }
        }
    }
}

fn hashes<'a>(hasher: &'a RandomState, new: &'a [New]) -> impl Iterator<Item = u64> + 'a {
    let views = new.iter().filter_map(New::message).map(|new| &new.message);
    views.flat_map(|view| hash_pair(hasher, view.sender_id, &view.client_msg_id, view.message_id))
}

/// Of the key and the id of a message.
fn hash_pair(hasher: &RandomState, sender: UserId, key: &str, id: MessageId) -> [u64; 2] {
    [hasher.hash_one((sender, key)), hasher.hash_one(id)]
}

/// Tells readers whether anything they might look for is not in its tables yet, and brings it there.
#[derive(Debug)]
pub(super) struct Deferral {
    logged: AtomicI64,
    applied: AtomicI64,
    writer: OnceLock<mpsc::WeakSender<Job>>,
}

impl Deferral {
    /// Until the writer has looked, something may be left of an earlier process.
    pub(super) const fn new() -> Self {
        Self { logged: AtomicI64::new(1), applied: AtomicI64::new(0), writer: OnceLock::new() }
    }

    /// Where everything goes to its tables at once.
    #[cfg(feature = "postgres")]
    pub(super) const fn none() -> Self {
        Self { logged: AtomicI64::new(0), applied: AtomicI64::new(0), writer: OnceLock::new() }
    }

    /// Names the writer to be asked. Before that, nobody waits.
    pub(super) fn of(&self, writer: mpsc::WeakSender<Job>) {
        // There is one writer, and it says so once.
        let _ = self.writer.set(writer);
    }

    /// Something is not in its tables, which is to be said before it is committed; or everything is.
    pub(super) fn note(&self, is_pending: bool) {
        if is_pending {
            self.logged.fetch_add(1, Ordering::AcqRel);
        } else {
            self.applied.store(self.logged.load(Ordering::Acquire), Ordering::Release);
        }
    }

    /// Whether a reader has to wait.
    pub(super) fn is_behind(&self) -> bool {
        self.applied.load(Ordering::Acquire) < self.logged.load(Ordering::Acquire) && self.writer.get().is_some()
    }

    /// Has everything committed brought to its tables.
    pub(super) async fn settle(&self) -> Stored<()> {
        let unavailable = |why: &'static str| StoreError::unavailable("store", why);
        let queue = self.writer.get().and_then(mpsc::WeakSender::upgrade).ok_or_else(|| unavailable("the store is closed"))?;
        let (reply, answer) = oneshot::channel();
        let asked = async {
            queue.send(Job::Settle(reply)).await.map_err(|_| unavailable("the store is closed"))?;
            answer.await.map_err(|_| unavailable("the store was closed before it answered"))?
        };
        timeout(WITHIN, asked).await.unwrap_or_else(|_| Err(unavailable("the writer did not answer in time")))
    }
}
