//! Consumers: taking events in order, acknowledging what was acted on, trying again what was not, and putting aside what
//! never is.

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_MESSAGE_ID, NATS_PIN_ID};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{AckKind, Message};
use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use futures_util::{FutureExt as _, TryStreamExt as _};
use tokio::sync::{Mutex, watch};
use tokio::time::MissedTickBehavior;
use wa_core::error::{StoreError, StoreErrorKind};
use wa_core::event::Event;
use wa_core::id::EventId;
use wa_core::ports::{EventHandler, Stored};

use super::payload::decode;
use super::{BACKEND, Inner, LOGS, log_of, unavailable};
use crate::nats::{ACK_WAIT, Durable, GROUP, explicit, header};

/// Events taken at a time, at the most.
const BATCH: usize = 256;

/// How long NATS holds a request for events. Well below the time after which another replica gets the consumer.
const HELD: Duration = Duration::from_secs(1);

/// The pauses before events are handed out again that could not be acted on (contract, section 5.1).
const REDELIVERIES: [Duration; 5] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(30), Duration::from_secs(60)];

/// The pause before an event is handed out once more, that was so many times before; `None` if it was often enough.
fn pause_before(again: usize) -> Option<Duration> {
    // Tests go through all of them.
    REDELIVERIES.get(again).map(|pause| if cfg!(test) { *pause / 100 } else { *pause })
}

/// The pause before a batch is tried again because something is unavailable, and after a consumer could not be reached.
const PAUSE: Duration = Duration::from_millis(250);

/// Places of a log that were acted on and are remembered, in case NATS did not learn of it.
const REMEMBERED: usize = 8192;

/// Places before the first one that comes that are looked at for what another replica left, at the most.
const TAKEN_OVER: u64 = 10_000;

/// Events read from a log at a time, beside the consumer.
const READ_TOGETHER: usize = 32;

/// How often it is looked whether events stay in somebody's hand, and how many times in a row they must.
const LOOK: Duration = Duration::from_secs(1);
const PATIENT_LOOKS: u32 = 4;

/// How long a process's own consumer is kept by NATS without a sign of the process.
const ABANDONED: Duration = Duration::from_secs(60);

/// The event's id, as the headers tell it.
pub(super) fn event_id(headers: Option<&HeaderMap>) -> Option<EventId> {
    let headers = headers?;
    headers.get(header::EVENT_ID).or_else(|| headers.get(NATS_MESSAGE_ID))?.as_str().parse().ok()
}

/// One subscription to one log.
struct Consuming {
    bus: Weak<Inner>,
    name: String,
    log: usize,
    /// What all replicas share; `None` for a consumer of this process alone.
    shared: Option<Durable>,
    handler: Arc<dyn EventHandler>,
    ended: watch::Receiver<()>,
    seen: Seen,
}

/// What a consumer has waited for, and for how many looks.
#[derive(Default)]
struct Stuck {
    floor: u64,
    looks: u32,
}

/// How far a consumer is.
#[derive(Default)]
struct Seen {
    /// The consumer's age: another one begins anew.
    made_at: i128,
    /// The last place that was taken.
    last: u64,
    /// The pin under which it was.
    pin: Option<String>,
    done: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Seen {
    fn note(&mut self, place: u64) {
        if self.done.insert(place) {
            self.order.push_back(place);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.done.remove(&oldest);
        }
    }
}

/// Begins to work for a shared consumer.
pub(super) fn shared(bus: &Arc<Inner>, durable: Durable, handler: Arc<dyn EventHandler>, ended: watch::Receiver<()>) {
    let Some(log) = log_of(&durable.stream) else { return };
    let consuming = Consuming { bus: Arc::downgrade(bus), name: durable.name.to_owned(), log, shared: Some(durable), handler, ended, seen: Seen::default() };
    tokio::spawn(consuming.run());
}

/// Hands both logs to one handler, a batch at a time.
struct OneAtATime(Mutex<()>, Arc<dyn EventHandler>);

#[async_trait]
impl EventHandler for OneAtATime {
    async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
        let _turn = self.0.lock().await;
        self.1.handle(events).await
    }
}

