//! What only shows from within: groups put together on purpose, connections made to fail, relays that fall behind.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::{Mutex, Notify, Semaphore, oneshot};
use wa_core::chat::Pair;
use wa_core::error::{StoreError, StoreErrorKind};
use wa_core::event::{Event, Fact};
use wa_core::id::{ChatId, UserId};
use wa_core::limits::Limits;
use wa_core::message::{Content, Seq, Text};
use wa_core::ports::{
    Appended, Env, EnvExt as _, EventBus, EventHandler, NewDirectChat, NewMessage, NewUser, Page, PersonalUpdate, SearchBounds, Stored, Subscription, Viewer,
};
use wa_core::receipt::{NewReceipt, Receipted};
use wa_core::search::SearchTerms;
use wa_core::testing::SimEnv;

use super::statement::Statement;
use super::{Db, SqlStores, search_store};

struct House {
    env: Arc<SimEnv>,
    stores: SqlStores,
}

impl House {
    async fn in_memory() -> Self {
        Self::over(Db::open_memory(4).await.expect("opens"))
    }

    fn over(db: Db) -> Self {
        let env = Arc::new(SimEnv::new(11));
        Self { stores: SqlStores::new(db, env.clone()), env }
    }

    async fn user(&self) -> UserId {
        let new = NewUser { id: self.env.new_id(), phone: None, display_name: String::new(), at: self.env.now() };
        self.stores.users.register(new).await.expect("registered").0.id
    }

    fn new_chat(&self, a: UserId, b: UserId) -> NewDirectChat {
        NewDirectChat { id: self.env.new_id(), event_id: self.env.new_id(), pair: Pair::of(a, b).expect("two"), created_by: a, at: self.env.now() }
    }

    async fn chat(&self) -> (UserId, ChatId) {
        let (a, b) = (self.user().await, self.user().await);
        (a, self.stores.chats.create_direct(self.new_chat(a, b)).await.expect("made").0.id)
    }

    fn message(&self, chat: ChatId, sender: UserId) -> NewMessage {
        let content = Content::Text(Text { body: "hello".to_owned(), mentions: Vec::new() });
        self.env.message(chat, sender, content)
    }

    async fn stored(&self, chat: ChatId, user: UserId) -> Vec<i64> {
        let viewer = Viewer { chat_id: chat, user_id: user, above: Seq::ZERO, now: self.env.now() };
        self.stores.messages.page(&viewer, Page::After(Seq::ZERO), 10_000).await.expect("read").iter().map(|message| message.seq.get()).collect()
    }

    /// Keeps the writer busy until the sender says go, so that what is queued meanwhile becomes one group.
    async fn hold_writer(&self) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Stored<()>>) {
        let (go, wait) = oneshot::channel::<()>();
        let wait = wait.shared();
        let started = Arc::new(Notify::new());
        let is_running = Arc::clone(&started);
        let writer = Arc::clone(&self.stores.database.writer);
        let held = tokio::spawn(async move {
            writer
                .run(move |_| {
                    Box::pin(async move {
                        started.notify_one();
                        let _ = wait.await;
                        Ok(())
                    })
                })
                .await
        });
        is_running.notified().await;
        (go, held)
    }

    /// Runs this on the writer's connection, in a transaction of its own.
    async fn on_writer(&self, sql: &'static str) -> Stored<u64> {
        self.stores.database.writer.run(move |tx| Box::pin(async move { tx.execute(Statement::fixed(sql)).await })).await
    }
}

/// Lets queued futures reach the queue before the group is let go: they do so when they are first polled.
async fn together<T>(house: &House, jobs: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let (go, held) = house.hold_writer().await;
    let mut go = Some(go);
    let release = async {
        go.take().map(|go| go.send(()));
    };
    let (answers, ()) = tokio::join!(join_all(jobs), release);
    held.await.expect("joined").expect("the holder's work is committed");
    answers
}

