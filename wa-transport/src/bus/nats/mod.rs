//! The event bus of many processes: NATS JetStream, with the streams and shared consumers of the contract, section 5.1.
//!
//! Events are published in order, each acknowledged, and a publisher who is not the newest one is refused (the expected
//! last sequence). What was published counts as settled once every consumer has acknowledged it, so that whoever keeps the
//! events can give them again should NATS lose them. Whether an event is in a stream already is read from the stream itself
//! after every new connection, and not left to NATS' memory of ids.

mod consume;
mod describe;
mod payload;
mod publish;
mod settle;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_trait::async_trait;
use tokio::sync::{Mutex as OrderedMutex, watch};
use tokio_util::task::AbortOnDropHandle;
use wa_core::error::StoreError;
use wa_core::event::{Event, Fact};
use wa_core::ports::{EventBus, EventHandler, Progress, Stored, Subscription};

use crate::metrics::Metrics;
use crate::nats::{Connected, DURABLES, Durable, NatsError, NatsUrl, STREAMS, Stream, create};
pub use describe::Directory;
use publish::Publisher;
use settle::Settling;

/// How errors name it.
const BACKEND: &str = "nats";

/// How often it is looked how far the consumers are, while something is not settled, and otherwise.
const LOOK: Duration = Duration::from_millis(200);
const REST: Duration = Duration::from_secs(5);

/// Streams that events are published to; whose consumers decide about what is settled.
const LOGS: [Stream; 2] = [Stream::MESSAGES, Stream::CHATS];

/// Whoever serves this process's own sockets while events do not reach them over the bus.
pub trait Near: Send + Sync {
    /// What was just committed here, in order. Must not wait.
    fn committed(&self, events: &[Arc<Event>]);

    /// What is told straight away and may be lost: typing and presence. Must not wait.
    fn transient(&self, events: &[Arc<Event>]);
}

/// Carries events over NATS JetStream. Cloning shares it.
#[derive(Clone)]
pub struct NatsEventBus(Arc<Inner>);

struct Inner {
    nats: Connected,
    replicas: usize,
    metrics: Metrics,
    /// The one who publishes, and what it knows of the streams.
    publisher: OrderedMutex<Publisher>,
    settling: Mutex<Settling>,
    /// Consumers whose acknowledgement counts, by name, with the stream they are of.
    consumers: Mutex<HashMap<String, usize>>,
    near: OnceLock<Arc<dyn Near>>,
    directory: OnceLock<Directory>,
    watching: OnceLock<AbortOnDropHandle<()>>,
    wake: tokio::sync::Notify,
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::unavailable(BACKEND, error)
}

impl NatsEventBus {
    /// A bus over this connection, with its streams and shared consumers made where they are absent.
    ///
    /// # Errors
    /// [`NatsError`] with what is in the way.
    pub async fn new(nats: Connected, url: &NatsUrl, metrics: Metrics) -> Result<Self, NatsError> {
        let shared = DURABLES.iter().filter_map(|durable| Some((durable.name.to_owned(), log_of(&durable.stream)?))).collect();
        Self::with(nats, url, metrics, shared).await
    }

    /// A bus without shared consumers: whoever subscribes is the only one to count.
    ///
    /// # Errors
    /// [`NatsError`] with what is in the way.
    pub async fn unshared(nats: Connected, url: &NatsUrl, metrics: Metrics) -> Result<Self, NatsError> {
        Self::with(nats, url, metrics, HashMap::new()).await
    }

    async fn with(nats: Connected, url: &NatsUrl, metrics: Metrics, consumers: HashMap<String, usize>) -> Result<Self, NatsError> {
        let bus = Self(Arc::new(Inner {
            nats,
            replicas: url.replicas,
            metrics,
            publisher: OrderedMutex::default(),
            settling: Mutex::default(),
            consumers: Mutex::new(consumers),
            near: OnceLock::new(),
            directory: OnceLock::new(),
            watching: OnceLock::new(),
            wake: tokio::sync::Notify::new(),
        }));
        bus.0.publisher.lock().await.check(&bus.0).await?;
        let watching = tokio::spawn(watch_over(Arc::downgrade(&bus.0)));
        let _ = bus.0.watching.set(AbortOnDropHandle::new(watching));
        Ok(bus)
    }

