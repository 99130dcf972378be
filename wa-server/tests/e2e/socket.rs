//! The WebSocket protocol over real sockets (contract, sections 3 and 10).

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_websockets::{ClientBuilder, Message};

use crate::support::{Answer, Socket, TestServer, http, soon};

#[tokio::test]
async fn a_conversation_goes_from_sent_to_delivered_to_read() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    let sent = a.say(&chat, "hello").await;
    for key in ["message_id", "client_msg_id", "chat_id", "seq", "timestamp", "created_at", "duplicate"] {
        assert!(sent.get(key).is_some(), "{key} is missing in {sent}");
    }
    assert_eq!((&sent["seq"], &sent["duplicate"]), (&json!(1), &json!(false)));

    let new = b.expect("message.new").await;
    assert_eq!((&new["message_id"], &new["payload"]["body"], &new["sender_id"]), (&sent["message_id"], &json!("hello"), &json!(alice.id)));
    assert!(new["timestamp"].is_string());
    let ack = b.ask("message.delivered", json!({ "message_ids": [new["message_id"]] })).await;
    assert_eq!((&ack["event"], &ack["data"]), (&json!("ack"), &json!({})));
    let delivered = a.expect("message.status").await;
    assert_eq!((&delivered["status"], &delivered["user_id"], &delivered["message_id"]), (&json!("delivered"), &json!(bob.id), &sent["message_id"]));
    assert!(delivered["chat_id"].is_string() && delivered["timestamp"].is_string());

    b.ask("message.read", json!({ "chat_id": chat, "up_to_message_id": new["message_id"] })).await;
    let read = a.expect("message.status").await;
    assert_eq!((&read["status"], &read["message_id"]), (&json!("read"), &sent["message_id"]));

    b.ask("typing.start", json!({ "chat_id": chat })).await;
    assert_eq!(a.expect("typing").await, json!({ "chat_id": chat, "user_id": bob.id, "is_typing": true }));
    b.ask("typing.stop", json!({ "chat_id": chat })).await;
    assert_eq!(a.expect("typing").await["is_typing"], false);
    a.settle().await;
    assert!(a.passed("message.new").is_empty(), "the sending socket is spared its own message");
}

#[tokio::test]
async fn reading_a_range_is_told_as_one() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let mut a = alice.connect().await;
    for text in ["one", "two", "three"] {
        a.say(&chat, text).await;
    }
    let last = a.say(&chat, "four").await;
    bob.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": last["message_id"] })).await;
    let status = a.expect("message.status").await;
    assert_eq!((&status["status"], &status["up_to_message_id"], &status["up_to_seq"]), (&json!("read"), &last["message_id"], &json!(4)));
}

#[tokio::test]
async fn a_new_chat_is_announced_to_both() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    alice.patch("/users/me", json!({ "display_name": "Alice" })).await.ok(200);
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    a.settle().await;
    b.settle().await;
    let chat = alice.chat_with(&bob).await;
    let seen = b.expect("chat.created").await;
    assert_eq!((&seen["chat_id"], &seen["created_by"], &seen["name"]), (&json!(chat), &json!(alice.id), &json!("Alice")));
    assert_eq!(a.expect("chat.created").await["chat_id"], chat.as_str());
}

#[tokio::test]
async fn every_device_gets_messages_and_only_the_sending_socket_is_spared() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let second = server.login(&alice.phone).await;
    let (mut a1, mut a2, mut b) = (alice.connect().await, second.connect().await, bob.connect().await);
    for socket in [&mut a1, &mut a2, &mut b] {
        socket.settle().await;
    }
    let sent = a1.say(&chat, "over the socket").await;
    for socket in [&mut a2, &mut b] {
        assert_eq!(socket.expect("message.new").await["message_id"], sent["message_id"]);
    }
    let rest = alice.say(&chat, "over rest").await;
    for socket in [&mut a1, &mut a2, &mut b] {
        assert_eq!(socket.expect("message.new").await["message_id"], rest["message_id"], "over REST the device's own socket gets it too");
    }
}

