//! How many appends and receipts the stores take per second, by how many come at the same time. What comes together is
//! committed together, so that more writers mean larger groups and fewer syncs each.
//!
//! The group `inbox` measures history pages and the chat list beside chats of three sizes; see `stores/inbox.rs`.
//! The group `search` measures search over messages in number; see `stores/search.rs`.
//!
//! Run with `cargo bench -p wa-benches --bench stores`. The database is a file in the temporary folder: what `TMPDIR`
//! lies on is what is measured.

#[path = "stores/inbox.rs"]
mod inbox;
#[path = "stores/search.rs"]
mod search;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use wa_core::chat::Pair;
use wa_core::event::Event;
use wa_core::id::{ChatId, UserId};
use wa_core::message::{Content, Message, Text};
use wa_core::ports::{Appended, Env, EnvExt as _, EventBus, EventHandler, NewDirectChat, NewUser, Stored, Subscription};
use wa_core::receipt::{NewReceipt, Receipted};
use wa_core::testing::SimEnv;
use wa_storage::{StorageConfig, Stores, open};

/// Direct chats the writers spread over.
const CHATS: usize = 100;

/// A direct chat with its two sides.
#[derive(Clone, Copy)]
struct Pairing {
    chat: ChatId,
    sides: [UserId; 2],
}

/// An open store with chats, and a relay that publishes into the void.
struct House {
    env: Arc<SimEnv>,
    stores: Arc<Stores>,
    pairings: Vec<Pairing>,
}

#[derive(Debug)]
struct Void;

#[async_trait]
impl EventBus for Void {
    async fn publish(&self, _: &[Arc<Event>]) -> Stored<()> {
        Ok(())
    }

    async fn subscribe(&self, _: &'static str, _: Arc<dyn EventHandler>) -> Stored<Box<dyn Subscription>> {
        struct Nothing;
        impl Subscription for Nothing {}
        Ok(Box::new(Nothing))
    }
}

impl House {
    async fn open(folder: &Path) -> Self {
        let env = Arc::new(SimEnv::new(1));
        let config = StorageConfig::new(format!("sqlite://{}", folder.join("wa.db").display()));
        let stores = Arc::new(open(&config, env.clone()).await.expect("the store opens"));
        let relay = Arc::clone(&stores.relay);
        tokio::spawn(async move { relay.run(Arc::new(Void), std::future::pending()).await });
        let mut pairings = Vec::with_capacity(CHATS);
        for _ in 0..CHATS {
            let mut sides = [env.new_id(); 2];
            for side in &mut sides {
                let new = NewUser { id: env.new_id(), phone: None, display_name: "Somebody".to_owned(), at: env.now() };
                *side = stores.users.register(new).await.expect("registered").0.id;
            }
            let pair = Pair::of(sides[0], sides[1]).expect("two users");
            let new = NewDirectChat { id: env.new_id(), event_id: env.new_id(), pair, created_by: sides[0], at: env.now() };
            pairings.push(Pairing { chat: stores.chats.create_direct(new).await.expect("made").0.id, sides });
        }
        Self { env, stores, pairings }
    }

    async fn append(&self, pairing: Pairing, sender: usize) -> Message {
        let content = Content::Text(Text { body: "See you at eight, in front of the old station?".to_owned(), mentions: Vec::new() });
        let message = self.env.message(pairing.chat, pairing.sides[sender], content);
        match self.stores.messages.append(message).await {
            Ok(Appended::Stored(message)) => message,
            other => panic!("expected a stored message, got {other:?}"),
        }
    }

    async fn deliver(&self, message: &Message, to: UserId) {
        let receipt = NewReceipt {
            chat_id: message.chat_id,
            user_id: to,
            what: Receipted::Delivered(vec![message.located()]),
            announce: true,
            origin: None,
            at: self.env.now(),
        };
        assert!(self.stores.receipts.give(receipt, self.env.new_id()).await.expect("taken"));
    }

    /// Does so many operations with so many writers; each writer waits for its answer before it goes on.
    async fn work(self: &Arc<Self>, writers: usize, operations: u64, with_receipts: bool) -> Duration {
        self.env.advance(Duration::from_millis(1));
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let share = operations / writers as u64 + u64::from((writer as u64) < operations % writers as u64);
            let house = Arc::clone(self);
            tasks.spawn(async move {
                let pairing = house.pairings[writer % CHATS];
                let mut done = 0;
                for round in 0.. {
                    if done >= share {
                        break;
                    }
                    let sender = round % 2;
                    let message = house.append(pairing, sender).await;
                    done += 1;
                    if with_receipts && done < share {
                        house.deliver(&message, pairing.sides[1 - sender]).await;
                        done += 1;
                    }
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a writer ends well");
        }
        start.elapsed()
    }
}

fn stores(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    for (name, with_receipts) in [("append", false), ("append_and_receipt", true)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
        for writers in [1, 8, 32, 100, 256] {
            let folder = tempfile::tempdir().expect("a temporary folder is made");
            let house = Arc::new(runtime.block_on(House::open(folder.path())));
            group.bench_function(BenchmarkId::from_parameter(format!("{writers}_writers")), |bencher| {
                bencher.to_async(&runtime).iter_custom(|operations| {
                    let house = Arc::clone(&house);
                    async move { house.work(writers, operations, with_receipts).await }
                });
            });
            runtime.block_on(house.stores.close()).expect("the store closes");
        }
        group.finish();
    }
}

criterion_group!(benches, stores, inbox::inbox, search::search);
criterion_main!(benches);