/// Begins to work for a consumer of this process alone, which gets what is published from now on.
pub(super) async fn own(bus: &Arc<Inner>, name: &'static str, handler: &Arc<dyn EventHandler>, ended: &watch::Receiver<()>) -> Stored<()> {
    let handler = Arc::new(OneAtATime(Mutex::new(()), Arc::clone(handler)));
    for log in 0..LOGS.len() {
        let name = format!("{name}-{}", bus.nats.client.new_inbox().trim_start_matches("_INBOX.").replace('.', "-"));
        let stream = bus.stream(log).await?;
        stream.create_consumer(own_config(&name, DeliverPolicy::New)).await.map_err(unavailable)?;
        bus.consumers().insert(name.clone(), log);
        let consuming =
            Consuming { bus: Arc::downgrade(bus), name, log, shared: None, handler: Arc::clone(&handler) as _, ended: ended.clone(), seen: Seen::default() };
        tokio::spawn(consuming.run());
    }
    Ok(())
}

fn own_config(name: &str, from: DeliverPolicy) -> pull::Config {
    pull::Config { name: Some(name.to_owned()), deliver_policy: from, inactive_threshold: ABANDONED, ..explicit() }
}

/// A message with its event.
struct Taken {
    message: Message,
    place: u64,
    delivered: i64,
    event: Arc<Event>,
}

impl Consuming {
    async fn run(mut self) {
        let mut ended = self.ended.clone();
        loop {
            let working = AssertUnwindSafe(self.work()).catch_unwind();
            let outcome = tokio::select! {
                biased;
                // Never sent to; this completes when it is dropped.
                _ = ended.changed() => break,
                outcome = working => outcome,
            };
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, consumer = self.name, "a consumer of NATS begins again"),
                Err(_) => tracing::error!(consumer = self.name, "a consumer of NATS panicked"),
            }
            if self.bus.strong_count() == 0 {
                return;
            }
            tokio::select! {
                _ = ended.changed() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        if self.shared.is_none()
            && let Some(bus) = self.bus.upgrade()
        {
            bus.consumers().remove(&self.name);
            if let Ok(stream) = bus.stream(self.log).await {
                let _ = stream.delete_consumer(&self.name).await;
            }
        }
    }

    fn bus(&self) -> Stored<Arc<Inner>> {
        self.bus.upgrade().ok_or_else(|| unavailable("the bus is gone"))
    }

    /// The consumer, made if it is absent.
    async fn attach(&self) -> Stored<Consumer<pull::Config>> {
        let bus = self.bus()?;
        if !bus.nats.stands() {
            return Err(unavailable("not connected"));
        }
        let stream = bus.stream(self.log).await?;
        if let Ok(consumer) = stream.get_consumer(&self.name).await {
            return Ok(consumer);
        }
        // Whoever publishes makes the streams and the shared consumers, and finds out what was lost.
        bus.publisher.lock().await.check(&bus).await.map_err(unavailable)?;
        if self.shared.is_none() {
            let info = stream.get_info().await.map_err(unavailable)?;
            let is_known = self.seen.last > 0 && self.seen.last <= info.state.last_sequence;
            let from = if is_known { DeliverPolicy::ByStartSequence { start_sequence: self.seen.last + 1 } } else { DeliverPolicy::All };
            return stream.create_consumer(own_config(&self.name, from)).await.map_err(unavailable);
        }
        stream.get_consumer(&self.name).await.map_err(|error| unavailable(error.to_string()))
    }

    async fn work(&mut self) -> Stored<()> {
        let mut consumer = self.attach().await?;
        let made_at = consumer.cached_info().created.unix_timestamp_nanos();
        if made_at != self.seen.made_at {
            self.seen = Seen { made_at, ..Seen::default() };
        }
        let messages = consumer.stream().max_messages_per_batch(BATCH).expires(HELD);
        let messages = if self.shared.is_some() { messages.group(GROUP) } else { messages };
        let mut batches = messages.messages().await.map_err(unavailable)?.ready_chunks(BATCH);
        let is_ordered = self.shared.is_some_and(|durable| durable.subject.is_empty());
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stuck = Stuck::default();
        let mut interruptions = self.bus()?.nats.interruptions.clone();
        interruptions.mark_unchanged();
        loop {
            tokio::select! {
                batch = batches.next() => {
                    let Some(batch) = batch else { return Ok(()) };
                    let mut taken = Vec::with_capacity(batch.len());
                    for message in batch {
                        taken.push(message.map_err(unavailable)?);
                    }
                    self.take(&mut consumer, taken).await?;
                }
                // NATS may have come back without it.
                _ = interruptions.changed(), if self.shared.is_none() => return Ok(()),
                _ = look.tick(), if is_ordered => self.rescue(&mut consumer, &mut stuck).await?,
            }
        }
    }

