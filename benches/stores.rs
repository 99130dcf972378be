//! What the store takes for messages and receipts, one at a time and as many as share a commit, on a disk.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::try_join_all;
use tokio::runtime::Runtime;
use uuid::Uuid;
use wa_core::chat::{ChatKind, Pair};
use wa_core::id::{ChatId, UserId};
use wa_core::message::{Content, Fingerprint, Message, Text};
use wa_core::ports::{Appended, Env, EnvExt as _, NewDirectChat, NewMessage, NewUser, Page, Stored, Viewer};
use wa_core::receipt::{NewReceipt, Receipted};
use wa_core::time::Timestamp;
use wa_storage::{StorageConfig, Stores};

struct Real;

impl Env for Real {
    fn now(&self) -> Timestamp {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(0))
    }

    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(16) {
            chunk.copy_from_slice(&Uuid::now_v7().into_bytes()[16 - chunk.len()..]);
        }
    }
}

/// A store with chats of two.
struct World {
    stores: Stores,
    chats: Vec<(ChatId, UserId, UserId)>,
}

const CHATS: usize = 64;

impl World {
    async fn new(folder: &std::path::Path) -> Stored<Self> {
        let config = StorageConfig::new(format!("sqlite://{}", folder.join("bench.db").display()));
        let stores = wa_storage::open(&config, Arc::new(Real)).await.expect("a database in an empty folder");
        let mut chats = Vec::with_capacity(CHATS);
        for _ in 0..CHATS {
            let mut users = [UserId::from_uuid(Uuid::nil()); 2];
            for user in &mut users {
                let new = NewUser { id: Real.new_id(), phone: None, display_name: "Somebody".to_owned(), at: Real.now() };
                *user = stores.users.register(new).await?.0.id;
            }
            let [a, b] = users;
            let pair = Pair::of(a, b).expect("two users");
            let (chat, _) =
                stores.chats.create_direct(NewDirectChat { id: Real.new_id(), event_id: Real.new_id(), pair, created_by: a, at: Real.now() }).await?;
            chats.push((chat.id, a, b));
        }
        Ok(Self { stores, chats })
    }

    async fn append(&self, number: usize) -> Stored<Message> {
        let (chat_id, sender_id, _) = self.chats[number % CHATS];
        let version = self.stores.chats.membership(chat_id).await?.map_or(1, |membership| membership.version);
        let content = Content::Text(Text { body: "Shall we meet at the harbour at eight? I bring the charts.".to_owned(), mentions: Vec::new() });
        let message = NewMessage {
            id: Real.new_id(),
            event_id: Real.new_id(),
            chat_id,
            chat_kind: ChatKind::Direct,
            membership_version: version,
            sender_id,
            sender_name: "Somebody".to_owned(),
            client_msg_id: Uuid::now_v7().to_string(),
            fingerprint: Fingerprint::of(chat_id, &content, None),
            content,
            reply_to: None,
            forwarded_from: None,
            withheld_from: None,
            expires_at: None,
            created_at: Real.now(),
            origin: None,
        };
        match self.stores.messages.append(message).await? {
            Appended::Stored(message) => Ok(message),
            other => panic!("expected a stored message, got {other:?}"),
        }
    }

    async fn receive(&self, message: &Message) -> Stored<bool> {
        let user_id = self.chats.iter().find(|(chat, ..)| *chat == message.chat_id).expect("a chat of ours").2;
        let what = Receipted::Delivered(vec![message.located()]);
        let receipt = NewReceipt { chat_id: message.chat_id, user_id, what, announce: true, origin: None, at: Real.now() };
        self.stores.receipts.give(receipt, Real.new_id()).await
    }
}

fn stores(c: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder on the disk");
    let runtime = Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::new(folder.path())).expect("a store");
    let shared = &world;
    let mut group = c.benchmark_group("sqlite");
    group.measurement_time(Duration::from_secs(4)).sample_size(20);
    for together in [1, 16, 256] {
        group.throughput(Throughput::Elements(together as u64));
        group.bench_with_input(BenchmarkId::new("append", together), &together, |b, &together| {
            b.to_async(&runtime).iter(|| try_join_all((0..together).map(|number| world.append(number))));
        });
        group.bench_with_input(BenchmarkId::new("receive", together), &together, |b, &together| {
            b.to_async(&runtime).iter_custom(|rounds| async move {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let messages = try_join_all((0..together).map(|number| shared.append(number))).await.expect("stored");
                    let start = Instant::now();
                    try_join_all(messages.iter().map(|message| shared.receive(message))).await.expect("received");
                    spent += start.elapsed();
                }
                spent
            });
        });
    }
    group.throughput(Throughput::Elements(50));
    let (chat_id, user_id, _) = world.chats[0];
    let viewer = Viewer { chat_id, user_id, above: wa_core::message::Seq::ZERO, now: Real.now() };
    group.bench_function("page", |b| b.to_async(&runtime).iter(|| world.stores.messages.page(&viewer, Page::Newest, 50)));
    group.finish();
    runtime.block_on(world.stores.close()).expect("closed");
}

criterion_group!(benches, stores);
criterion_main!(benches);