#[tokio::test]
async fn a_refused_append_does_not_touch_the_others_of_its_group() {
    let house = House::in_memory().await;
    let (a, chat) = house.chat().await;
    let mut messages: Vec<NewMessage> = (0..20).map(|_| house.message(chat, a)).collect();
    messages[7].id = messages[3].id;
    let answers = together(&house, messages.into_iter().map(|message| house.stores.messages.append(message))).await;
    let refused: Vec<usize> = (0..20).filter(|index| answers[*index].is_err()).collect();
    assert_eq!(refused, [7], "one id cannot be that of two messages");
    assert_eq!(house.stored(chat, a).await, (1..=19).collect::<Vec<_>>());
    let outbox = house.stores.database.db.read(Statement::fixed("SELECT events FROM outbox ORDER BY id DESC LIMIT 1")).await.expect("read");
    let events: Vec<Event> = serde_json::from_str(&outbox[0].text(0).expect("text")).expect("events");
    assert_eq!(events.iter().filter(|event| matches!(event.fact, Fact::MessageNew(_))).count(), 19, "all in the one group");
}

#[tokio::test]
async fn refused_work_does_not_touch_the_others_of_its_group() {
    let house = House::in_memory().await;
    let (a, chat) = house.chat().await;
    let (b, unknown) = (house.user().await, house.env.new_id());
    let contacts = &house.stores.contacts;
    let at = house.env.now();
    let answers = together(&house, [b, unknown, chat_partner(&house, chat, a).await].map(|target| contacts.set_blocked(a, target, true, at))).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(answers[1].as_ref().err().map(|error| error.kind), Some(StoreErrorKind::Other), "nobody blocks who is not there");
    assert_eq!(contacts.list(a).await.expect("read").len(), 2);
    assert!(house.stores.chats.set_personal(a, chat, PersonalUpdate::Pin(true)).await.expect("the writer goes on"));
}

async fn chat_partner(house: &House, chat: ChatId, of: UserId) -> UserId {
    let membership = house.stores.chats.membership(chat).await.expect("read").expect("the chat exists");
    membership.peer_of(of).expect("a direct chat has two sides").user_id
}

#[tokio::test]
async fn a_failed_commit_fails_the_whole_group_and_the_next_one_works() {
    let house = House::in_memory().await;
    let (a, chat) = house.chat().await;
    let writer = &house.stores.database.writer;
    // A violation that is only looked at when the transaction is committed.
    let breaking = writer.run(|tx| {
        Box::pin(async move {
            tx.execute(Statement::fixed("PRAGMA defer_foreign_keys = ON")).await?;
            tx.execute(Statement::fixed("INSERT INTO privacy_settings (user_id, updated_at) VALUES (x'00', 0)")).await
        })
    });
    let (go, held) = house.hold_writer().await;
    let release = async { go.send(()) };
    let message = house.message(chat, a);
    let (broken, appended, _) = tokio::join!(breaking, house.stores.messages.append(message.clone()), release);
    held.await.expect("joined").expect("the group before it is committed");
    assert_eq!(broken.map_err(|error| error.kind), Err(StoreErrorKind::Unavailable));
    assert_eq!(appended.map_err(|error| error.kind), Err(StoreErrorKind::Unavailable));
    assert_eq!(house.stored(chat, a).await, [0; 0], "what was not acknowledged is not there either");
    assert!(matches!(house.stores.messages.append(message).await, Ok(Appended::Stored(message)) if message.seq == Seq::new(1)));
}