#[tokio::test]
async fn a_repeated_send_is_answered_as_duplicate_and_a_changed_one_by_4009() {
    let server = TestServer::start().await;
    let (alice, _bob, chat) = server.couple().await;
    let mut a = alice.connect().await;
    let message = |body: &str| json!({ "chat_id": chat, "client_msg_id": "once", "type": "text", "payload": { "body": body } });
    let first = a.ask("message.send", message("x")).await;
    let again = a.ask("message.send", message("x")).await;
    assert_eq!((&first["data"]["message_id"], &again["data"]["duplicate"]), (&again["data"]["message_id"], &json!(true)));
    let changed = a.ask("message.send", message("y")).await;
    assert_eq!((&changed["event"], &changed["data"]["code"], &changed["data"]["name"]), (&json!("error"), &json!(4009), &json!("CONFLICT")));
}

#[tokio::test]
async fn errors_carry_their_code_name_and_request() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let mut a = alice.connect().await;
    let absent = uuid::Uuid::new_v4().to_string();
    let cases = [
        ("message.send", json!({ "chat_id": absent, "client_msg_id": "x", "type": "text", "payload": { "body": "x" } }), 4004, "CHAT_NOT_FOUND"),
        ("message.send", json!({ "chat_id": chat, "client_msg_id": "x", "type": "text", "payload": {} }), 4000, "VALIDATION_ERROR"),
        ("message.send", json!({}), 4000, "VALIDATION_ERROR"),
        ("message.read", json!({ "chat_id": chat, "up_to_message_id": absent }), 4004, "MESSAGE_NOT_FOUND"),
        ("message.delete", json!({ "message_id": absent, "for": "me" }), 4004, "MESSAGE_NOT_FOUND"),
        ("typing.start", json!({ "chat_id": absent }), 4004, "CHAT_NOT_FOUND"),
        ("typing.start", json!({ "chat_id": 5 }), 4000, "VALIDATION_ERROR"),
        ("presence.subscribe", json!({ "user_ids": "x" }), 4000, "VALIDATION_ERROR"),
        ("sync", json!({ "chats": { "x": 1 } }), 4000, "VALIDATION_ERROR"),
        ("call.offer", json!({ "call_id": absent }), 4000, "BAD_REQUEST"),
        ("message.edit", json!({ "message_id": absent, "payload": { "body": "x" } }), 4004, "MESSAGE_NOT_FOUND"),
        ("message.react", json!({ "message_id": absent, "emoji": "no emoji" }), 4000, "VALIDATION_ERROR"),
        ("no.such.event", json!({}), 4000, "BAD_REQUEST"),
    ];
    for (event, data, code, name) in cases {
        let answer = a.ask(event, data).await;
        assert_eq!(
            (answer["event"].as_str(), answer["data"]["code"].as_i64(), answer["data"]["name"].as_str()),
            (Some("error"), Some(code), Some(name)),
            "{event}: {answer}"
        );
        assert!(answer["data"]["message"].is_string());
    }
    alice.call(Method::POST, &format!("/users/{}/block", bob.id), None).await;
    let blocked = a.ask("message.send", json!({ "chat_id": chat, "client_msg_id": "b", "type": "text", "payload": { "body": "x" } })).await;
    assert_eq!((&blocked["data"]["code"], &blocked["data"]["name"]), (&json!(4003), &json!("USER_BLOCKED")));
}

#[tokio::test]
async fn deleting_for_me_is_answered_by_its_event_and_told_to_other_devices() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let second = server.login(&bob.phone).await;
    let message = alice.say(&chat, "oops").await;
    let (mut b1, mut b2) = (bob.connect().await, second.connect().await);
    let answer = b1.ask("message.delete", json!({ "message_id": message["message_id"], "for": "me" })).await;
    assert_eq!((&answer["event"], &answer["data"]["message_id"], &answer["data"]["for"]), (&json!("message.deleted"), &message["message_id"], &json!("me")));
    assert_eq!(b2.expect("message.deleted").await["message_id"], message["message_id"]);
    assert_eq!(alice.texts(&chat).await, ["oops"]);
}

