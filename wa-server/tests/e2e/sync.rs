//! Catching up by `/sync` (contract, section 3.5).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Person, TestServer, texts};

#[tokio::test]
async fn the_first_sync_brings_everything_and_the_next_one_nothing() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    for text in ["one", "two"] {
        alice.say(&chat, text).await;
    }
    let all = bob.post("/sync", json!({ "chats": {} })).await.ok(200);
    assert_eq!((&all["complete"], &all["removed_chat_ids"]), (&json!(true), &json!([])));
    let item = &all["chats"][0];
    for key in ["chat", "rev", "messages", "receipts", "limited"] {
        assert!(item.get(key).is_some(), "{key} is missing");
    }
    assert_eq!(texts(&item["messages"]), ["one", "two"]);
    assert_eq!((&item["rev"], &item["limited"]), (&item["chat"]["rev"], &json!(false)));
    for mark in item["receipts"].as_array().unwrap() {
        assert!(mark["user_id"].is_string() && mark["delivered_up_to_seq"].is_i64() && mark["read_up_to_seq"].is_i64(), "{mark}");
    }
    let nothing = bob.post("/sync", json!({ "chats": { (chat.as_str()): item["rev"] } })).await.ok(200);
    assert_eq!(nothing, json!({ "chats": [], "removed_chat_ids": [], "complete": true }));
    alice.say(&chat, "three").await;
    let news = bob.post("/sync", json!({ "chats": { (chat.as_str()): item["rev"] } })).await.ok(200);
    assert_eq!(texts(&news["chats"][0]["messages"]), ["three"]);
}

/// Syncs until complete, from what is known, and returns every text in the order it came.
async fn catch_up(person: &Person, known: &mut BTreeMap<String, i64>, limit: usize) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let answer = person.post("/sync", json!({ "chats": known, "limit": limit })).await.ok(200);
        let mut count = 0;
        for item in answer["chats"].as_array().unwrap() {
            let came = texts(&item["messages"]);
            count += came.len();
            all.extend(came);
            assert_eq!(item["limited"], item["rev"] != item["chat"]["rev"], "{item}");
            known.insert(item["chat"]["chat_id"].as_str().unwrap().to_owned(), item["rev"].as_i64().unwrap());
        }
        assert!(count <= limit, "{count} above {limit}");
        if answer["complete"] == true {
            return all;
        }
    }
}

#[tokio::test]
async fn a_limited_sync_goes_on_without_loss_or_repeat() {
    let server = TestServer::start().await;
    let bob = server.somebody().await;
    let mut expected = Vec::new();
    for person in 0..3 {
        let other = server.somebody().await;
        let chat = other.chat_with(&bob).await;
        for number in 0..11 {
            expected.push(format!("{person}-{number}"));
            other.say(&chat, &format!("{person}-{number}")).await;
        }
    }
    let mut known = BTreeMap::new();
    let mut got = catch_up(&bob, &mut known, 4).await;
    for person in 0..3 {
        let of_one: Vec<&String> = got.iter().filter(|text| text.starts_with(&format!("{person}-"))).collect();
        assert_eq!(of_one, expected.iter().filter(|text| text.starts_with(&format!("{person}-"))).collect::<Vec<_>>(), "oldest change first");
    }
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
    assert_eq!(catch_up(&bob, &mut known, 4).await, Vec::<String>::new());
}

#[tokio::test]
async fn chats_the_caller_may_not_see_are_named_whatever_the_reason() {
    let server = TestServer::start().await;
    let (_alice, bob, chat) = server.couple().await;
    let (_x, _y, foreign) = server.couple().await;
    let made_up = uuid::Uuid::new_v4().to_string();
    let answer = bob.post("/sync", json!({ "chats": { (chat.as_str()): 0, (foreign.as_str()): 5, (made_up.as_str()): 1 } })).await.ok(200);
    let mut removed: Vec<&str> = answer["removed_chat_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    removed.sort_unstable();
    let mut expected = [foreign.as_str(), made_up.as_str()];
    expected.sort_unstable();
    assert_eq!(removed, expected);
}

#[tokio::test]
async fn a_sync_that_cannot_be_read_is_refused() {
    let server = TestServer::start().await;
    let bob = server.somebody().await;
    for bad in [
        json!({ "chats": { "nonsense": 1 } }),
        json!({ "chats": [] }),
        json!({ "chats": { (uuid::Uuid::new_v4().to_string()): "x" } }),
        json!({ "chats": {}, "limit": "x" }),
    ] {
        bob.post("/sync", bad).await.refused(422, "VALIDATION_ERROR");
    }
    bob.post("/sync", json!(5)).await.refused(400, "BAD_REQUEST");
    // Held within bounds rather than refused.
    for limit in [0, -5, 1_000_000] {
        bob.post("/sync", json!({ "chats": {}, "limit": limit })).await.ok(200);
    }
}

#[tokio::test]
async fn syncing_while_others_send_misses_nothing() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let sending = tokio::spawn({
        let (alice, chat) = (alice.clone(), chat.clone());
        async move {
            for number in 0..80 {
                alice.say(&chat, &number.to_string()).await;
            }
        }
    });
    let (mut known, mut got) = (BTreeMap::new(), Vec::new());
    while !sending.is_finished() {
        got.extend(catch_up(&bob, &mut known, 7).await);
    }
    sending.await.unwrap();
    got.extend(catch_up(&bob, &mut known, 7).await);
    assert_eq!(got, (0..80).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn receipts_of_a_sync_are_the_present_marks() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let message = alice.say(&chat, "one").await;
    alice.say(&chat, "two").await;
    bob.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": message["message_id"] })).await;
    let sync = alice.post("/sync", json!({ "chats": {} })).await.ok(200);
    let marks = sync["chats"][0]["receipts"].as_array().unwrap().clone();
    let of_bob: &Value = marks.iter().find(|mark| mark["user_id"] == bob.id.as_str()).expect("bob's mark");
    assert_eq!((&of_bob["delivered_up_to_seq"], &of_bob["read_up_to_seq"]), (&json!(1), &json!(1)));
}