    /// Acts on what somebody took and does not acknowledge, well before NATS hands it out again: a replica that is gone had
    /// it in hand, and nothing came since that would make another one look.
    async fn rescue(&mut self, consumer: &mut Consumer<pull::Config>, stuck: &mut Stuck) -> Stored<()> {
        let bus = self.bus()?;
        let info = consumer.info().await.map_err(unavailable)?;
        let (floor, delivered, in_hand) = (info.ack_floor.stream_sequence, info.delivered.stream_sequence, info.num_ack_pending);
        if in_hand == 0 || stuck.floor != floor {
            *stuck = Stuck { floor, looks: 0 };
            return Ok(());
        }
        stuck.looks += 1;
        if stuck.looks >= PATIENT_LOOKS {
            self.read(&bus, floor + 1..delivered + 1).await?;
        }
        Ok(())
    }

    async fn take(&mut self, consumer: &mut Consumer<pull::Config>, messages: Vec<Message>) -> Stored<()> {
        let bus = self.bus()?;
        let mut batch = Vec::with_capacity(messages.len());
        for message in messages {
            let info = message.info().map_err(unavailable)?;
            let (place, delivered) = (info.stream_sequence, info.delivered);
            let is_for_another = message.headers.as_ref().and_then(|headers| headers.get(header::REPLAY_FOR)).is_some_and(|name| name.as_str() != self.name);
            if self.seen.done.contains(&place) || is_for_another {
                acknowledge(&message, AckKind::Ack).await;
                continue;
            }
            let pin = message.headers.as_ref().and_then(|headers| headers.get(NATS_PIN_ID)).map(|pin| pin.as_str().to_owned());
            if pin != self.seen.pin {
                self.seen.pin = pin;
                if delivered == 1 && self.shared.is_some_and(|durable| durable.subject.is_empty()) {
                    self.act(&bus, std::mem::take(&mut batch)).await?;
                    self.take_over(&bus, consumer, place).await?;
                }
            }
            self.seen.last = self.seen.last.max(place);
            match decode(&message.subject, event_id(message.headers.as_ref()), &message.payload) {
                Ok(event) => batch.push(Taken { place, delivered, event: Arc::new(event), message }),
                Err(error) => self.put_aside(&bus, &message, delivered, &error.to_string()).await,
            }
        }
        self.act(&bus, batch).await
    }

    /// Another replica had the consumer before, and may have ended with events in hand. NATS hands those out again only
    /// after a while; they come before what comes now, so they are read from the log.
    async fn take_over(&mut self, bus: &Inner, consumer: &mut Consumer<pull::Config>, before: u64) -> Stored<()> {
        let info = consumer.info().await.map_err(unavailable)?;
        // What this process took itself is done.
        let from = info.ack_floor.stream_sequence.max(self.seen.last) + 1;
        if from >= before {
            return Ok(());
        }
        tracing::info!(consumer = self.name, from, before, "took over a consumer of NATS");
        self.read(bus, from..before).await
    }

    /// Acts on the events at these places, unless that was done, without the consumer. Whoever has one in hand may act on it
    /// as well; where it arrives it is known by its id.
    async fn read(&mut self, bus: &Inner, places: std::ops::Range<u64>) -> Stored<()> {
        let first = places.start.max(places.end.saturating_sub(TAKEN_OVER));
        let places: Vec<_> = (first..places.end).filter(|place| !self.seen.done.contains(place)).collect();
        if places.is_empty() {
            return Ok(());
        }
        let stream = bus.stream(self.log).await?;
        let read = stream::iter(places).map(|place| {
            let stream = stream.clone();
            // A place may be empty: somebody deleted what was there.
            async move { Stored::Ok(stream.direct_get(place).await.ok()) }
        });
        let found: Vec<_> = read.buffered(READ_TOGETHER).try_collect().await?;
        for message in found.into_iter().flatten() {
            let Ok(event) = decode(&message.subject, event_id(Some(&message.headers)), &message.payload) else { continue };
            if self.try_once(&[Arc::new(event)]).await.is_ok() {
                self.seen.note(message.sequence);
            }
        }
        Ok(())
    }