#[tokio::test]
async fn what_waited_is_pushed_on_connect_oldest_first_and_the_rest_announced() {
    let server = TestServer::with(|config| config.limits.connect_backlog = 5).await;
    let (alice, bob, chat) = server.couple().await;
    for number in 0..8 {
        alice.say(&chat, &number.to_string()).await;
    }
    let mut b = bob.connect().await;
    for number in 0..5 {
        assert_eq!(b.expect("message.new").await["payload"]["body"], number.to_string());
    }
    assert_eq!(b.expect("resync").await, json!({ "chat_ids": [chat] }));
    let result = b.ask("sync", json!({ "chats": { (chat.as_str()): 0 } })).await;
    assert_eq!(result["event"], "sync.result");
    assert_eq!(crate::support::texts(&result["data"]["chats"][0]["messages"]).len(), 8);

    // What was confirmed does not come again.
    let last = alice.get(&format!("/chats/{chat}/messages?limit=1")).await.ok(200)["messages"][0]["message_id"].clone();
    b.ask("message.read", json!({ "chat_id": chat, "up_to_message_id": last })).await;
    b.close().await;
    let mut b = bob.connect().await;
    alice.say(&chat, "new").await;
    assert_eq!(b.expect("message.new").await["payload"]["body"], "new");
    assert!(b.passed("message.new").is_empty() && b.passed("resync").is_empty(), "{:?}", b.passed_over);
}

#[tokio::test]
async fn messages_sent_while_a_socket_opens_come_once() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let sending = tokio::spawn({
        let (alice, chat) = (alice.clone(), chat.clone());
        async move {
            for number in 0..60 {
                alice.say(&chat, &number.to_string()).await;
            }
        }
    });
    let mut got = BTreeSet::new();
    // Each connection replaces the one before; what was not confirmed comes again with the next.
    while got.len() < 60 {
        let mut b = bob.connect().await;
        let mut of_this = Vec::new();
        while of_this.len() < 8 && got.len() < 60 {
            let new = match b.passed_over.pop() {
                Some(frame) if frame["event"] == "message.new" => frame["data"].clone(),
                Some(_) => continue,
                None => b.expect("message.new").await,
            };
            let seq = new["seq"].as_i64().unwrap();
            assert!(!of_this.contains(&seq), "{seq} came twice on one socket");
            of_this.push(seq);
            got.insert(seq);
            b.ask("message.delivered", json!({ "message_ids": [new["message_id"]] })).await;
        }
    }
    sending.await.unwrap();
    assert_eq!(got, (1..=60).collect());
}

#[tokio::test]
async fn a_devices_newer_socket_replaces_the_older() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let mut old = alice.connect().await;
    old.settle().await;
    let mut new = alice.connect().await;
    assert_eq!(old.close_code().await, 4010);
    new.settle().await;
    let other_device = server.login(&alice.phone).await;
    let mut other = other_device.connect().await;
    other.settle().await;
    new.settle().await;
}

