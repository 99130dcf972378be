//! The event bus of a single process: a bounded queue and a task for each subscriber, nothing else. It also serves
//! embedding hosts that want to act on typed events: they subscribe a handler.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::{Mutex as OrderedMutex, mpsc, watch};
use wa_core::error::StoreErrorKind;
use wa_core::event::Event;
use wa_core::ports::{EventBus, EventHandler, Progress, Stored, Subscription};

/// How many events a handler gets at a time, at the most.
const BATCH: usize = 256;

/// The pause before a handler gets a batch again that it could not act on.
const PAUSE: Duration = Duration::from_millis(500);

/// Carries events within one process. Whoever is behind makes publishers wait; nothing is dropped.
///
/// A handler must not publish on the same bus and wait for it: when its own queue is full, it would wait for itself.
pub struct MemoryEventBus {
    queue: usize,
    subscribers: Mutex<Arc<Vec<Subscriber>>>,
    /// Events that were handed to every subscriber.
    published: AtomicU64,
    /// Held while publishing, so that all subscribers see the same order.
    publishing: OrderedMutex<()>,
}

/// The publisher's end of a subscriber's queue.
#[derive(Clone)]
struct Subscriber {
    queue: mpsc::Sender<Arc<Event>>,
    /// Events it was handed.
    sent: Arc<AtomicU64>,
    /// Those of them it has acted on.
    handled: Arc<AtomicU64>,
}

impl Subscriber {
    fn behind(&self) -> u64 {
        // In this order, so that it never seems less far behind than it is.
        let handled = self.handled.load(Ordering::Acquire);
        self.sent.load(Ordering::Acquire).saturating_sub(handled)
    }
}

impl MemoryEventBus {
    /// A bus whose subscribers may be this many events behind (`Limits::bus_queue`); at least one.
    #[must_use]
    pub fn new(queue: usize) -> Self {
        Self { queue: queue.max(1), subscribers: Mutex::default(), published: AtomicU64::new(0), publishing: OrderedMutex::new(()) }
    }

    fn subscribers(&self) -> Arc<Vec<Subscriber>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget_closed(&self) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        *subscribers = Arc::new(subscribers.iter().filter(|subscriber| !subscriber.queue.is_closed()).cloned().collect());
    }
}

impl Default for MemoryEventBus {
    fn default() -> Self {
        Self::new(wa_core::limits::Limits::default().bus_queue)
    }
}

#[async_trait]
impl EventBus for MemoryEventBus {
    async fn publish(&self, events: &[Arc<Event>]) -> Stored<()> {
        let _order = self.publishing.lock().await;
        let mut closed = false;
        for subscriber in self.subscribers().iter() {
            for event in events {
                subscriber.sent.fetch_add(1, Ordering::AcqRel);
                if subscriber.queue.send(event.clone()).await.is_err() {
                    closed = true;
                    break;
                }
            }
        }
        self.published.fetch_add(events.len() as u64, Ordering::AcqRel);
        if closed {
            self.forget_closed();
        }
        Ok(())
    }

    /// What waits here is gone with the process, so an event is settled once every subscriber has acted on it.
    fn progress(&self) -> Progress {
        let published = self.published.load(Ordering::Acquire);
        let behind = self.subscribers().iter().filter(|subscriber| !subscriber.queue.is_closed()).map(Subscriber::behind).max().unwrap_or(0);
        Progress { published, settled: published.saturating_sub(behind), restarts: 0 }
    }

    async fn subscribe(&self, consumer: &'static str, handler: Arc<dyn EventHandler>) -> Stored<Box<dyn Subscription>> {
        let (sender, receiver) = mpsc::channel(self.queue);
        let (end, ended) = watch::channel(());
        let handled = Arc::new(AtomicU64::new(0));
        tokio::spawn(consume(Consumer { name: consumer, handler, handled: Arc::clone(&handled) }, receiver, ended));
        self.forget_closed();
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut subscribers).push(Subscriber { queue: sender, sent: Arc::default(), handled });
        Ok(Box::new(MemorySubscription { _end: end }))
    }
}

/// Dropping it ends the subscription once the batch in hand is done.
struct MemorySubscription {
    _end: watch::Sender<()>,
}

impl Subscription for MemorySubscription {}

/// The subscriber's end.
struct Consumer {
    name: &'static str,
    handler: Arc<dyn EventHandler>,
    handled: Arc<AtomicU64>,
}