#[tokio::test]
async fn a_full_or_read_only_disk_is_unavailable_and_recovers_without_a_restart() {
    for pragma in ["PRAGMA max_page_count = 1", "PRAGMA query_only = ON"] {
        let folder = tempfile::tempdir().expect("a folder");
        let house = House::over(Db::open_file(&folder.path().join("wa.db"), 4).await.expect("opens"));
        let (a, chat) = house.chat().await;
        let mut kept = 0;
        house.on_writer(pragma).await.expect("set on the present connection");
        let mut failures = 0;
        // Free pages are used up first.
        for _ in 0..2000 {
            match house.stores.messages.append(house.message(chat, a)).await {
                Ok(appended) => {
                    assert!(matches!(appended, Appended::Stored(_)));
                    kept += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{pragma}: {error}");
                    failures += 1;
                    break;
                }
            }
        }
        assert_eq!(failures, 1, "{pragma}");
        house.stores.database.probe().await.expect("a new connection has the space again");
        assert!(matches!(house.stores.messages.append(house.message(chat, a)).await, Ok(Appended::Stored(_))));
        assert_eq!(house.stored(chat, a).await, (1..=kept + 1).collect::<Vec<_>>(), "{pragma}");
        house.stores.database.close().await.expect("closes");
    }
}

#[tokio::test]
async fn a_full_queue_is_unavailable_within_the_time_for_answers() {
    let house = House::in_memory().await;
    let (a, chat) = house.chat().await;
    let (go, held) = house.hold_writer().await;
    let waiting: Vec<_> = (0..5000).map(|_| house.message(chat, a)).map(|message| house.stores.messages.append(message)).collect();
    let answers = tokio::time::timeout(std::time::Duration::from_secs(5), join_all(waiting)).await.expect("everybody is answered");
    assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError { kind: StoreErrorKind::Unavailable, .. }))));
    let reasons: std::collections::BTreeSet<String> = answers.iter().filter_map(|answer| Some(answer.as_ref().err()?.source.to_string())).collect();
    assert_eq!(reasons.len(), 2, "some found the queue full, some were not answered in time: {reasons:?}");
    let _ = go.send(());
    let _ = held.await;
    assert!(matches!(house.stores.messages.append(house.message(chat, a)).await, Ok(Appended::Stored(_))), "afterwards it goes on");
}

#[tokio::test]
async fn what_is_deferred_is_seen_at_once_and_survives_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wa.db");
    let house = House::over(Db::open_file(&path, 4).await.expect("opens"));
    let (a, chat) = house.chat().await;
    let b = chat_partner(&house, chat, a).await;
    let first = house.message(chat, a);
    let Ok(Appended::Stored(stored)) = house.stores.messages.append(first.clone()).await else { panic!("not stored") };
    let in_table = || async {
        house.stores.database.db.read_tables(Statement::fixed("SELECT COUNT(*) FROM messages WHERE chat_id = $1").bind(chat)).await.expect("read")[0]
            .int(0)
            .expect("a count")
    };
    assert_eq!(in_table().await, 0, "the table has it later");
    assert_eq!(house.stored(chat, a).await, [1], "who reads it waits for that");
    assert_eq!(in_table().await, 1);
    for _ in 0..10 {
        house.stores.messages.append(house.message(chat, a)).await.expect("stored");
    }
    let receipt =
        NewReceipt { chat_id: chat, user_id: b, what: Receipted::Delivered(vec![stored.located()]), announce: true, origin: None, at: house.env.now() };
    assert!(house.stores.receipts.give(receipt.clone(), house.env.new_id()).await.expect("taken"));
    assert!(!house.stores.receipts.give(receipt, house.env.new_id()).await.expect("taken"), "a mark rises once");
    house.stores.messages.append(house.message(chat, a)).await.expect("stored");
    let events = house
        .stores
        .database
        .db
        .read_apart(Statement::fixed("SELECT COALESCE(SUM(deferred), 0) FROM outbox WHERE id > (SELECT applied FROM outbox_position WHERE id = 1)"));
    assert!(events.await.expect("read")[0].int(0).expect("a sum") > 0, "something is still deferred");
    // The process ends without saying so; what was acknowledged is only in the outbox.
    drop(house);
    let house = House::over(Db::open_file(&path, 4).await.expect("opens again"));
    // Whoever writes first goes on where the outbox, not the table, has come to.
    assert!(matches!(house.stores.messages.append(house.message(chat, a)).await, Ok(Appended::Stored(message)) if message.seq == Seq::new(13)));
    assert_eq!(house.stored(chat, a).await, (1..=13).collect::<Vec<_>>());
    let marks = house.stores.receipts.marks(&[chat]).await.expect("read");
    assert_eq!(marks[&chat][&b].delivered_up_to, Seq::new(1));
    assert!(matches!(house.stores.messages.append(first).await, Ok(Appended::Duplicate(message)) if message.seq == Seq::new(1)));
    assert!(matches!(house.stores.messages.append(house.message(chat, a)).await, Ok(Appended::Stored(message)) if message.seq == Seq::new(14)));
    house.stores.database.close().await.expect("closes");
}

