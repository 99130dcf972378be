//! Two nodes that share a database, with people on either: what one node does, the people on the other see.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;
use wa_server::{Secret, SystemEnv};
use wa_storage::{StorageConfig, Stores};
use wa_transport::nats::NatsUrl;

use crate::nats::NatsServer;
use crate::support::{Person, Socket, TestServer, config};

/// What the tests keep alive.
struct Nodes {
    nats: NatsServer,
    first: TestServer,
    second: TestServer,
}

/// Two nodes on a NATS of their own, and on this Redis or none.
async fn nodes(redis: Option<String>) -> Nodes {
    let nats = NatsServer::start().await;
    let stores = Arc::new(wa_storage::open(&StorageConfig::in_memory(), Arc::new(SystemEnv)).await.expect("opened"));
    let first = node(&nats, &stores, redis.clone()).await;
    let second = node(&nats, &stores, redis).await;
    Nodes { nats, first, second }
}

async fn node(nats: &NatsServer, stores: &Arc<Stores>, redis: Option<String>) -> TestServer {
    let data = Arc::new(tempfile::tempdir().expect("a directory"));
    let mut config = config(&data);
    config.storage.events = Some(NatsUrl::parse(&nats.url()).expect("a URL"));
    config.storage.cache = redis;
    config.auth.jwt_secret = Some(Secret::new("a secret of two nodes, long enough"));
    let stores = Arc::clone(stores);
    TestServer::run(config, data, move |builder| builder.stores(stores)).await
}

impl Nodes {
    /// The same person, on the other node.
    fn on_second(&self, person: &Person) -> Person {
        Person { address: self.second.address, ..person.clone() }
    }
}

/// Awaits a message, unless it came while something else was awaited. It counts as passed in any case.
async fn says(socket: &mut Socket, text: &str) {
    if socket.passed("message.new").iter().any(|message| message["payload"]["body"] == text) {
        return;
    }
    let frame = socket.until(text, |frame| frame["event"] == "message.new" && frame["data"]["payload"]["body"] == text).await;
    socket.passed_over.push(frame);
}

async fn people_on_two_nodes_meet(redis: Option<String>) {
    let nodes = nodes(redis).await;
    let (alice, bob, chat) = nodes.first.couple().await;
    let bob = nodes.on_second(&bob);
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    let seen = a.ask("presence.subscribe", json!({ "user_ids": [bob.id] })).await;
    assert_eq!(seen["event"], "ack", "{seen}");

    let mut last = json!(null);
    for number in 0..30 {
        last = a.say(&chat, &format!("to bob {number}")).await;
        b.say(&chat, &format!("to alice {number}")).await;
    }
    says(&mut b, "to bob 29").await;
    says(&mut a, "to alice 29").await;
    for (socket, from) in [(&a, &bob), (&b, &alice)] {
        let seqs: Vec<_> = socket.passed("message.new").iter().filter(|message| message["sender_id"] == from.id.as_str()).map(|m| m["seq"].as_i64()).collect();
        assert_eq!(seqs.len(), 30, "each once");
        assert!(seqs.is_sorted(), "in order: {seqs:?}");
    }
    b.send("message.read", json!({ "chat_id": chat, "up_to_message_id": last["message_id"] })).await;
    a.until("the receipt", |frame| frame["event"] == "message.status" && frame["data"]["user_id"] == bob.id.as_str()).await;
    b.send("typing.start", json!({ "chat_id": chat })).await;
    assert_eq!(a.expect("typing").await["user_id"], bob.id.as_str());
    b.close().await;
    a.until("bob goes", |frame| frame["event"] == "presence" && frame["data"]["online"] == false).await;
    let mut b = bob.connect().await;
    a.until("bob comes", |frame| frame["event"] == "presence" && frame["data"]["online"] == true).await;

    // A removal on one node holds on the other.
    let body = json!({ "type": "group", "name": "Friends", "participant_ids": [bob.id] });
    let group = alice.post("/chats", body).await.ok(201)["chat_id"].as_str().expect("an id").to_owned();
    b.until("the group", |frame| frame["event"] == "chat.created" && frame["data"]["chat_id"] == group.as_str()).await;
    alice.delete(&format!("/chats/{group}/participants/{}", bob.id)).await.ok(204);
    b.until("the removal", |frame| frame["event"] == "group.member.removed" && frame["data"]["user_id"] == bob.id.as_str()).await;
    a.say(&group, "without bob").await;
    a.say(&chat, "with bob").await;
    says(&mut b, "with bob").await;
    assert!(b.passed_over.iter().all(|frame| frame["data"]["payload"]["body"] != "without bob"));

    // So does the end of a session.
    let phone = Person { address: nodes.first.address, ..bob.clone() };
    phone.call(Method::DELETE, &format!("/auth/devices/{}", bob.device), None).await.ok(204);
    assert_eq!(b.close_code().await, 4001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn people_on_two_nodes_meet_over_nats_alone() {
    people_on_two_nodes_meet(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats and redis"]
async fn people_on_two_nodes_meet_over_redis() {
    let redis = std::env::var("WA_TEST_REDIS").expect("WA_TEST_REDIS is set");
    people_on_two_nodes_meet(Some(format!("{redis}?prefix=nodes-{}:", uuid::Uuid::new_v4()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn a_redis_that_is_not_there_is_done_without() {
    people_on_two_nodes_meet(Some("redis://127.0.0.1:9".to_owned())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn what_waited_for_nats_reaches_the_other_node_once_and_gaps_are_told() {
    let mut nodes = nodes(None).await;
    let (alice, bob, chat) = nodes.first.couple().await;
    let bob = nodes.on_second(&bob);
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    a.say(&chat, "before").await;
    says(&mut b, "before").await;
    nodes.nats.kill();
    for number in 0..5 {
        a.say(&chat, &format!("while it is down {number}")).await;
    }
    nodes.nats.up().await;
    says(&mut b, "while it is down 4").await;
    a.say(&chat, "after").await;
    says(&mut b, "after").await;
    let told = b.passed("message.new");
    assert_eq!(told.len(), 7, "each once: {told:?}");
    if b.passed("resync").is_empty() {
        let gap = b.expect("resync").await;
        assert_eq!(gap["chat_ids"], json!([chat]));
    }
}
