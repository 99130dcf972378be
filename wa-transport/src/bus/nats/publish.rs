//! Publishing in order: pipelined, acknowledged, and refused by NATS if anybody else published meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use futures_util::StreamExt as _;
use wa_core::event::{Event, Fact};
use wa_core::id::EventId;
use wa_core::ports::Stored;

use super::payload::{self, Described};
use super::{Inner, LOGS, log_of_event, unavailable};
use crate::nats::{NatsError, header};

/// How far before the first unsettled event the logs are read for what is in them already: rows that are settled are deleted
/// a little later.
const MARGIN: u64 = 2048;

/// Events of a log looked at, at the most: the newest. An older one that is published again is dropped by its id on the way
/// to the sockets.
const LOOKED_AT: u64 = 100_000;

/// How long the answer to one request for events of a log is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Events read from a log at a time.
const PAGE: usize = 1000;

/// What the one who publishes knows of the logs.
#[derive(Default)]
pub(super) struct Publisher {
    logs: [Log; LOGS.len()],
    /// Whether it is known to be true. Not after anything went wrong.
    is_checked: bool,
}

/// One log.
#[derive(Default)]
struct Log {
    /// When the stream was made, in nanoseconds, as it says itself: a later one is another stream.
    made_at: Option<i128>,
    /// Its last place.
    last: u64,
    /// Events that are in it and may be given again.
    holds: HashMap<EventId, u64>,
}

impl Publisher {
    /// Looks at the streams, makes what is absent, and finds out what was lost.
    pub(super) async fn check(&mut self, bus: &Inner) -> Result<(), NatsError> {
        let found = bus.set_up().await?;
        let (mut has_lost, mut is_as_known) = (false, true);
        for (index, (log, (made, info))) in self.logs.iter_mut().zip(&found).enumerate() {
            let made_at = info.created.unix_timestamp_nanos();
            let is_another = log.made_at.is_some_and(|before| before != made_at);
            if is_another || (*made && log.made_at.is_some()) || info.state.last_sequence < bus.settling().published_up_to(index) {
                has_lost = true;
            }
            is_as_known &= log.made_at == Some(made_at) && log.last == info.state.last_sequence;
            log.made_at = Some(made_at);
            log.last = info.state.last_sequence;
        }
        if has_lost {
            tracing::warn!("NATS has lost events; those that were not settled are published again");
            bus.settling().lost();
        }
        self.is_checked &= is_as_known;
        Ok(())
    }

    /// As [`Self::check`], and reads what is in the logs.
    async fn get_ready(&mut self, bus: &Inner) -> Stored<()> {
        let restarts = bus.settling().progress().restarts;
        self.check(bus).await.map_err(unavailable)?;
        if bus.settling().progress().restarts != restarts {
            return Err(unavailable("what was published before was lost"));
        }
        for (index, log) in self.logs.iter_mut().enumerate() {
            log.holds = read(bus, index, log.last).await?;
        }
        self.is_checked = true;
        Ok(())
    }

    /// Publishes events that belong into logs. On an error none, some or all of them may be there; the next call finds out.
    pub(super) async fn publish(&mut self, bus: &Inner, events: &[Arc<Event>]) -> Stored<()> {
        if !bus.nats.stands() {
            self.is_checked = false;
            return Err(unavailable("not connected"));
        }
        if !self.is_checked {
            self.get_ready(bus).await?;
        }
        let outcome = self.pipeline(bus, events).await;
        match outcome {
            Ok(places) => {
                bus.settling().published(events.len(), places);
                bus.wake.notify_one();
                Ok(())
            }
            Err(error) => {
                self.is_checked = false;
                Err(error)
            }
        }
    }