#[tokio::test]
async fn a_repeat_of_what_is_deferred_is_known() {
    let house = House::in_memory().await;
    let (a, chat) = house.chat().await;
    let message = house.message(chat, a);
    assert!(matches!(house.stores.messages.append(message.clone()).await, Ok(Appended::Stored(_))));
    assert!(matches!(house.stores.messages.append(message.clone()).await, Ok(Appended::Duplicate(_))));
    let answers = together(&house, [message.clone(), house.message(chat, a), message].map(|message| house.stores.messages.append(message))).await;
    assert!(matches!(answers[..], [Ok(Appended::Duplicate(_)), Ok(Appended::Stored(_)), Ok(Appended::Duplicate(_))]), "{answers:?}");
}

#[tokio::test]
async fn what_is_deferred_is_read_where_it_is_when_the_disk_is_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let house = House::over(Db::open_file(&folder.path().join("wa.db"), 4).await.expect("opens"));
    let (a, chat) = house.chat().await;
    house.stores.messages.append(house.message(chat, a)).await.expect("stored");
    let deferral = house.stores.database.db.deferral();
    assert!(deferral.is_behind());
    let read = Statement::fixed("SELECT COUNT(*) FROM messages WHERE chat_id = $1").bind(chat);
    assert_eq!(super::writer::read_through(&house.stores.database.db, read).await.expect("read")[0].int(0).expect("a count"), 1);
    assert!(deferral.is_behind(), "reading through leaves it where it is");
    assert_eq!(house.stored(chat, a).await, [1]);
    house.stores.database.close().await.expect("closes");
}

#[tokio::test]
async fn a_closed_store_refuses_as_unavailable() {
    let house = House::in_memory().await;
    let (a, chat) = house.chat().await;
    house.stores.database.close().await.expect("closes");
    house.stores.database.close().await.expect("closing twice is closing once");
    let appended = house.stores.messages.append(house.message(chat, a)).await;
    assert_eq!(appended.map_err(|error| error.kind), Err(StoreErrorKind::Unavailable));
    assert_eq!(house.stores.users.get(&[a]).await.map_err(|error| error.kind), Err(StoreErrorKind::Unavailable));
}

/// Takes batches as long as it has permits.
#[derive(Debug)]
struct Gate {
    permits: Semaphore,
    taken: Mutex<Vec<Arc<Event>>>,
    failures: std::sync::atomic::AtomicU32,
}

impl Gate {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self { permits: Semaphore::new(permits), taken: Mutex::default(), failures: 0.into() })
    }

    async fn places(&self) -> Vec<i64> {
        let place = |event: &Arc<Event>| if let Fact::MessageNew(new) = &event.fact { Some(new.message.seq.get()) } else { None };
        self.taken.lock().await.iter().filter_map(place).collect()
    }
}

