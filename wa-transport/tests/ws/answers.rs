//! What clients ask for and what they are answered (contract, sections 3.2, 3.3 and 10).

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_websockets::{Config, Message};
use wa_core::api::Sent;
use wa_core::error::{Conflict, Error};
use wa_core::limits::Limits;

use crate::support::{Call, World, id, message, send_frame, soon, uuid};

#[tokio::test]
async fn every_event_with_a_req_id_is_answered() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    let table = [
        ("message.delivered", json!({"message_ids": [uuid(1)]}), "ack"),
        ("message.read", json!({"chat_id": uuid(1), "up_to_message_id": uuid(2)}), "ack"),
        ("message.delete", json!({"message_id": uuid(1), "for": "me"}), "message.deleted"),
        ("message.delete", json!({"message_id": uuid(1), "for": "everyone"}), "message.deleted"),
        ("message.edit", json!({"message_id": uuid(1), "payload": {"body": "again"}}), "message.edited"),
        ("message.react", json!({"message_id": uuid(1), "emoji": "👍"}), "message.reaction"),
        ("message.react", json!({"message_id": uuid(1), "emoji": null}), "message.reaction"),
        ("typing.start", json!({"chat_id": uuid(1)}), "ack"),
        ("typing.stop", json!({"chat_id": uuid(1)}), "ack"),
        ("presence.unsubscribe", json!({"user_ids": [uuid(1)]}), "ack"),
        ("sync", json!({"chats": {uuid(1): 5}, "limit": 7}), "sync.result"),
        ("sync", Value::Null, "sync.result"),
        ("ping", Value::Null, "pong"),
        ("message.read", json!({"chat_id": uuid(404), "up_to_message_id": uuid(2)}), "error"),
        ("message.edit", json!({}), "error"),
        ("message.react", json!({}), "error"),
        ("message.edit", json!({"message_id": uuid(404), "payload": {"body": "again"}}), "error"),
        ("message.delete", json!({"message_id": uuid(404)}), "error"),
        ("message.react", json!({"message_id": uuid(1), "emoji": "ok"}), "error"),
        ("call.offer", json!({}), "error"),
        ("typing.start", json!({}), "error"),
        ("nothing", json!({}), "error"),
    ];
    for (event, data, answer) in table {
        let got = client.ask(event, data.clone()).await;
        assert_eq!((got["event"].as_str(), got["req_id"].as_str()), (Some(answer), Some(event)), "{event} {data}");
        assert!(got["timestamp"].is_string() && got["data"].is_object(), "{got}");
    }
    let read = |chat, up_to| Call::Read(Some(id(chat)), Some(id(up_to)));
    let asked = [Call::Delivered(vec![id(1)]), read(1, 2), Call::Typing(id(1), true), Call::Typing(id(1), false)];
    for call in asked {
        assert_eq!(world.call().await, call);
    }
    assert_eq!(world.call().await, Call::Sync { chats: 1, limit: Some(7) });
    assert_eq!(world.call().await, Call::Sync { chats: 0, limit: None });
}

#[tokio::test]
async fn errors_carry_number_name_and_what_helps() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    let missing = client.ask("message.read", json!({"chat_id": uuid(404), "up_to_message_id": uuid(2)})).await;
    assert_eq!((&missing["data"]["code"], &missing["data"]["name"]), (&4004.into(), &"CHAT_NOT_FOUND".into()));
    assert!(missing["data"]["message"].is_string() && missing["data"].get("retry_after_ms").is_none());
    let invalid = client.ask("typing.start", json!({"chat_id": "x"})).await;
    assert_eq!(invalid["data"]["name"], "VALIDATION_ERROR");
    assert_eq!(invalid["data"]["details"], json!([{"field": "chat_id", "message": "must be a UUID"}]));
    client.send(&send_frame(1, "a")).await;
    world.next_send().await.reply.send(Err(Error::Conflict(Conflict::State("The key was used")))).ok();
    let conflict = client.frame().await;
    assert_eq!((&conflict["data"]["code"], &conflict["req_id"]), (&4009.into(), &"a".into()));
    client.send(&send_frame(1, "b")).await;
    world.next_send().await.reply.send(Err(Error::internal("secret cause"))).ok();
    let internal = client.frame().await;
    assert_eq!((&internal["data"]["code"], &internal["data"]["name"]), (&5000.into(), &"INTERNAL".into()));
    assert!(!internal.to_string().contains("secret"), "causes are never sent out");
}

#[tokio::test]
async fn without_a_req_id_only_what_tells_something_is_answered() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    client.send(&json!({"event": "typing.start", "data": {"chat_id": uuid(1)}})).await;
    client.send(&json!({"event": "message.delete", "data": {"message_id": uuid(1)}})).await;
    let deleted = client.frame().await;
    assert_eq!(deleted["event"], "message.deleted");
    assert!(deleted.get("req_id").is_none(), "{deleted}");
    client.send(&json!({"event": "ping"})).await;
    assert_eq!(client.event().await, "pong");
}