    async fn pipeline(&mut self, bus: &Inner, events: &[Arc<Event>]) -> Stored<[u64; LOGS.len()]> {
        let mut places = [0; LOGS.len()];
        let mut under_way = Vec::with_capacity(events.len());
        for event in events {
            let Some(index) = log_of_event(event) else { continue };
            let log = &mut self.logs[index];
            if let Some(place) = log.holds.get(&event.id) {
                places[index] = places[index].max(*place);
                continue;
            }
            let described = match bus.directory.get() {
                Some(directory) => directory.describe(event).await,
                None => Described::default(),
            };
            let publish = message(event, described).map_err(|error| wa_core::error::StoreError::other(super::BACKEND, error))?;
            match bus.nats.jetstream.send_publish(event.subject(), publish.expected_last_sequence(log.last)).await {
                Ok(ack) => {
                    log.last += 1;
                    places[index] = log.last;
                    under_way.push((ack, index, log.last));
                }
                Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    tracing::error!(event_id = %event.id, subject = event.subject(), "an event is larger than NATS takes (max_payload) and is passed over");
                }
                Err(error) => return Err(unavailable(error)),
            }
        }
        for (ack, index, place) in under_way {
            let ack = ack.await.map_err(unavailable)?;
            if ack.duplicate || ack.sequence != place {
                // It was there, which was not known.
                self.is_checked = false;
                places[index] = places[index].max(ack.sequence);
            }
            bus.metrics.nats_published().inc();
        }
        Ok(places)
    }
}

fn message(event: &Event, described: Described) -> serde_json::Result<PublishMessage> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, event.id.to_string());
    headers.insert(header::TYPE, event.subject());
    if let Some(cause) = &event.cause {
        headers.insert(header::REQUEST_ID, cause.request_id.as_str());
        if let Some(traceparent) = &cause.traceparent {
            headers.insert(header::TRACEPARENT, traceparent.as_str());
        }
    }
    Ok(PublishMessage::build().headers(headers).payload(payload::encode(event, described)?.into()))
}

/// The ids of the events of a log that may be given again, with their places.
async fn read(bus: &Inner, log: usize, last: u64) -> Stored<HashMap<EventId, u64>> {
    let mut holds = HashMap::new();
    let stream = bus.stream(log).await?;
    let mut floor = last;
    let consumers: Vec<_> = bus.consumers().iter().filter(|(_, of)| **of == log).map(|(name, _)| name.clone()).collect();
    for name in consumers {
        // One that is absent is about to be made anew, from where it was.
        if let Ok(info) = stream.consumer_info(&name).await {
            floor = floor.min(super::floor(&info));
        }
    }
    let start = floor.saturating_sub(MARGIN).max(last.saturating_sub(LOOKED_AT)) + 1;
    if start > last {
        return Ok(holds);
    }
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
        ack_policy: AckPolicy::None,
        headers_only: true,
        memory_storage: true,
        inactive_threshold: Duration::from_secs(10),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(unavailable)?;
    let mut at = start;
    while at <= last {
        let mut page = consumer.fetch().max_messages(PAGE).expires(PATIENCE).messages().await.map_err(unavailable)?;
        let mut is_empty = true;
        while let Some(message) = page.next().await {
            let message = message.map_err(unavailable)?;
            is_empty = false;
            let info = message.info().map_err(unavailable)?;
            at = info.stream_sequence + 1;
            if let Some(id) = super::consume::event_id(message.headers.as_ref()) {
                holds.insert(id, info.stream_sequence);
            }
            if info.pending == 0 {
                at = last + 1;
                break;
            }
        }
        if is_empty {
            break;
        }
    }
    if !holds.is_empty() {
        tracing::debug!(stream = LOGS[log].name, events = holds.len(), "read what a stream of NATS holds");
    }
    Ok(holds)
}

impl Inner {
    /// Tells the stream PRESENCE who came and went. It may be lost.
    pub(super) async fn announce(&self, events: &[Arc<Event>]) {
        if !self.nats.stands() {
            return;
        }
        for event in events.iter().filter(|event| matches!(event.fact, Fact::Presence { .. })) {
            let Ok(publish) = message(event, Described::default()) else { continue };
            match self.nats.jetstream.send_publish(event.subject(), publish).await {
                Ok(_) => self.metrics.nats_published().inc(),
                Err(error) => tracing::debug!(%error, "a change of presence was not published"),
            }
        }
    }
}