async fn consume(consumer: Consumer, mut queue: mpsc::Receiver<Arc<Event>>, mut ended: watch::Receiver<()>) {
    let mut batch = Vec::new();
    loop {
        let received = tokio::select! {
            biased;
            // The sender never sends; this completes when it is dropped.
            _ = ended.changed() => 0,
            received = queue.recv_many(&mut batch, BATCH) => received,
        };
        if received == 0 {
            return;
        }
        loop {
            // A handler that panics is a defect, but one event must not end the delivery of all that follow.
            match AssertUnwindSafe(consumer.handler.handle(&batch)).catch_unwind().await {
                Ok(Ok(())) => break,
                Ok(Err(error)) if error.kind == StoreErrorKind::Unavailable => {
                    tracing::warn!(consumer = consumer.name, %error, "events cannot be acted on now; trying again");
                    tokio::select! {
                        // What is not acted on stays unsettled.
                        _ = ended.changed() => return,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
                Ok(Err(error)) => {
                    tracing::error!(consumer = consumer.name, %error, "events are passed over that cannot be acted on");
                    break;
                }
                Err(_) => {
                    tracing::error!(consumer = consumer.name, "an event handler panicked");
                    break;
                }
            }
        }
        consumer.handled.fetch_add(received as u64, Ordering::AcqRel);
        batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;
    use uuid::Uuid;
    use wa_core::event::Fact;
    use wa_core::id::{EventId, UserId};
    use wa_core::time::Timestamp;

    fn event(number: u128) -> Arc<Event> {
        let fact = Fact::Presence { user_id: UserId::from_uuid(Uuid::nil()), online: true, last_seen: None };
        Arc::new(Event { id: EventId::from_uuid(Uuid::from_u128(number)), at: Timestamp::from_millis(0), fact, cause: None })
    }

    /// Passes on what it gets, once it is let.
    struct Recorder {
        seen: mpsc::UnboundedSender<u128>,
        gate: Arc<Semaphore>,
    }

    #[async_trait]
    impl EventHandler for Recorder {
        async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
            self.gate.acquire().await.expect("the gate stays open").forget();
            for event in events {
                let _ = self.seen.send(event.id.as_uuid().as_u128());
            }
            Ok(())
        }
    }

    fn recorder(permits: usize) -> (Arc<Recorder>, mpsc::UnboundedReceiver<u128>, Arc<Semaphore>) {
        let (seen, got) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(permits));
        (Arc::new(Recorder { seen, gate: gate.clone() }), got, gate)
    }

    #[tokio::test]
    async fn every_subscriber_gets_every_event_in_order() {
        let bus = MemoryEventBus::new(2);
        let (first, mut got_first, _) = recorder(1000);
        let (second, mut got_second, _) = recorder(1000);
        let _subscriptions = (bus.subscribe("first", first).await.expect("subscribed"), bus.subscribe("second", second).await.expect("subscribed"));
        for start in (0..100).step_by(10) {
            bus.publish(&(start..start + 10).map(event).collect::<Vec<_>>()).await.expect("published");
        }
        for number in 0..100 {
            assert_eq!(got_first.recv().await, Some(number));
            assert_eq!(got_second.recv().await, Some(number));
        }
    }

    #[tokio::test]
    async fn publishing_waits_while_a_subscriber_is_behind() {
        let bus = MemoryEventBus::new(2);
        let (slow, mut got, gate) = recorder(0);
        let _subscription = bus.subscribe("slow", slow).await.expect("subscribed");
        // The handler holds the first, the queue holds two more.
        bus.publish(&[event(0)]).await.expect("published");
        while bus.subscribers()[0].queue.capacity() < 2 {
            tokio::task::yield_now().await;
        }
        bus.publish(&[event(1), event(2)]).await.expect("published");
        let fourth = [event(3)];
        let mut waiting = std::pin::pin!(bus.publish(&fourth));
        assert!(waiting.as_mut().now_or_never().is_none(), "the queue is full");
        gate.add_permits(10);
        waiting.await.expect("published");
        for number in 0..4 {
            assert_eq!(got.recv().await, Some(number));
        }
    }

    #[tokio::test]
    async fn an_event_is_settled_once_every_subscriber_has_handled_it() {
        let bus = MemoryEventBus::new(10);
        assert_eq!(bus.progress(), Progress::default());
        let (quick, mut got_quick, _) = recorder(1000);
        let (slow, mut got_slow, gate) = recorder(0);
        let _subscriptions = (bus.subscribe("quick", quick).await.expect("subscribed"), bus.subscribe("slow", slow).await.expect("subscribed"));
        bus.publish(&[event(0), event(1)]).await.expect("published");
        for number in 0..2 {
            assert_eq!(got_quick.recv().await, Some(number));
        }
        assert_eq!(bus.progress(), Progress { published: 2, settled: 0, restarts: 0 });
        gate.add_permits(10);
        for number in 0..2 {
            assert_eq!(got_slow.recv().await, Some(number));
        }
        while bus.progress().settled < 2 {
            tokio::task::yield_now().await;
        }
        // Who comes later answers for nothing that was before.
        let (late, _got_late, _) = recorder(0);
        let _late = bus.subscribe("late", late).await.expect("subscribed");
        assert_eq!(bus.progress().settled, 2);
    }

    #[tokio::test]
    async fn dropping_the_subscription_ends_it() {
        let bus = MemoryEventBus::new(1);
        let (gone, mut got, _) = recorder(1000);
        let subscription = bus.subscribe("gone", gone).await.expect("subscribed");
        drop(subscription);
        // The handler is dropped with its task, and with it the other end of what it reports to.
        assert_eq!(got.recv().await, None);
        bus.publish(&[event(1), event(2), event(3)]).await.expect("nobody is waited for");
        assert!(bus.subscribers().is_empty());
    }

    #[tokio::test]
    async fn a_subscriber_gets_what_is_published_after_it_subscribed() {
        let bus = MemoryEventBus::default();
        bus.publish(&[event(1)]).await.expect("published");
        let (late, mut got, _) = recorder(1000);
        let _subscription = bus.subscribe("late", late).await.expect("subscribed");
        bus.publish(&[event(2)]).await.expect("published");
        assert_eq!(got.recv().await, Some(2));
    }

    #[tokio::test]
    async fn a_panic_of_a_handler_does_not_end_its_subscription() {
        struct Clumsy(mpsc::UnboundedSender<u128>);
        #[async_trait]
        impl EventHandler for Clumsy {
            async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
                let number = events[0].id.as_uuid().as_u128();
                let _ = self.0.send(number);
                assert_ne!(number, 1, "clumsy");
                Ok(())
            }
        }
        let bus = MemoryEventBus::default();
        let (seen, mut got) = mpsc::unbounded_channel();
        let _subscription = bus.subscribe("clumsy", Arc::new(Clumsy(seen))).await.expect("subscribed");
        for number in 1..=2 {
            bus.publish(&[event(number)]).await.expect("published");
            assert_eq!(got.recv().await, Some(number));
        }
    }
}
