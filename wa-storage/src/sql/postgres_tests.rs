//! What only shows where several nodes share a PostgreSQL server, or where that is in trouble.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use wa_core::chat::Pair;
use wa_core::error::StoreErrorKind;
use wa_core::event::{Event, Fact};
use wa_core::id::{ChatId, UserId};
use wa_core::message::{Content, Seq, Text};
use wa_core::ports::{
    Appended, Env, EnvExt as _, EventBus, EventHandler, NewDirectChat, NewMessage, NewUser, Page, Progress, Stored, Subscription, Turn, Viewer,
};
use wa_core::receipt::{NewReceipt, Receipted};
use wa_core::testing::SimEnv;

use super::{Db, SqlStores};
use crate::conformance::ScratchDatabase;
use crate::open::OpenError;

#[path = "../../tests/support/postgres_server.rs"]
mod server;
use server::PostgresServer;

/// One of the nodes that share a database.
struct Node {
    env: Arc<SimEnv>,
    stores: SqlStores,
}

impl Node {
    async fn on(url: &str, number: u64) -> Self {
        let env = Arc::new(SimEnv::new(number));
        let db = Db::open_postgres(url, 10).await.expect("opens");
        Self { stores: SqlStores::new(db, env.clone()), env }
    }

    async fn chat(&self) -> (UserId, UserId, ChatId) {
        let (a, b) = (self.user().await, self.user().await);
        let new = NewDirectChat { id: self.env.new_id(), event_id: self.env.new_id(), pair: Pair::of(a, b).expect("two"), created_by: a, at: self.env.now() };
        (a, b, self.stores.chats.create_direct(new).await.expect("made").0.id)
    }

    async fn user(&self) -> UserId {
        let new = NewUser { id: self.env.new_id(), phone: None, display_name: String::new(), at: self.env.now() };
        self.stores.users.register(new).await.expect("registered").0.id
    }

    fn message(&self, chat: ChatId, sender: UserId) -> NewMessage {
        self.env.message(chat, sender, Content::Text(Text { body: "hello".to_owned(), mentions: Vec::new() }))
    }

    async fn append(&self, chat: ChatId, sender: UserId) -> i64 {
        match self.stores.messages.append(self.message(chat, sender)).await.expect("stored") {
            Appended::Stored(message) => message.seq.get(),
            other => panic!("{other:?}"),
        }
    }

    async fn places(&self, chat: ChatId, user: UserId) -> Vec<i64> {
        let viewer = Viewer { chat_id: chat, user_id: user, above: Seq::ZERO, now: self.env.now() };
        self.stores.messages.page(&viewer, Page::After(Seq::ZERO), 100_000).await.expect("read").iter().map(|message| message.seq.get()).collect()
    }

    /// Starts to publish, or to wait for it.
    fn relay(&self, bus: &Arc<Heard>) -> tokio::task::JoinHandle<()> {
        let (relay, bus) = (Arc::clone(&self.stores.relay), Arc::clone(bus));
        tokio::spawn(async move { relay.run(bus, std::future::pending()).await })
    }
}

/// The chats and places of the messages that came over a bus, in their order.
struct Heard {
    messages: Mutex<Vec<(ChatId, i64)>>,
    count: watch::Sender<usize>,
    progress: Mutex<Progress>,
    /// Events that it was told of when they were committed.
    committed: AtomicUsize,
}

impl Heard {
    fn new() -> Arc<Self> {
        Arc::new(Self { messages: Mutex::default(), count: watch::Sender::new(0), progress: Mutex::default(), committed: AtomicUsize::new(0) })
    }

    fn places(&self, chat: ChatId) -> Vec<i64> {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.iter().filter(|(of, _)| *of == chat).map(|(_, place)| *place).collect()
    }

    async fn until(&self, count: usize) {
        let heard = async { self.count.subscribe().wait_for(|heard| *heard >= count).await.map(|_| ()) };
        tokio::time::timeout(Duration::from_secs(30), heard).await.expect("the events come").expect("the bus is there");
    }
}

