//! The outbox' way to the bus: at least once, in the order of commits. What was just committed comes over a bounded
//! channel; whatever did not fit, or was left by a crash, is read from the table.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, mpsc};
use wa_core::event::Event;
use wa_core::ports::{EventBus, Stored};

use super::db::Db;
#[cfg(feature = "postgres")]
use super::leader;
use super::statement::Statement;
use super::writer::Writer;

/// Committed groups that may wait in memory for the relay.
const WAITING: usize = 256;

/// Rows of the outbox read at a time.
pub(super) const ROWS: i64 = 32;

/// How long after the last commit published rows are deleted, where no further commit does it along the way.
const IDLE: Duration = Duration::from_millis(250);

/// The pauses between attempts at a bus or a database that fails.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where a group stands in the outbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// The row before it, as far as the writer knows.
    pub(super) previous: i64,
    /// Its row.
    pub(super) id: i64,
}

/// Counters that writer and relay share.
#[derive(Debug, Default)]
pub(super) struct Progress {
    committed: AtomicI64,
    published: AtomicI64,
    /// Up to here the bus answers for what it was given.
    settled: AtomicI64,
    /// Rows that were published, and how far the bus must come before they are settled.
    unsettled: StdMutex<VecDeque<(i64, u64)>>,
    swept: AtomicI64,
    /// How often the bus had lost what was not settled, when that was last looked at.
    restarts: AtomicU64,
    look_at_table: AtomicBool,
    wake: Notify,
    /// Is told of commits at once.
    bus: Bus,
}

/// The bus, once the relay runs.
#[derive(Default)]
struct Bus(OnceLock<Arc<dyn EventBus>>);

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bus")
    }
}

#[cfg(feature = "postgres")]
impl Progress {
    /// Says how many rows wait, where they are counted in the table.
    pub(super) fn set_depth(&self, rows: i64) {
        self.committed.store(rows, Ordering::Relaxed);
    }

    /// Returns when somebody of this process committed events since the last time.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct Handoff {
    groups: mpsc::Sender<(Position, Vec<Arc<Event>>)>,
    progress: Arc<Progress>,
}

impl Handoff {
    /// Tells the relay what was committed. If it is too far behind to take it, it will read it from the table.
    pub(super) fn hand_over(&self, position: Position, events: Vec<Arc<Event>>) {
        self.progress.committed.fetch_max(position.id, Ordering::Relaxed);
        self.tell_bus(&events);
        if self.groups.try_send((position, events)).is_err() {
            self.look_at_table(position.id);
        }
    }

    /// Tells the relay that the table holds rows up to this one which it may not have been handed.
    pub(super) fn look_at_table(&self, up_to: i64) {
        self.progress.committed.fetch_max(up_to, Ordering::Relaxed);
        self.progress.look_at_table.store(true, Ordering::Release);
        self.progress.wake.notify_one();
    }

    /// Tells the relay that the table holds more, of which these events were committed here.
    #[cfg(feature = "postgres")]
    pub(super) fn committed(&self, events: &[Arc<Event>]) {
        if events.is_empty() {
            return;
        }
        self.tell_bus(events);
        self.progress.wake.notify_one();
    }

    fn tell_bus(&self, events: &[Arc<Event>]) {
        if let Some(bus) = self.progress.bus.0.get() {
            bus.committed(events);
        }
    }

    /// Every row up to this one is settled and can be deleted.
    pub(super) fn settled(&self) -> i64 {
        self.progress.settled.load(Ordering::Acquire)
    }

    /// Every row up to this one was deleted.
    pub(super) fn swept(&self, up_to: i64) {
        self.progress.swept.fetch_max(up_to, Ordering::Relaxed);
    }
}

/// Publishes committed events. Exactly one [`Self::run`] of a process must be under way for events to flow. Where several
/// processes share a database, one of them publishes for all.
#[derive(Debug)]
pub struct Relay {
    db: Arc<Db>,
    writer: Arc<Writer>,
    groups: Mutex<mpsc::Receiver<(Position, Vec<Arc<Event>>)>>,
    progress: Arc<Progress>,
}

/// Makes the two ends; the second is completed by [`Relay::new`] once there is a writer.
pub(crate) fn channel() -> (Handoff, RelayEnd) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let progress = Arc::new(Progress::default());
    (Handoff { groups: sender, progress: Arc::clone(&progress) }, RelayEnd { groups: receiver, progress })
}

/// The relay's end of the channel.
pub(crate) struct RelayEnd {
    groups: mpsc::Receiver<(Position, Vec<Arc<Event>>)>,
    progress: Arc<Progress>,
}

impl Relay {
    pub(crate) fn new(db: Arc<Db>, writer: Arc<Writer>, end: RelayEnd) -> Self {
        Self { db, writer, groups: Mutex::new(end.groups), progress: end.progress }
    }

    /// How many transactions with events are committed and not yet published.
    #[must_use]
    pub fn depth(&self) -> u64 {
        let committed = self.progress.committed.load(Ordering::Relaxed);
        let published = self.progress.published.load(Ordering::Relaxed);
        u64::try_from(committed - published).unwrap_or(0)
    }

