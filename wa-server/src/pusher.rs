//! Drives the pushes: takes the events in, and delivers what is due, so many at a time. Everything that is decided is the
//! core's; here are the tasks and the waiting.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use wa_core::error::StoreError;
use wa_core::event::Event;
use wa_core::ports::{Due, EventHandler, Stored};
use wa_core::push::{Lane, PushKey};
use wa_core::service::NotificationService;
use wa_transport::metrics::Metrics;

/// How late a push may be noticed that became due by itself.
const TICK: Duration = Duration::from_millis(250);

/// The pause after the store failed.
const PAUSE: Duration = Duration::from_millis(500);

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
    /// Something is due: of each lane, for the one task that waits.
    wake: [Notify; Lane::ALL.len()],
}

impl Pusher {
    pub(crate) fn new(service: Arc<NotificationService>, metrics: Metrics, most: usize) -> Self {
        let inner = Inner { service, metrics, most, under_way: Mutex::default(), wake: Default::default() };
        Self(Arc::new(inner))
    }

    /// Delivers what is due, for ever.
    pub(crate) async fn run(self) {
        while let Err(error) = self.0.service.resume().await {
            tracing::debug!(%error, "pushes that an earlier process left cannot be looked at yet");
            tokio::time::sleep(PAUSE).await;
        }
        tokio::join!(self.run_lane(Lane::Phones), self.run_lane(Lane::Browsers));
    }

    async fn run_lane(&self, lane: Lane) {
        let mut tasks = JoinSet::new();
        loop {
            let room = self.0.most.saturating_sub(tasks.len());
            let mut found_all = true;
            if room > 0 {
                // Those under way are still due, and come first.
                match self.0.service.due(lane, self.0.most + room).await {
                    Ok(due) => found_all = self.start(&mut tasks, due, room),
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

    /// Starts what is not under way, and tells whether that was all.
    fn start(&self, tasks: &mut JoinSet<()>, due: Vec<Due>, room: usize) -> bool {
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
        self.under_way().insert(key).then(|| Claim(self.clone(), key))
    }

    async fn deliver(self, due: Due, claim: Claim) {
        match self.0.service.deliver(&due).await {
            Ok(delivered) => delivered.iter().for_each(|push| self.0.metrics.pushed(&push.outcome, push.messages)),
            Err(error) => {
                tracing::warn!(%error, "a push is tried again later");
                tokio::time::sleep(PAUSE).await;
            }
        }
        drop(claim);
    }

    /// Delivers what still waits for the end of its window, by then at the latest: the process ends.
    pub(crate) async fn flush(&self, until: Instant) {
        let flush = async {
            for lane in Lane::ALL {
                while let Ok(due) = self.0.service.buffered(lane, self.0.most).await {
                    let mut tasks = JoinSet::new();
                    self.start(&mut tasks, due, self.0.most);
                    if tasks.is_empty() {
                        break;
                    }
                    tasks.join_all().await;
                }
            }
        };
        if timeout_at(until, flush).await.is_err() {
            tracing::warn!("pushes were left waiting; the next start sends them");
        }
    }
}

/// What is on its way, until it is dropped.
struct Claim(Pusher, PushKey);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.under_way().remove(&self.1);
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