#[async_trait]
impl EventBus for Gate {
    async fn publish(&self, events: &[Arc<Event>]) -> Stored<()> {
        use std::sync::atomic::Ordering::SeqCst;
        if self.failures.load(SeqCst) > 0 {
            self.failures.fetch_sub(1, SeqCst);
            return Err(StoreError::unavailable("test", "not now"));
        }
        self.permits.acquire().await.expect("open").forget();
        self.taken.lock().await.extend_from_slice(events);
        Ok(())
    }

    async fn subscribe(&self, _: &'static str, _: Arc<dyn EventHandler>) -> Stored<Box<dyn Subscription>> {
        Err(StoreError::other("test", "nobody subscribes here"))
    }
}

#[tokio::test]
async fn a_relay_that_fell_behind_publishes_everything_in_order_and_once() {
    let house = House::in_memory().await;
    let (a, chat) = house.chat().await;
    let bus = Gate::new(10);
    let (stop, stopped) = oneshot::channel::<()>();
    let relay = Arc::clone(&house.stores.relay);
    let running = tokio::spawn({
        let bus = bus.clone();
        async move { relay.run(bus, async move { drop(stopped.await) }).await }
    });
    // One group each, and more of them than fit between writer and relay.
    for _ in 0..600 {
        house.stores.messages.append(house.message(chat, a)).await.expect("stored");
    }
    assert!(house.stores.relay.depth() > 500, "{}", house.stores.relay.depth());
    bus.failures.store(2, std::sync::atomic::Ordering::SeqCst);
    bus.permits.add_permits(10_000);
    for _ in 0..50 {
        house.stores.messages.append(house.message(chat, a)).await.expect("stored");
    }
    stop.send(()).expect("the relay runs");
    running.await.expect("the relay ends");
    assert_eq!(bus.places().await, (1..=650).collect::<Vec<_>>());
    assert_eq!(house.stores.relay.depth(), 0);
    let left = house.stores.database.db.read(Statement::fixed("SELECT COUNT(*) FROM outbox")).await.expect("read");
    assert_eq!(left[0].int(0).expect("a count"), 0, "what was published is deleted");
}

#[tokio::test]
async fn what_a_crash_left_in_the_outbox_is_published_by_the_next_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wa.db");
    let house = House::over(Db::open_file(&path, 4).await.expect("opens"));
    let (a, chat) = house.chat().await;
    for _ in 0..40 {
        house.stores.messages.append(house.message(chat, a)).await.expect("stored");
    }
    // Nobody ran the relay; the process ends without saying so.
    drop(house);
    let house = House::over(Db::open_file(&path, 4).await.expect("opens again"));
    let bus = Gate::new(1000);
    house.stores.relay.run(bus.clone(), std::future::ready(())).await;
    assert_eq!(bus.places().await, (1..=40).collect::<Vec<_>>());
    house.stores.messages.append(house.message(chat, a)).await.expect("stored");
    house.stores.relay.run(bus.clone(), std::future::ready(())).await;
    assert_eq!(bus.places().await, (1..=41).collect::<Vec<_>>(), "and once is enough");
    house.stores.database.close().await.expect("closes");
}

#[tokio::test]
async fn an_unreadable_row_of_the_outbox_does_not_stop_the_others() {
    let house = House::in_memory().await;
    let (a, chat) = house.chat().await;
    house.on_writer("INSERT INTO outbox (events, created_at) VALUES ('not events', 0)").await.expect("inserted");
    house.stores.messages.append(house.message(chat, a)).await.expect("stored");
    let bus = Gate::new(1000);
    house.stores.relay.run(bus.clone(), std::future::ready(())).await;
    assert_eq!(bus.places().await, [1]);
}

macro_rules! run_all {
    (($run:ident) $($port:ident: [$($case:ident)*])*) => {
        $($({
            let subject = crate::conformance::Subject::open(&crate::StorageConfig::in_memory()).await.expect("opens");
            crate::conformance::$port::$case(&subject).await;
            subject.close().await;
            $run += 1;
        })*)*
    };
}

