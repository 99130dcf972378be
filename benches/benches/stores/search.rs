//! How long a page of search takes, by how much there is to search: half of the messages are in one chat, the rest in
//! small ones. Words are as unevenly frequent as in a language. Beside criterion's means, p50 and p99 are printed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use wa_core::id::{ChatId, UserId};
use wa_core::limits::Limits;
use wa_core::message::{Content, Seq, Text};
use wa_core::ports::{Env as _, EnvExt as _, NewDirectChat, NewUser, SearchBounds, Viewer};
use wa_core::search::{SearchTerms, Searchable};
use wa_core::testing::SimEnv;
use wa_storage::{StorageConfig, Stores, open};

/// Messages of each small chat.
const SMALL: usize = 1000;

/// Words there are.
const WORDS: u64 = 50_000;

/// Searches measured for p50 and p99.
const SAMPLES: usize = 200;

struct Library {
    env: Arc<SimEnv>,
    stores: Arc<Stores>,
    user: UserId,
    big: ChatId,
    small: Vec<ChatId>,
}

/// A word by its rank: the more frequent, the shorter.
fn word(rank: u64) -> String {
    let letter = |number: u64| char::from(b"etaoinshrdlucmfwypvbgkjqxz"[usize::try_from(number % 26).expect("small")]);
    let mut mixed = rank.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ rank;
    (0..2 + rank.checked_ilog10().unwrap_or(0) * 2)
        .map(|_| {
            mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            letter(mixed >> 33)
        })
        .collect()
}

/// A text of 4 to 15 words, of which the first ranks are the most frequent (Zipf).
fn text(random: &mut u64) -> String {
    let mut next = || {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        *random
    };
    let count = 4 + next() % 12;
    let mut words = Vec::new();
    for _ in 0..count {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rough distribution")]
        let rank = (WORDS as f64).powf((next() >> 11) as f64 / (1_u64 << 53) as f64) as u64 - 1;
        words.push(word(rank));
    }
    words.join(" ")
}

impl Library {
    async fn fill(folder: &std::path::Path, size: usize) -> Self {
        let env = Arc::new(SimEnv::new(5));
        let stores = Arc::new(open(&StorageConfig::new(format!("sqlite://{}", folder.join("wa.db").display())), env.clone()).await.expect("opens"));
        let new_user = || NewUser { id: env.new_id(), phone: None, display_name: String::new(), at: env.now() };
        let user = stores.users.register(new_user()).await.expect("registered").0.id;
        let mut chats = Vec::new();
        for _ in 0..=size / 2 / SMALL {
            let other = stores.users.register(new_user()).await.expect("registered").0.id;
            let pair = wa_core::chat::Pair::of(user, other).expect("two");
            let new = NewDirectChat { id: env.new_id(), event_id: env.new_id(), pair, created_by: user, at: env.now() };
            chats.push(stores.chats.create_direct(new).await.expect("made").0.id);
        }
        let library = Arc::new(Self { env, stores, user, big: chats[0], small: chats[1..].to_vec() });
        let mut tasks = JoinSet::new();
        for task in 0..200_usize {
            let library = Arc::clone(&library);
            tasks.spawn(async move {
                let mut random = 0x1234_5678_9abc_def1 ^ (task as u64) << 20;
                for number in (task..size).step_by(200) {
                    let chat = if number % 2 == 0 || library.small.is_empty() { library.big } else { library.small[number / 2 % library.small.len()] };
                    library.append(chat, text(&mut random)).await;
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("filled");
        }
        Arc::into_inner(library).expect("all are done")
    }

    async fn append(&self, chat: ChatId, body: String) {
        let content = Content::Text(Text { body, mentions: Vec::new() });
        let message = self.env.message(chat, self.user, content);
        self.stores.messages.append(message).await.expect("stored");
    }

    fn viewers(&self, chats: &[ChatId]) -> Vec<Viewer> {
        chats.iter().map(|&chat_id| Viewer { chat_id, user_id: self.user, above: Seq::ZERO, now: self.env.now() }).collect()
    }

    /// What a page costs: the newest matches, ranked.
    async fn search(&self, terms: &SearchTerms, viewers: &[Viewer], catch_up: usize) -> usize {
        let limits = Limits::default();
        let per_chat = (limits.search_window / viewers.len()).max(limits.search_window_per_chat);
        let bounds = SearchBounds { below: None, limit: limits.search_window + 1, per_chat, catch_up };
        let found = self.stores.search.matches(terms, viewers, bounds).await.expect("answered");
        let mut ranked: Vec<_> = found.iter().filter_map(|message| terms.score(&Searchable::of(message.content.as_ref()?))).collect();
        ranked.sort_unstable();
        ranked.len()
    }
}

fn terms(query: &str) -> SearchTerms {
    SearchTerms::parse(query, &Limits::default()).expect("can be read")
}

pub(super) fn search(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("search");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    for size in [1_000, 100_000, 1_000_000] {
        let folder = tempfile::tempdir().expect("a temporary folder is made");
        let start = Instant::now();
        let library = runtime.block_on(Library::fill(folder.path(), size));
        let filled = start.elapsed();
        let everything = library.viewers(&library.small.iter().copied().chain([library.big]).collect::<Vec<_>>());
        runtime.block_on(library.search(&terms("x"), &everything, usize::MAX));
        eprintln!("{size} messages: stored in {filled:.1?}, indexed in {:.1?}", start.elapsed() - filled);
        let few: Vec<ChatId> = library.small.iter().copied().take(3).collect();
        let callers = [("one_chat", library.viewers(&[library.big])), ("three_chats", library.viewers(&few)), ("all_chats", everything)];
        let frequent = [word(0), word(1), word(2)];
        let queries = [
            ("frequent", format!("{} ", frequent[0])),
            ("three_frequent", format!("{} {} {} ", frequent[0], frequent[1], frequent[2])),
            ("phrase", format!("\"{} {}\"", frequent[1], frequent[0])),
            ("rare", format!("{} ", word(40_000))),
            ("absent", "qqqqqqqq ".to_owned()),
            ("one_letter", "e".to_owned()),
            ("three_letters", word(20).chars().take(3).collect()),
        ];
        for (caller, viewers) in callers.iter().filter(|(_, viewers)| !viewers.is_empty()) {
            for (name, query) in &queries {
                let terms = terms(query);
                let mut times: Vec<Duration> = (0..SAMPLES)
                    .map(|_| {
                        let start = Instant::now();
                        runtime.block_on(library.search(&terms, viewers, 0));
                        start.elapsed()
                    })
                    .collect();
                times.sort_unstable();
                let found = runtime.block_on(library.search(&terms, viewers, 0));
                eprintln!("search/{caller}/{name}/{size}: {found} ranked, p50 {:.2?}, p99 {:.2?}", times[SAMPLES / 2], times[SAMPLES * 99 / 100]);
                group.bench_function(BenchmarkId::new(format!("{caller}/{name}"), size), |bencher| {
                    bencher.to_async(&runtime).iter(|| library.search(&terms, viewers, 0));
                });
            }
        }
        runtime.block_on(library.stores.close()).expect("closes");
    }
    group.finish();
}
