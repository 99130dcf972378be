//! How sockets end (contract, sections 3.1, 3.5, 3.6 and 10).

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_websockets::Message;
use wa_core::api::{Pending, Sent};
use wa_core::error::Error;
use wa_core::limits::Limits;
use wa_core::ports::FanOut as _;

use crate::support::{Call, World, id, message, new_message, send_frame, soon, uuid};

#[tokio::test]
async fn a_cut_socket_accepts_nothing_and_emits_nothing_but_its_close() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    let mut other = world.connect("1:2").await;
    client.send(&send_frame(1, "in hand")).await;
    let in_hand = world.next_send().await;
    soon(world.hub.cut(&[id(1)])).await;
    in_hand.reply.send(Ok(Sent { message: message(1, 1), duplicate: false })).ok();
    // The client may not have noticed yet.
    client.ws.send(Message::text(send_frame(1, "late").to_string())).await.ok();
    world.happen(&[1], new_message(1, 1, None)).await;
    let first = soon(client.ws.next()).await.expect("a message").expect("a message");
    let (code, reason) = first.as_close().expect("nothing but the close");
    assert_eq!((u16::from(code), reason), (4001, "TOKEN_INVALID"));
    assert_eq!(other.event().await, "message.new", "other devices go on");
    assert!(world.sends.try_recv().is_err(), "nothing more was taken in");
}

#[tokio::test]
async fn a_socket_that_is_cut_while_it_opens_is_closed() {
    let mut world = World::new().await;
    let _pending = world.core.hold_pending();
    let mut client = world.dial("1:1").await;
    while world.call_connected().await.is_none() {}
    soon(world.hub.cut(&[id(1)])).await;
    assert_eq!(client.closed().await.0, 4001);
}

#[tokio::test]
async fn a_device_that_connects_again_closes_its_older_socket_without_seeming_to_leave() {
    let mut world = World::new().await;
    let mut older = world.connect("1:1").await;
    let Some(Call::Connected(first)) = world.calls.recv().await else { panic!("it was announced") };
    // The settling ping renewed it.
    assert_eq!(soon(world.calls.recv()).await, Some(Call::Connected(first)));
    let mut newer = world.connect("1:1").await;
    assert_eq!(older.closed().await, (4010, "replaced by a newer connection".to_owned()));
    let Some(Call::Connected(second)) = soon(world.calls.recv()).await else { panic!("the newer comes before the older goes") };
    assert_ne!(first, second);
    loop {
        match soon(world.calls.recv()).await.expect("the core lives") {
            Call::Disconnected(connection) => break assert_eq!(connection, first),
            call => assert_eq!(call, Call::Connected(second)),
        }
    }
    world.happen(&[1], new_message(1, 1, None)).await;
    assert_eq!(newer.event().await, "message.new");
}

#[tokio::test]
async fn a_socket_whose_pending_messages_cannot_be_had_is_closed() {
    let world = World::new().await;
    let pending = world.core.hold_pending();
    let mut client = world.dial("1:1").await;
    pending.send(Err(Error::unavailable("down"))).expect("it is asked");
    assert_eq!(client.closed().await.0, 1013);
}

#[tokio::test]
async fn a_slow_reader_costs_only_itself() {
    let mut world = World::with(Limits { ws_queue_bytes: 64 << 10, ..Limits::default() }, &[]).await;
    let mut slow = world.connect("1:1").await;
    let mut fast = world.connect("1:2").await;
    // The slow one reads nothing, while the fast one takes what the system's buffers and the queue cannot hold.
    let mut seq = 0;
    while !world.saw_disconnect() {
        for _ in 0..100 {
            seq += 1;
            world.happen(&[1], new_message(1, seq, None)).await;
            assert_eq!(fast.frame().await["data"]["seq"], seq);
        }
    }
    let mut next = 1;
    let code = loop {
        let message = soon(slow.ws.next()).await.expect("a close comes first").expect("a close comes first");
        if let Some((code, _)) = message.as_close() {
            break u16::from(code);
        }
        if let Some(text) = message.as_text() {
            let frame: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(frame["data"]["seq"], next, "what was sent has no gap");
            next += 1;
        }
    };
    assert_eq!(code, 4008);
    assert!(next <= seq, "something was not sent, which the close tells");
}