/// Tables that are as small as what is under way.
const SMALL: [&str; 5] = ["outbox", "health_probe", "sqlite_master", "ended_groups", "push_queue"];

#[test]
fn no_statement_reads_a_whole_table() {
    // All cases in one future need more than a test's stack.
    let explain = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(every_statement_is_explained());
    };
    std::thread::Builder::new().stack_size(64 << 20).spawn(explain).expect("a thread").join().expect("no statement reads a whole table");
}

async fn every_statement_is_explained() {
    let mut cases = 0;
    crate::conformance_cases! { [run_all] (cases) }
    assert!(cases > 50);
    let house = House::in_memory().await;
    let tables = house.stores.database.db.read(Statement::fixed("SELECT name FROM sqlite_master WHERE type = 'table'")).await.expect("read");
    let tables: Vec<String> = tables.iter().map(|row| row.text(0).expect("a name")).filter(|name| !SMALL.contains(&name.as_str())).collect();
    let mut looked_at = 0;
    for text in super::db::seen::texts() {
        let statement = text.split(';').next().unwrap_or_default();
        if !["SELECT", "UPDATE", "DELETE", "INSERT"].iter().any(|verb| statement.starts_with(verb)) {
            continue;
        }
        looked_at += 1;
        let plan =
            house.stores.database.db.read(Statement::build(super::db::Dialect::Sqlite, &format!("EXPLAIN QUERY PLAN {statement}"))).await.expect("explained");
        for step in plan.iter().map(|row| row.text(3).expect("a step")) {
            let Some(scanned) = step.strip_prefix("SCAN ") else { continue };
            let name = scanned.split(' ').next().unwrap_or_default();
            // Tables appear under their own name or a one-letter one; `v` are the values that were handed in.
            let of_values = name == "v"
                || name.parse::<u32>().is_ok()
                || scanned.contains("CONSTANT ROW")
                || scanned.contains("VIRTUAL TABLE INDEX")
                || name == "told"
                || name == "read";
            assert!(of_values || !(tables.iter().any(|table| table == name) || name.len() == 1), "{step}: {statement}");
        }
    }
    assert!(looked_at > 50, "{looked_at}");
}

impl House {
    /// The places of what a search for the text of [`House::message`] finds, newest first.
    async fn found(&self, chat: ChatId, user: UserId, catch_up: usize) -> Vec<i64> {
        let terms = SearchTerms::parse("hello", &Limits::default()).expect("readable");
        let viewer = Viewer { chat_id: chat, user_id: user, above: Seq::ZERO, now: self.env.now() };
        let bounds = SearchBounds { below: None, limit: 100, per_chat: 100, catch_up };
        let found = self.stores.search.matches(&terms, &[viewer], bounds).await.expect("answered");
        found.iter().map(|message| message.seq.get()).collect()
    }

    async fn indexed(&self) -> i64 {
        let rows = self.stores.database.db.read(Statement::fixed("SELECT COUNT(*) FROM search_index")).await.expect("read");
        rows[0].int(0).expect("a number")
    }

    /// What the row of the first message was changed by, such as a reaction.
    async fn touch_first(&self, chat: ChatId, change: &'static str) {
        self.on_writer_in(chat, "UPDATE chats SET rev = rev + 1 WHERE id = $1").await;
        self.on_writer_in(chat, change).await;
    }

    async fn on_writer_in(&self, chat: ChatId, sql: &'static str) {
        let done = self.stores.database.writer.run(move |tx| Box::pin(async move { tx.execute(Statement::fixed(sql).bind(chat)).await })).await;
        assert_eq!(done.expect("done"), 1);
    }
}

