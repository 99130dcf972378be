//! Presence and typing, and from whom they are kept (contract, sections 3.3, 3.4, 7 and 10).

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Person, TestServer, eventually};

/// Awaits that somebody is seen like this; going offline takes a moment.
async fn seen_online(by: &Person, whom: &Person, online: bool) -> Value {
    eventually(&format!("online = {online}"), || async {
        let presence = by.get(&format!("/users/{}/presence", whom.id)).await.ok(200);
        (presence["online"] == online).then_some(presence)
    })
    .await
}

#[tokio::test]
async fn presence_is_told_at_once_and_then_on_every_change() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    let mut a = alice.connect().await;
    let ack = a.ask("presence.subscribe", json!({ "user_ids": [bob.id] })).await;
    assert_eq!(ack["event"], "ack");
    let now = match a.passed("presence").first() {
        Some(presence) => (*presence).clone(),
        None => a.expect("presence").await,
    };
    assert_eq!(now, json!({ "user_id": bob.id, "online": false, "last_seen": null }));
    a.passed_over.clear();

    let b = bob.connect().await;
    let came = a.expect("presence").await;
    assert_eq!((&came["user_id"], &came["online"]), (&json!(bob.id), &json!(true)));
    let second = server.login(&bob.phone).await.connect().await;
    b.close().await;
    assert_eq!(seen_online(&alice, &bob, true).await["online"], true, "online while any device is connected");
    second.close().await;
    let went = a.expect("presence").await;
    assert_eq!((&went["user_id"], &went["online"]), (&json!(bob.id), &json!(false)));
    assert!(went["last_seen"].is_string(), "{went}");
    assert_eq!(seen_online(&alice, &bob, false).await["last_seen"], went["last_seen"]);

    a.ask("presence.unsubscribe", json!({ "user_ids": [bob.id] })).await;
    a.passed_over.clear();
    let b = bob.connect().await;
    seen_online(&alice, &bob, true).await;
    let chat = bob.chat_with(&alice).await;
    bob.say(&chat, "marker").await;
    a.expect("message.new").await;
    assert!(a.passed("presence").is_empty(), "{:?}", a.passed_over);
    b.close().await;
}

#[tokio::test]
async fn hidden_presence_is_hidden_on_every_way() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let mut b = bob.connect().await;
    b.settle().await;
    seen_online(&alice, &bob, true).await;
    bob.put("/users/me/privacy", json!({ "last_seen": "nobody" })).await.ok(200);
    let hidden = json!({ "user_id": bob.id, "online": false, "last_seen": null });
    assert_eq!(alice.get(&format!("/users/{}/presence", bob.id)).await.ok(200), hidden);
    let mut a = alice.connect().await;
    a.ask("presence.subscribe", json!({ "user_ids": [bob.id, uuid::Uuid::new_v4()] })).await;
    b.close().await;
    let again = bob.connect().await;
    bob.say(&chat, "marker").await;
    a.expect("message.new").await;
    for presence in a.passed("presence") {
        assert_eq!((&presence["online"], &presence["last_seen"]), (&json!(false), &Value::Null), "{presence}");
    }
    assert_eq!(bob.get(&format!("/users/{}/presence", bob.id)).await.ok(200)["online"], true, "self sees all");
    again.close().await;
    alice.get(&format!("/users/{}/presence", uuid::Uuid::new_v4())).await.refused(404, "USER_NOT_FOUND");
}

#[tokio::test]
async fn a_blocked_person_sees_neither_presence_nor_typing() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let mut b = bob.connect().await;
    b.ask("presence.subscribe", json!({ "user_ids": [alice.id] })).await;
    assert_eq!(alice.call(Method::POST, &format!("/users/{}/block", bob.id), None).await.status, 204);
    b.settle().await;
    b.passed_over.clear();
    let mut a = alice.connect().await;
    a.settle().await;
    assert_eq!(bob.get(&format!("/users/{}/presence", alice.id)).await.ok(200), json!({ "user_id": alice.id, "online": false, "last_seen": null }));
    a.ask("typing.start", json!({ "chat_id": chat })).await;
    b.ask("typing.start", json!({ "chat_id": chat })).await;
    // Something that does come, after all that must not.
    let third = server.somebody().await;
    let (with_a, with_b) = (third.chat_with(&alice).await, third.chat_with(&bob).await);
    third.say(&with_a, "marker").await;
    third.say(&with_b, "marker").await;
    a.expect("message.new").await;
    b.expect("message.new").await;
    for socket in [&a, &b] {
        assert!(socket.passed("typing").is_empty() && socket.passed("presence").is_empty(), "{:?}", socket.passed_over);
    }
}

#[tokio::test]
async fn typing_that_is_not_stopped_ends_by_itself() {
    let server = TestServer::with(|config| config.limits.typing_ttl = Duration::from_millis(100)).await;
    let (alice, bob, chat) = server.couple().await;
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    a.settle().await;
    b.ask("typing.start", json!({ "chat_id": chat })).await;
    assert_eq!(a.expect("typing").await["is_typing"], true);
    assert_eq!(a.expect("typing").await, json!({ "chat_id": chat, "user_id": bob.id, "is_typing": false }));
    b.settle().await;
    assert!(b.passed("typing").is_empty(), "oneself is not told");
}

#[tokio::test]
async fn a_subscription_has_a_bound() {
    let server = TestServer::with(|config| config.limits.presence_subscriptions = 3).await;
    let alice = server.somebody().await;
    let mut a = alice.connect().await;
    let ids = |count: usize| (0..count).map(|_| uuid::Uuid::new_v4()).collect::<Vec<_>>();
    assert_eq!(a.ask("presence.subscribe", json!({ "user_ids": ids(3) })).await["event"], "ack");
    assert_eq!(a.ask("presence.subscribe", json!({ "user_ids": ids(4) })).await["data"]["name"], "VALIDATION_ERROR");
    assert_eq!(a.ask("presence.subscribe", json!({ "user_ids": ids(1) })).await["event"], "error", "all subscriptions of a socket together are bounded");
}