#[tokio::test]
async fn a_client_that_reads_nothing_at_all_is_given_up() {
    let limits = Limits { ws_write_timeout: Duration::from_millis(100), ws_queue_bytes: 64 << 20, ..Limits::default() };
    let mut world = World::with(limits, &[]).await;
    let _stuck = world.connect("1:1").await;
    let Some(Call::Connected(connection)) = world.calls.recv().await else { panic!("it was announced") };
    let mut seq = 0;
    while !matches!(world.calls.try_recv(), Ok(Call::Disconnected(gone)) if gone == connection) {
        seq += 1;
        world.happen(&[1], new_message(1, seq, None)).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn large_answers_are_not_made_while_nobody_takes_them() {
    let limits = Limits { ws_write_timeout: Duration::from_millis(500), ..Limits::default() };
    let mut world = World::with(limits, &[]).await;
    // About 4 MB of JSON: what the system keeps for a connection holds a few of them.
    *world.core.removed.lock().expect("not poisoned") = (0..100_000).map(id).collect();
    let mut client = world.connect("1:1").await;
    let see = world.core.hold_see();
    client.send(&json!({"event": "presence.subscribe", "data": {"user_ids": [uuid(5)]}, "req_id": "1"})).await;
    for _ in 0..30 {
        client.send(&json!({"event": "sync", "req_id": "2"})).await;
    }
    assert_eq!(client.ask("ping", Value::Null).await["event"], "pong");
    // All of them wait for their turn, which comes now.
    see.send(()).expect("it is asked");
    let mut answers = 0;
    loop {
        match soon(world.calls.recv()).await.expect("the core lives") {
            Call::Sync { .. } => answers += 1,
            Call::Disconnected(_) => break,
            _ => {}
        }
    }
    assert!((1..15).contains(&answers), "{answers}");
}

#[tokio::test]
async fn a_silent_socket_is_pinged_and_then_closed() {
    let limits = Limits { ws_ping: Duration::from_millis(20), ws_idle: Duration::from_millis(200), ..Limits::default() };
    let mut world = World::with(limits, &[]).await;
    let client = world.connect("1:1").await;
    // A client that takes pings in but never answers: the library answers only when it is polled again.
    let mut ws = client.ws;
    let ping = soon(ws.next()).await.expect("a ping").expect("a ping");
    assert!(ping.is_ping());
    let Some(Call::Connected(connection)) = world.calls.recv().await else { panic!("it was announced") };
    loop {
        match soon(world.calls.recv()).await.expect("the core lives") {
            Call::Disconnected(gone) => break assert_eq!(gone, connection),
            // Each ping renews the presence.
            call => assert_eq!(call, Call::Connected(connection)),
        }
    }
    let close = loop {
        let message = soon(ws.next()).await.expect("a close").expect("a close");
        if let Some((code, reason)) = message.as_close() {
            break (u16::from(code), reason.to_owned());
        }
    };
    assert_eq!(close, (4008, "idle".to_owned()));
}

#[tokio::test]
async fn a_socket_that_answers_pings_stays_open() {
    let limits = Limits { ws_ping: Duration::from_millis(10), ws_idle: Duration::from_millis(300), ..Limits::default() };
    let mut world = World::with(limits, &[]).await;
    let mut client = world.connect("1:1").await;
    // Twice the idle time's worth of pings, each answered by the library while it waits for the next.
    for _ in 0..60 {
        let message = soon(client.ws.next()).await.expect("open").expect("open");
        assert!(message.is_ping(), "{message:?}");
    }
    assert_eq!(client.ask("typing.stop", json!({"chat_id": uuid(1)})).await["event"], "ack");
}

#[tokio::test]
async fn a_shutdown_answers_what_was_asked_then_goes_away() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    client.send(&send_frame(1, "a")).await;
    let send = world.next_send().await;
    let hub = world.hub.clone();
    let shutdown = tokio::spawn(async move { hub.shutdown(Duration::from_secs(15)).await });
    // A shutdown takes no new ones.
    while world.dial_with_header("x-other", "1", "?token=1:2").await.is_ok() {}
    send.reply.send(Ok(Sent { message: message(1, 1), duplicate: false })).ok();
    assert_eq!(client.event().await, "message.sent");
    assert_eq!(client.closed().await.0, 1001);
    assert_eq!(soon(client.ws.next()).await.map(|message| message.is_ok()), None, "and then the connection ends");
    assert_eq!(soon(shutdown).await.expect("no panic"), 0);
    while !matches!(soon(world.calls.recv()).await, Some(Call::Disconnected(_))) {}
}

#[tokio::test]
async fn a_shutdown_waits_no_longer_than_it_may() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    client.send(&send_frame(1, "a")).await;
    let _never = world.next_send().await;
    assert_eq!(soon(world.hub.shutdown(Duration::from_millis(50))).await, 1);
}

#[tokio::test]
async fn what_a_client_asked_for_before_it_left_is_done() {
    let mut world = World::new().await;
    let mut client = world.connect("1:1").await;
    client.send(&send_frame(1, "a")).await;
    client.send(&send_frame(1, "b")).await;
    soon(client.ws.send(Message::close(None, ""))).await.expect("sent");
    while soon(client.ws.next()).await.is_some_and(|message| message.is_ok()) {}
    for key in ["a", "b"] {
        let send = world.next_send().await;
        assert_eq!(send.message.client_msg_id, key);
        send.reply.send(Ok(Sent { message: message(1, 1), duplicate: false })).ok();
    }
    while !matches!(soon(world.calls.recv()).await, Some(Call::Disconnected(_))) {}
}

#[tokio::test]
async fn a_client_that_vanishes_is_forgotten() {
    let mut world = World::new().await;
    let pending = world.core.hold_pending();
    let client = world.dial("1:1").await;
    pending.send(Ok(Pending::default())).expect("it is asked");
    drop(client);
    while !matches!(soon(world.calls.recv()).await, Some(Call::Disconnected(_))) {}
    while world.hub.connections() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.metrics.ws_connections().get(), 0);
}
