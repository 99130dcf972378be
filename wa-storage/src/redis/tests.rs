//! What only several nodes on one Redis show, and what becomes of them when it is stopped, killed or emptied. Most tests start a
//! server of their own, with the program that `WA_TEST_REDIS_SERVER` names.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;
use wa_core::id::{ChatId, ConnectionId, UserId};
use wa_core::limits::RateLimit;
use wa_core::phone::Phone;
use wa_core::ports::{Admission, CameAndWent, Env, EnvExt as _, OtpStore as _, PresenceStore as _, RateLimiter as _, TypingStore as _};
use wa_core::testing::SimEnv;

use super::*;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis of a test's own.
struct Server {
    process: Child,
    port: u16,
    folder: TempDir,
    options: &'static [&'static str],
}

impl Server {
    fn start(options: &'static [&'static str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let folder = tempfile::tempdir().expect("a folder");
        Self { process: Self::run(port, &folder, options), port, folder, options }
    }

    fn run(port: u16, folder: &TempDir, options: &[&str]) -> Child {
        let program = std::env::var("WA_TEST_REDIS_SERVER").expect("WA_TEST_REDIS_SERVER names the program: run `make services-up` and do what it says");
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--appendonly", "yes", "--save", "", "--port", &port.to_string(), "--dir"]).arg(folder.path()).args(options);
        command.stdout(Stdio::null()).spawn().expect("Redis starts")
    }

    fn url(&self, more: &str) -> String {
        format!("redis://127.0.0.1:{}{more}", self.port)
    }

