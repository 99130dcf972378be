//! What is brought to which socket (contract, sections 3.4 and 3.5).

use serde_json::{Value, json};
use wa_core::api::Pending;
use wa_core::event::{Fact, MessageDeleted, MessageStatus};
use wa_core::limits::Limits;
use wa_core::message::{Rev, Seq};
use wa_core::receipt::Status;

use crate::support::{Client, World, id, message, new_message, send_frame, uuid};

async fn seqs(client: &mut Client, count: usize) -> Vec<(String, i64)> {
    let mut seqs = Vec::new();
    for _ in 0..count {
        let frame = client.frame().await;
        assert_eq!(frame["event"], "message.new", "{frame}");
        seqs.push((frame["data"]["chat_id"].as_str().expect("a chat").to_owned(), frame["data"]["seq"].as_i64().expect("a seq")));
    }
    seqs
}

#[tokio::test]
async fn a_message_reaches_every_socket_of_its_recipients_but_the_one_it_came_over() {
    let mut world = World::new().await;
    let mut sender = world.connect("1:1").await;
    let mut second = world.connect("1:2").await;
    let mut other = world.connect("2:3").await;
    let mut stranger = world.connect("3:4").await;
    sender.send(&send_frame(1, "a")).await;
    let send = world.next_send().await;
    let origin = send.message.origin;
    world.happen(&[1, 2], new_message(1, 1, origin)).await;
    for client in [&mut second, &mut other] {
        let frame = client.frame().await;
        assert_eq!((&frame["event"], &frame["data"]["seq"]), (&"message.new".into(), &1.into()));
        assert_eq!(frame["data"]["timestamp"], frame["data"]["created_at"]);
    }
    for client in [&mut sender, &mut stranger] {
        assert_eq!(client.ask("typing.stop", json!({"chat_id": uuid(1)})).await["event"], "ack", "no message came before");
    }
    // Of a message that came another way nobody is spared.
    world.happen(&[1], new_message(1, 2, None)).await;
    for client in [&mut sender, &mut second] {
        assert_eq!(client.frame().await["data"]["seq"], 2);
    }
    let text = world.metrics.render();
    assert!(text.contains("message_delivery_seconds_count 4"), "{text}");
}

#[tokio::test]
async fn changes_of_status_and_deletions_spare_the_socket_they_came_over() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    client.send(&send_frame(1, "a")).await;
    let send = world.next_send().await;
    let origin = send.message.origin;
    let mut other = world.connect("1:2").await;
    let status = |origin| {
        Fact::MessageStatus(MessageStatus {
            chat_id: id(1),
            message_id: id(2),
            seq: Seq::new(5),
            from_seq: Some(Seq::new(3)),
            user_id: id(1),
            status: Status::Read,
            sender_ids: vec![id(1)],
            origin,
        })
    };
    let deleted = |origin| {
        Fact::MessageDeleted(MessageDeleted {
            message_id: id(2),
            chat_id: id(1),
            seq: Seq::new(5),
            rev: Rev::new(6),
            deleted_by: id(1),
            for_everyone: false,
            withheld_from: None,
            origin,
        })
    };
    world.happen(&[1], status(origin)).await;
    world.happen(&[1], deleted(origin)).await;
    world.happen(&[1], status(None)).await;
    assert_eq!([other.event().await, other.event().await, other.event().await], ["message.status", "message.deleted", "message.status"]);
    let frame = client.frame().await;
    assert_eq!((&frame["event"], &frame["data"]["up_to_seq"], &frame["data"]["up_to_message_id"]), (&"message.status".into(), &5.into(), &uuid(2).into()));
}

#[tokio::test]
async fn everybody_sees_a_new_chat_in_their_own_way() {
    let mut world = World::new().await;
    let mut alice = world.connect("1:1").await;
    let mut bob = world.connect("2:2").await;
    world.happen(&[1, 2], Fact::ChatCreated { chat_id: id(5), created_by: id(1), group: None }).await;
    for (client, user) in [(&mut alice, 1), (&mut bob, 2)] {
        let frame = client.frame().await;
        assert_eq!((&frame["event"], &frame["data"]["name"], &frame["data"]["created_by"]), (&"chat.created".into(), &uuid(user).into(), &uuid(1).into()));
    }
}

#[tokio::test]
async fn typing_is_passed_on() {
    let mut world = World::new().await;
    let mut client = world.connect("2:2").await;
    world.happen(&[2], Fact::Typing { chat_id: id(1), user_id: id(1), is_typing: true }).await;
    assert_eq!(client.frame().await["data"], json!({"chat_id": uuid(1), "user_id": uuid(1), "is_typing": true}));
}

#[tokio::test]
async fn pending_messages_come_first_then_what_happened_meanwhile_without_repeats() {
    let mut world = World::new().await;
    let pending = world.core.hold_pending();
    let mut client = world.dial("2:2").await;
    // The socket is known before the messages are fetched: what happens from here on must not be lost.
    while world.call_connected().await.is_none() {}
    world.happen(&[2], new_message(1, 2, None)).await;
    world.happen(&[2], new_message(1, 3, None)).await;
    world.happen(&[2], new_message(7, 1, None)).await;
    pending.send(Ok(Pending { messages: vec![message(1, 1), message(9, 4), message(1, 2)], more_in: vec![] })).expect("it is asked");
    let expected = [(1, 1), (9, 4), (1, 2), (1, 3), (7, 1)].map(|(chat, seq)| (uuid(chat), seq));
    assert_eq!(seqs(&mut client, 5).await, expected);
    world.happen(&[2], new_message(1, 4, None)).await;
    assert_eq!(seqs(&mut client, 1).await, [(uuid(1), 4)]);
}

