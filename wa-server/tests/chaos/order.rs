//! Eight writers, one chat: no gap, no repeat, and one order for everybody who reads, also for those who lose their connection
//! at random moments. `WA_ORDER_MESSAGES` is what each writer sends.

use std::sync::Arc;

use futures_util::future::try_join_all;
use serde_json::json;
use tokio::sync::Barrier;

use crate::embedded::{Person, TestServer};
use crate::scene::{Order, history, integer, order_of, sync, take, text};
use crate::support::{Random, number, seed};

const WRITERS: usize = 8;
/// Messages of one writer on their way at a time.
const WINDOW: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_leave_one_order_for_every_reader() {
    let each = usize::try_from(number("WA_ORDER_MESSAGES").unwrap_or(250)).unwrap();
    let seed = seed();
    println!("order: {WRITERS} writers, {each} messages each, seed {seed}");
    let mut random = Random::new(seed);
    let server = TestServer::with(|config| config.limits.ws_queue_bytes = 64 << 20).await;
    let (alice, bob, chat) = server.couple().await;
    let total = WRITERS * each;

    let start = Arc::new(Barrier::new(WRITERS + 2));
    let mut readers = Vec::new();
    for writer in 0..WRITERS {
        let person = server.login(if writer % 2 == 0 { &alice.phone } else { &bob.phone }).await;
        readers.push(tokio::spawn(write(person, chat.clone(), writer, each, Arc::clone(&start))));
    }
    for owner in [&alice, &bob] {
        let steady = server.login(&owner.phone).await;
        readers.push(tokio::spawn(follow(steady, total, Arc::clone(&start))));
        for _ in 0..2 {
            let wanderer = server.login(&owner.phone).await;
            readers.push(tokio::spawn(wander(wanderer, chat.clone(), total, Random::new(random.next()))));
        }
    }
    // One that fails ends it all: the others might wait for what it never sent.
    let orders = try_join_all(readers).await.expect("every reader gets to the end");
    let stored = order_of(&history(&alice, &chat, 0).await);
    assert!(stored.keys().copied().eq(1..=i64::try_from(total).unwrap()), "a gap in what is stored");
    for order in orders {
        assert_eq!(order, stored, "another order");
    }
}

/// Sends its messages, and reads those of all others meanwhile.
async fn write(person: Person, chat: String, writer: usize, each: usize, start: Arc<Barrier>) -> Order {
    let mut socket = person.connect().await;
    socket.settle().await;
    start.wait().await;
    let (mut order, mut own, mut sent, mut newest) = (Order::new(), vec![0; each], 0, 0);
    let mut acknowledged = 0;
    while order.len() < WRITERS * each {
        while sent < each && sent - acknowledged < WINDOW {
            let data = json!({ "chat_id": chat, "client_msg_id": format!("{writer}.{sent}"), "type": "text", "payload": { "body": sent.to_string() } });
            socket.send("message.send", data).await;
            sent += 1;
        }
        let frame = socket.next().await.expect("the writer's socket stays open");
        let data = &frame["data"];
        match frame["event"].as_str() {
            Some("message.sent") => {
                let key = text(&data["client_msg_id"]);
                let which: usize = key.rsplit('.').next().unwrap().parse().unwrap();
                own[which] = integer(&data["seq"]);
                acknowledged += 1;
            }
            Some("message.new") => {
                let seq = integer(&data["seq"]);
                assert!(seq > newest, "out of order: {seq} came after {newest}");
                newest = seq;
            }
            Some("message.status" | "pong") => continue,
            _ => panic!("unexpected: {frame}"),
        }
        take(&mut order, data);
    }
    assert!(own.is_sorted() && own[0] > 0, "what a writer sends later stands later: {own:?}");
    order
}

/// Reads from beginning to end over one connection; everything comes, in order.
async fn follow(person: Person, total: usize, start: Arc<Barrier>) -> Order {
    let mut socket = person.connect().await;
    socket.settle().await;
    start.wait().await;
    let (mut order, mut newest) = (Order::new(), 0);
    while order.len() < total {
        let message = socket.expect("message.new").await;
        let seq = integer(&message["seq"]);
        assert_eq!(seq, newest + 1, "a gap or out of order");
        newest = seq;
        take(&mut order, &message);
        socket.passed_over.clear();
    }
    order
}

/// Reads in pieces: loses its connection again and again, and resumes by what waits for it and by a sync.
async fn wander(person: Person, chat: String, total: usize, mut random: Random) -> Order {
    let (mut order, mut known) = (Order::new(), std::collections::BTreeMap::new());
    while order.len() < total {
        let mut socket = person.connect().await;
        let acknowledges = random.once_in(2);
        let mut left = 1 + random.below(200);
        socket.settle().await;
        let mut frames = std::mem::take(&mut socket.passed_over).into_iter();
        for item in sync(&person, &mut known).await {
            item["messages"].as_array().expect("messages").iter().for_each(|message| take(&mut order, message));
        }
        // First comes what waited, then what is new: each of the two rises.
        let (mut newest, mut falls) = (0, 0);
        while order.len() < total && left > 0 {
            let frame = match frames.next() {
                Some(frame) => frame,
                None => socket.next().await.expect("the reader's socket stays open"),
            };
            if frame["event"] != "message.new" {
                continue;
            }
            let message = &frame["data"];
            let seq = integer(&message["seq"]);
            assert_ne!(seq, newest, "a repeat within one connection");
            falls += u32::from(seq < newest);
            assert!(falls <= 1, "out of order: {seq} came after {newest}");
            newest = seq;
            take(&mut order, message);
            left -= 1;
            if acknowledges && left.is_multiple_of(16) {
                socket.send("message.delivered", json!({ "message_ids": [message["message_id"]] })).await;
            }
        }
        if random.once_in(2) {
            socket.close().await;
        }
    }
    // A gap would have been filled by the next sync or not at all.
    let missing = history(&person, &chat, 0).await.len();
    assert_eq!(missing, total);
    order
}
