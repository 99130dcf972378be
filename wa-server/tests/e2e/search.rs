//! Search as clients meet it (contract, section 1.4): what is found, in which order, in pages, and never by whom it must not.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Person, TestServer, texts};

impl Person {
    /// Asks for a page of results; `path` is that of a search route.
    async fn search(&self, path: &str, q: &str, more: &str) -> Value {
        let q: String = url::form_urlencoded::byte_serialize(q.as_bytes()).collect();
        self.get(&format!("{path}?q={q}{more}")).await.ok(200)
    }

    /// The texts found in a chat, best first.
    async fn found(&self, chat: &str, q: &str) -> Vec<String> {
        bodies(&self.search(&format!("/chats/{chat}/messages/search"), q, "").await)
    }

    /// The texts found anywhere, best first.
    async fn found_anywhere(&self, q: &str) -> Vec<String> {
        bodies(&self.search("/messages/search", q, "").await)
    }
}

fn bodies(page: &Value) -> Vec<String> {
    texts(&page["results"].as_array().expect("results").iter().map(|hit| hit["message"].clone()).collect())
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts
}

#[tokio::test]
async fn an_acknowledged_message_is_found_at_once_by_everybody_in_its_chat() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    for number in 1..=5 {
        let sent = alice.say(&chat, &format!("Meet me at the old station, platform {number}")).await;
        let page = bob.search(&format!("/chats/{chat}/messages/search"), "old station", "").await;
        assert_eq!(page["results"].as_array().unwrap().len(), number);
        assert_eq!((&page["next_cursor"], &page["has_more"]), (&Value::Null, &json!(false)));
        let hit = &page["results"][0];
        assert_eq!(hit["message"], sent, "the newest of equals, as history shows it");
        assert!(hit["score"].as_f64().unwrap() > 0.0);
        assert_eq!(alice.found_anywhere("platform").await.len(), number);
    }
    let mut a = alice.connect().await;
    a.say(&chat, "sent over the socket").await;
    assert_eq!(bob.found_anywhere("socket").await, ["sent over the socket"]);
}

#[tokio::test]
async fn words_beginnings_phrases_and_any_script_are_found() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let said = [
        "the old station",
        "station of old",
        "Crème BRÛLÉE für Łukasz",
        "私は東京大学の学生です",
        "我们在北京见面",
        "สวัสดีครับ",
        "नमस्ते दुनिया",
        "До встречи у вокзала",
        "مرحبا بالعالم",
        "👍🏽 great",
    ];
    for text in said {
        alice.say(&chat, text).await;
    }
    for (q, expected) in [
        ("station", vec![0, 1]),
        ("STATION old ", vec![0, 1]),
        ("sta*", vec![0, 1]),
        ("old sta", vec![0, 1]),
        ("old sta ", vec![]),
        ("\"old station\"", vec![0]),
        ("\"station old\"", vec![]),
        ("creme brulee", vec![2]),
        ("lukasz", vec![2]),
        ("東京", vec![3]),
        ("京", vec![3, 4]),
        ("北京", vec![4]),
        ("ครับ", vec![5]),
        ("दुनिया", vec![6]),
        ("ВОКЗ", vec![7]),
        ("مَرحبا", vec![8]),
        ("👍", vec![9]),
        ("absent", vec![]),
    ] {
        let expected = expected.into_iter().map(|index| said[index].to_owned()).collect();
        assert_eq!(sorted(bob.found(&chat, q).await), sorted(expected), "{q}");
    }
}

#[tokio::test]
async fn search_syntax_is_text_and_bad_queries_are_refused() {
    let server = TestServer::start().await;
    let (alice, _, chat) = server.couple().await;
    alice.say(&chat, "hello world").await;
    for q in ["*", "\"", "\"\"", "(", ")", "^", ":", "-", "'", "%", "\\", "\u{0}", "…", "{", "NEAR("] {
        assert!(alice.found(&chat, q).await.is_empty(), "{q:?}");
    }
    for q in [
        "(hello)",
        "hello^2",
        "words:hello*",
        "hello\"",
        "'hello' OR 1=1; --",
        "hello AND (",
        "-hello +world",
        "hello NOT world",
        "NEAR(hello world, 1)",
        "h*llo",
        "{hello}",
    ] {
        alice.found(&chat, q).await;
        alice.found_anywhere(q).await;
    }
    assert_eq!(alice.found(&chat, "\"hello world\"*)").await, ["hello world"]);
    for path in [format!("/chats/{chat}/messages/search"), "/messages/search".to_owned()] {
        for query in ["", "?q=", "?q=%20%0A", &format!("?q={}", "a".repeat(257)), &format!("?q={}", "a+".repeat(33))] {
            let error = alice.get(&format!("{path}{query}")).await.refused(422, "VALIDATION_ERROR");
            assert_eq!(error["details"][0]["field"], "q");
        }
        alice.get(&format!("{path}?q={}", "a".repeat(256))).await.ok(200);
        alice.get(&format!("{path}?q=hello&limit=x")).await.refused(400, "BAD_REQUEST");
        server.call(Method::GET, &format!("{path}?q=hello"), None, None).await.refused(401, "UNAUTHORIZED");
    }
    alice.get("/chats/x/messages/search?q=hello").await.refused(400, "BAD_REQUEST");
}

