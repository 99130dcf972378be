//! Three nodes over PostgreSQL, Redis and NATS, under load, while nodes and backends are killed, stopped and started again by a
//! plan that a seed repeats. Clients keep logs of their own; afterwards nothing that was acknowledged is lost, nothing came twice
//! or out of order, and everything is handed out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use wa_core::id::ChatId;
use wa_transport::client::{Client, ConnectOptions, ServerEvent};

use super::support::{PATIENCE, Random, http, number};

#[path = "../../../wa-transport/tests/support/nats_server.rs"]
mod nats;
#[path = "../support/cluster.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use the rest")]
mod nodes;
#[path = "../../../wa-storage/tests/support/postgres_server.rs"]
mod postgres;
#[path = "../support/redis_server.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use the rest")]
mod redis;

use nats::NatsServer;
use nodes::{Cluster, Layout, SECRET};
use postgres::PostgresServer;
use redis::RedisServer;

const NODES: usize = 3;

/// A client gives a request up after this; a node has five seconds to answer.
const GIVEN_UP: Duration = Duration::from_secs(8);

/// How long after healing everything is handed out.
const DRAINED_WITHIN: Duration = Duration::from_secs(45);

/// What is in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Node(usize),
    Postgres,
    Redis,
    Nats,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Killed,
    Stopped,
    /// Killed, and everything it kept is gone: of NATS, which may be lost.
    Wiped,
}

struct Site {
    postgres: PostgresServer,
    redis: RedisServer,
    nats: NatsServer,
    cluster: Cluster,
}

impl Site {
    async fn start() -> Self {
        let (postgres, url) = PostgresServer::start();
        let (redis, nats) = (RedisServer::start().await, NatsServer::start().await);
        let mut shared = format!("auth.jwt_secret = \"{SECRET}\"\nauth.access_ttl = \"24h\"\n");
        for (key, url) in [("database", &url), ("cache", &redis.url()), ("events", &nats.url())] {
            shared += &format!("storage.{key} = \"{url}\"\n");
        }
        let cluster = Cluster::start(Layout::Nodes(NODES), &shared).await;
        Self { postgres, redis, nats, cluster }
    }

    fn begin(&mut self, victim: Victim, trouble: Trouble) {
        match (victim, trouble) {
            (Victim::Node(node), Trouble::Stopped) => self.cluster.processes[node].signal("STOP"),
            (Victim::Node(node), _) => self.cluster.processes[node].kill(),
            (Victim::Postgres, Trouble::Stopped) => self.postgres.signal("STOP"),
            (Victim::Postgres, _) => self.postgres.kill(),
            (Victim::Redis, Trouble::Stopped) => self.redis.signal("STOP"),
            (Victim::Redis, _) => self.redis.kill(),
            (Victim::Nats, Trouble::Stopped) => self.nats.signal("STOP"),
            (Victim::Nats, Trouble::Killed) => self.nats.kill(),
            (Victim::Nats, Trouble::Wiped) => self.nats.wipe(),
        }
    }

    async fn end(&mut self, victim: Victim, trouble: Trouble) {
        match (victim, trouble) {
            (Victim::Node(node), Trouble::Stopped) => self.cluster.processes[node].signal("CONT"),
            (Victim::Node(node), _) => self.cluster.processes[node].start(),
            (Victim::Postgres, Trouble::Stopped) => self.postgres.signal("CONT"),
            (Victim::Postgres, _) => self.postgres.start_again(),
            (Victim::Redis, Trouble::Stopped) => self.redis.signal("CONT"),
            (Victim::Redis, _) => self.redis.up(),
            (Victim::Nats, Trouble::Stopped) => self.nats.signal("CONT"),
            (Victim::Nats, _) => self.nats.up().await,
        }
        // Nobody ended for it, and everybody serves again.
        for process in &mut self.cluster.processes {
            process.ready().await;
        }
    }
}

/// What clients know.
#[derive(Default)]
struct Logs {
    /// The place that was acknowledged for each key.
    acknowledged: Mutex<BTreeMap<String, i64>>,
    /// The places that each reader was told of, in the order in which they came.
    told: [Mutex<Vec<i64>>; NODES],
    /// Grows when a node gets into trouble, and when that ends.
    disturbed: [AtomicU64; NODES],
    answers: AtomicU64,
    refusals: AtomicU64,
    is_over: AtomicBool,
}

