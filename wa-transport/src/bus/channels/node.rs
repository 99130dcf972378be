//! The sockets of this process as the rest of the cluster reaches them: every event once, in the order in which it came,
//! whichever way it took; and those committed here even while nothing comes from outside.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;
use wa_core::event::{Event, Fact};
use wa_core::id::EventId;
use wa_core::ports::EventHandler;

use super::Dispatcher;
use crate::bus::Near;
use crate::nats::Connected;
use crate::ws::Delivery;

/// Ids of events that were handed to the sockets. An event that comes again later than that many others is told again;
/// clients drop what they have.
const REMEMBERED: usize = 65_536;

/// Events committed here that are kept at hand until they have come back over the bus.
const KEPT: usize = 8192;

/// How long one waits until it is handed to the sockets here all the same: while NATS is down, and while it is up, when what
/// carries it stands still.
const GRACE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(2);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Events taken at a time.
const BATCH: usize = 256;

/// Events that wait to be told other nodes straight away. What does not fit is lost, which it may be.
const TELLING: usize = 1024;

/// What comes from other nodes.
pub enum Arrived {
    /// An event as it travels.
    Event(Bytes),
    /// Something may have been missed.
    Gap,
}

/// What waits for the sockets here.
struct Shared {
    nats: Connected,
    /// Events committed here, and when, oldest first.
    kept: Mutex<VecDeque<(Instant, Arc<Event>)>>,
    /// Typing and presence of this node, for its own sockets.
    near: mpsc::Sender<Arc<Event>>,
    /// The same, for the other nodes; and what they must know at once.
    telling: mpsc::Sender<Arc<Event>>,
}

/// This process among others.
pub struct Node {
    shared: Arc<Shared>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Node {
    /// Hands what arrives to the sockets here, and tells the others what they must know at once.
    #[must_use]
    pub fn new(nats: Connected, delivery: Arc<Delivery>, dispatcher: Dispatcher, arrived: mpsc::Receiver<Arrived>) -> Arc<Self> {
        let (near, near_events) = mpsc::channel(TELLING);
        let (telling, told) = mpsc::channel(TELLING);
        let shared = Arc::new(Shared { nats, kept: Mutex::default(), near, telling });
        let deliver = Deliver { shared: Arc::clone(&shared), delivery, recent: Recent::default() };
        let tasks = [tokio::spawn(deliver.run(arrived, near_events)), tokio::spawn(tell(dispatcher, told))];
        Arc::new(Self { shared, _tasks: tasks.map(AbortOnDropHandle::new) })
    }
}

/// Whether other nodes must know of it even if the log of events stands still.
const fn is_urgent(event: &Event) -> bool {
    matches!(event.fact, Fact::SessionsRevoked { .. } | Fact::MemberRemoved(_))
}

impl Near for Node {
    fn committed(&self, events: &[Arc<Event>]) {
        let now = Instant::now();
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if is_urgent(event) && self.shared.telling.try_send(Arc::clone(event)).is_err() {
                tracing::debug!("other nodes learn of a removal over the log only");
            }
            if kept.len() >= KEPT {
                kept.pop_front();
            }
            kept.push_back((now, Arc::clone(event)));
        }
    }

    fn transient(&self, events: &[Arc<Event>]) {
        for event in events {
            // Both may be lost.
            let _ = self.shared.near.try_send(Arc::clone(event));
            let _ = self.shared.telling.try_send(Arc::clone(event));
        }
    }
}

async fn tell(dispatcher: Dispatcher, mut told: mpsc::Receiver<Arc<Event>>) {
    let mut events = Vec::new();
    while told.recv_many(&mut events, BATCH).await > 0 {
        if let Err(error) = dispatcher.handle(&events).await {
            tracing::debug!(%error, "other nodes were not told at once");
        }
        events.clear();
    }
}

/// Ids that were seen lately.
#[derive(Default)]
struct Recent {
    ids: HashSet<EventId>,
    order: VecDeque<EventId>,
}

impl Recent {
    fn is_new(&mut self, id: EventId) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

struct Deliver {
    shared: Arc<Shared>,
    delivery: Arc<Delivery>,
    recent: Recent,
}

impl Deliver {
    async fn run(mut self, mut arrived: mpsc::Receiver<Arrived>, mut near: mpsc::Receiver<Arc<Event>>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        let mut events = Vec::new();
        let mut telling_gap: Option<AbortOnDropHandle<()>> = None;
        loop {
            let mut has_gap = false;
            tokio::select! {
                count = arrived.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    for arrived in batch.drain(..) {
                        match arrived {
                            Arrived::Gap => has_gap = true,
                            Arrived::Event(bytes) => match serde_json::from_slice::<Event>(&bytes) {
                                Ok(event) => events.push(Arc::new(event)),
                                Err(error) => {
                                    tracing::error!(%error, "an event of another node cannot be read; the clients here are told to sync");
                                    has_gap = true;
                                }
                            },
                        }
                    }
                }
                _ = near.recv_many(&mut events, BATCH) => {}
                _ = look.tick() => self.fall_back(&mut events),
            }
            events.retain(|event| self.recent.is_new(event.id));
            if !events.is_empty()
                && let Err(error) = self.delivery.handle(&events).await
            {
                tracing::error!(%error, "events were not handed to the sockets");
            }
            events.clear();
            // One at a time: those who are being told sync after this, too.
            if has_gap {
                let delivery = Arc::clone(&self.delivery);
                telling_gap = Some(AbortOnDropHandle::new(tokio::spawn(async move { delivery.tell_gap().await })));
            }
            if telling_gap.as_ref().is_some_and(AbortOnDropHandle::is_finished) {
                telling_gap = None;
            }
        }
    }

    /// Takes what was committed here and should have come back over the bus by now; most did.
    fn fall_back(&mut self, events: &mut Vec<Arc<Event>>) {
        let now = Instant::now();
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = if self.shared.nats.stands() { PATIENCE } else { GRACE };
        while events.len() < BATCH
            && let Some((_, event)) = kept.pop_front_if(|(at, _)| now.duration_since(*at) >= wait)
        {
            events.push(event);
        }
    }
}