#[tokio::test]
async fn nobody_finds_what_they_may_not_see() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let eve = server.somebody().await;
    alice.say(&chat, "secret one").await;
    let second = alice.say(&chat, "secret two").await;
    assert!(eve.found_anywhere("secret").await.is_empty());
    let absent = uuid::Uuid::new_v4();
    let refusals = [&chat, &absent.to_string()].map(|chat| format!("/chats/{chat}/messages/search?q=secret"));
    for path in refusals {
        eve.get(&path).await.refused(404, "CHAT_NOT_FOUND");
    }
    assert_eq!(sorted(bob.found_anywhere("secret").await), ["secret one", "secret two"]);
    bob.delete(&format!("/messages/{}?for=me", second["message_id"].as_str().unwrap())).await.ok(204);
    assert_eq!(bob.found_anywhere("secret").await, ["secret one"], "hidden for bob alone");
    assert_eq!(bob.found(&chat, "secret").await, ["secret one"]);
    assert_eq!(alice.found(&chat, "secret").await.len(), 2);
    // What is sent to somebody who blocked the sender is withheld from them for ever.
    bob.post(&format!("/users/{}/block", alice.id), json!({})).await.ok(204);
    alice.say(&chat, "secret three").await;
    assert_eq!(alice.found(&chat, "secret").await.len(), 3);
    assert_eq!(bob.found(&chat, "secret").await, ["secret one"]);
    bob.delete(&format!("/users/{}/block", alice.id)).await.ok(204);
    assert_eq!(bob.found_anywhere("secret").await, ["secret one"]);
}

#[tokio::test]
async fn members_of_a_group_find_what_was_said_while_they_were_in_it() {
    let server = TestServer::start().await;
    let (alice, bob, carol) = (server.somebody().await, server.somebody().await, server.somebody().await);
    let group = alice.post("/chats", json!({ "type": "group", "name": "Plans", "participant_ids": [bob.id] })).await.ok(201);
    let group = group["chat_id"].as_str().unwrap().to_owned();
    alice.say(&group, "plan one").await;
    let path = format!("/chats/{group}/messages/search?q=plan");
    carol.get(&path).await.refused(404, "CHAT_NOT_FOUND");
    alice.post(&format!("/chats/{group}/participants"), json!({ "user_ids": [carol.id] })).await.ok(204);
    alice.say(&group, "plan two").await;
    assert_eq!(carol.found(&group, "plan").await, ["plan two"], "from joining on");
    assert_eq!(carol.found_anywhere("plan").await, ["plan two"]);
    assert!(alice.found_anywhere("added").await.is_empty(), "what the server writes is not searched");
    alice.delete(&format!("/chats/{group}/participants/{}", carol.id)).await.ok(204);
    carol.get(&path).await.refused(403, "NOT_CHAT_MEMBER");
    assert!(carol.found_anywhere("plan").await.is_empty());
    bob.delete(&format!("/chats/{group}/participants/{}", bob.id)).await.ok(204);
    bob.get(&path).await.refused(403, "NOT_CHAT_MEMBER");
    alice.say(&group, "plan three").await;
    alice.post(&format!("/chats/{group}/participants"), json!({ "user_ids": [bob.id] })).await.ok(204);
    alice.say(&group, "plan four").await;
    assert_eq!(bob.found(&group, "plan").await, ["plan four"], "from rejoining on");
    assert_eq!(sorted(alice.found(&group, "plan").await).len(), 4);
}

#[tokio::test]
async fn what_expired_is_not_found() {
    let (server, clock) = TestServer::with_clock(|_| {}).await;
    let (alice, bob, chat) = server.couple().await;
    alice.say(&chat, "lasting word").await;
    alice.put(&format!("/chats/{chat}/disappearing"), json!({ "timer": "24h" })).await.ok(200);
    alice.say(&chat, "passing word").await;
    assert_eq!(bob.found(&chat, "word").await.len(), 2);
    clock.advance(Duration::from_secs(24 * 60 * 60));
    let bob = server.login(&bob.phone).await;
    assert_eq!(bob.found(&chat, "word").await, ["lasting word"]);
    assert_eq!(bob.found_anywhere("word").await, ["lasting word"]);
}

