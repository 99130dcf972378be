//! What nodes share in Redis, and what goes on while it is down or silent (contract, section 8).

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::{Value, json};
use wa_core::limits::RateLimit;
use wa_server::Server;

#[path = "../support/redis_server.rs"]
mod server;
use server::RedisServer;

use crate::support::{Person, TestServer, config, eventually, fresh_phone, http, soon};

/// The Redis that `WA_TEST_REDIS` names, under a prefix of this test's own.
fn shared() -> String {
    let server = std::env::var("WA_TEST_REDIS").expect("WA_TEST_REDIS names a Redis: run `make services-up` and do what it says");
    format!("{server}?prefix={}:", uuid::Uuid::now_v7().simple())
}

/// How Redis is in trouble.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    Killed,
    Stopped,
}

impl Trouble {
    fn begin(self, redis: &mut RedisServer) {
        match self {
            Self::Stopped => redis.signal("STOP"),
            Self::Killed => redis.kill(),
        }
    }

    fn end(self, redis: &mut RedisServer) {
        match self {
            Self::Stopped => redis.signal("CONT"),
            Self::Killed => redis.up(),
        }
    }
}

async fn presence(by: &Person, of: &Person) -> Value {
    by.get(&format!("/users/{}/presence", of.id)).await.ok(200)
}