/// Sends one message after the other, to whatever node takes it: each until it is acknowledged, as a client does.
async fn send(person: usize, client: Client, chat: ChatId, addresses: Vec<String>, logs: Arc<Logs>) -> u64 {
    let token = client.tokens().unwrap().access_token;
    let mut node = person;
    for count in 0.. {
        if logs.is_over.load(Ordering::SeqCst) {
            return count;
        }
        let key = format!("{person}-{count}");
        let body = json!({ "client_msg_id": key, "type": "text", "payload": { "body": key } });
        let seq = loop {
            let (since, disturbed) = (Instant::now(), logs.disturbed[node].load(Ordering::SeqCst));
            let url = format!("{}/api/v1/chats/{chat}/messages", addresses[node]);
            let answer = http().post(&url).bearer_auth(&token).json(&body).timeout(GIVEN_UP).send().await;
            let is_undisturbed = disturbed % 2 == 0 && logs.disturbed[node].load(Ordering::SeqCst) == disturbed;
            match answer {
                Ok(response) => {
                    logs.answers.fetch_add(1, Ordering::SeqCst);
                    let (status, answer) = (response.status().as_u16(), response.json::<Value>().await);
                    match (status, answer) {
                        (200 | 201, Ok(answer)) => break answer["data"]["seq"].as_i64().unwrap(),
                        (503, Ok(answer)) => {
                            assert_eq!(answer["error"]["code"], "UNAVAILABLE", "{answer}");
                            logs.refusals.fetch_add(1, Ordering::SeqCst);
                        }
                        (status, answer) => assert!(!is_undisturbed, "{key} was answered {status}: {answer:?}"),
                    }
                }
                Err(error) => assert!(!is_undisturbed, "{key} had no answer after {:?}: {error}", since.elapsed()),
            }
            node = (node + 1) % NODES;
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        logs.acknowledged.lock().unwrap().insert(key, seq);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!("keys do not run out")
}

/// Follows the chat at its own node.
async fn read(person: usize, client: Client, chat: ChatId, logs: Arc<Logs>) {
    let options = ConnectOptions { first_wait: Duration::from_millis(50), max_wait: Duration::from_millis(500), ..ConnectOptions::default() };
    let connection = client.connect_with(options).await.unwrap();
    loop {
        if let ServerEvent::Message(message) = connection.next().await.unwrap()
            && message.chat_id == chat
        {
            logs.told[person].lock().unwrap().push(message.seq.get());
        }
    }
}

/// A person of the test, logged in at a node.
async fn somebody(address: &str, number: usize) -> Client {
    let client = Client::builder(address).build().unwrap();
    let phone = format!("+1555{:07}", uuid::Uuid::new_v4().as_u128() % 1_000_000 * 10 + number as u128);
    let code = client.request_otp(&phone).await.unwrap().otp.unwrap();
    client.verify_otp(&phone, &code, Some("Test")).await.unwrap();
    client
}

/// Waits until every reader was told of everything that was acknowledged by now.
async fn drained(logs: &Logs, what: &str) {
    let acknowledged: Vec<i64> = logs.acknowledged.lock().unwrap().values().copied().collect();
    let until = Instant::now() + DRAINED_WITHIN;
    for (person, told) in logs.told.iter().enumerate() {
        loop {
            let missing: Vec<i64> = {
                let told = told.lock().unwrap();
                acknowledged.iter().filter(|seq| !told.contains(seq)).copied().collect()
            };
            if missing.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "{what}: person {person} was not told of the places {missing:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn plan(random: &mut Random, cycles: u64) -> Vec<(Victim, Trouble, Duration)> {
    (0..cycles)
        .map(|cycle| {
            // Every backend and some node have their turn in any five cycles.
            let victim = match cycle % 5 {
                0 => Victim::Nats,
                1 | 3 => Victim::Node(usize::try_from(random.below(NODES as u64)).unwrap()),
                2 => Victim::Postgres,
                _ => Victim::Redis,
            };
            let trouble = match random.below(3) {
                0 => Trouble::Stopped,
                1 if victim == Victim::Nats => Trouble::Wiped,
                _ => Trouble::Killed,
            };
            (victim, trouble, Duration::from_millis(500 + random.below(2500)))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres, redis and nats"]
async fn three_nodes_over_postgres_redis_and_nats_lose_double_and_reorder_nothing_whatever_is_killed() {
    let (seed, cycles) = (number("WA_CAMPAIGN_SEED").unwrap_or(7), number("WA_CYCLES").unwrap_or(5));
    eprintln!("{cycles} cycles; repeat them with SEED={seed}");
    let mut random = Random::new(seed);
    let mut site = Site::start().await;
    let addresses: Vec<String> = site.cluster.fronts.iter().map(|front| format!("http://{front}")).collect();
    let mut people = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        people.push(somebody(address, number).await);
    }
    let mut others = Vec::new();
    for person in &people[1..] {
        others.push(person.me().await.unwrap().id);
    }
    let chat = people[0].create_group("Friends", "", &others).await.unwrap().chat_id;
    let logs = Arc::new(Logs::default());
    let mut readers: Vec<JoinHandle<()>> = Vec::new();
    let mut senders: Vec<JoinHandle<u64>> = Vec::new();
    for (number, person) in people.iter().enumerate() {
        readers.push(tokio::spawn(read(number, person.clone(), chat, Arc::clone(&logs))));
        senders.push(tokio::spawn(send(number, person.clone(), chat, addresses.clone(), Arc::clone(&logs))));
    }
    for (cycle, (victim, trouble, time)) in plan(&mut random, cycles).into_iter().enumerate() {
        let what = format!("cycle {cycle}, {victim:?} {trouble:?} for {time:?}");
        let disturbed = if let Victim::Node(node) = victim { Some(&logs.disturbed[node]) } else { None };
        disturbed.inspect(|disturbed| _ = disturbed.fetch_add(1, Ordering::SeqCst));
        site.begin(victim, trouble);
        tokio::time::sleep(time).await;
        site.end(victim, trouble).await;
        disturbed.inspect(|disturbed| _ = disturbed.fetch_add(1, Ordering::SeqCst));
        let healed = Instant::now();
        drained(&logs, &what).await;
        eprintln!("{what}: handed out {:?} after it was over", healed.elapsed());
        for task in &readers {
            assert!(!task.is_finished(), "{what}: a reader goes on");
        }
        for task in &senders {
            assert!(!task.is_finished(), "{what}: a sender goes on");
        }
    }
    logs.is_over.store(true, Ordering::SeqCst);
    let mut sent = 0;
    for sender in senders {
        sent += tokio::time::timeout(PATIENCE, sender).await.unwrap().unwrap();
    }
    drained(&logs, "the end").await;
    readers.iter().for_each(JoinHandle::abort);
    let acknowledged = logs.acknowledged.lock().unwrap().clone();
    assert_eq!(acknowledged.len() as u64, sent);
    for (number, person) in people.iter().enumerate() {
        let log = history(person, chat, &addresses[number]).await;
        assert!(log.iter().map(|(seq, _)| *seq).eq(1..=i64::try_from(log.len()).unwrap()), "the places of node {number} have no gap: {log:?}");
        let texts: BTreeMap<&str, i64> = log.iter().filter_map(|(seq, text)| Some((text.as_deref()?, *seq))).collect();
        assert_eq!(texts.len() as u64, sent, "nothing is stored twice");
        assert!(acknowledged.iter().all(|(key, seq)| texts.get(key.as_str()) == Some(seq)), "everything is where it was said to be");
        let told = logs.told[number].lock().unwrap();
        assert!(told.is_sorted_by(|a, b| a < b), "person {number} was told of everything once and in order: {told:?}");
    }
    eprintln!("{sent} messages, {} answers, {} of them refusals", logs.answers.load(Ordering::SeqCst), logs.refusals.load(Ordering::SeqCst));
}

/// An answer of a node: its status, and what it says.
async fn ask(address: &str, client: &Client, path: &str, body: Option<Value>) -> (u16, Value) {
    let url = format!("{address}/api/v1{path}");
    let request = body.map_or_else(|| http().get(&url), |body| http().post(&url).json(&body));
    let response = request.bearer_auth(client.tokens().unwrap().access_token).timeout(GIVEN_UP).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// The table of the contract's section 8, on three nodes: what still works while something is down, and what fails clearly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres, redis and nats"]
async fn what_is_down_of_postgres_redis_and_nats_leaves_the_rest_and_fails_clearly() {
    let mut site = Site::start().await;
    let addresses: Vec<String> = site.cluster.fronts.iter().map(|front| format!("http://{front}")).collect();
    let (alice, bob, carol) = (somebody(&addresses[0], 0).await, somebody(&addresses[0], 1).await, somebody(&addresses[1], 2).await);
    let others = [bob.me().await.unwrap().id, carol.me().await.unwrap().id];
    let chat = alice.create_group("Friends", "", &others).await.unwrap().chat_id;
    let logs = Arc::new(Logs::default());
    // Bob is at Alice's node, Carol at another.
    let readers = [(1, &bob), (2, &carol)].map(|(number, person)| tokio::spawn(read(number, person.clone(), chat, Arc::clone(&logs))));
    let (messages, profile) = (format!("/chats/{chat}/messages"), format!("/users/{}/presence", others[0]));
    let say = async |key: &str| ask(&addresses[0], &alice, &messages, Some(json!({ "client_msg_id": key, "type": "text", "payload": { "body": key } }))).await;
    let place = |answer: &(u16, Value)| answer.1["data"]["seq"].as_i64().unwrap();
    let heard = async |reader: usize, seq: i64| {
        let until = Instant::now() + DRAINED_WITHIN;
        while !logs.told[reader].lock().unwrap().contains(&seq) {
            assert!(Instant::now() < until, "reader {reader} is not told of {seq}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let first = say("first").await;
    assert_eq!(first.0, 201, "{first:?}");
    heard(1, place(&first)).await;
    heard(2, place(&first)).await;

    // NATS: sends are stored and acknowledged, people on one node go on, the others follow.
    site.begin(Victim::Nats, Trouble::Killed);
    let second = say("second").await;
    assert_eq!(second.0, 201, "{second:?}");
    heard(1, place(&second)).await;
    assert!(!logs.told[2].lock().unwrap().contains(&place(&second)), "nothing carries it to another node");
    let page = ask(&addresses[1], &carol, &messages, None).await;
    assert_eq!((page.0, &page.1["data"]["messages"][0]["payload"]["body"]), (200, &json!("second")), "it is stored for everybody");
    site.nats.up().await;
    let since = Instant::now();
    heard(2, place(&second)).await;
    eprintln!("another node was told {:?} after NATS came back", since.elapsed());

    // Redis: sending, receiving and history go on; nobody is known to be here, and there are no codes.
    site.begin(Victim::Redis, Trouble::Killed);
    let third = say("third").await;
    assert_eq!(third.0, 201, "{third:?}");
    heard(1, place(&third)).await;
    heard(2, place(&third)).await;
    assert_eq!(ask(&addresses[1], &carol, &messages, None).await.0, 200);
    let presence = ask(&addresses[1], &carol, &profile, None).await;
    assert_eq!((presence.0, &presence.1["data"]["online"]), (200, &json!(false)), "{presence:?}");
    let code = ask(&addresses[2], &carol, "/auth/request-otp", Some(json!({ "phone": "+15550109999" }))).await;
    assert_eq!((code.0, &code.1["error"]["code"]), (503, &json!("UNAVAILABLE")), "{code:?}");
    site.end(Victim::Redis, Trouble::Killed).await;

    // The SQL store: sockets stay, tokens are told apart, and nothing is acknowledged that is not stored.
    site.begin(Victim::Postgres, Trouble::Killed);
    let refused = say("fourth").await;
    assert_eq!((refused.0, &refused.1["error"]["code"]), (503, &json!("UNAVAILABLE")), "{refused:?}");
    let url = format!("{}/api/v1{messages}", addresses[0]);
    assert_eq!(http().get(&url).bearer_auth("garbled").send().await.unwrap().status().as_u16(), 401);
    assert!(readers.iter().all(|reader| !reader.is_finished()));
    for process in &site.cluster.processes {
        assert_eq!(process.metric("ws_connections_active").await, Some(if process.name == "node 3" { 0.0 } else { 1.0 }), "{}", process.name);
    }
    site.end(Victim::Postgres, Trouble::Killed).await;
    let fourth = say("fourth").await;
    assert!(matches!(fourth.0, 200 | 201), "{fourth:?}");
    assert_eq!(place(&fourth), place(&third) + 1, "the key was stored once");
    heard(1, place(&fourth)).await;
    heard(2, place(&fourth)).await;
    readers.iter().for_each(JoinHandle::abort);
}

/// The whole history: places and texts, oldest first.
async fn history(person: &Client, chat: ChatId, address: &str) -> Vec<(i64, Option<String>)> {
    let token = person.tokens().unwrap().access_token;
    let (mut log, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut url = format!("{address}/api/v1/chats/{chat}/messages?limit=100");
        if let Some(cursor) = &cursor {
            url += &format!("&cursor={cursor}");
        }
        let page: Value = http().get(&url).bearer_auth(&token).send().await.unwrap().json().await.unwrap();
        let page = &page["data"];
        for message in page["messages"].as_array().unwrap() {
            let text = (message["type"] == "text").then(|| message["payload"]["body"].as_str().unwrap().to_owned());
            log.push((message["seq"].as_i64().unwrap(), text));
        }
        cursor = page["next_cursor"].as_str().map(ToOwned::to_owned);
        if cursor.is_none() {
            log.reverse();
            return log;
        }
    }
}