#[tokio::test]
async fn the_upgrade_is_refused_as_documented() {
    let server = TestServer::with(|config| config.server.cors_origins = wa_transport::rest::Origins::parse(&["https://app.example.org"]).unwrap()).await;
    let alice = server.somebody().await;
    let upgrade = |query: String, headers: Vec<(&'static str, String)>| {
        let mut request = http().get(server.url(&format!("/ws{query}")));
        for (name, value) in
            [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]
        {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        async move { request.send().await.unwrap() }
    };
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    for (what, answer, status) in [
        ("no token", upgrade(String::new(), vec![]).await, 401),
        ("an empty token", upgrade("?token=".to_owned(), vec![]).await, 401),
        ("a bad token in the header", upgrade(String::new(), vec![bearer("nonsense")]).await, 401),
        ("a foreign origin", upgrade(format!("?token={}", alice.access), vec![("origin", "https://evil.example".to_owned())]).await, 403),
        ("a good token in the header", upgrade(String::new(), vec![bearer(&alice.access)]).await, 101),
        ("a listed origin", upgrade(format!("?token={}", alice.access), vec![("origin", "https://app.example.org".to_owned())]).await, 101),
        ("its own origin", upgrade(format!("?token={}", alice.access), vec![("origin", server.url(""))]).await, 101),
    ] {
        assert_eq!(answer.status().as_u16(), status, "{what}");
    }
    let mut socket = Socket::connect(&format!("ws://{}/ws?token=nonsense", server.address)).await;
    assert_eq!(socket.close_code().await, 4001);
    let plain = Answer::of(http().get(server.url(&format!("/ws?token={}", alice.access)))).await;
    assert_eq!(plain.status, 400, "no upgrade was asked for");
}

#[tokio::test]
async fn a_frame_too_large_closes_with_1009() {
    let server = TestServer::start().await;
    let (alice, _bob, _chat) = server.couple().await;
    let mut a = alice.connect().await;
    let envelope = json!({ "event": "ping", "data": { "pad": "" } }).to_string().len();
    a.send_text(json!({ "event": "ping", "data": { "pad": "x".repeat((64 << 10) - envelope) } }).to_string()).await;
    a.expect("pong").await;
    a.send_text("x".repeat((64 << 10) + 1)).await;
    assert_eq!(a.close_code().await, 1009);
}

#[tokio::test]
async fn bad_frames_are_answered_and_the_twentieth_in_a_row_closes_with_1008() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let mut a = alice.connect().await;
    let bad = ["{", "[]", "5", "null", "", "{\"event\":5}", "{}", "{\"event\":\"nope\"}", "{\"event\":\"ping\"", "\u{0}"];
    for frame in bad.iter().chain(&bad[..9]) {
        a.send_text(*frame).await;
        let error = a.expect("error").await;
        assert_eq!((&error["code"], &error["name"]), (&json!(4000), &json!("BAD_REQUEST")), "{frame}: {error}");
    }
    // A good one starts the count anew.
    a.settle().await;
    for _ in 0..20 {
        a.send_text("{").await;
    }
    for _ in 0..20 {
        a.expect("error").await;
    }
    assert_eq!(a.close_code().await, 1008);
}