#[tokio::test]
async fn edits_and_deletions_are_followed_at_once() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let (first, second) = (alice.say(&chat, "see you at eight").await, alice.say(&chat, "see you at nine").await);
    let id = |message: &Value| message["message_id"].as_str().unwrap().to_owned();
    assert_eq!(bob.found(&chat, "see").await.len(), 2);
    alice.patch(&format!("/messages/{}", id(&first)), json!({ "payload": { "body": "not today" } })).await.ok(200);
    assert!(bob.found(&chat, "eight").await.is_empty());
    assert_eq!(bob.found_anywhere("today").await, ["not today"]);
    bob.post(&format!("/messages/{}/react", id(&first)), json!({ "emoji": "👍" })).await.ok(204);
    assert_eq!(bob.found(&chat, "today").await, ["not today"]);
    alice.delete(&format!("/messages/{}?for=everyone", id(&second))).await.ok(204);
    assert!(bob.found(&chat, "see").await.is_empty() && alice.found(&chat, "nine").await.is_empty());
    assert!(bob.found_anywhere("deleted").await.is_empty(), "a tombstone says nothing");
}

#[tokio::test]
async fn results_come_best_first_in_pages_without_loss_or_repeat() {
    let server = TestServer::with(|config| config.limits.search_window = 10).await;
    let (alice, bob, chat) = server.couple().await;
    for number in 0..25 {
        alice.say(&chat, &format!("lunch {}", "or dinner ".repeat(number % 5))).await;
    }
    alice.say(&chat, "nothing of the kind").await;
    let path = format!("/chats/{chat}/messages/search");
    for (limit, meanwhile) in [(1, false), (3, false), (7, false), (10, false), (24, false), (25, false), (100, false), (4, true)] {
        let (mut hits, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = bob.search(&path, "lunch", &format!("&limit={limit}{cursor}")).await;
            let results = page["results"].as_array().unwrap();
            assert!(results.len() <= limit && !results.is_empty());
            hits.extend(results.iter().map(|hit| (hit["message"]["seq"].as_i64().unwrap(), hit["score"].as_f64().unwrap())));
            assert_eq!(page["has_more"].as_bool().unwrap(), page["next_cursor"].is_string());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
            if meanwhile {
                alice.say(&chat, "lunch").await;
            }
        }
        assert_eq!(hits.iter().map(|(seq, _)| *seq).collect::<BTreeSet<_>>(), (1..=25).collect(), "all, and nothing that came meanwhile");
        assert_eq!(hits.len(), 25, "each once");
        for window in hits.chunks(10) {
            assert!(window.is_sorted_by(|a, b| a.1 > b.1 || (a.1 == b.1 && a.0 > b.0)), "best first, then newest: {hits:?}");
        }
    }
    assert_eq!(bob.found(&chat, "lunch").await[0], "lunch");
    let page = bob.search(&path, "lunch", "&limit=2").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    bob.get(&format!("{path}?q=dinner&cursor={cursor}")).await.refused(400, "BAD_REQUEST");
    bob.get(&format!("/messages/search?q=lunch&cursor={cursor}")).await.refused(400, "BAD_REQUEST");
    alice.get(&format!("{path}?q=lunch&cursor={cursor}")).await.refused(400, "BAD_REQUEST");
    bob.get(&format!("{path}?q=lunch&cursor=x{cursor}")).await.refused(400, "BAD_REQUEST");
    bob.get(&format!("{path}?q=lunch&cursor={cursor}")).await.ok(200);
}

#[tokio::test]
async fn a_search_through_all_chats_finds_the_best_of_each() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let mut chats = Vec::new();
    for number in 0..5 {
        let other = server.somebody().await;
        let chat = alice.chat_with(&other).await;
        other.say(&chat, &format!("garden party {number}, and much else besides that is of no importance")).await;
        alice.say(&chat, &format!("garden {number}")).await;
        chats.push((other, chat));
    }
    let found = alice.found_anywhere("garden").await;
    assert_eq!(found.len(), 10);
    assert_eq!(&found[..5], ["garden 4", "garden 3", "garden 2", "garden 1", "garden 0"], "short ones first, the newest of equals first");
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = alice.search("/messages/search", "garden", &format!("&limit=3{cursor}")).await;
        all.extend(bodies(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(all, found);
    let (other, chat) = &chats[0];
    assert_eq!(other.found_anywhere("garden").await.len(), 2, "only their own chat");
    assert_eq!(alice.found(chat, "garden").await.len(), 2);
}

#[tokio::test]
async fn the_index_survives_a_restart_and_goes_on_where_it_stood() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    alice.say(&chat, "before the restart").await;
    assert_eq!(bob.found(&chat, "restart").await.len(), 1);
    alice.say(&chat, "not yet indexed at the restart").await;
    let server = server.restart().await;
    let bob = Person { address: server.address, ..bob };
    let alice = Person { address: server.address, ..alice };
    assert_eq!(bob.found(&chat, "restart").await.len(), 2);
    alice.say(&chat, "after the restart").await;
    assert_eq!(bob.found_anywhere("restart").await.len(), 3);
}
