//! The bus on a real server that is killed, stopped and emptied.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use wa_core::event::MessageStarred;
use wa_core::id::EventId;
use wa_core::message::{Rev, Seq};
use wa_core::ports::EnvExt as _;
use wa_core::testing::SimEnv;
use wa_core::time::Timestamp;

use super::*;
use crate::nats::{DeadLetters, connect};

#[path = "../../../tests/support/nats_server.rs"]
mod nats_server;
use nats_server::NatsServer;

const PATIENCE: Duration = Duration::from_secs(40);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

async fn connected(server: &NatsServer) -> (Connected, NatsUrl) {
    let url = NatsUrl::parse(&server.url()).expect("a URL");
    (connect(&url).await.expect("connected"), url)
}

async fn bus(server: &NatsServer) -> NatsEventBus {
    let (nats, url) = connected(server).await;
    NatsEventBus::new(nats, &url, Metrics::new()).await.expect("a bus")
}

fn events(env: &SimEnv, count: usize) -> Vec<Arc<Event>> {
    let star =
        || MessageStarred { message_id: env.new_id(), chat_id: env.new_id(), seq: Seq::new(1), rev: Rev::new(1), user_id: env.new_id(), is_starred: true };
    (0..count).map(|_| Arc::new(Event { id: env.new_id(), at: Timestamp::from_millis(0), fact: Fact::MessageStarred(star()), cause: None })).collect()
}