const TOUCHED: &str = "UPDATE messages SET rev = (SELECT c.rev FROM chats c WHERE c.id = $1) WHERE chat_id = $1 AND seq = 1";
const EDITED: &str = "UPDATE messages SET rev = (SELECT c.rev FROM chats c WHERE c.id = $1), payload = '{\"body\":\"bye\",\"mentions\":[]}', edited_at = 1 WHERE chat_id = $1 AND seq = 1";
const DELETED: &str = "UPDATE messages SET rev = (SELECT c.rev FROM chats c WHERE c.id = $1), payload = NULL WHERE chat_id = $1 AND seq = 1";

#[tokio::test]
async fn the_index_follows_whatever_changes_a_message() {
    let house = House::in_memory().await;
    let (user, chat) = house.chat().await;
    for _ in 0..2 {
        house.stores.messages.append(house.message(chat, user)).await.expect("stored");
    }
    // The change of the first comes after the second message, and so does its turn.
    house.touch_first(chat, TOUCHED).await;
    assert_eq!(house.found(chat, user, 1).await, [2]);
    assert_eq!(house.found(chat, user, 1).await, [2, 1], "it was not indexed when it was touched");
    house.touch_first(chat, TOUCHED).await;
    assert_eq!(house.found(chat, user, 10).await, [2, 1]);
    assert_eq!(house.indexed().await, 2, "each once");
    house.touch_first(chat, EDITED).await;
    assert_eq!(house.found(chat, user, 10).await, [2]);
    assert_eq!(house.indexed().await, 2, "by its new words");
    house.touch_first(chat, DELETED).await;
    assert_eq!(house.found(chat, user, 10).await, [2]);
    assert_eq!(house.indexed().await, 1);
}

#[tokio::test]
async fn what_expired_or_is_gone_leaves_the_index() {
    let house = House::in_memory().await;
    let (user, chat) = house.chat().await;
    let (other, elsewhere) = house.chat().await;
    house.stores.messages.append(house.message(elsewhere, other)).await.expect("stored");
    house.stores.messages.append(house.message(chat, user)).await.expect("stored");
    let passing = NewMessage { expires_at: Some(house.env.now().after(Duration::from_secs(60))), ..house.message(chat, user) };
    house.stores.messages.append(passing).await.expect("stored");
    let search = search_store::SqlSearchStore::new(Arc::clone(&house.stores.database.db), Arc::clone(&house.stores.database.writer), house.env.clone());
    assert!(search.catch_up(&[chat, elsewhere], 100).await.expect("indexed"));
    assert_eq!(house.indexed().await, 3);
    assert!(search.remove_expired().await.expect("looked"));
    assert_eq!(house.indexed().await, 3);
    house.env.advance(Duration::from_secs(60));
    assert!(search.remove_expired().await.expect("removed"));
    assert_eq!(house.indexed().await, 2);
    assert_eq!(search.gone(0, 10).await.expect("looked"), Some((2, vec![])));
    house.on_writer_in(chat, "DELETE FROM chats WHERE id = $1").await;
    assert!(search.remove_gone(&[elsewhere]).await.expect("looked"), "that chat is still there");
    assert_eq!(search.gone(0, 10).await.expect("looked"), Some((2, vec![chat])));
    while !search.remove_gone(&[chat]).await.expect("removed") {}
    assert_eq!(house.indexed().await, 1);
    assert_eq!(search.gone(0, 10).await.expect("looked"), Some((2, vec![])), "only the other is known");
    assert_eq!(search.gone(2, 10).await.expect("looked"), None);
    assert_eq!(house.found(elsewhere, other, 0).await, [1]);
}

#[tokio::test]
async fn searches_at_the_same_moment_index_everything_once() {
    let house = House::in_memory().await;
    let (user, chat) = house.chat().await;
    for _ in 0..3 {
        house.stores.messages.append(house.message(chat, user)).await.expect("stored");
    }
    // Two that index the same at the same moment take it once.
    let all = join_all((0..4).map(|_| house.found(chat, user, 10))).await;
    assert!(all.iter().all(|found| found == &[3, 2, 1]), "{all:?}");
    assert_eq!(house.indexed().await, 3);
}
