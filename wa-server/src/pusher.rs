//! Drives the pushes: takes the events in, and delivers what is due, so many at a time. Everything that is decided is the
//! core's; here are the tasks and the waiting.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use wa_core::error::{Error, StoreError};
use wa_core::event::Event;
use wa_core::ports::{Due, EventHandler, PushOutcome, Stored, Turn};
use wa_core::push::{Lane, PushKey};
use wa_core::service::{Handed, NotificationService, Unsettled};
use wa_transport::metrics::Metrics;

/// How late a push may be noticed that became due by itself.
const TICK: Duration = Duration::from_millis(250);

/// How long a turn lasts from the moment it was asked for.
const TURN: Duration = Duration::from_secs(1);

/// The pause after the store failed, and the longest of those that double.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Delivers pushes. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Pusher(Arc<Inner>);

struct Inner {
    service: Arc<NotificationService>,
    metrics: Metrics,
    /// Pushes of a lane on their way at a time.
    most: usize,
    /// What is on its way, so that nothing is taken twice.
    under_way: Mutex<HashSet<PushKey>>,
    /// Until when this process may read what is due.
    turn: Mutex<Option<Instant>>,
    /// Something is due: of each lane, for the one task that waits.
    wake: [Notify; Lane::ALL.len()],
    /// The process ends: only what waits for the end of its window still goes out,
    closing: CancellationToken,
    /// and now nothing more.
    closed: CancellationToken,
    /// Nothing is on its way any more.
    done: CancellationToken,
}

