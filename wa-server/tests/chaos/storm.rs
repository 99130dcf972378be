//! A server that is stopped sends everybody away at once, and tells each when to come back: one after the other. All of them
//! are back soon after the next one is up, and have missed nothing. `WA_STORM` is how many.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::embedded::{Person, Socket, TestServer};
use crate::support::number;

/// Within which all are back.
const BACK: Duration = Duration::from_secs(20);

async fn everybody(server: &TestServer, count: usize) -> Vec<Person> {
    let mut people = Vec::with_capacity(count);
    while people.len() < count {
        let some = (0..16.min(count - people.len())).map(|_| server.somebody());
        people.extend(join_all(some).await);
    }
    people
}

/// Reads until the end, and returns the milliseconds after which the server wants to see this client again.
async fn sent_away(mut socket: Socket) -> u64 {
    let (code, reason) = socket.close_reason().await;
    assert_eq!(code, 1001, "{reason}");
    reason.rsplit_once("retry_after_ms=").and_then(|(_, wait)| wait.parse().ok()).unwrap_or_else(|| panic!("{reason} says when"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_who_is_sent_away_comes_back_in_turn() {
    let count = usize::try_from(number("WA_STORM").unwrap_or(120)).unwrap();
    let server = TestServer::start().await;
    let sender = server.somebody().await;
    let people = everybody(&server, count).await;
    let mut sockets = Vec::with_capacity(count);
    for person in &people {
        sockets.push(person.connect().await);
    }
    let leaving: Vec<_> = sockets.into_iter().map(|socket| tokio::spawn(sent_away(socket))).collect();
    let cut = Instant::now();
    let server = server.restart().await;
    let up = cut.elapsed();
    let mut waits = Vec::with_capacity(count);
    for wait in leaving {
        waits.push(wait.await.unwrap());
    }
    let distinct: BTreeSet<u64> = waits.iter().copied().collect();
    assert_eq!(distinct.len(), count.min(6001), "no two come at one moment");
    assert!(distinct.last() <= Some(&12_500) && distinct.first() >= Some(&500));

    // Meanwhile they are written to.
    let (first, last) = (&people[0], &people[count - 1]);
    for person in [first, last] {
        let chat = sender.chat_with(person).await;
        sender.say(&chat, "while you were away").await;
    }
    let coming = people.iter().zip(waits).map(|(person, wait)| {
        let person = person.clone();
        tokio::spawn(async move {
            sleep_until(cut + Duration::from_millis(wait)).await;
            // Who is not served in time comes again, as clients do.
            for again in 0.. {
                let mut socket = person.connect().await;
                if socket.try_ask("ping", json!({})).await.0 {
                    return (socket, cut.elapsed(), again);
                }
                sleep(Duration::from_secs(1 << again)).await;
            }
            unreachable!("there is always one more time")
        })
    });
    let mut back = Vec::with_capacity(count);
    for coming in coming.collect::<Vec<_>>() {
        back.push(coming.await.unwrap());
    }
    let took = back.iter().map(|(_, took, _)| *took).max().unwrap();
    let again: u32 = back.iter().map(|(_, _, again)| *again).sum();
    println!("storm: {count} sockets cut at once, the next server up after {up:.1?}, all back after {took:.1?}, {again} at a second try");
    // How fast it is is for the long form alone: here others may have the machine.
    assert!(count < 1000 || took < BACK, "all are back after {took:?}");
    for socket in [0, count - 1] {
        let news = back[socket].0.passed("message.new");
        assert_eq!(news.len(), 1, "what was said meanwhile comes by itself, once");
        assert_eq!(news[0]["payload"]["body"], "while you were away");
    }
    drop(back);
    server.stop().await;
}
