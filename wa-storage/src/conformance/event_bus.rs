//! The contract of `EventBus`. Buses live with the transports, which call these cases for each of theirs.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use wa_core::error::StoreError;
use wa_core::event::{Event, Fact, MessageStarred};
use wa_core::id::EventId;
use wa_core::message::{Rev, Seq};
use wa_core::ports::{EnvExt as _, EventBus, EventHandler, Stored};
use wa_core::testing::SimEnv;
use wa_core::time::Timestamp;

/// How long a case waits for what must come. Reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Events held by a subscriber of these cases.
const HELD: usize = 4096;

struct Collector(mpsc::Sender<EventId>);

#[async_trait]
impl EventHandler for Collector {
    async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
        for event in events {
            // A case that has seen enough hangs up.
            let _ = self.0.send(event.id).await;
        }
        Ok(())
    }
}

fn collector() -> (Arc<Collector>, mpsc::Receiver<EventId>) {
    let (sender, receiver) = mpsc::channel(HELD);
    (Arc::new(Collector(sender)), receiver)
}

fn events(env: &SimEnv, count: usize) -> Vec<Arc<Event>> {
    let star =
        || MessageStarred { message_id: env.new_id(), chat_id: env.new_id(), seq: Seq::new(1), rev: Rev::new(1), user_id: env.new_id(), is_starred: true };
    let event = |_| Event { id: env.new_id(), at: Timestamp::from_millis(0), fact: Fact::MessageStarred(star()), cause: None };
    (0..count).map(event).map(Arc::new).collect()
}

fn ids(events: &[Arc<Event>]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// The next events a subscriber gets, each once: a bus may deliver twice.
async fn next(receiver: &mut mpsc::Receiver<EventId>, count: usize) -> Vec<EventId> {
    let mut got: Vec<EventId> = Vec::with_capacity(count);
    while got.len() < count {
        let id = tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("the event comes").expect("the subscription stands");
        if !got.contains(&id) {
            got.push(id);
        }
    }
    got
}

/// Case.
pub async fn every_subscriber_gets_every_event_in_order(bus: &dyn EventBus) {
    let env = SimEnv::new(1);
    let (first, mut to_first) = collector();
    let (second, mut to_second) = collector();
    let _first = bus.subscribe("conformance-first", first).await.expect("subscribed");
    let _second = bus.subscribe("conformance-second", second).await.expect("subscribed");
    let published = events(&env, 500);
    for batch in published.chunks(7) {
        bus.publish(batch).await.expect("published");
    }
    bus.publish(&[]).await.expect("an empty batch is nothing");
    assert_eq!(next(&mut to_first, 500).await, ids(&published));
    assert_eq!(next(&mut to_second, 500).await, ids(&published));
}

/// Case.
pub async fn a_subscriber_gets_what_is_published_after_it_subscribed(bus: &dyn EventBus) {
    let env = SimEnv::new(2);
    let (before, after) = (events(&env, 3), events(&env, 3));
    let (early, mut to_early) = collector();
    let _early = bus.subscribe("conformance-early", early).await.expect("subscribed");
    bus.publish(&before).await.expect("published");
    // Once the early one has them, they are past.
    next(&mut to_early, 3).await;
    let (late, mut to_late) = collector();
    let _late = bus.subscribe("conformance-late", late).await.expect("subscribed");
    bus.publish(&after).await.expect("published");
    assert_eq!(next(&mut to_late, 3).await, ids(&after));
    assert_eq!(next(&mut to_early, 3).await, ids(&after));
}

/// Case.
pub async fn dropping_the_subscription_ends_it(bus: &dyn EventBus) {
    let env = SimEnv::new(3);
    let (staying, mut to_staying) = collector();
    let (leaving, mut to_leaving) = collector();
    let _staying = bus.subscribe("conformance-staying", staying).await.expect("subscribed");
    let subscription = bus.subscribe("conformance-leaving", leaving).await.expect("subscribed");
    bus.publish(&events(&env, 1)).await.expect("published");
    next(&mut to_leaving, 1).await;
    drop(subscription);
    // The handler is let go of, which closes the channel; whatever still arrives was under way.
    let published = events(&env, 50);
    bus.publish(&published).await.expect("published");
    let ended = async { while to_leaving.recv().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the bus lets go of the handler");
    assert_eq!(next(&mut to_staying, 51).await[1..], ids(&published), "the others go on");
}

/// Case. A bus that is durable itself does not count, and has nothing to settle.
pub async fn an_event_is_settled_once_every_subscriber_has_handled_it(bus: &dyn EventBus) {
    struct Held(tokio::sync::Semaphore, mpsc::Sender<()>);

    #[async_trait]
    impl EventHandler for Held {
        async fn handle(&self, _: &[Arc<Event>]) -> Stored<()> {
            let _ = self.1.send(()).await;
            self.0.acquire().await.expect("it stays open").forget();
            Ok(())
        }
    }

    let (began, mut begun) = mpsc::channel(HELD);
    let held = Arc::new(Held(tokio::sync::Semaphore::new(0), began));
    let _subscription = bus.subscribe("held", held.clone()).await.expect("subscribed");
    let before = bus.progress();
    bus.publish(&events(&SimEnv::new(3), 1)).await.expect("published");
    tokio::time::timeout(PATIENCE, begun.recv()).await.expect("the event comes");
    let during = bus.progress();
    assert!(during == before || during.settled < during.published, "nothing is settled while it is being handled: {during:?}");
    held.0.add_permits(HELD);
    let settled = async {
        while bus.progress().settled < bus.progress().published {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("what was handled is settled");
}

/// Case.
pub async fn what_could_not_be_handled_is_handed_in_again(bus: &dyn EventBus) {
    struct Reluctant(Mutex<HashSet<EventId>>, mpsc::Sender<EventId>);

    #[async_trait]
    impl EventHandler for Reluctant {
        async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
            let first = events[0].id;
            if self.0.lock().expect("not poisoned").insert(first) {
                return Err(StoreError::unavailable("conformance", "not yet"));
            }
            for event in events {
                let _ = self.1.send(event.id).await;
            }
            Ok(())
        }
    }

    let (sender, mut receiver) = mpsc::channel(HELD);
    let _subscription = bus.subscribe("conformance-reluctant", Arc::new(Reluctant(Mutex::default(), sender))).await.expect("subscribed");
    let published = events(&SimEnv::new(4), 20);
    bus.publish(&published).await.expect("published");
    assert_eq!(next(&mut receiver, 20).await, ids(&published), "in order, for all that");
}