impl Pusher {
    pub(crate) fn new(service: Arc<NotificationService>, metrics: Metrics, most: usize) -> Self {
        Self(Arc::new(Inner {
            service,
            metrics,
            most,
            under_way: Mutex::default(),
            turn: Mutex::default(),
            wake: Default::default(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
            done: CancellationToken::new(),
        }))
    }

    /// Delivers what is due until [`Self::flush`], and then what is left to do, while no other process does; nothing where
    /// that is never to be done here.
    pub(crate) async fn run(self, delivers: bool) {
        let _done = self.0.done.clone().drop_guard();
        if !delivers {
            return;
        }
        let lanes = async { tokio::join!(self.run_lane(Lane::Phones), self.run_lane(Lane::Browsers)) };
        tokio::select! {
            () = self.keep_turn() => {}
            _ = lanes => {}
        }
    }

    /// Asks for the turn for ever. Whoever just got it leaves what another process left for a while, as that may have been
    /// sent, and those who were connected to it may come back.
    async fn keep_turn(&self) {
        let mut has_resumed = false;
        loop {
            let asked = Instant::now();
            match self.ask_for_turn(&mut has_resumed).await {
                Ok(is_mine) => *self.turn() = is_mine.then(|| asked + TURN),
                Err(error) => tracing::debug!(%error, "whose turn it is to push is not known"),
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn ask_for_turn(&self, has_resumed: &mut bool) -> Result<bool, Error> {
        match self.0.service.take_turn().await? {
            Turn::Elsewhere => return Ok(false),
            Turn::Gained => *has_resumed = false,
            Turn::Kept => {}
        }
        if !*has_resumed {
            self.0.service.resume().await?;
            *has_resumed = true;
        }
        Ok(true)
    }

    fn turn(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_turn(&self) -> bool {
        self.turn().is_some_and(|until| Instant::now() < until)
    }

    async fn run_lane(&self, lane: Lane) {
        let mut tasks = JoinSet::new();
        self.0.closing.run_until_cancelled(self.deliver_due(lane, &mut tasks)).await;
        self.0.closed.run_until_cancelled(self.deliver_buffered(lane, &mut tasks)).await;
        // Until what became of a push is stored, the next start would send it again.
        while tasks.join_next().await.is_some() {}
    }

    async fn deliver_due(&self, lane: Lane, tasks: &mut JoinSet<Claim>) {
        loop {
            let room = self.0.most.saturating_sub(tasks.len());
            let mut found_all = true;
            if room > 0 && self.has_turn() {
                // Those under way are still due, and come first.
                match self.0.service.due(lane, self.0.most + room).await {
                    Ok(due) => found_all = self.start(tasks, due, room),
                    Err(error) => {
                        tracing::debug!(%error, "pushes that are due cannot be read now");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            tokio::select! {
                _ = tasks.join_next(), if !tasks.is_empty() => while tasks.try_join_next().is_some() {},
                () = self.0.wake[lane as usize].notified(), if found_all => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Delivers what waits for the end of its window, unless its provider is left alone: that is for the next start.
    async fn deliver_buffered(&self, lane: Lane, tasks: &mut JoinSet<Claim>) {
        let by = self.0.service.windows_end();
        let mut resting = 0;
        while resting < self.0.most && (self.has_turn() || matches!(self.0.service.take_turn().await, Ok(Turn::Kept | Turn::Gained))) {
            let room = self.0.most.saturating_sub(tasks.len());
            let mut is_read = false;
            if room > 0 {
                match self.0.service.buffered(lane, by, self.0.most + room).await {
                    Ok(due) => {
                        is_read = true;
                        self.start(tasks, due, room);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "pushes that wait cannot be read now");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            match tasks.join_next().await {
                Some(Ok(claim)) => resting += usize::from(claim.is_resting),
                Some(Err(_)) => {}
                None if is_read => return,
                None => {}
            }
        }
    }

    /// Starts what is not under way, and tells whether that was all. A claim is dropped by whoever joins the task, and so
    /// never between reading what is due and this: what was read before a push went would else be taken for due still.
    fn start(&self, tasks: &mut JoinSet<Claim>, due: Vec<Due>, room: usize) -> bool {
        let mut started = 0;
        for due in due {
            if started == room {
                return false;
            }
            if let Some(claim) = self.claim(due.key()) {
                started += 1;
                tasks.spawn(self.clone().deliver(due, claim));
            }
        }
        true
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<PushKey>> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(&self, key: PushKey) -> Option<Claim> {
        self.under_way().insert(key).then(|| Claim { pusher: self.clone(), key, is_resting: false })
    }

    async fn deliver(self, due: Due, mut claim: Claim) -> Claim {
        match self.0.service.deliver(&due).await {
            Ok(Handed { delivered, unsettled }) => {
                delivered.iter().for_each(|push| self.0.metrics.pushed(&push.outcome, push.messages));
                claim.is_resting = delivered.iter().any(|push| matches!(push.outcome, PushOutcome::Resting { .. }));
                if let Some(unsettled) = unsettled {
                    settle(&unsettled).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a push is tried again later");
                tokio::time::sleep(PAUSE).await;
            }
        }
        claim
    }

    /// Takes nothing new any more, and delivers what still waits for the end of its window, by then at the latest: the
    /// process ends. What is on its way then may still arrive, until the task of [`Self::run`] is aborted.
    pub(crate) async fn flush(&self, until: Instant) {
        self.0.closing.cancel();
        if timeout_at(until, self.0.done.cancelled()).await.is_err() {
            tracing::warn!("not all pushes could be sent in time; the next start sends those that are left");
        }
        self.0.closed.cancel();
    }
}

/// What is on its way, until it is dropped.
struct Claim {
    pusher: Pusher,
    key: PushKey,
    /// Whether its provider was left alone.
    is_resting: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.pusher.under_way().remove(&self.key);
    }
}

/// Stores what became of a push, however long it takes: the push is not sent again for that.
async fn settle(unsettled: &Unsettled<'_>) {
    let mut pause = PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        match unsettled.settle().await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "what became of a push still cannot be stored"),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[async_trait]
impl EventHandler for Pusher {
    /// Until it is stored, whoever keeps these events goes on keeping them.
    async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
        let is_due = self.0.service.note(events).await.map_err(|error| StoreError::unavailable("push queue", error))?;
        if is_due {
            self.0.wake.iter().for_each(Notify::notify_one);
        }
        Ok(())
    }
}