    /// Publishes what an earlier process left behind, then every commit as it comes, until `shutdown` ends; what is
    /// committed by then is still published. A bus that fails is tried again until it takes the events: nothing is
    /// skipped, and the order is that of the commits. Dropping the future loses nothing: another run goes on.
    pub async fn run(&self, bus: Arc<dyn EventBus>, shutdown: impl Future<Output = ()> + Send) {
        let mut groups = self.groups.lock().await;
        // A later run has the same one.
        let _ = self.progress.bus.0.set(Arc::clone(&bus));
        let mut shutdown = std::pin::pin!(shutdown);
        #[cfg(feature = "postgres")]
        if let Some(server) = self.db.server() {
            return Box::pin(leader::run(server, &self.progress, &*bus, shutdown)).await;
        }
        self.catch_up(&*bus).await;
        loop {
            self.settle(&*bus);
            if self.progress.look_at_table.load(Ordering::Acquire) && groups.is_empty() {
                self.catch_up(&*bus).await;
            }
            let unswept = self.published() > self.progress.swept.load(Ordering::Relaxed);
            tokio::select! {
                biased;
                group = groups.recv() => match group {
                    Some((position, events)) => self.publish_group(&*bus, position, &events).await,
                    None => return self.catch_up(&*bus).await,
                },
                () = self.progress.wake.notified() => {}
                () = &mut shutdown => break,
                () = tokio::time::sleep(IDLE), if unswept => {
                    self.settle(&*bus);
                    self.sweep().await;
                }
            }
            // Rows that were not handed over are newer than every group that was, so those come first.
            if groups.is_empty() && self.progress.look_at_table.load(Ordering::Acquire) {
                self.catch_up(&*bus).await;
            }
        }
        while let Ok((position, events)) = groups.try_recv() {
            self.publish_group(&*bus, position, &events).await;
        }
        self.catch_up(&*bus).await;
        self.settle(&*bus);
        self.sweep().await;
    }

    /// Takes up how far the bus has come: what it answers for can be deleted, and what it has lost is published again.
    /// Returns whether it has lost something.
    fn settle(&self, bus: &dyn EventBus) -> bool {
        let wa_core::ports::Progress { settled, restarts, .. } = bus.progress();
        let mut unsettled = self.progress.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        let has_lost = self.progress.restarts.swap(restarts, Ordering::Relaxed) < restarts;
        if has_lost {
            let kept = self.progress.settled.load(Ordering::Acquire);
            tracing::warn!(from_row = kept + 1, "the event bus has lost what it was given; it is given again");
            unsettled.clear();
            self.progress.published.store(kept, Ordering::Release);
            self.progress.look_at_table.store(true, Ordering::Release);
        }
        while let Some((id, _)) = unsettled.front().copied().filter(|(_, at)| *at <= settled) {
            self.progress.settled.fetch_max(id, Ordering::Release);
            unsettled.pop_front();
        }
        has_lost
    }

    fn published(&self) -> i64 {
        self.progress.published.load(Ordering::Relaxed)
    }

    async fn publish_group(&self, bus: &dyn EventBus, position: Position, events: &[Arc<Event>]) {
        if position.id <= self.published() {
            return;
        }
        if position.previous > self.published() {
            // Something before it was not handed over; the table has both.
            return self.catch_up(bus).await;
        }
        self.publish(bus, position.id, events).await;
    }

    /// Returns whether it was published: not if the bus has lost what came before it.
    async fn publish(&self, bus: &dyn EventBus, id: i64, events: &[Arc<Event>]) -> bool {
        #[cfg(feature = "failpoints")]
        wa_core::faults::pass("before_publish");
        let mut pause = PAUSE;
        while let Err(error) = bus.publish(events).await {
            if wa_core::faults::planted("outbox_skipped") {
                break;
            }
            if self.settle(bus) {
                return false;
            }
            tracing::warn!(%error, "the event bus did not take a batch; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        // By now others may have published more, which makes this row wait for theirs as well.
        self.note_published(id, bus.progress().published);
        !self.settle(bus)
    }

    fn note_published(&self, id: i64, at: u64) {
        self.progress.published.fetch_max(id, Ordering::Release);
        self.progress.unsettled.lock().unwrap_or_else(PoisonError::into_inner).push_back((id, at));
    }

    /// Publishes from the table until nothing is left there.
    async fn catch_up(&self, bus: &dyn EventBus) {
        let mut pause = PAUSE;
        self.progress.look_at_table.store(false, Ordering::Release);
        loop {
            match self.rows().await {
                Ok(rows) if rows.is_empty() => return,
                Ok(rows) => {
                    for (id, json) in rows {
                        match serde_json::from_str::<Vec<Arc<Event>>>(&json) {
                            // Otherwise the rows are read again from where the bus begins.
                            Ok(events) => {
                                if !self.publish(bus, id, &events).await {
                                    break;
                                }
                            }
                            Err(error) => {
                                // It will never be readable; what it announced can still be fetched from the store.
                                tracing::error!(%error, row = id, "a row of the outbox cannot be read and is passed over");
                                self.note_published(id, 0);
                            }
                        }
                    }
                }
                Err(error) if matches!(error.kind, wa_core::error::StoreErrorKind::Unavailable) && !self.db.is_closed() => {
                    tracing::warn!(%error, "the outbox cannot be read now; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read; its events wait for the next start");
                    return;
                }
            }
        }
    }

    async fn rows(&self) -> Stored<Vec<(i64, String)>> {
        let rows =
            self.db.read_apart(Statement::fixed("SELECT id, events FROM outbox WHERE id > $1 ORDER BY id LIMIT $2").bind(self.published()).bind(ROWS)).await?;
        rows.iter().map(|row| Ok((row.int(0)?, row.text(1)?))).collect()
    }

    /// Has published rows deleted: every transaction does so along the way, an empty one too.
    async fn sweep(&self) {
        if self.progress.settled.load(Ordering::Relaxed) <= self.progress.swept.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.writer.run(|_| Box::pin(async { Ok(()) })).await {
            tracing::debug!(%error, "published rows of the outbox are deleted later");
        }
    }
}