fn ids(events: &[Arc<Event>]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// As the relay does: until it is taken.
async fn publish(bus: &NatsEventBus, events: &[Arc<Event>]) {
    soon("an acknowledgement", async {
        while bus.publish(events).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

struct Collector {
    seen: mpsc::UnboundedSender<EventId>,
    gate: Semaphore,
    fails: AtomicBool,
}

#[async_trait]
impl EventHandler for Collector {
    async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
        self.gate.acquire().await.expect("it stays open").forget();
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::other("test", "out of order"));
        }
        for event in events {
            let _ = self.seen.send(event.id);
        }
        Ok(())
    }
}

fn collector(permits: usize) -> (Arc<Collector>, mpsc::UnboundedReceiver<EventId>) {
    let (seen, got) = mpsc::unbounded_channel();
    (Arc::new(Collector { seen, gate: Semaphore::new(permits), fails: AtomicBool::new(false) }), got)
}

/// The next events that were not seen before.
async fn next(got: &mut mpsc::UnboundedReceiver<EventId>, seen: &mut Vec<EventId>, count: usize) -> Vec<EventId> {
    let start = seen.len();
    while seen.len() < start + count {
        let id = soon("an event", got.recv()).await.expect("the subscription stands");
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen[start..].to_vec()
}

async fn messages_in(nats: &Connected, stream: &str) -> u64 {
    nats.jetstream.get_stream(stream).await.expect("a stream").cached_info().state.messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn what_nats_loses_is_asked_for_again() {
    let mut server = NatsServer::start().await;
    let bus = bus(&server).await;
    let first = events(&SimEnv::new(1), 30);
    publish(&bus, &first).await;
    server.wipe();
    assert!(bus.publish(&events(&SimEnv::new(2), 1)).await.is_err(), "nobody takes it");
    server.up().await;
    soon("the loss is noticed", async {
        while bus.progress().restarts == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(bus.progress().settled, 0);
    publish(&bus, &first).await;
    let (handler, mut got) = collector(1000);
    let _working = bus.subscribe("ws-msg-consumer", handler).await.expect("subscribed");
    assert_eq!(next(&mut got, &mut Vec::new(), 30).await, ids(&first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn what_a_stream_holds_is_not_published_again_also_by_another_process() {
    let server = NatsServer::start().await;
    let first = bus(&server).await;
    let (nats, _) = connected(&server).await;
    // NATS' own memory is of no help.
    let mut config = nats.jetstream.get_stream("MESSAGES").await.expect("a stream").cached_info().config.clone();
    config.duplicate_window = Duration::from_millis(100);
    nats.jetstream.update_stream(config).await.expect("changed");
    let all = events(&SimEnv::new(1), 50);
    publish(&first, &all[..40]).await;
    sleep(Duration::from_millis(300)).await;
    let second = bus(&server).await;
    publish(&second, &all).await;
    assert_eq!(messages_in(&nats, "MESSAGES").await, 50);
    // The first one is not the newest any more: it finds out instead of writing into the middle.
    let more = events(&SimEnv::new(2), 1);
    publish(&first, &more).await;
    publish(&first, &all).await;
    assert_eq!(messages_in(&nats, "MESSAGES").await, 51);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn a_killed_server_costs_nothing_and_keeps_the_order() {
    let mut server = NatsServer::start().await;
    let bus = bus(&server).await;
    let (handler, mut got) = collector(100_000);
    let _working = bus.subscribe("ws-msg-consumer", handler).await.expect("subscribed");
    let mut seen = Vec::new();
    for round in 0..4 {
        let all = events(&SimEnv::new(round), 60);
        for (number, batch) in all.chunks(10).enumerate() {
            if number == 3 {
                server.kill();
                server.up().await;
            }
            publish(&bus, batch).await;
        }
        assert_eq!(next(&mut got, &mut seen, 60).await, ids(&all));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn a_server_that_stands_still_is_given_up_and_taken_up_again() {
    let server = NatsServer::start().await;
    let bus = bus(&server).await;
    let (handler, mut got) = collector(1000);
    let _working = bus.subscribe("ws-msg-consumer", handler).await.expect("subscribed");
    let all = events(&SimEnv::new(1), 3);
    let mut seen = Vec::new();
    publish(&bus, &all[..1]).await;
    assert_eq!(next(&mut got, &mut seen, 1).await, ids(&all[..1]));
    server.signal("STOP");
    let refused = timeout(Duration::from_secs(5), bus.publish(&all[1..2])).await;
    assert!(refused.expect("an answer within five seconds").is_err());
    soon("the connection is given up", async {
        while bus.0.nats.stands() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(!bus.is_up().await);
    server.signal("CONT");
    publish(&bus, &all[1..2]).await;
    publish(&bus, &all[2..]).await;
    assert_eq!(next(&mut got, &mut seen, 2).await, ids(&all[1..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn another_replica_takes_over_in_order_what_one_had_in_hand() {
    let server = NatsServer::start().await;
    let (first, second) = (bus(&server).await, bus(&server).await);
    let all = events(&SimEnv::new(1), 20);
    let (stuck, _never) = collector(0);
    let at_work = first.subscribe("ws-msg-consumer", stuck).await.expect("subscribed");
    publish(&first, &all[..10]).await;
    let (nats, _) = connected(&server).await;
    let stream = nats.jetstream.get_stream("MESSAGES").await.expect("a stream");
    soon("the events are in hand", async {
        while stream.consumer_info("ws-msg-consumer").await.expect("info").num_ack_pending < 10 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let (handler, mut got) = collector(1000);
    let _working = second.subscribe("ws-msg-consumer", handler).await.expect("subscribed");
    drop((at_work, first));
    publish(&second, &all[10..]).await;
    assert_eq!(next(&mut got, &mut Vec::new(), 20).await, ids(&all));
    soon("all is settled", async {
        while !stream.consumer_info("ws-msg-consumer").await.is_ok_and(|info| info.num_ack_pending == 0) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn what_cannot_be_acted_on_is_put_aside_and_can_be_replayed() {
    let server = NatsServer::start().await;
    let bus = bus(&server).await;
    let (nats, _) = connected(&server).await;
    let letters = DeadLetters::new(nats.clone());
    assert_eq!(letters.list(0, 10).await.expect("a list"), []);
    let (handler, mut got) = collector(1000);
    handler.fails.store(true, Ordering::SeqCst);
    let _working = bus.subscribe("ws-msg-consumer", Arc::clone(&handler) as _).await.expect("subscribed");
    nats.jetstream.publish("msg.new", "no JSON at all".into()).await.expect("sent").await.expect("kept");
    let all = events(&SimEnv::new(1), 1);
    publish(&bus, &all).await;
    let found = soon("two dead letters", async {
        loop {
            match letters.list(0, 10).await {
                Ok(found) if found.len() == 2 => return found,
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    let (unreadable, failed) = (&found[0], &found[1]);
    assert_eq!((unreadable.subject.as_str(), unreadable.count, unreadable.consumer.as_str()), ("msg.new", 1, "ws-msg-consumer"));
    assert_eq!((failed.subject.as_str(), failed.count, failed.event_id.clone()), ("msg.starred", 6, all[0].id.to_string()));
    assert!(failed.error.contains("out of order") && failed.payload["is_starred"] == true, "{failed:?}");
    assert_eq!(bus.0.metrics.render().lines().filter(|line| line.starts_with("nats_dead_letters_total{consumer=\"ws-msg-consumer\"} 2")).count(), 1);

    handler.fails.store(false, Ordering::SeqCst);
    letters.replay(failed.number).await.expect("replayed");
    assert_eq!(next(&mut got, &mut Vec::new(), 1).await, ids(&all));
    assert!(letters.show(failed.number).await.is_err(), "it is gone");
    assert_eq!(letters.list(0, 10).await.expect("a list").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn what_is_in_the_way_is_said() {
    let said = async |server: &NatsServer, credentials: &str| {
        let url = NatsUrl::parse(&server.url().replace("://", &format!("://{credentials}"))).expect("a URL");
        match connect(&url).await {
            Ok(nats) => NatsEventBus::new(nats, &url, Metrics::new()).await.map(|_| ()).map_err(|error| (error.is_transient(), error.to_string())),
            Err(error) => Err((error.is_transient(), error.to_string())),
        }
    };
    let guarded = NatsServer::with("jetstream { store_dir: \"STORE\" }\nauthorization { user: wa, password: \"p@ss\" }").await;
    assert_eq!(said(&guarded, "wa:p%40ss@").await, Ok(()));
    for credentials in ["", "wa:hunter2@", "hunter2@"] {
        let (is_transient, error) = said(&guarded, credentials).await.expect_err("refused");
        assert!(!is_transient && error.contains("credentials") && !error.contains("hunter2"), "{error}");
    }
    let plain = NatsServer::with("").await;
    let (is_transient, error) = said(&plain, "").await.expect_err("refused");
    assert!(!is_transient && error.contains("JetStream"), "{error}");

    let mut other = NatsServer::start().await;
    let (nats, _) = connected(&other).await;
    let config = jetstream::stream::Config { name: "CHATS".to_owned(), subjects: vec!["chat.>".to_owned()], ..Default::default() };
    nats.jetstream.create_stream(config).await.expect("made");
    let (is_transient, error) = said(&other, "").await.expect_err("refused");
    assert!(!is_transient && error.contains("CHATS") && error.contains("not touched"), "{error}");
    other.kill();
    let (is_transient, error) = said(&other, "").await.expect_err("refused");
    assert!(is_transient && error.contains("cannot reach NATS"), "{error}");
}
