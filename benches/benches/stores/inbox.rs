//! How long a page of history and the chat list take, by how many messages the largest chat holds: neither may depend on it.
//! The user is in a thousand chats and has read the large one but for its newest messages. Beside criterion's means, p50
//! and p99 are printed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use wa_core::chat::{ChatCursor, Pair};
use wa_core::id::{ChatId, UserId};
use wa_core::message::{Content, Message, Seq, Text};
use wa_core::ports::{Appended, Env as _, EnvExt as _, NewDirectChat, NewUser, Page, Viewer};
use wa_core::receipt::{NewReceipt, Receipted};
use wa_core::testing::SimEnv;
use wa_storage::{StorageConfig, Stores, open};

/// Chats of the user.
const CHATS: usize = 1000;

/// Messages of the large chat that are not read.
const UNREAD: usize = 20;

/// Messages of the large chat that are read at a time.
const READ_TOGETHER: usize = 20_000;

/// Pages measured for p50 and p99.
const SAMPLES: usize = 300;

struct Inbox {
    env: Arc<SimEnv>,
    stores: Arc<Stores>,
    user: UserId,
    big: ChatId,
    other: UserId,
}

impl Inbox {
    async fn fill(folder: &std::path::Path, size: usize) -> Self {
        let env = Arc::new(SimEnv::new(9));
        let stores = Arc::new(open(&StorageConfig::new(format!("sqlite://{}", folder.join("wa.db").display())), env.clone()).await.expect("opens"));
        let new_user = || NewUser { id: env.new_id(), phone: None, display_name: String::new(), at: env.now() };
        let user = stores.users.register(new_user()).await.expect("registered").0.id;
        let mut chats = Vec::with_capacity(CHATS);
        for _ in 0..CHATS {
            let other = stores.users.register(new_user()).await.expect("registered").0.id;
            let new = NewDirectChat { id: env.new_id(), event_id: env.new_id(), pair: Pair::of(user, other).expect("two"), created_by: user, at: env.now() };
            chats.push((stores.chats.create_direct(new).await.expect("made").0.id, other));
        }
        let (big, other) = chats[0];
        let inbox = Arc::new(Self { env, stores, user, big, other });
        for (chat, other) in &chats[1..] {
            inbox.append(*chat, *other).await;
        }
        // Read as it comes: nobody has a million messages to read at once.
        let mut left = size.saturating_sub(UNREAD);
        while left > 0 {
            let some = left.min(READ_TOGETHER);
            left -= some;
            let mut tasks = JoinSet::new();
            for task in 0..200_usize {
                let inbox = Arc::clone(&inbox);
                tasks.spawn(async move {
                    for _ in (task..some).step_by(200) {
                        inbox.append(inbox.big, inbox.other).await;
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.expect("filled");
            }
            let newest = inbox.page(Page::Newest).await.remove(0);
            let what = Receipted::ReadUpTo(newest.located());
            let receipt = NewReceipt { chat_id: big, user_id: user, what, announce: true, origin: None, at: inbox.env.now() };
            inbox.stores.receipts.give(receipt, inbox.env.new_id()).await.expect("taken");
        }
        for _ in 0..UNREAD {
            inbox.append(big, other).await;
        }
        Arc::into_inner(inbox).expect("all are done")
    }

    async fn append(&self, chat: ChatId, sender: UserId) {
        let content = Content::Text(Text { body: "See you at eight, in front of the old station?".to_owned(), mentions: Vec::new() });
        let message = self.env.message(chat, sender, content);
        assert!(matches!(self.stores.messages.append(message).await, Ok(Appended::Stored(_))));
    }

    fn viewer(&self, chat_id: ChatId) -> Viewer {
        Viewer { chat_id, user_id: self.user, above: Seq::ZERO, now: self.env.now() }
    }

    /// A page of a hundred with what was added to its messages.
    async fn page(&self, page: Page) -> Vec<Message> {
        let viewer = self.viewer(self.big);
        let messages = self.stores.messages.page(&viewer, page, 100).await.expect("read");
        let places: Vec<Seq> = messages.iter().map(|message| message.seq).collect();
        self.stores.annotations.annotations(&viewer, &places).await.expect("read");
        messages
    }

    /// A page of a hundred chats with previews and unread counts.
    async fn list(&self, after: Option<ChatCursor>) -> u64 {
        let listed = self.stores.chats.list(self.user, after, 100).await.expect("read");
        let viewers: Vec<Viewer> = listed.iter().map(|listed| self.viewer(listed.chat.id)).collect();
        self.stores.messages.summaries(&viewers).await.expect("read").iter().map(|summary| summary.unread).sum()
    }
}

pub(super) fn inbox(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("inbox");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    for size in [1_000, 100_000, 1_000_000] {
        let folder = tempfile::tempdir().expect("a temporary folder is made");
        let inbox = runtime.block_on(Inbox::fill(folder.path(), size));
        let middle = Page::Before(Seq::new(i64::try_from(size / 2).unwrap_or(i64::MAX)));
        for (name, page) in [("newest_page", Some(Page::Newest)), ("page_in_the_middle", Some(middle)), ("chat_list", None)] {
            let once = async || match page {
                Some(page) => inbox.page(page).await.len() as u64,
                None => inbox.list(None).await,
            };
            let mut times: Vec<Duration> = (0..SAMPLES)
                .map(|_| {
                    let start = Instant::now();
                    runtime.block_on(once());
                    start.elapsed()
                })
                .collect();
            times.sort_unstable();
            eprintln!("inbox/{name}/{size}: p50 {:.2?}, p99 {:.2?}", times[SAMPLES / 2], times[SAMPLES * 99 / 100]);
            group.bench_function(BenchmarkId::new(name, size), |bencher| bencher.to_async(&runtime).iter(&once));
        }
        runtime.block_on(inbox.stores.close()).expect("closes");
    }
    group.finish();
}