#[async_trait]
impl EventBus for Heard {
    async fn publish(&self, events: &[Arc<Event>]) -> Stored<()> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.extend(events.iter().filter_map(|event| match &event.fact {
            Fact::MessageNew(new) => Some((new.message.chat_id, new.message.seq.get())),
            _ => None,
        }));
        self.count.send_replace(messages.len());
        Ok(())
    }

    fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn committed(&self, events: &[Arc<Event>]) {
        self.committed.fetch_add(events.len(), Ordering::Relaxed);
    }

    async fn subscribe(&self, _: &'static str, _: Arc<dyn EventHandler>) -> Stored<Box<dyn Subscription>> {
        unreachable!("nobody subscribes here")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn two_nodes_keep_one_order_in_each_chat_and_one_of_them_publishes() {
    let scratch = ScratchDatabase::on_test_server().await;
    let (one, two) = tokio::join!(Node::on(scratch.url(), 1), Node::on(scratch.url(), 2));
    let (a, b, first) = one.chat().await;
    let (c, d, second) = two.chat().await;
    let buses = [Heard::new(), Heard::new()];
    let first_relay = one.relay(&buses[0]);
    one.append(first, a).await;
    buses[0].until(1).await;
    let second_relay = two.relay(&buses[1]);
    let both = [(first, a), (first, b), (second, c), (second, d)];
    let writers = [&one, &two].into_iter().flat_map(|node| both.map(|(chat, sender)| (node, chat, sender)));
    join_all(writers.map(|(node, chat, sender)| async move {
        for _ in 0..25 {
            node.append(chat, sender).await;
        }
    }))
    .await;
    assert_eq!(one.places(first, a).await, (1..=101).collect::<Vec<_>>());
    assert_eq!(two.places(second, d).await, (1..=100).collect::<Vec<_>>());
    buses[0].until(201).await;
    assert_eq!(buses[0].places(first), (1..=101).collect::<Vec<_>>());
    assert_eq!(buses[0].places(second), (1..=100).collect::<Vec<_>>());
    assert!(buses[1].places(first).is_empty(), "only one publishes");
    // The node that publishes dies, and the other takes over.
    first_relay.abort();
    let _ = first_relay.await;
    assert_eq!(two.append(first, a).await, 102);
    tokio::time::timeout(Duration::from_secs(30), async { buses[1].count.subscribe().wait_for(|_| buses[1].places(first).contains(&102)).await.map(|_| ()) })
        .await
        .expect("the other takes over")
        .expect("the bus is there");
    second_relay.abort();
    tokio::join!(one.stores.database.close(), two.stores.database.close()).0.expect("closes");
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn what_the_bus_lost_is_given_again_in_order_and_what_is_committed_is_told_at_once() {
    let scratch = ScratchDatabase::on_test_server().await;
    let node = Node::on(scratch.url(), 8).await;
    let (a, _, chat) = node.chat().await;
    let bus = Heard::new();
    // Nothing that it is given is settled.
    *bus.progress.lock().expect("free") = Progress { published: 1, ..Progress::default() };
    let relay = node.relay(&bus);
    node.append(chat, a).await;
    bus.until(1).await;
    let before = bus.committed.load(Ordering::Relaxed);
    node.append(chat, a).await;
    node.append(chat, a).await;
    assert_eq!(bus.committed.load(Ordering::Relaxed), before + 2, "before the sender is answered");
    bus.until(3).await;
    *bus.progress.lock().expect("free") = Progress { published: 1, restarts: 1, ..Progress::default() };
    bus.until(6).await;
    node.append(chat, a).await;
    bus.until(7).await;
    assert_eq!(bus.places(chat), [1, 2, 3, 1, 2, 3, 4]);
    relay.abort();
    node.stores.database.close().await.expect("closes");
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn receipts_and_changes_of_members_count_on_every_node() {
    let scratch = ScratchDatabase::on_test_server().await;
    let (one, two) = tokio::join!(Node::on(scratch.url(), 3), Node::on(scratch.url(), 4));
    let (a, b, chat) = one.chat().await;
    let message = one.message(chat, a);
    assert!(matches!(one.stores.messages.append(message.clone()).await, Ok(Appended::Stored(_))));
    assert!(matches!(two.stores.messages.append(message.clone()).await, Ok(Appended::Duplicate(_))), "a repeat is known everywhere");
    let located = two.stores.messages.locate(&[message.id]).await.expect("read");
    let receipt =
        |node: &Node| NewReceipt { chat_id: chat, user_id: b, what: Receipted::Delivered(located.clone()), at: node.env.now(), announce: true, origin: None };
    let (first, second) = tokio::join!(one.stores.receipts.give(receipt(&one), one.env.new_id()), two.stores.receipts.give(receipt(&two), two.env.new_id()));
    assert_eq!([first.expect("taken"), second.expect("taken")].into_iter().filter(|rose| *rose).count(), 1, "it rises once");
    // Whoever decided on the membership before the block is refused, wherever.
    assert!(one.stores.chats.membership(chat).await.expect("read").is_some());
    two.stores.contacts.set_blocked(b, a, true, two.env.now()).await.expect("blocked");
    assert!(matches!(one.stores.messages.append(one.message(chat, a)).await, Ok(Appended::MembershipChanged)));
    // And whoever was told so decides anew on what is so now.
    one.stores.chats.changed(chat);
    let membership = one.stores.chats.membership(chat).await.expect("read").expect("there");
    assert!(membership.peer_of(a).is_some_and(|peer| peer.has_blocked));
    tokio::join!(one.stores.database.close(), two.stores.database.close()).0.expect("closes");
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn connections_that_are_cut_are_replaced_unnoticed() {
    let scratch = ScratchDatabase::on_test_server().await;
    let node = Node::on(scratch.url(), 5).await;
    let (a, _, chat) = node.chat().await;
    let bus = Heard::new();
    let relay = node.relay(&bus);
    for round in 1..=5 {
        assert_eq!(node.append(chat, a).await, round);
        scratch.cut_connections().await;
        assert_eq!(node.places(chat, a).await.len(), usize::try_from(round).expect("small"));
        node.user().await;
    }
    bus.until(5).await;
    relay.abort();
    node.stores.database.close().await.expect("closes");
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn of_two_nodes_one_pushes_and_the_other_once_that_is_gone() {
    let scratch = ScratchDatabase::on_test_server().await;
    let (one, two) = tokio::join!(Node::on(scratch.url(), 8), Node::on(scratch.url(), 9));
    let turn = async |node: &Node| node.stores.push_queue.take_turn().await;
    assert_eq!(turn(&one).await.expect("is asked"), Turn::Gained);
    assert_eq!(turn(&two).await.expect("is asked"), Turn::Elsewhere);
    assert_eq!(turn(&one).await.expect("is asked"), Turn::Kept);
    // It loses its session, and whoever asks first has the turn then.
    scratch.cut_connections().await;
    while turn(&two).await.ok() != Some(Turn::Gained) {}
    while turn(&one).await.ok() != Some(Turn::Elsewhere) {}
    // A node that asks no more is passed over.
    let gained = async {
        while turn(&one).await.ok() != Some(Turn::Gained) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gained).await.expect("a silent node loses its turn");
    for node in [&one, &two] {
        node.stores.database.close().await.expect("closes");
    }
    drop((one, two));
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn nodes_that_start_at_once_take_turns_and_every_table_goes_again() {
    let scratch = ScratchDatabase::on_test_server().await;
    for _ in 0..2 {
        let opened = join_all((0..4).map(|_| Db::open_postgres(scratch.url(), 9))).await;
        for db in opened {
            db.expect("opens").close().await;
        }
        crate::migrate::down(scratch.url()).await.expect("goes down");
        crate::migrate::down(scratch.url()).await.expect("is down");
    }
    crate::migrate::up(scratch.url()).await.expect("comes up");
    scratch.execute("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', TRUE, '', 0)").await;
    assert!(matches!(Db::open_postgres(scratch.url(), 9).await, Err(OpenError::NewerSchema { version: 9999, .. })));
    scratch.drop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_database_that_cannot_be_used_is_named_with_the_fix() {
    let server = std::env::var("WA_TEST_POSTGRES").expect("WA_TEST_POSTGRES names a PostgreSQL server");
    let said = async |url: String| match Db::open_postgres(&url, 9).await {
        Ok(_) => panic!("it opens"),
        Err(error) => error.to_string(),
    };
    let absent = said(server.replace("/postgres", "/absent").replace("//absent", "//postgres")).await;
    assert!(absent.contains("absent") && absent.contains("createdb"), "{absent}");
    let stranger = said(server.replace("wa@", "stranger:hunter2@")).await;
    assert!(stranger.contains("check the user and the password") && !stranger.contains("hunter2"), "{stranger}");
    let nobody = said("postgres://wa:hunter2@127.0.0.1:1/wa".to_owned()).await;
    assert!(nobody.contains("127.0.0.1:1") && nobody.contains("check that the server runs there") && !nobody.contains("hunter2"), "{nobody}");
    let none = said("postgres://wa:hunter2@host:port/wa".to_owned()).await;
    assert!(none.contains("percent-encoded") && !none.contains("hunter2"), "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn when_all_connections_are_taken_callers_are_refused_in_time() {
    let scratch = ScratchDatabase::on_test_server().await;
    let node = Node::on(scratch.url(), 6).await;
    let (go, wait) = watch::channel(false);
    // Every connection of the pool stands in a transaction.
    let mut held = Vec::new();
    for _ in 0..4 {
        let (wait, writer) = (wait.clone(), Arc::clone(&node.stores.database.writer));
        let started = Arc::new(Notify::new());
        let is_running = Arc::clone(&started);
        held.push(tokio::spawn(async move {
            writer
                .run(move |_| {
                    Box::pin(async move {
                        started.notify_one();
                        let mut wait = wait;
                        let _ = wait.wait_for(|go| *go).await;
                        Ok(())
                    })
                })
                .await
        }));
        is_running.notified().await;
    }
    let refused = node.stores.users.get(&[node.env.new_id()]).await;
    assert_eq!(refused.map_err(|error| error.kind), Err(StoreErrorKind::Unavailable));
    go.send_replace(true);
    for held in held {
        held.await.expect("joined").expect("done");
    }
    node.user().await;
    node.stores.database.close().await.expect("closes");
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_server_that_is_killed_amid_appends_loses_nothing_that_was_acknowledged() {
    const EACH: usize = 60;
    let (mut server, url) = PostgresServer::start();
    let node = Node::on(&url, 7).await;
    let (a, b, chat) = node.chat().await;
    let bus = Heard::new();
    let relay = node.relay(&bus);
    let stored = watch::Sender::new(0_usize);
    let writers = [a, b, a, b].map(|sender| {
        let (node, stored) = (&node, &stored);
        async move {
            let mut acknowledged = Vec::new();
            for _ in 0..EACH {
                let message = node.message(chat, sender);
                // Repeated by its key until it is acknowledged, as a client does.
                let seq = loop {
                    match node.stores.messages.append(message.clone()).await {
                        Ok(Appended::Stored(message)) => break message.seq.get(),
                        Ok(Appended::Duplicate(message)) => break message.seq.get(),
                        Ok(other) => panic!("{other:?}"),
                        Err(error) => assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}"),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                };
                acknowledged.push((message.id, seq));
                stored.send_modify(|stored| *stored += 1);
            }
            acknowledged
        }
    });
    let trouble = async {
        for at in [30, 100] {
            stored.subscribe().wait_for(|stored| *stored >= at).await.expect("they write");
            server.kill();
            server.start_again();
        }
    };
    let (acknowledged, ()) = tokio::join!(join_all(writers), trouble);
    let acknowledged: Vec<_> = acknowledged.into_iter().flatten().collect();
    assert_eq!(node.places(chat, a).await, (1..=4 * EACH).map(|place| i64::try_from(place).expect("small")).collect::<Vec<_>>());
    let ids: Vec<_> = acknowledged.iter().map(|(id, _)| *id).collect();
    let located = node.stores.messages.locate(&ids).await.expect("read");
    assert!(located.iter().zip(&acknowledged).all(|(found, (id, seq))| found.message_id == *id && found.seq.get() == *seq), "each is where it was said to be");
    let mut count = bus.count.subscribe();
    let every = count.wait_for(|_| bus.places(chat).into_iter().collect::<BTreeSet<_>>().len() == 4 * EACH);
    tokio::time::timeout(Duration::from_secs(30), every).await.expect("every event comes, some perhaps twice").expect("the bus is there");
    relay.abort();
    node.stores.database.close().await.expect("closes");
}