    /// Serves this process's own sockets by this.
    pub fn serve_near(&self, near: Arc<dyn Near>) {
        // Whoever comes second is of the same process.
        let _ = self.0.near.set(near);
    }

    /// Describes events by this: names of groups, and who is in them.
    pub fn describe_by(&self, directory: Directory) {
        let _ = self.0.directory.set(directory);
    }

    /// Whether NATS answers now.
    pub async fn is_up(&self) -> bool {
        self.0.nats.stands() && self.0.nats.jetstream.query_account().await.is_ok()
    }
}

/// Which of the logs it is.
fn log_of(stream: &Stream) -> Option<usize> {
    LOGS.iter().position(|log| log == stream)
}

/// Up to where a consumer has acknowledged everything that concerns it.
fn floor(info: &jetstream::consumer::Info) -> u64 {
    // With a filter, its own floor stays behind at the last one that concerns it.
    let has_all = info.num_pending == 0 && info.num_ack_pending == 0;
    if has_all { u64::MAX } else { info.ack_floor.stream_sequence }
}

/// The log that an event is in; `None` for what lives for seconds only.
fn log_of_event(event: &Event) -> Option<usize> {
    match event.subject().split('.').next() {
        _ if matches!(event.fact, Fact::Typing { .. } | Fact::Presence { .. }) => None,
        Some("msg") => Some(0),
        _ => Some(1),
    }
}

/// Takes up what consumers have acknowledged, and finds out soon when NATS comes back without what it had, for ever.
async fn watch_over(bus: std::sync::Weak<Inner>) {
    let Some(mut interruptions) = bus.upgrade().map(|bus| bus.nats.interruptions.clone()) else { return };
    loop {
        let Some(inner) = bus.upgrade() else { return };
        let wait = if inner.settling().is_settled() { REST } else { LOOK };
        let was_interrupted = tokio::select! {
            () = tokio::time::sleep(wait) => false,
            () = inner.wake.notified() => false,
            changed = interruptions.changed() => changed.is_ok(),
        };
        if !inner.nats.stands() {
            continue;
        }
        if was_interrupted || wait == REST {
            let mut publisher = inner.publisher.lock().await;
            if let Err(error) = publisher.check(&inner).await {
                tracing::debug!(%error, "NATS cannot be looked at now");
                continue;
            }
        }
        inner.take_up().await;
    }
}