#[tokio::test]
async fn data_may_be_null_or_absent() {
    let server = TestServer::start().await;
    let mut a = server.somebody().await.connect().await;
    for frame in [r#"{"event":"ping"}"#, r#"{"event":"ping","data":null}"#, r#"{"event":"ping","data":{}}"#] {
        a.send_text(frame).await;
        assert_eq!(a.expect("pong").await, json!({}));
    }
    a.send_text(r#"{"event":"sync","req_id":"s"}"#).await;
    assert_eq!(a.expect("sync.result").await["complete"], true);
}

#[tokio::test]
async fn a_silent_socket_is_closed() {
    let server = TestServer::with(|config| {
        config.limits.ws_idle = Duration::from_millis(300);
        // No pings: answering them would be a sign of life.
        config.limits.ws_ping = Duration::from_secs(3600);
    })
    .await;
    let alice = server.somebody().await;
    let mut a = alice.connect().await;
    a.settle().await;
    soon("the close of an idle socket", async { while a.next().await.is_some() {} }).await;
}

#[tokio::test]
async fn a_quiet_client_is_pinged() {
    let server = TestServer::with(|config| config.limits.ws_ping = Duration::from_millis(20)).await;
    let alice = server.somebody().await;
    let (mut ws, _) = ClientBuilder::new().uri(&format!("ws://{}/ws?token={}", server.address, alice.access)).unwrap().connect().await.unwrap();
    for _ in 0..5 {
        let message = soon("a ping", ws.next()).await.expect("open").expect("no error");
        assert!(message.is_ping(), "{message:?}");
    }
    ws.send(Message::text(r#"{"event":"ping"}"#)).await.unwrap();
    while !soon("the pong", ws.next()).await.expect("open").expect("no error").is_text() {}
}

#[tokio::test]
async fn the_socket_outlives_its_access_token_and_dies_with_its_session() {
    let (server, clock) = TestServer::with_clock(|_| {}).await;
    let (alice, bob, chat) = server.couple().await;
    let mut a = alice.connect().await;
    a.settle().await;
    clock.advance(Duration::from_secs(3600));
    alice.get("/users/me").await.refused(401, "TOKEN_EXPIRED");
    a.say(&chat, "still here").await;
    let mut late = Socket::connect(&format!("ws://{}/ws?token={}", server.address, alice.access)).await;
    assert_eq!(late.close_code().await, 4001, "an expired token opens nothing");
    server.post("/auth/logout", json!({ "refresh_token": alice.refresh })).await.ok(200);
    assert_eq!(a.close_code().await, 4001);
    drop(bob);
}

#[tokio::test]
async fn floods_are_refused_with_4029_and_the_time_to_wait() {
    let server = TestServer::with(|config| {
        config.limits.enabled = true;
        config.limits.ws_messages = wa_core::limits::RateLimit::new(3, Duration::from_secs(3600));
        config.limits.ws_other = wa_core::limits::RateLimit::new(5, Duration::from_secs(3600));
    })
    .await;
    let (alice, _bob, chat) = server.couple().await;
    let mut a = alice.connect().await;
    for text in ["1", "2", "3"] {
        a.say(&chat, text).await;
    }
    let refused = a.ask("message.send", json!({ "chat_id": chat, "client_msg_id": "x", "type": "text", "payload": { "body": "4" } })).await;
    assert_eq!((&refused["data"]["code"], &refused["data"]["name"]), (&json!(4029), &json!("RATE_LIMITED")));
    assert!(refused["data"]["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{refused}");
    // The other bucket is another one.
    for _ in 0..5 {
        assert_eq!(a.ask("ping", Value::Null).await["event"], "pong");
    }
    assert_eq!(a.ask("ping", Value::Null).await["data"]["code"], 4029);
    assert_eq!(alice.texts(&chat).await.len(), 3);
}

#[tokio::test]
async fn a_slow_reader_is_closed_with_4008_and_resumes_without_loss() {
    let server = TestServer::with(|config| {
        config.limits.ws_queue_bytes = 64 << 10;
        config.limits.ws_write_timeout = Duration::from_secs(1);
        config.limits.ws_idle = Duration::from_secs(3600);
    })
    .await;
    let (alice, bob, chat) = server.couple().await;
    let (mut slow, second) = (bob.connect().await, server.login(&bob.phone).await);
    let mut quick = second.connect().await;
    let mut a = alice.connect().await;
    for socket in [&mut slow, &mut quick, &mut a] {
        socket.settle().await;
    }
    let reading = tokio::spawn(async move {
        let mut expected = 1;
        loop {
            let new = quick.expect("message.new").await;
            assert_eq!(new["seq"], expected, "a slow reader costs only itself");
            if new["payload"]["body"] == "the end" {
                return;
            }
            expected += 1;
        }
    });
    // More than the queue and the system's own buffers hold.
    let (text, mut count) = ("x".repeat(4000), 0);
    let is_closed = || async { Answer::of(http().get(server.url("/metrics"))).await.text.contains("\nws_connections_active 2\n") };
    while !is_closed().await {
        for _ in 0..100 {
            a.say(&chat, &text).await;
            count += 1;
        }
        assert!(count < 10_000, "the slow reader was never closed");
    }
    a.say(&chat, "the end").await;
    count += 1;
    reading.await.unwrap();
    // The close frame stands behind what the slow reader never read; it may be cut off with the connection.
    let code = slow.close_code_or_end().await;
    assert!(matches!(code, None | Some(4008)), "{code:?}");

    let mut known = 0;
    let mut got = 0;
    let mut again = bob.connect().await;
    loop {
        let answer = again.ask("sync", json!({ "chats": { (chat.as_str()): known }, "limit": 1000 })).await;
        if let Some(item) = answer["data"]["chats"].get(0) {
            got += item["messages"].as_array().unwrap().len();
            known = item["rev"].as_i64().unwrap();
        }
        if answer["data"]["complete"] == true {
            break;
        }
    }
    assert_eq!(got, count);
}