    /// Connects once the server answers.
    async fn open(&self, more: &str) -> Arc<Redis> {
        let env: Arc<dyn Env> = Arc::new(RealClock);
        let until = Instant::now() + PATIENCE;
        loop {
            match Redis::open(&self.url(more), Arc::clone(&env)).await {
                Ok(redis) => return redis,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().expect("it is sent");
        assert!(sent.success(), "the server runs");
    }

    fn kill(&mut self) {
        self.process.kill().expect("it is killed");
        self.process.wait().expect("it ended");
    }

    fn restart(&mut self) {
        self.process = Self::run(self.port, &self.folder, self.options);
    }

    fn restart_empty(&mut self) {
        self.folder = tempfile::tempdir().expect("a folder");
        self.restart();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The clock of the system; randomness is that of new UUIDs.
struct RealClock;

impl Env for RealClock {
    fn now(&self) -> Timestamp {
        let since = std::time::UNIX_EPOCH.elapsed().expect("a time after 1970");
        Timestamp::from_millis(i64::try_from(since.as_millis()).expect("a time before the year 292,000,000"))
    }

    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&Uuid::now_v7().as_bytes()[8..][..chunk.len()]);
        }
    }
}

/// Nodes of one installation whose clock moves when it is told to, on the Redis that `WA_TEST_REDIS` names.
async fn nodes<const N: usize>() -> (Arc<SimEnv>, [Arc<Redis>; N]) {
    let server = std::env::var("WA_TEST_REDIS").expect("WA_TEST_REDIS names a Redis: run `make services-up` and do what it says");
    let url = format!("{server}?prefix={}:&clock=own", Uuid::now_v7().simple());
    let env = Arc::new(SimEnv::new(7));
    let mut nodes = Vec::new();
    for _ in 0..N {
        nodes.push(Redis::open(&url, env.clone()).await.expect("a node connects"));
    }
    (env, nodes.try_into().unwrap_or_else(|_| unreachable!("there are as many")))
}

async fn came_and_went(store: &RedisPresenceStore) -> CameAndWent {
    store.expire().await.expect("answered")
}

fn phone() -> Phone {
    "+15550100001".parse().expect("a test number")
}

/// Asks until it is so.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{what}"))
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_dead_nodes_users_go_offline_once_and_those_of_a_live_one_stay() {
    let (env, [alive, dead, other]) = nodes().await;
    let [alive, dead, other] = [alive, dead, other].map(RedisPresenceStore::new);
    let (here, there, both): (UserId, UserId, UserId) = (env.new_id(), env.new_id(), env.new_id());
    for (store, user) in [(&alive, here), (&dead, there), (&alive, both), (&dead, both)] {
        store.connect(user, env.new_id()).await.expect("answered");
    }
    let (mut went, mut gone_after) = (Vec::new(), 0);
    for second in 0..300 {
        env.advance(Duration::from_secs(1));
        if second % 15 == 0 {
            assert_eq!(alive.renew().await.expect("answered"), CameAndWent::default());
        }
        // All at once, as nodes do.
        let (one, two) = tokio::join!(came_and_went(&alive), came_and_went(&other));
        for changes in [one, two] {
            assert_eq!(changes.came, []);
            gone_after = if changes.went.is_empty() { gone_after } else { second };
            went.extend(changes.went);
        }
    }
    assert_eq!(went, [there], "whoever is on a live node as well stays");
    assert!(gone_after < 65, "a lease takes a minute");
    assert_eq!(other.online(&[here, there, both]).await.expect("answered"), [here, both]);
    // The node was only stopped: once it goes on, its users are here again.
    assert_eq!(dead.renew().await.expect("answered").came, [there]);
    assert_eq!(other.online(&[there]).await.expect("answered"), [there]);
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn nobody_goes_offline_because_no_node_got_through() {
    let (env, [one, two]) = nodes().await;
    let [one, two] = [one, two].map(RedisPresenceStore::new);
    let users: [UserId; 2] = [env.new_id(), env.new_id()];
    one.connect(users[0], env.new_id()).await.expect("answered");
    two.connect(users[1], env.new_id()).await.expect("answered");
    for _ in 0..70 {
        env.advance(Duration::from_secs(1));
        assert_eq!(came_and_went(&one).await, CameAndWent::default());
        one.renew().await.expect("answered");
        two.renew().await.expect("answered");
    }
    env.advance(Duration::from_secs(600));
    for second in 0..120 {
        assert_eq!(came_and_went(&one).await, CameAndWent::default(), "after {second} seconds");
        assert_eq!(one.online(&users).await.expect("answered"), users);
        if second % 15 == 10 {
            one.renew().await.expect("answered");
            two.renew().await.expect("answered");
        }
        env.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn more_connections_than_one_script_takes_are_renewed() {
    let (env, [one, two]) = nodes().await;
    let [one, two] = [one, two].map(RedisPresenceStore::new);
    let users: Vec<UserId> = (0..600).map(|_| env.new_id()).collect();
    for user in &users {
        one.connect(*user, env.new_id()).await.expect("answered");
    }
    let mut went = Vec::new();
    for second in 0..200 {
        env.advance(Duration::from_secs(1));
        if second < 100 && second % 15 == 0 {
            assert_eq!(one.renew().await.expect("answered"), CameAndWent::default());
        }
        went.extend(came_and_went(&two).await.went);
        assert!(second >= 100 || went.is_empty(), "after {second} seconds");
    }
    let told: std::collections::BTreeSet<UserId> = went.iter().copied().collect();
    assert_eq!((went.len(), told), (600, users.into_iter().collect()));
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_limit_counts_over_all_nodes_on_the_clock_of_redis() {
    let server = std::env::var("WA_TEST_REDIS").expect("WA_TEST_REDIS names a Redis");
    let url = format!("{server}?prefix={}:", Uuid::now_v7().simple());
    // Their clocks are an hour apart.
    let (early, late) = (Arc::new(SimEnv::new(1)), Arc::new(SimEnv::new(2)));
    late.advance(Duration::from_secs(3600));
    let mut nodes = Vec::new();
    for env in [early, late] {
        nodes.push(RedisRateLimiter::new(Redis::open(&url, env).await.expect("a node connects")));
    }
    let limit = RateLimit::new(4, Duration::from_secs(3600));
    let mut granted = 0;
    for _ in 0..5 {
        for node in &nodes {
            match node.take("key", limit).await.expect("answered") {
                Admission::Granted => granted += 1,
                Admission::Refused { retry_after } => assert!(retry_after <= Duration::from_secs(900), "{retry_after:?}"),
            }
        }
    }
    assert_eq!(granted, 4);
    let soon = RateLimit::new(1, Duration::from_millis(50));
    assert_eq!(nodes[0].take("soon", soon).await.expect("answered"), Admission::Granted);
    until("the bucket fills again", async || (nodes[1].take("soon", soon).await.expect("answered") == Admission::Granted).then_some(())).await;
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn the_end_of_typing_is_told_by_one_node() {
    let (env, nodes) = nodes::<3>().await;
    let stores = nodes.map(|node| RedisTypingStore::new(node, 100));
    let (chat, user): (ChatId, UserId) = (env.new_id(), env.new_id());
    for _ in 0..20 {
        assert!(stores[0].start(chat, user, env.now().after(Duration::from_secs(5))).await.expect("answered"));
        assert!(!stores[1].start(chat, user, env.now().after(Duration::from_secs(5))).await.expect("answered"));
        env.advance(Duration::from_secs(5));
        let [one, two, three] = &stores;
        let told = tokio::join!(one.take_expired(env.now()), two.take_expired(env.now()), three.take_expired(env.now()));
        let told: Vec<_> = [told.0, told.1, told.2].into_iter().flat_map(|told| told.expect("answered")).collect();
        assert_eq!(told, [(chat, user)]);
    }
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_notice_past_the_bound_is_dropped() {
    let (env, [node]) = nodes().await;
    let store = RedisTypingStore::new(node, 1);
    let (chat, other, user): (ChatId, ChatId, UserId) = (env.new_id(), env.new_id(), env.new_id());
    let soon = env.now().after(Duration::from_secs(5));
    assert!(store.start(chat, user, soon).await.expect("answered"));
    assert!(!store.start(other, user, soon).await.expect("answered"));
    assert!(!store.stop(other, user).await.expect("answered"), "it was not noted");
    assert!(store.stop(chat, user).await.expect("answered"));
    assert!(store.start(other, user, soon).await.expect("answered"));
}

/// While Redis is away.
async fn everything_fails_at_once(redis: &Arc<Redis>, presence: &RedisPresenceStore, limiter: &RedisRateLimiter, connection: (UserId, ConnectionId)) {
    let otps = RedisOtpStore::new(Arc::clone(redis));
    let calls = async {
        assert!(otps.ready(&phone()).await.is_err());
        assert!(otps.put(&phone(), "hash", redis.env.now().after(PATIENCE)).await.is_err());
        assert!(presence.online(&[connection.0]).await.is_err());
        assert!(!presence.connect(connection.0, connection.1).await.expect("noted for later"));
        let limit = RateLimit::new(3, Duration::from_secs(3600));
        let mut granted = 0;
        while limiter.take("away", limit).await.expect("counted on this node") == Admission::Granted {
            granted += 1;
        }
        assert_eq!(granted, 3, "a bucket of this node alone");
        assert!(!redis.link.is_up());
    };
    timeout(PATIENCE, calls).await.expect("nothing hangs");
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_killed_redis_is_found_again_and_told_what_it_lost() {
    let mut server = Server::start(&[]);
    let node = server.open("").await;
    let presence = RedisPresenceStore::new(Arc::clone(&node));
    let limiter = RedisRateLimiter::new(Arc::clone(&node));
    let otps = RedisOtpStore::new(Arc::clone(&node));
    let [before, during, went]: [(UserId, ConnectionId); 3] = std::array::from_fn(|_| (RealClock.new_id(), RealClock.new_id()));
    assert!(presence.connect(before.0, before.1).await.expect("answered"));
    assert!(presence.connect(went.0, went.1).await.expect("answered"));
    otps.put(&phone(), "hash", RealClock.now().after(PATIENCE)).await.expect("stored");

    server.kill();
    everything_fails_at_once(&node, &presence, &limiter, during).await;
    assert!(!presence.disconnect(went.0, went.1).await.expect("noted for later"));
    server.restart();
    let changes = until("it is back", async || presence.expire().await.ok().filter(|changes| !changes.came.is_empty())).await;
    assert_eq!((changes.came.len(), changes.went), (2, vec![went.0]), "everybody here is told again, and who went meanwhile");
    assert!(changes.came.contains(&before.0) && changes.came.contains(&during.0));
    assert!(otps.consume(&phone(), "hash").await.expect("answered"), "what was written to disk is there");

    server.kill();
    server.restart_empty();
    until("it is back", async || presence.expire().await.ok().filter(|changes| changes.came.len() == 2)).await;
    assert_eq!(presence.online(&[before.0, during.0]).await.expect("answered").len(), 2);
    // And nothing is told twice.
    assert_eq!(presence.expire().await.expect("answered"), CameAndWent::default());
    assert_eq!(presence.renew().await.expect("answered"), CameAndWent::default());
    let limit = RateLimit::new(1, Duration::from_secs(3600));
    assert_eq!(limiter.take("away", limit).await.expect("answered"), Admission::Granted, "the limit is that of Redis again");
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_stopped_redis_holds_nobody_up() {
    let server = Server::start(&[]);
    let node = server.open("").await;
    let presence = RedisPresenceStore::new(Arc::clone(&node));
    let limiter = RedisRateLimiter::new(Arc::clone(&node));
    let connection = (RealClock.new_id(), RealClock.new_id());
    server.signal("-STOP");
    everything_fails_at_once(&node, &presence, &limiter, connection).await;
    server.signal("-CONT");
    until("it is back", async || presence.expire().await.ok().filter(|changes| changes.came == [connection.0])).await;
    assert!(node.link.is_up() && node.link.check().await.is_ok());
    assert_eq!(presence.online(&[connection.0]).await.expect("answered"), [connection.0]);
}

async fn refusal(url: &str) -> String {
    Redis::open(url, Arc::new(RealClock)).await.err().expect("it is refused").to_string()
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_wrong_password_is_a_clear_error_that_does_not_repeat_it() {
    let server = Server::start(&["--requirepass", "right"]);
    let port = server.port;
    drop(until("it runs", async || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await);
    for credentials in [":hunter2@", "", "wa:hunter2@"] {
        let said = refusal(&format!("redis://{credentials}127.0.0.1:{port}")).await;
        assert!(said.contains("storage.cache") && said.contains("password") && !said.contains("hunter2"), "{said}");
    }
    Redis::open(&format!("redis://:right@127.0.0.1:{port}"), Arc::new(RealClock)).await.expect("it is let in");
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_user_who_may_not_run_scripts_is_told_so() {
    let server = Server::start(&["--user", "wa", "on", ">secret", "~*", "+get"]);
    let port = server.port;
    drop(until("it runs", async || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await);
    let said = refusal(&format!("redis://wa:secret@127.0.0.1:{port}")).await;
    assert!(said.contains("may not") && !said.contains("secret"), "{said}");
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_user_with_the_documented_permissions_will_do() {
    // As docs/operating.md has it.
    let server = Server::start(&[
        "--user",
        "wa",
        "on",
        ">secret",
        "~p:*",
        "+@read",
        "+@write",
        "+@scripting",
        "+@connection",
        "+info",
        "+time",
        "--requirepass",
        "other",
    ]);
    let port = server.port;
    drop(until("it runs", async || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await);
    let node = Redis::open(&format!("redis://wa:secret@127.0.0.1:{port}?prefix=p:"), Arc::new(RealClock)).await.expect("it is let in");
    let soon = RealClock.now().after(PATIENCE);
    let otps = RedisOtpStore::new(Arc::clone(&node));
    otps.ready(&phone()).await.expect("answered");
    otps.put(&phone(), "hash", soon).await.expect("stored");
    otps.attempt(&phone(), 5, RealClock.now()).await.expect("counted");
    assert!(otps.consume(&phone(), "hash").await.expect("consumed"));
    let presence = RedisPresenceStore::new(Arc::clone(&node));
    let (user, connection) = (RealClock.new_id(), RealClock.new_id());
    assert!(presence.connect(user, connection).await.expect("noted"));
    presence.renew().await.expect("renewed");
    presence.expire().await.expect("looked at");
    assert_eq!(presence.online(&[user]).await.expect("answered"), [user]);
    assert!(presence.disconnect(user, connection).await.expect("noted"));
    let typing = RedisTypingStore::new(Arc::clone(&node), 100);
    assert!(typing.start(RealClock.new_id(), user, soon).await.expect("noted"));
    typing.take_expired(RealClock.now()).await.expect("looked at");
    let limiter = RedisRateLimiter::new(node);
    limiter.take_shared("key", RateLimit::new(1, PATIENCE)).await.expect("counted in Redis");
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_server_that_is_not_there_or_silent_is_named_as_such() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let said = refusal(&format!("redis://:hunter2@127.0.0.1:{port}")).await;
    assert!(said.contains("does not answer") && !said.contains("hunter2"), "{said}");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let said = refusal(&format!("redis://127.0.0.1:{}", silent.local_addr().expect("an address").port())).await;
    assert!(said.contains("does not answer"), "{said}");
}