#[tokio::test]
async fn a_send_is_answered_once_the_message_is_stored() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    client.send(&send_frame(1, "a")).await;
    let send = world.next_send().await;
    assert_eq!((send.message.chat_id, send.message.client_msg_id.as_str(), send.message.kind.as_str()), (id(1), "a", "text"));
    assert!(send.message.origin.is_some());
    // Nothing comes before the core says that it is durable.
    assert_eq!(client.ask("ping", Value::Null).await["event"], "pong");
    send.reply.send(Ok(Sent { message: message(1, 7), duplicate: true })).ok();
    let sent = client.frame().await;
    assert_eq!((&sent["event"], &sent["req_id"]), (&"message.sent".into(), &"a".into()));
    assert_eq!((&sent["data"]["seq"], &sent["data"]["duplicate"], &sent["data"]["client_msg_id"]), (&7.into(), &true.into(), &"key 7".into()));
}

#[tokio::test]
async fn many_sends_are_in_flight_at_a_time_and_begin_in_order() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    for key in 0..16 {
        client.send(&send_frame(1, &key.to_string())).await;
    }
    let mut sends = Vec::new();
    for key in 0..16 {
        let send = world.next_send().await;
        assert_eq!(send.message.client_msg_id, key.to_string());
        sends.push(send);
    }
    // They are answered as they end.
    for send in sends.into_iter().rev() {
        let key = send.message.client_msg_id.clone();
        send.reply.send(Ok(Sent { message: message(1, 2), duplicate: false })).ok();
        assert_eq!(client.frame().await["req_id"], key.as_str());
    }
}

#[tokio::test]
async fn requests_past_the_window_wait_without_being_lost() {
    let mut world = World::with(Limits { ws_in_flight: 2, ..Limits::default() }, &[]).await;
    let mut client = world.connect("1:1").await;
    for chat in 1..=5 {
        client.send(&send_frame(chat, &chat.to_string())).await;
    }
    let mut open = vec![world.next_send().await, world.next_send().await];
    for answered in 0..5 {
        assert!(world.sends.try_recv().is_err(), "no more than two at a time");
        open.remove(0).reply.send(Ok(Sent { message: message(1, 1), duplicate: false })).ok();
        assert_eq!(client.event().await, "message.sent");
        if answered < 3 {
            open.push(world.next_send().await);
        }
    }
}

#[tokio::test]
async fn a_rate_limit_refuses_with_the_time_to_wait() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    *world.core.refuse.lock().expect("not poisoned") = true;
    let refused = client.ask("ping", Value::Null).await;
    assert_eq!((&refused["event"], &refused["req_id"]), (&"error".into(), &"ping".into()));
    assert_eq!(refused["data"]["code"], 4029);
    assert_eq!((&refused["data"]["name"], &refused["data"]["retry_after_ms"]), (&"RATE_LIMITED".into(), &2.into()));
    client.send(&send_frame(1, "a")).await;
    assert_eq!(client.frame().await["data"]["code"], 4029);
    assert!(world.sends.try_recv().is_err());
    let text = world.metrics.render();
    assert!(text.contains(r#"rate_limit_exceeded_total{limit="ws_messages"} 1"#) && text.contains(r#"rate_limit_exceeded_total{limit="ws_other"} 1"#));
}

#[tokio::test]
async fn with_limits_off_nothing_is_refused() {
    let mut world = World::with(Limits { enabled: false, ..Limits::default() }, &[]).await;
    *world.core.refuse.lock().expect("not poisoned") = true;
    let mut client = world.connect("1:1").await;
    assert_eq!(client.ask("ping", Value::Null).await["event"], "pong");
}

#[tokio::test]
async fn the_twentieth_bad_frame_in_a_row_is_answered_and_ends_the_socket() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    let bad = ["{", "[]", "{}", r#"{"event":"nothing"}"#];
    for number in 0..19 {
        client.text(bad[number % 4]).await;
        assert_eq!(client.frame().await["data"]["code"], 4000);
    }
    // A good one makes it start over.
    assert_eq!(client.ask("ping", Value::Null).await["event"], "pong");
    for number in 0..20 {
        client.text(bad[number % 4]).await;
        assert_eq!(client.event().await, "error");
    }
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test]
async fn a_binary_frame_is_a_bad_frame() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    soon(client.ws.send(Message::binary(r#"{"event":"ping"}"#.to_owned()))).await.expect("sent");
    assert_eq!(client.frame().await["data"]["code"], 4000);
}

#[tokio::test]
async fn a_frame_may_be_as_large_as_the_limit_and_not_larger() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    let frame = |size: usize| r#"{"event":"ping"}"#.to_owned() + &" ".repeat(size - 16);
    client.text(frame(65_536)).await;
    assert_eq!(client.event().await, "pong");
    client.text(frame(65_537)).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn the_limit_holds_for_fragmented_messages_too() {
    let world = World::new().await;
    let fragments = Config::default().frame_size(10_000);
    let mut client = world.dial_with("1:1", fragments).await;
    let frame = |size: usize| r#"{"event":"ping"}"#.to_owned() + &" ".repeat(size - 16);
    client.text(frame(65_536)).await;
    assert_eq!(client.event().await, "pong");
    client.text(frame(65_537)).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn invalid_utf_8_breaks_the_protocol() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    soon(client.ws.send(Message::text(b"{\"event\":\"\xff\"}".to_vec()))).await.expect("sent");
    assert_eq!(client.closed().await.0, 1007);
}

#[tokio::test]
async fn a_request_that_panics_costs_only_its_socket() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    let mut other = world.connect("1:2").await;
    client.send(&send_frame(1, "a")).await;
    // The core of these tests panics when it is left without an answer.
    drop(world.next_send().await);
    assert_eq!(client.closed().await.0, 1013);
    assert_eq!(other.ask("ping", Value::Null).await["event"], "pong");
}