    /// Hands events to the handler, however it fails.
    async fn try_once(&self, events: &[Arc<Event>]) -> Stored<()> {
        match AssertUnwindSafe(self.handler.handle(events)).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::other(BACKEND, "the handler panicked")),
        }
    }

    async fn act(&mut self, bus: &Inner, batch: Vec<Taken>) -> Stored<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let events: Vec<_> = batch.iter().map(|taken| Arc::clone(&taken.event)).collect();
        match self.until_available(&batch, &events).await {
            Ok(()) => self.done(bus, &batch).await,
            Err(error) if batch.len() == 1 => self.failed(bus, &batch[0], &error).await,
            // One of them is to blame.
            Err(_) => {
                for taken in batch.chunks(1) {
                    match self.until_available(taken, std::slice::from_ref(&taken[0].event)).await {
                        Ok(()) => self.done(bus, taken).await,
                        Err(error) => self.failed(bus, &taken[0], &error).await,
                    }
                }
            }
        }
        Ok(())
    }

    /// Tries for as long as something is unavailable: that is nobody's fault, and what comes later would fail as well.
    async fn until_available(&self, batch: &[Taken], events: &[Arc<Event>]) -> Stored<()> {
        let mut told = tokio::time::interval(ACK_WAIT / 3);
        told.reset();
        loop {
            let outcome = {
                let mut handled = std::pin::pin!(self.try_once(events));
                loop {
                    tokio::select! {
                        outcome = &mut handled => break outcome,
                        _ = told.tick() => self.still_at_work(batch).await,
                    }
                }
            };
            match outcome {
                Err(error) if error.kind == StoreErrorKind::Unavailable => {
                    tracing::warn!(consumer = self.name, %error, "events cannot be acted on now; trying again");
                    tokio::time::sleep(PAUSE).await;
                    self.still_at_work(batch).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn still_at_work(&self, batch: &[Taken]) {
        for taken in batch {
            acknowledge(&taken.message, AckKind::Progress).await;
        }
    }

    async fn done(&mut self, bus: &Inner, batch: &[Taken]) {
        for taken in batch {
            self.seen.note(taken.place);
            acknowledge(&taken.message, AckKind::Ack).await;
        }
        if self.shared.is_some() {
            bus.metrics.nats_consumed(&self.name, batch.len() as u64);
        }
    }

    async fn failed(&mut self, bus: &Inner, taken: &Taken, error: &StoreError) {
        let Taken { message, delivered, event, .. } = taken;
        let again = usize::try_from(delivered - 1).ok().and_then(pause_before);
        if let Some(wait) = again {
            tracing::warn!(consumer = self.name, event_id = %event.id, subject = event.subject(), %error, delivered, "an event could not be acted on; it comes again");
            return acknowledge(message, AckKind::Nak(Some(wait))).await;
        }
        self.put_aside(bus, message, *delivered, &error.to_string()).await;
    }

    /// Puts a message into the stream DLQ, once and for all.
    async fn put_aside(&mut self, bus: &Inner, message: &Message, count: i64, error: &str) {
        let id = event_id(message.headers.as_ref()).map(|id| id.to_string()).unwrap_or_default();
        tracing::error!(consumer = self.name, event_id = id, subject = %message.subject, error, count, "an event is put into the stream DLQ");
        let mut headers = HeaderMap::new();
        headers.insert(header::EVENT_ID, id.as_str());
        headers.insert(header::SUBJECT, message.subject.as_str());
        headers.insert(header::CONSUMER, self.name.as_str());
        // A header is one line.
        headers.insert(header::ERROR, error.replace(['\r', '\n'], " "));
        headers.insert(header::COUNT, count.to_string());
        let publish = PublishMessage::build().headers(headers).payload(message.payload.clone());
        let kept = async { bus.nats.jetstream.send_publish(format!("dlq.{}", self.name), publish).await?.await };
        match kept.await {
            Ok(_) => {
                bus.metrics.nats_dead_letter(&self.name);
                acknowledge(message, AckKind::Term).await;
            }
            Err(error) => {
                tracing::warn!(%error, consumer = self.name, "an event could not be put aside; it comes again");
                acknowledge(message, AckKind::Nak(Some(PAUSE))).await;
            }
        }
    }
}

/// Tells NATS what became of a message. If it does not learn of it, the message comes again.
async fn acknowledge(message: &Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::debug!(%error, "NATS was not told what became of a message");
    }
}