impl Inner {
    fn settling(&self) -> MutexGuard<'_, Settling> {
        // Nothing in here panics half-way.
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn consumers(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stream(&self, log: usize) -> Stored<jetstream::stream::Stream<()>> {
        self.nats.jetstream.get_stream_no_info(LOGS[log].name).await.map_err(unavailable)
    }

    /// Asks how far the consumers are.
    async fn take_up(&self) {
        let up_to = self.settling().newest();
        let consumers: Vec<_> = self.consumers().iter().map(|(name, log)| (name.clone(), *log)).collect();
        let mut floors = [u64::MAX; LOGS.len()];
        for (name, log) in consumers {
            let Ok(stream) = self.stream(log).await else { return };
            let info = match stream.consumer_info(&name).await {
                Ok(info) => info,
                Err(error) => {
                    tracing::debug!(%error, consumer = name, "a consumer cannot be looked at now");
                    floors[log] = 0;
                    continue;
                }
            };
            self.metrics.nats_pending(&name, info.num_pending + info.num_ack_pending as u64);
            floors[log] = floors[log].min(floor(&info));
        }
        self.settling().settle(up_to, floors);
    }

    /// Makes the streams and shared consumers that are absent. Returns what is known of each log, and whether it was made.
    async fn set_up(&self) -> Result<[(bool, jetstream::stream::Info); LOGS.len()], NatsError> {
        let mut logs = Vec::with_capacity(LOGS.len());
        for stream in &STREAMS {
            let (made, info) = create(&self.nats.jetstream, stream, self.replicas).await?;
            if let Some(log) = log_of(stream) {
                for durable in DURABLES.iter().filter(|durable| durable.stream == *stream) {
                    let is_shared = self.consumers().contains_key(durable.name);
                    if is_shared {
                        self.set_up_consumer(log, durable, made, &info).await?;
                    }
                }
                logs.push((made, info));
            }
        }
        logs.try_into().map_err(|_| NatsError::SetUp { what: "the streams".to_owned(), source: "some are missing".into() })
    }

    /// Makes a shared consumer that is absent.
    async fn set_up_consumer(&self, log: usize, durable: &Durable, is_new: bool, info: &jetstream::stream::Info) -> Result<(), NatsError> {
        let name = durable.name;
        let refused = |source: Box<dyn std::error::Error + Send + Sync>| NatsError::SetUp { what: format!("the consumer {name}"), source };
        let stream = self.stream(log).await.map_err(|error| refused(error.source))?;
        if stream.consumer_info(name).await.is_ok() {
            return Ok(());
        }
        let config = durable.config(self.start_of(name, log, is_new, info));
        stream.get_or_create_consumer(name, config).await.map(|_| ()).map_err(|error| refused(Box::new(error)))
    }

    /// Where a consumer begins that is made now.
    fn start_of(&self, name: &str, log: usize, is_new: bool, info: &jetstream::stream::Info) -> DeliverPolicy {
        match self.settling().floor(log) {
            _ if is_new || info.state.messages == 0 => DeliverPolicy::All,
            // Somebody deleted it while we ran: it begins where all others were.
            Some(floor) if floor > 0 => DeliverPolicy::ByStartSequence { start_sequence: floor.min(info.state.last_sequence) + 1 },
            _ => {
                tracing::info!(consumer = name, "a consumer is made in a stream that has messages; it begins with those to come");
                DeliverPolicy::New
            }
        }
    }
}

#[async_trait]
impl EventBus for NatsEventBus {
    async fn publish(&self, events: &[Arc<Event>]) -> Stored<()> {
        let (durable, transient): (Vec<_>, Vec<_>) = events.iter().cloned().partition(|event| log_of_event(event).is_some());
        if !transient.is_empty() {
            if let Some(near) = self.0.near.get() {
                near.transient(&transient);
            }
            self.0.announce(&transient).await;
        }
        if durable.is_empty() {
            return Ok(());
        }
        let mut publisher = self.0.publisher.lock().await;
        publisher.publish(&self.0, &durable).await
    }

    fn progress(&self) -> Progress {
        self.0.settling().progress()
    }

    fn committed(&self, events: &[Arc<Event>]) {
        if let Some(near) = self.0.near.get() {
            near.committed(events);
        }
    }

    /// The names of the contract are consumers that all replicas share, and of which one at a time works; any other name is
    /// one of this process alone, which ends with it.
    async fn subscribe(&self, consumer: &'static str, handler: Arc<dyn EventHandler>) -> Stored<Box<dyn Subscription>> {
        let (end, ended) = watch::channel(());
        match DURABLES.iter().find(|durable| durable.name == consumer) {
            Some(durable) => consume::shared(&self.0, *durable, handler, ended),
            None => consume::own(&self.0, consumer, &handler, &ended).await?,
        }
        Ok(Box::new(NatsSubscription { _end: end }))
    }
}

/// Dropping it ends the subscription; what is in hand then comes again to whoever is next.
struct NatsSubscription {
    _end: watch::Sender<()>,
}

impl Subscription for NatsSubscription {}

#[cfg(test)]
mod tests;
