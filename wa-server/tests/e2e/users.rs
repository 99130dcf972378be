//! Profiles, contacts, privacy and blocks (contract, sections 1.2, 7 and 10).

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Person, TestServer, fresh_phone};

#[tokio::test]
async fn a_profile_has_every_key_and_can_be_changed_within_bounds() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let me = alice.get("/users/me").await.ok(200);
    assert_eq!(me["status_text"], "Hey there! I am using WhatsApp.");
    assert_eq!((&me["avatar_url"], &me["display_name"], &me["phone"]), (&json!(""), &json!(""), &json!(alice.phone)));
    assert!(me["created_at"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{me}");
    assert!(me["id"].is_string() && me["updated_at"].is_string());

    let changed = alice.patch("/users/me", json!({ "display_name": "Alice ✨", "status_text": "", "unknown_key": 1 })).await.ok(200);
    assert_eq!((&changed["display_name"], &changed["status_text"]), (&json!("Alice ✨"), &json!("")));
    assert_eq!(alice.get("/users/me").await.ok(200), changed);

    alice.patch("/users/me", json!({ "display_name": "é".repeat(64), "status_text": "é".repeat(140) })).await.ok(200);
    let error = alice.patch("/users/me", json!({ "display_name": "a".repeat(65), "status_text": "a".repeat(141) })).await.refused(422, "VALIDATION_ERROR");
    let fields: Vec<&Value> = error["details"].as_array().unwrap().iter().map(|detail| &detail["field"]).collect();
    assert_eq!(fields, ["display_name", "status_text"], "all that is wrong is told at once");
    alice.patch("/users/me", json!({ "display_name": 5 })).await.refused(422, "VALIDATION_ERROR");
    alice.patch("/users/me", json!("text")).await.refused(400, "BAD_REQUEST");
}

#[tokio::test]
async fn contacts_are_found_by_phone_and_bad_numbers_are_skipped() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    let numbers = json!({ "phone_numbers": [bob.phone, "garbage", "", fresh_phone(), alice.phone, bob.phone] });
    let found = alice.post("/users/contacts/sync", numbers).await.ok(200);
    let found: Vec<&Value> = found["registered_users"].as_array().unwrap().iter().filter(|user| user["user_id"] != alice.id.as_str()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    for key in ["phone", "user_id", "display_name", "avatar_url", "status_text"] {
        assert!(found[0].get(key).is_some(), "{key} is missing");
    }
    assert_eq!(found[0]["user_id"], bob.id.as_str());

    let contacts = alice.get("/users/contacts").await.ok(200);
    let contact = contacts.as_array().unwrap().iter().find(|contact| contact["user_id"] == bob.id.as_str()).expect("bob");
    for key in ["user_id", "phone", "nickname", "display_name", "avatar_url", "is_blocked", "created_at"] {
        assert!(contact.get(key).is_some(), "{key} is missing");
    }
    assert_eq!((&contact["phone"], &contact["is_blocked"]), (&json!(bob.phone), &json!(false)));

    for bad in [json!({ "phone_numbers": [] }), json!({}), json!({ "phone_numbers": "x" }), json!({ "phone_numbers": vec!["+1"; 1001] })] {
        alice.post("/users/contacts/sync", bad).await.refused(422, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn a_phone_shows_only_to_whom_has_it() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    assert_eq!(alice.get(&format!("/users/{}", bob.id)).await.ok(200)["phone"], "");
    alice.post("/users/contacts/sync", json!({ "phone_numbers": [bob.phone] })).await.ok(200);
    assert_eq!(alice.get(&format!("/users/{}", bob.id)).await.ok(200)["phone"], bob.phone.as_str());
    assert_eq!(bob.get(&format!("/users/{}", alice.id)).await.ok(200)["phone"], "", "having a number is one-sided");
    alice.get(&format!("/users/{}", uuid::Uuid::new_v4())).await.refused(404, "USER_NOT_FOUND");
    alice.get("/users/nonsense").await.refused(400, "BAD_REQUEST");
}

async fn knows(who: &Person, whom: &Person) {
    who.post("/users/contacts/sync", json!({ "phone_numbers": [whom.phone] })).await.ok(200);
}

#[tokio::test]
async fn privacy_settings_hide_fields_from_whom_they_should() {
    let server = TestServer::start().await;
    let (alice, friend, stranger) = (server.somebody().await, server.somebody().await, server.somebody().await);
    let defaults = alice.get("/users/me/privacy").await.ok(200);
    assert_eq!(defaults, json!({ "last_seen": "everyone", "profile_photo": "everyone", "about": "everyone", "read_receipts": true }));
    alice.patch("/users/me", json!({ "avatar_url": "https://a.example/alice.png", "status_text": "hi" })).await.ok(200);
    // "contacts" are the target's own contacts, not those who have the target.
    knows(&alice, &friend).await;
    knows(&stranger, &alice).await;
    alice.put("/users/me/privacy", json!({ "profile_photo": "contacts", "about": "nobody" })).await.ok(200);
    let seen = |by: Person| {
        let path = format!("/users/{}", alice.id);
        async move { by.get(&path).await.ok(200) }
    };
    let (by_friend, by_stranger, by_self) = (seen(friend.clone()).await, seen(stranger.clone()).await, seen(alice.clone()).await);
    assert_eq!((&by_friend["avatar_url"], &by_friend["status_text"]), (&json!("https://a.example/alice.png"), &Value::Null));
    assert_eq!((&by_stranger["avatar_url"], &by_stranger["status_text"]), (&Value::Null, &Value::Null));
    assert_eq!((&by_self["avatar_url"], &by_self["status_text"]), (&json!("https://a.example/alice.png"), &json!("hi")));

    let all = alice.put("/users/me/privacy", json!({ "last_seen": "nobody" })).await.ok(200);
    assert_eq!(all, json!({ "last_seen": "nobody", "profile_photo": "contacts", "about": "nobody", "read_receipts": true }));
    let presence = friend.get(&format!("/users/{}/presence", alice.id)).await.ok(200);
    assert_eq!(presence, json!({ "user_id": alice.id, "online": false, "last_seen": null }));
    for bad in [json!({ "last_seen": "friends" }), json!({ "read_receipts": "yes" }), json!({ "about": 1 })] {
        alice.put("/users/me/privacy", bad).await.refused(422, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn a_block_is_idempotent_and_hides_the_blocker() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    alice.patch("/users/me", json!({ "avatar_url": "https://a.example/alice.png" })).await.ok(200);
    let block = format!("/users/{}/block", bob.id);
    for _ in 0..2 {
        assert_eq!(alice.call(Method::POST, &block, None).await.status, 204);
    }
    let seen = bob.get(&format!("/users/{}", alice.id)).await.ok(200);
    assert_eq!((&seen["avatar_url"], &seen["status_text"]), (&Value::Null, &Value::Null));
    let contacts = alice.get("/users/contacts").await.ok(200);
    assert_eq!(contacts[0]["is_blocked"], true);
    for _ in 0..2 {
        assert_eq!(alice.delete(&block).await.status, 204);
    }
    assert_eq!(bob.get(&format!("/users/{}", alice.id)).await.ok(200)["avatar_url"], "https://a.example/alice.png");
    assert_eq!(alice.get("/users/contacts").await.ok(200), json!([]), "a block row alone makes no contact");

    alice.call(Method::POST, &format!("/users/{}/block", alice.id), None).await.refused(400, "BAD_REQUEST");
    alice.call(Method::POST, &format!("/users/{}/block", uuid::Uuid::new_v4()), None).await.refused(404, "USER_NOT_FOUND");
    alice.delete(&format!("/users/{}/block", uuid::Uuid::new_v4())).await.refused(404, "USER_NOT_FOUND");
}

#[tokio::test]
async fn an_erased_account_leaves_its_messages_and_nothing_else() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    alice.patch("/users/me", json!({ "display_name": "Alice" })).await.ok(200);
    alice.say(&chat, "goodbye").await;
    let mut socket = alice.connect().await;
    socket.settle().await;
    alice.call(Method::DELETE, "/users/me", Some(json!({ "confirm": bob.phone }))).await.refused(422, "VALIDATION_ERROR");
    alice.call(Method::DELETE, "/users/me", Some(json!({}))).await.refused(422, "VALIDATION_ERROR");
    assert_eq!(alice.call(Method::DELETE, "/users/me", Some(json!({ "confirm": alice.phone }))).await.status, 204);
    assert_eq!(socket.close_code().await, 4001);
    alice.get("/users/me").await.refused(401, "TOKEN_INVALID");
    server.post("/auth/refresh", json!({ "refresh_token": alice.refresh })).await.refused(401, "UNAUTHORIZED");

    bob.get(&format!("/users/{}", alice.id)).await.refused(404, "USER_NOT_FOUND");
    let seen = bob.get(&format!("/chats/{chat}")).await.ok(200);
    assert_eq!(seen["name"], "Deleted account");
    assert_eq!(bob.texts(&chat).await, ["goodbye"]);
    let again = server.login(&alice.phone).await;
    assert_ne!(again.id, alice.id, "the number makes a new account");
}