#[tokio::test]
async fn where_more_waits_is_told_after_the_pending_messages() {
    let world = World::new().await;
    let pending = world.core.hold_pending();
    let mut client = world.dial("2:2").await;
    pending.send(Ok(Pending { messages: vec![message(1, 1)], more_in: vec![id(1), id(3)] })).expect("it is asked");
    assert_eq!(seqs(&mut client, 1).await, [(uuid(1), 1)]);
    let resync = client.frame().await;
    assert_eq!((&resync["event"], &resync["data"]), (&"resync".into(), &json!({"chat_ids": [uuid(1), uuid(3)]})));
}

#[tokio::test]
async fn more_pending_messages_than_the_queue_holds_are_all_sent() {
    let world = World::with(Limits { ws_queue_bytes: 1000, ..Limits::default() }, &[]).await;
    let pending = world.core.hold_pending();
    let mut client = world.dial("2:2").await;
    let messages: Vec<_> = (1..=500).map(|seq| message(1, seq)).collect();
    pending.send(Ok(Pending { messages, more_in: vec![] })).expect("it is asked");
    assert_eq!(seqs(&mut client, 500).await, (1..=500).map(|seq| (uuid(1), seq)).collect::<Vec<_>>());
}

fn presence(online: bool) -> Fact {
    Fact::Presence { user_id: id(5), online, last_seen: None }
}

fn state(frame: &Value) -> (&str, bool) {
    (frame["data"]["user_id"].as_str().expect("a user"), frame["data"]["online"].as_bool().expect("a state"))
}

#[tokio::test]
async fn a_presence_subscription_tells_the_state_then_its_changes() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    client.send(&json!({"event": "presence.subscribe", "data": {"user_ids": [uuid(5), uuid(6)]}, "req_id": "1"})).await;
    for user in [5, 6] {
        assert_eq!(state(&client.frame().await), (uuid(user).as_str(), true));
    }
    assert_eq!(client.event().await, "ack");
    world.happen(&[1], presence(false)).await;
    assert_eq!(state(&client.frame().await), (uuid(5).as_str(), false));
    // One of many.
    let many: Vec<u128> = (1..=100).rev().collect();
    world.happen(&many, presence(true)).await;
    assert_eq!(state(&client.frame().await), (uuid(5).as_str(), true));
    world.happen(&many[..99], presence(false)).await;
    // Whom privacy hides it from by now is told nothing.
    world.happen(&[], presence(true)).await;
    assert_eq!(client.ask("presence.unsubscribe", json!({"user_ids": [uuid(5)]})).await["event"], "ack");
    world.happen(&[1], presence(true)).await;
    assert_eq!(client.ask("ping", Value::Null).await["event"], "pong");
}

#[tokio::test]
async fn a_change_that_overtakes_the_state_replaces_it() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    let see = world.core.hold_see();
    client.send(&json!({"event": "presence.subscribe", "data": {"user_ids": [uuid(5)]}, "req_id": "1"})).await;
    // Only once the request's turn has come the socket watches; the pong comes after that.
    assert_eq!(client.ask("ping", Value::Null).await["event"], "pong");
    world.happen(&[1], presence(false)).await;
    assert_eq!(state(&client.frame().await), (uuid(5).as_str(), false));
    see.send(()).expect("it is asked");
    assert_eq!(client.event().await, "ack", "the older state is not told after the change");
}

#[tokio::test]
async fn a_socket_watches_as_many_users_as_allowed_and_not_one_more() {
    let mut world = World::with(Limits { presence_subscriptions: 2, ..Limits::default() }, &[]).await;
    let mut client = world.connect("1:1").await;
    client.send(&json!({"event": "presence.subscribe", "data": {"user_ids": [uuid(5), uuid(6)]}, "req_id": "1"})).await;
    assert_eq!([client.event().await, client.event().await, client.event().await], ["presence", "presence", "ack"]);
    let refused = client.ask("presence.subscribe", json!({"user_ids": [uuid(7)]})).await;
    assert_eq!((&refused["event"], &refused["data"]["name"]), (&"error".into(), &"VALIDATION_ERROR".into()));
    assert_eq!(client.ask("presence.unsubscribe", json!({"user_ids": [uuid(5)]})).await["event"], "ack");
    client.send(&json!({"event": "presence.subscribe", "data": {"user_ids": [uuid(7)]}, "req_id": "2"})).await;
    assert_eq!([client.event().await, client.event().await], ["presence", "ack"]);
}

#[tokio::test]
async fn an_event_whose_recipients_cannot_be_told_is_tried_again() {
    let mut world = World::new().await;
    let mut client = world.connect("2:2").await;
    *world.core.fan_out_fails.lock().expect("not poisoned") = 2;
    world.happen(&[2], new_message(1, 1, None)).await;
    assert_eq!(seqs(&mut client, 1).await, [(uuid(1), 1)]);
}

#[tokio::test]
async fn an_event_that_stays_undeliverable_closes_the_sockets_rather_than_leave_a_gap() {
    let mut world = World::new().await;
    let mut client = world.connect("2:2").await;
    *world.core.fan_out_fails.lock().expect("not poisoned") = u32::MAX;
    world.happen(&[2], new_message(1, 1, None)).await;
    assert_eq!(client.closed().await.0, 1013);
}
