//! Direct chats and the chat list (contract, section 1.3).

use serde_json::{Value, json};

use crate::support::TestServer;

#[tokio::test]
async fn a_pair_has_one_chat_whoever_asks_and_however_often() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    let asks = (0..20).map(|number| {
        let (who, whom) = if number % 2 == 0 { (&alice, &bob) } else { (&bob, &alice) };
        who.post("/chats", json!({ "type": "direct", "participant_id": whom.id }))
    });
    let answers = futures_util::future::join_all(asks).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 19);
    let ids: std::collections::HashSet<String> = answers.iter().map(|answer| answer.body["data"]["chat_id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(alice.get("/chats").await.ok(200)["chats"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_chat_has_every_key_and_shows_the_other_person() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    bob.patch("/users/me", json!({ "display_name": "Bob", "avatar_url": "https://b.example/bob.png" })).await.ok(200);
    let chat = alice.post("/chats", json!({ "type": "direct", "participant_id": bob.id })).await.ok(201);
    let keys = [
        "chat_id",
        "type",
        "name",
        "description",
        "avatar_url",
        "participant",
        "participants",
        "last_message",
        "unread_count",
        "is_muted",
        "mute_until",
        "is_pinned",
        "is_admin_only",
        "auto_delete_timer",
        "last_seq",
        "rev",
        "created_at",
        "updated_at",
    ];
    for key in keys {
        assert!(chat.get(key).is_some(), "{key} is missing in {chat}");
    }
    assert_eq!((&chat["type"], &chat["name"], &chat["avatar_url"]), (&json!("direct"), &json!("Bob"), &json!("https://b.example/bob.png")));
    assert_eq!(chat["participant"], json!({ "id": bob.id, "display_name": "Bob", "avatar_url": "https://b.example/bob.png" }));
    assert_eq!((&chat["last_seq"], &chat["last_message"], &chat["auto_delete_timer"]), (&json!(0), &Value::Null, &json!("off")));
    let id = chat["chat_id"].as_str().unwrap();
    let seen = bob.get(&format!("/chats/{id}")).await.ok(200);
    let mut people: Vec<&str> = seen["participants"].as_array().unwrap().iter().map(|person| person["user_id"].as_str().unwrap()).collect();
    people.sort_unstable();
    let mut expected = [alice.id.as_str(), bob.id.as_str()];
    expected.sort_unstable();
    assert_eq!(people, expected);
    for key in ["user_id", "display_name", "avatar_url", "role", "joined_at"] {
        assert!(seen["participants"][0].get(key).is_some(), "{key} is missing");
    }
    assert_eq!(seen["participant"]["id"], alice.id.as_str());

    bob.put("/users/me/privacy", json!({ "profile_photo": "nobody" })).await.ok(200);
    let hidden = alice.get(&format!("/chats/{id}")).await.ok(200);
    assert_eq!((&hidden["avatar_url"], &hidden["participant"]["avatar_url"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn chats_that_cannot_be_made_are_told_apart() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    alice.post("/chats", json!({ "type": "direct", "participant_id": uuid::Uuid::new_v4() })).await.refused(404, "USER_NOT_FOUND");
    for bad in [
        json!({ "type": "direct" }),
        json!({ "type": "direct", "participant_id": "me" }),
        json!({ "type": "direct", "participant_id": alice.id }),
        json!({ "type": "party", "participant_id": alice.id }),
        json!({ "participant_id": 7 }),
    ] {
        let answer = alice.post("/chats", bad.clone()).await;
        assert_eq!((answer.status, answer.body["error"]["code"].as_str()), (422, Some("VALIDATION_ERROR")), "{bad}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_stranger_cannot_tell_a_chat_from_none() {
    let server = TestServer::start().await;
    let (alice, _bob, chat) = server.couple().await;
    let message = alice.say(&chat, "secret").await["message_id"].as_str().unwrap().to_owned();
    let (stranger, absent) = (server.somebody().await, uuid::Uuid::new_v4().to_string());
    for (real, made_up) in [
        (format!("/chats/{chat}"), format!("/chats/{absent}")),
        (format!("/chats/{chat}/messages"), format!("/chats/{absent}/messages")),
        (format!("/messages/{message}/receipts"), format!("/messages/{absent}/receipts")),
    ] {
        let (real, made_up) = (stranger.get(&real).await, stranger.get(&made_up).await);
        assert_eq!((real.status, &real.body["error"]), (made_up.status, &made_up.body["error"]));
        assert_eq!(real.status, 404);
    }
    let body = json!({ "client_msg_id": "x", "type": "text", "payload": { "body": "hi" } });
    let (real, made_up) =
        (stranger.post(&format!("/chats/{chat}/messages"), body.clone()).await, stranger.post(&format!("/chats/{absent}/messages"), body).await);
    assert_eq!((real.status, &real.body["error"]), (made_up.status, &made_up.body["error"]));
    real.refused(404, "CHAT_NOT_FOUND");
    stranger.delete(&format!("/messages/{message}?for=me")).await.refused(404, "MESSAGE_NOT_FOUND");
    let up_to = json!({ "up_to_message_id": message });
    stranger.post(&format!("/chats/{chat}/messages/read"), up_to).await.refused(404, "CHAT_NOT_FOUND");
    stranger.put(&format!("/chats/{chat}/pin"), json!({ "is_pinned": true })).await.refused(404, "CHAT_NOT_FOUND");
    stranger.patch(&format!("/chats/{chat}/mute"), json!({ "is_muted": true })).await.refused(404, "CHAT_NOT_FOUND");
}

#[tokio::test]
async fn the_list_is_pinned_first_then_newest_and_pages_hold_every_chat_once() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let mut chats = Vec::new();
    for _ in 0..7 {
        let chat = alice.chat_with(&server.somebody().await).await;
        alice.say(&chat, "hello").await;
        chats.push(chat);
    }
    assert_eq!(alice.put(&format!("/chats/{}/pin", chats[2]), json!({ "is_pinned": true })).await.status, 204);
    let mut expected: Vec<&str> = chats.iter().rev().map(String::as_str).filter(|chat| *chat != chats[2]).collect();
    expected.insert(0, &chats[2]);

    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = alice.get(&format!("/chats?limit=3{cursor}")).await.ok(200);
        listed.extend(page["chats"].as_array().unwrap().iter().map(|chat| chat["chat_id"].as_str().unwrap().to_owned()));
        assert_eq!(page["has_more"], page["next_cursor"].is_string());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, expected);
    assert_eq!(alice.get("/chats?limit=0").await.ok(200)["chats"].as_array().unwrap().len(), 1, "limits are held within bounds");
    assert_eq!(alice.get("/chats?limit=100000").await.ok(200)["chats"].as_array().unwrap().len(), 7);
    alice.get("/chats?cursor=garbage").await.refused(400, "BAD_REQUEST");
    alice.get("/chats?limit=many").await.refused(400, "BAD_REQUEST");
}

#[tokio::test]
async fn muting_and_pinning_are_the_callers_own_and_outlast_a_restart() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let until = "2999-01-01T00:00:00.000Z";
    assert_eq!(alice.patch(&format!("/chats/{chat}/mute"), json!({ "is_muted": true, "mute_until": until })).await.status, 204);
    assert_eq!(alice.put(&format!("/chats/{chat}/pin"), json!({ "is_pinned": true })).await.status, 204);
    let server = server.restart().await;
    let seen = alice.get(&format!("/chats/{chat}")).await.ok(200);
    assert_eq!((&seen["is_muted"], &seen["mute_until"], &seen["is_pinned"]), (&json!(true), &json!(until), &json!(true)));
    let other = bob.get(&format!("/chats/{chat}")).await.ok(200);
    assert_eq!((&other["is_muted"], &other["is_pinned"]), (&json!(false), &json!(false)));
    assert_eq!(alice.patch(&format!("/chats/{chat}/mute"), json!({ "is_muted": true, "mute_until": null })).await.status, 204);
    assert_eq!(alice.get(&format!("/chats/{chat}")).await.ok(200)["mute_until"], Value::Null);
    assert_eq!(alice.patch(&format!("/chats/{chat}/mute"), json!({ "is_muted": false })).await.status, 204);
    assert_eq!(alice.get(&format!("/chats/{chat}")).await.ok(200)["is_muted"], false);
    for bad in [json!({}), json!({ "is_muted": "yes" }), json!({ "is_muted": true, "mute_until": "tomorrow" })] {
        alice.patch(&format!("/chats/{chat}/mute"), bad).await.refused(422, "VALIDATION_ERROR");
    }
    alice.put(&format!("/chats/{chat}/pin"), json!({})).await.refused(422, "VALIDATION_ERROR");
    drop(server);
}

#[tokio::test]
async fn unread_counts_what_others_sent_after_the_read_mark() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let unread = || async { bob.get("/chats").await.ok(200)["chats"][0]["unread_count"].clone() };
    let mut sent = Vec::new();
    for text in ["one", "two", "three"] {
        sent.push(alice.say(&chat, text).await);
    }
    assert_eq!(unread().await, 3);
    bob.say(&chat, "mine").await;
    assert_eq!(unread().await, 3, "one's own messages are never unread");
    assert_eq!(alice.get(&format!("/chats/{chat}")).await.ok(200)["unread_count"], 1);
    assert_eq!(bob.delete(&format!("/messages/{}?for=me", sent[2]["message_id"].as_str().unwrap())).await.status, 204);
    assert_eq!(unread().await, 2, "what was deleted for me is not unread");
    assert_eq!(bob.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": sent[0]["message_id"] })).await.status, 204);
    assert_eq!(unread().await, 1);
    let last = &bob.get("/chats").await.ok(200)["chats"][0]["last_message"];
    for key in ["message_id", "sender_id", "type", "preview", "timestamp", "seq"] {
        assert!(last.get(key).is_some(), "{key} is missing in {last}");
    }
    assert_eq!((&last["preview"], &last["seq"]), (&json!("mine"), &json!(4)));
}
