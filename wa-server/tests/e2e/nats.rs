//! One node on NATS: the bus keeps its contract, people notice nothing, and nothing is lost when NATS is.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use wa_transport::bus::NatsEventBus;
use wa_transport::metrics::Metrics;
use wa_transport::nats::{NatsUrl, connect};

use crate::support::{Person, TestServer, eventually, http};

#[path = "../../../wa-transport/tests/support/nats_server.rs"]
mod server;
pub(crate) use server::NatsServer;

async fn bus(server: &NatsServer) -> NatsEventBus {
    let url = NatsUrl::parse(&server.url()).expect("a URL");
    NatsEventBus::unshared(connect(&url).await.expect("connected"), &url, Metrics::new()).await.expect("a bus")
}

macro_rules! conformance {
    ($($case:ident)*) => {
        mod conformance {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = "needs nats"]
                async fn $case() {
                    let server = super::NatsServer::start().await;
                    wa_storage::conformance::event_bus::$case(&super::bus(&server).await).await;
                }
            )*
        }
        /// The bus of a single process keeps the same contract.
        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    wa_storage::conformance::event_bus::$case(&wa_transport::bus::MemoryEventBus::default()).await;
                }
            )*
        }
    };
}

conformance! {
    every_subscriber_gets_every_event_in_order
    a_subscriber_gets_what_is_published_after_it_subscribed
    dropping_the_subscription_ends_it
    an_event_is_settled_once_every_subscriber_has_handled_it
    what_could_not_be_handled_is_handed_in_again
}

/// A server whose events go over this NATS.
pub(crate) async fn on(nats: &NatsServer) -> TestServer {
    let url = NatsUrl::parse(&nats.url()).expect("a URL");
    TestServer::with(|config| config.storage.events = Some(url)).await
}

/// The texts of new messages among the frames that were passed over.
fn texts_passed(socket: &crate::support::Socket) -> Vec<&str> {
    socket.passed("message.new").iter().map(|message| message["payload"]["body"].as_str().expect("a text")).collect()
}

async fn metric(server: &TestServer, name: &str) -> f64 {
    let text = http().get(server.url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_else(|| panic!("no metric {name}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn a_conversation_goes_over_nats() {
    let nats = NatsServer::start().await;
    let server = on(&nats).await;
    let (alice, bob, chat) = server.couple().await;
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    a.ask("presence.subscribe", json!({ "user_ids": [bob.id] })).await;
    let sent = a.say(&chat, "hello").await;
    let message = b.expect("message.new").await;
    assert_eq!((&message["message_id"], &message["payload"]["body"]), (&sent["message_id"], &json!("hello")));
    b.send("message.read", json!({ "chat_id": chat, "up_to_message_id": sent["message_id"] })).await;
    let status = a.expect("message.status").await;
    assert_eq!((&status["user_id"], &status["status"]), (&json!(bob.id), &json!("read")));
    b.send("typing.start", json!({ "chat_id": chat })).await;
    assert_eq!(a.expect("typing").await["is_typing"], true);
    b.close().await;
    a.until("bob goes", |frame| frame["event"] == "presence" && frame["data"]["online"] == false).await;
    let ready: Value = http().get(server.url("/ready")).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(ready["status"]["nats"], "ok", "{ready}");
    assert!(metric(&server, "nats_messages_published_total").await >= 3.0);
    eventually("the outbox is empty", || async { (metric(&server, "nats_consumer_pending{consumer=\"ws-msg-consumer\"}").await == 0.0).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn events_tell_the_request_that_brought_them_about() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let nats = NatsServer::start().await;
    let server = on(&nats).await;
    let (alice, bob, chat) = server.couple().await;
    let listener = async_nats::connect(nats.url()).await.expect("connected");
    let mut events = listener.subscribe("msg.>").await.expect("subscribed");
    listener.flush().await.expect("subscribed");
    let request = |person: &Person, path: String, id: &'static str, body: Value| {
        let request = http().post(server.url(&path)).bearer_auth(&person.access).json(&body);
        async move { request.header("X-Request-Id", id).header("traceparent", TRACE).send().await.expect("an answer").text().await.expect("a text") }
    };
    let message = json!({ "client_msg_id": "1", "type": "text", "payload": { "body": "hello" } });
    let sent = request(&alice, format!("/api/v1/chats/{chat}/messages"), "sends", message).await;
    let sent: Value = serde_json::from_str(&sent).expect("JSON");
    let id = sent["data"]["message_id"].as_str().expect("an id").to_owned();
    request(&bob, format!("/api/v1/chats/{chat}/messages/read"), "reads", json!({ "up_to_message_id": id })).await;
    request(&bob, format!("/api/v1/messages/{id}/react"), "reacts", json!({ "emoji": "👍" })).await;
    for (subject, id) in [("msg.new", "sends"), ("msg.status.updated", "reads"), ("msg.reaction", "reacts")] {
        let event = eventually_next(&mut events).await;
        let headers = event.headers.expect("headers");
        let header = |name: &str| headers.get(name).map(ToString::to_string);
        assert_eq!((event.subject.as_str(), header("X-Request-Id").as_deref(), header("traceparent").as_deref()), (subject, Some(id), Some(TRACE)));
    }
}

async fn eventually_next(events: &mut async_nats::Subscriber) -> async_nats::Message {
    tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("an event in time").expect("the connection stands")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn while_nats_is_down_people_here_go_on_and_then_nothing_comes_twice() {
    let mut nats = NatsServer::start().await;
    let server = on(&nats).await;
    let (alice, bob, chat) = server.couple().await;
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    for (number, trouble) in ["kill", "STOP", "wipe"].into_iter().enumerate() {
        let text = |what: &str| format!("{what} {number}");
        a.say(&chat, &text("before")).await;
        b.until("the one before", |frame| frame["data"]["payload"]["body"] == text("before").as_str()).await;
        match trouble {
            "kill" => nats.kill(),
            "wipe" => nats.wipe(),
            signal => nats.signal(signal),
        }
        a.say(&chat, &text("during")).await;
        b.until(&format!("the one during {trouble}"), |frame| frame["data"]["payload"]["body"] == text("during").as_str()).await;
        let ready = http().get(server.url("/ready")).send().await.expect("an answer");
        assert!(ready.text().await.expect("text").contains("\"nats\":\"unavailable\""));
        match trouble {
            "STOP" => nats.signal("CONT"),
            _ => nats.up().await,
        }
        a.say(&chat, &text("after")).await;
        b.until(&format!("the one after {trouble}"), |frame| frame["data"]["payload"]["body"] == text("after").as_str()).await;
        eventually("everything is published", || async { (metric(&server, "outbox_depth").await == 0.0).then_some(()) }).await;
    }
    a.say(&chat, "the end").await;
    b.until("the end", |frame| frame["data"]["payload"]["body"] == "the end").await;
    b.settle().await;
    assert_eq!(texts_passed(&b), Vec::<&str>::new(), "nothing came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats"]
async fn a_server_that_cannot_use_nats_says_why() {
    let mut nats = NatsServer::with("").await;
    let start = async |url: String| {
        let data = tempfile::tempdir().expect("a directory");
        let mut config = crate::support::config(&data);
        config.storage.events = Some(NatsUrl::parse(&url).expect("a URL"));
        let Err(error) = wa_server::Server::builder(config).bind().await else { panic!("it starts") };
        error.to_string()
    };
    assert!(start(nats.url()).await.contains("JetStream switched off"));
    nats.kill();
    let error = tokio::time::timeout(Duration::from_secs(20), start(nats.url())).await.expect("it gives up");
    assert!(error.contains("cannot reach NATS"), "{error}");
}