async fn ready(server: &TestServer) -> (u16, Value) {
    let answer = http().get(server.url("/ready")).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON")["status"].clone())
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_code_of_one_node_is_good_on_every_other_and_once() {
    let url = shared();
    let one = TestServer::with(|config| config.storage.cache = Some(url.clone())).await;
    let two = TestServer::with(|config| config.storage.cache = Some(url.clone())).await;
    let phone = fresh_phone();
    let otp = one.otp(&phone).await;
    let wrong = if otp == "000000" { "000001" } else { "000000" };
    let verify = |otp: &str| json!({ "phone": phone, "otp": otp });
    for node in [&one, &two, &one] {
        node.post("/auth/verify-otp", verify(wrong)).await.refused(400, "OTP_INVALID");
    }
    two.post("/auth/verify-otp", verify(&otp)).await.ok(200);
    for node in [&one, &two] {
        node.post("/auth/verify-otp", verify(&otp)).await.refused(400, "OTP_EXPIRED");
    }
    let second = one.otp(&phone).await;
    let wrong = if second == "000000" { "000001" } else { "000000" };
    for (attempt, node) in [&one, &two, &one, &two, &one, &two].into_iter().enumerate() {
        let (status, code) = if attempt < 4 { (400, "OTP_INVALID") } else { (429, "OTP_MAX_ATTEMPTS") };
        node.post("/auth/verify-otp", verify(wrong)).await.refused(status, code);
    }
    two.post("/auth/verify-otp", verify(&second)).await.refused(429, "OTP_MAX_ATTEMPTS");
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_limit_holds_over_all_nodes() {
    let url = shared();
    let limited = |config: &mut wa_server::Config| {
        config.storage.cache = Some(url.clone());
        config.limits.enabled = true;
        config.limits.otp_send = RateLimit::new(3, Duration::from_secs(300));
    };
    let (one, two) = (TestServer::with(limited).await, TestServer::with(limited).await);
    let phone = fresh_phone();
    for node in [&one, &two, &one] {
        node.otp(&phone).await;
    }
    for node in [&one, &two] {
        let answer = node.post("/auth/request-otp", json!({ "phone": phone })).await;
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        answer.refused(429, "RATE_LIMITED");
    }
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn presence_and_typing_are_told_over_redis() {
    let server = TestServer::with(|config| {
        config.storage.cache = Some(shared());
        config.limits.typing_ttl = Duration::from_millis(300);
    })
    .await;
    let (alice, bob, chat) = server.couple().await;
    let mut a = alice.connect().await;
    a.ask("presence.subscribe", json!({ "user_ids": [bob.id] })).await;
    let b = bob.connect().await;
    let came = a.until("Bob's coming", |frame| frame["event"] == "presence" && frame["data"]["online"] == true).await;
    assert_eq!(came["data"]["user_id"], json!(bob.id));
    assert_eq!(presence(&alice, &bob).await["online"], true);
    let mut second = server.login(&bob.phone).await.connect().await;
    b.close().await;
    second.ask("typing.start", json!({ "chat_id": chat })).await;
    assert_eq!(a.expect("typing").await["is_typing"], true);
    assert_eq!(a.expect("typing").await, json!({ "chat_id": chat, "user_id": bob.id, "is_typing": false }), "it ends by itself");
    second.close().await;
    let went = a.expect("presence").await;
    assert_eq!((&went["user_id"], &went["online"]), (&json!(bob.id), &json!(false)), "online while any device is connected");
    assert!(went["last_seen"].is_string(), "{went}");
    assert_eq!(ready(&server).await, (200, json!({ "server": "ok", "database": "ok", "cache": "ok", "media": "ok" })));
}

/// Brings Redis into this trouble while people write, and checks what the table in section 8 of the contract says.
async fn messages_go_on_while_it_is(trouble: Trouble) {
    let mut redis = RedisServer::start().await;
    let server = TestServer::with(|config| {
        config.storage.cache = Some(redis.url());
        config.limits.enabled = true;
        for limit in [&mut config.limits.api_ip, &mut config.limits.api_user, &mut config.limits.otp_send] {
            *limit = RateLimit::new(10_000, Duration::from_secs(60));
        }
        config.limits.ws_messages = RateLimit::new(50, Duration::from_secs(3600));
    })
    .await;
    let (alice, bob, chat) = server.couple().await;
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    b.settle().await;
    let carol = server.somebody().await;
    let code = server.otp(&bob.phone).await;
    assert_eq!(presence(&alice, &bob).await["online"], true);

    trouble.begin(&mut redis);
    // Both ways of sending, and reading; the limits count on this node.
    for number in 0..20 {
        a.say(&chat, &format!("over the socket {number}")).await;
        b.expect("message.new").await;
        alice.say(&chat, &format!("over REST {number}")).await;
        b.expect("message.new").await;
    }
    assert_eq!(bob.texts(&chat).await.len(), 40);
    server.post("/auth/request-otp", json!({ "phone": fresh_phone() })).await.refused(503, "UNAVAILABLE");
    server.post("/auth/verify-otp", json!({ "phone": bob.phone, "otp": code })).await.refused(503, "UNAVAILABLE");
    server.post("/auth/refresh", json!({ "refresh_token": bob.refresh })).await.ok(200);
    assert_eq!(presence(&alice, &bob).await, json!({ "user_id": bob.id, "online": false, "last_seen": null }), "it is not known");
    assert_eq!(b.ask("typing.start", json!({ "chat_id": chat })).await["event"], "ack");
    let (status, states) = ready(&server).await;
    assert_eq!((status, &states["cache"], &states["database"]), (503, &json!("unavailable"), &json!("ok")));
    // A socket that comes now is served like any other.
    let mut c = carol.connect().await;
    c.ask("presence.subscribe", json!({ "user_ids": [bob.id] })).await;
    a.settle().await;
    assert!(a.passed("typing").is_empty(), "{:?}", a.passed_over);
    c.passed_over.clear();
    // The bucket of this node is empty some time.
    let mut refused = false;
    for number in 0..60 {
        refused |= a.ask("message.send", json!({ "chat_id": chat, "client_msg_id": format!("m{number}"), "type": "text", "payload": { "body": "x" } })).await["event"]
            == "error";
    }
    assert!(refused, "limits hold without Redis");

    trouble.end(&mut redis);
    // Those who watch are told what they missed, and codes are sent again.
    let back = c.until("Bob's presence", |frame| frame["event"] == "presence" && frame["data"]["online"] == true).await;
    assert_eq!(back["data"]["user_id"], json!(bob.id));
    eventually("readiness", || async { (ready(&server).await.0 == 200).then_some(()) }).await;
    assert_eq!(presence(&alice, &carol).await["online"], true, "who came meanwhile is noted");
    server.login(&fresh_phone()).await;
    b.close().await;
    c.until("Bob's going", |frame| frame["event"] == "presence" && frame["data"]["online"] == false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Redis"]
async fn messages_go_on_while_redis_is_killed() {
    messages_go_on_while_it_is(Trouble::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Redis"]
async fn messages_go_on_while_redis_is_silent() {
    messages_go_on_while_it_is(Trouble::Stopped).await;
}

#[tokio::test]
#[ignore = "needs a Redis"]
async fn a_redis_that_cannot_be_used_is_a_clear_error_at_the_start() {
    let redis = RedisServer::start().await;
    let free: SocketAddr = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    for (url, says) in [
        (format!("redis://:hunter2@{free}"), "does not answer"),
        (format!("redis://:hunter2@127.0.0.1:{}", redis.port()), "password"),
        (format!("redis://:hunter2@127.0.0.1:{}?color=red", redis.port()), "prefix"),
        ("redis://:hunter2@127.0.0.1/none".to_owned(), "database"),
    ] {
        let data = tempfile::tempdir().expect("a directory");
        let mut config = config(&data);
        config.storage.cache = Some(url);
        let error = soon("the refusal", Server::builder(config).bind()).await.err().expect("it does not start").to_string();
        assert!(error.contains("storage.cache") && error.contains(says) && !error.contains("hunter2"), "{error}");
    }
}
