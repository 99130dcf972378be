//! The spellings of existing clients, each line as such a client would use it (contract, section 9 and "Existing clients" of
//! section 10).

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Person, Socket, TestServer, fresh_phone, http, texts};

impl Socket {
    /// Sends a frame as it is and awaits the one that echoes this `ref`.
    async fn ask_as_spelled(&mut self, frame: Value) -> Value {
        let reference = frame["ref"].clone();
        self.send_text(frame.to_string()).await;
        self.until("the answer", |answer| answer["ref"] == reference).await
    }
}

async fn app_get(person: &Person, path: &str) -> Value {
    let request = http().get(format!("http://{}/api/v1{path}", person.address)).bearer_auth(&person.access).header("X-Compat", "app");
    Answer::of(request).await.ok(200)
}

#[tokio::test]
async fn login_by_its_other_names() {
    let server = TestServer::start().await;
    let phone = fresh_phone();
    let otp = server.post("/auth/otp/send", json!({ "phone": phone })).await.ok(200)["otp"].clone();
    server.post("/auth/otp/verify", json!({ "phone": phone, "code": "12345" })).await.refused(422, "VALIDATION_ERROR");
    let login = server.post("/auth/otp/verify", json!({ "phone": phone, "code": otp })).await.ok(200);
    let renewed = server.post("/auth/token/refresh", json!({ "refresh_token": login["refresh_token"] })).await.ok(200);
    assert_ne!(renewed["refresh_token"], login["refresh_token"]);
    let otp = server.otp(&phone).await;
    let login = server.post("/auth/verify-otp", json!({ "phone": phone, "code": otp })).await.ok(200);
    assert_eq!(login["is_new_user"], false);
    let otp = server.otp(&phone).await;
    server.post("/auth/otp/verify", json!({ "phone": phone, "otp": otp })).await.ok(200);
    server.post("/auth/otp/verify", json!({ "phone": phone })).await.refused(422, "VALIDATION_ERROR");
    assert_eq!(Answer::of(http().post(server.url("/api/v1/auth/otp/verify")).body("nonsense")).await.status, 400);
}

#[tokio::test]
async fn users_by_their_other_names() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    assert_eq!(alice.put("/users/me", json!({ "display_name": "Alice" })).await.ok(200)["display_name"], "Alice");
    let found = alice.post("/users/contacts/sync", json!({ "phones": [bob.phone] })).await.ok(200);
    assert_eq!(found["registered_users"][0]["user_id"], bob.id.as_str());
    alice.post("/users/contacts/sync", json!({ "phones": [] })).await.refused(422, "VALIDATION_ERROR");
    alice.post(&format!("/users/contacts/{}/block", bob.id), json!({})).await.ok(204);
    let send = json!({ "client_msg_id": "1", "type": "text", "payload": { "body": "no" } });
    alice.post(&format!("/chats/{chat}/messages"), send).await.refused(403, "USER_BLOCKED");
    alice.delete(&format!("/users/contacts/{}/block", bob.id)).await.ok(204);
    alice.post(&format!("/users/contacts/{}/block", alice.id), json!({})).await.refused(400, "BAD_REQUEST");
    alice.put("/users/privacy", json!({ "last_seen": "nobody" })).await.ok(204);
    assert_eq!(alice.get("/users/privacy").await.ok(200)["last_seen"], "nobody");
    alice.put("/users/privacy", json!({ "last_seen": "friends" })).await.refused(422, "VALIDATION_ERROR");
    server.call(Method::GET, "/users/privacy", None, None).await.refused(401, "UNAUTHORIZED");
    server.call(Method::PUT, "/users/me", None, Some(json!({}))).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn direct_chats_and_settings_by_their_other_names() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    let chat = alice.post("/chats", json!({ "other_user_id": bob.id })).await.ok(201)["chat_id"].as_str().unwrap().to_owned();
    for body in
        [json!({ "type": "direct", "other_user_id": bob.id }), json!({ "type": "direct", "participant_ids": [bob.id] }), json!({ "member_ids": [bob.id] })]
    {
        assert_eq!(alice.post("/chats", body).await.ok(200)["chat_id"], chat.as_str());
    }
    alice.post("/chats", json!({ "type": "direct", "participant_ids": [bob.id, alice.id] })).await.refused(422, "VALIDATION_ERROR");
    alice.post("/chats", json!({ "participant_id": bob.id })).await.refused(422, "VALIDATION_ERROR");
    alice.put(&format!("/chats/{chat}/mute"), json!({ "muted": true })).await.ok(204);
    alice.put(&format!("/chats/{chat}/pin"), json!({ "pinned": true })).await.ok(204);
    let shown = alice.get(&format!("/chats/{chat}")).await.ok(200);
    assert_eq!((&shown["is_muted"], &shown["is_pinned"]), (&json!(true), &json!(true)));
    alice.patch(&format!("/chats/{chat}/mute"), json!({ "muted": false })).await.ok(204);
    assert_eq!(alice.get(&format!("/chats/{chat}")).await.ok(200)["is_muted"], false);
    alice.put(&format!("/chats/{chat}/mute"), json!({ "muted": "yes" })).await.refused(422, "VALIDATION_ERROR");
    let eve = server.somebody().await;
    eve.put(&format!("/chats/{chat}/mute"), json!({ "muted": true })).await.refused(404, "CHAT_NOT_FOUND");
}

#[tokio::test]
async fn groups_and_timers_by_their_other_names() {
    let server = TestServer::start().await;
    let (alice, bob, carol) = (server.somebody().await, server.somebody().await, server.somebody().await);
    let group = alice.post("/chats", json!({ "name": "Friends", "member_ids": [bob.id] })).await.ok(201);
    assert_eq!((&group["type"], &group["name"]), (&json!("group"), &json!("Friends")));
    let group = group["chat_id"].as_str().unwrap();
    let of_one = alice.post("/chats", json!({ "type": "group", "name": "Two", "participant_ids": [bob.id] })).await.ok(201);
    assert_eq!(of_one["type"], "group", "a list of one makes no direct chat of what is called a group");
    alice.post(&format!("/chats/{group}/participants"), json!({ "user_id": carol.id })).await.ok(204);
    assert_eq!(alice.get(&format!("/chats/{group}")).await.ok(200)["participants"].as_array().unwrap().len(), 3);
    alice.post(&format!("/chats/{group}/participants"), json!({ "user_id": carol.id })).await.refused(409, "ALREADY_MEMBER");
    alice.post(&format!("/chats/{group}/participants"), json!({ "user_id": "x" })).await.refused(422, "VALIDATION_ERROR");
    bob.post(&format!("/chats/{group}/participants"), json!({ "user_id": carol.id })).await.refused(403, "NOT_ADMIN");
    for (seconds, name) in [(86_400, "24h"), (604_800, "7d"), (7_776_000, "90d"), (0, "off")] {
        assert_eq!(alice.put(&format!("/chats/{group}/disappearing"), json!({ "timer": seconds })).await.ok(200)["timer"], name);
        assert_eq!(bob.get(&format!("/chats/{group}")).await.ok(200)["auto_delete_timer"], name);
    }
    for bad in [json!(1), json!(-86_400), json!(86_400.5), json!("86400"), json!(null)] {
        alice.put(&format!("/chats/{group}/disappearing"), json!({ "timer": bad })).await.refused(422, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn lists_carry_both_keys_for_those_who_ask() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    for number in 0..3 {
        alice.say(&chat, &format!("word {number}")).await;
    }
    let lists = [
        ("/chats?limit=20".to_owned(), "chats"),
        (format!("/chats/{chat}/messages?limit=2"), "messages"),
        ("/messages/search?q=word&limit=2".to_owned(), "results"),
    ];
    for (path, key) in &lists {
        let page = app_get(&bob, path).await;
        assert_eq!(page["items"], page[key]);
        assert_eq!((&page["nextCursor"], &page["hasMore"]), (&page["next_cursor"], &page["has_more"]));
        assert!(!page["items"].as_array().unwrap().is_empty());
        let plain = bob.get(path).await.ok(200);
        assert!(plain.get("items").is_none() && plain.get("nextCursor").is_none() && plain.get("hasMore").is_none());
    }
    assert_eq!(app_get(&bob, "/users/me").await, bob.get("/users/me").await.ok(200), "what is no list stays as it is");
    let (config, data) = server.stop().await;
    let mut config = config;
    config.compat.mirror_lists = true;
    let server = TestServer::run(config, data, |builder| builder).await;
    let bob = Person { address: server.address, ..bob };
    for (path, key) in &lists {
        let page = bob.get(path).await.ok(200);
        assert_eq!(page["items"], page[key]);
    }
}

#[tokio::test]
async fn messages_by_their_other_paths() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let message = |body: &str| json!({ "chat_id": chat, "client_msg_id": body, "type": "text", "payload": { "body": body } });
    let first = alice.post("/messages", message("the first")).await.ok(201);
    assert_eq!(first["chat_id"], chat.as_str());
    assert_eq!(alice.post("/messages", message("the first")).await.ok(200), first);
    let second = alice.post("/messages", message("the second")).await.ok(201);
    alice.post("/messages", json!({ "client_msg_id": "x", "type": "text", "payload": { "body": "x" } })).await.refused(422, "VALIDATION_ERROR");
    alice.post("/messages", json!({ "chat_id": "x", "client_msg_id": "x", "type": "text", "payload": { "body": "x" } })).await.refused(422, "VALIDATION_ERROR");
    let error = alice.post("/messages", json!({ "chat_id": chat, "type": "text", "payload": {} })).await.refused(422, "VALIDATION_ERROR");
    assert_eq!(error["details"][0]["field"], "client_msg_id");

    let page = bob.get(&format!("/messages?chat_id={chat}&limit=1")).await.ok(200);
    assert_eq!((texts(&page["messages"]), &page["has_more"]), (vec!["the second".to_owned()], &json!(true)));
    let page = bob.get(&format!("/messages?chat_id={chat}&cursor={}", page["next_cursor"].as_str().unwrap())).await.ok(200);
    assert_eq!(texts(&page["messages"]), ["the first"]);
    bob.get("/messages").await.refused(422, "VALIDATION_ERROR");
    bob.get("/messages?chat_id=x").await.refused(400, "BAD_REQUEST");

    let found = bob.get(&format!("/messages/search?chat_id={chat}&q=second")).await.ok(200);
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!((&found[0]["message_id"], &found[0]["message"]["message_id"]), (&second["message_id"], &second["message_id"]));
    assert!(found[0]["score"].as_f64().unwrap() > 0.0);
    bob.get(&format!("/messages/search?chat_id={chat}&q=")).await.refused(422, "VALIDATION_ERROR");
    assert!(bob.get("/messages/search?chat_id=&q=second").await.ok(200)["results"].is_array(), "an empty parameter counts as absent");

    bob.post("/messages/read", json!({ "chat_id": chat, "up_to_message_id": first["message_id"] })).await.ok(204);
    assert_eq!(bob.get(&format!("/chats/{chat}")).await.ok(200)["unread_count"], 1);
    bob.post("/messages/read", json!({ "chat_id": chat })).await.ok(204);
    assert_eq!(bob.get(&format!("/chats/{chat}")).await.ok(200)["unread_count"], 0);
    assert_eq!(alice.status_of(&chat, &second).await, "read");
    bob.post("/messages/read", json!({})).await.refused(422, "VALIDATION_ERROR");

    let eve = server.somebody().await;
    let absent = uuid::Uuid::new_v4();
    for chat in [chat.clone(), absent.to_string()] {
        eve.post("/messages", json!({ "chat_id": chat, "client_msg_id": "x", "type": "text", "payload": { "body": "x" } }))
            .await
            .refused(404, "CHAT_NOT_FOUND");
        eve.get(&format!("/messages?chat_id={chat}")).await.refused(404, "CHAT_NOT_FOUND");
        eve.get(&format!("/messages/search?chat_id={chat}&q=second")).await.refused(404, "CHAT_NOT_FOUND");
        eve.post("/messages/read", json!({ "chat_id": chat })).await.refused(404, "CHAT_NOT_FOUND");
        eve.delete(&format!("/chats/{chat}/messages/{}", first["message_id"].as_str().unwrap())).await.refused(404, "CHAT_NOT_FOUND");
    }
    server.call(Method::GET, &format!("/messages/search?chat_id={chat}&q=second"), None, None).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn messages_are_named_within_their_chat() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let carol = server.somebody().await;
    let other = alice.chat_with(&carol).await;
    let message = alice.say(&chat, "hello").await;
    let id = message["message_id"].as_str().unwrap();
    alice.delete(&format!("/chats/{other}/messages/{id}?for=me")).await.refused(404, "MESSAGE_NOT_FOUND");
    alice.delete(&format!("/chats/{chat}/messages/{}?for=me", uuid::Uuid::new_v4())).await.refused(404, "MESSAGE_NOT_FOUND");
    let scoped = format!("/chats/{chat}/messages/{id}");
    let elsewhere = format!("/chats/{other}/messages/{id}");
    let edited = alice.patch(&scoped, json!({ "payload": { "body": "hello again" } })).await.ok(200);
    assert_eq!(edited["payload"]["body"], "hello again");
    alice.patch(&elsewhere, json!({ "payload": { "body": "no" } })).await.refused(404, "MESSAGE_NOT_FOUND");
    bob.patch(&scoped, json!({ "payload": { "body": "no" } })).await.refused(403, "FORBIDDEN");
    alice.put(&format!("{scoped}/star"), json!({})).await.ok(204);
    let starred = app_get(&alice, "/messages/starred").await;
    assert_eq!((&starred["items"], &starred["items"][0]["message_id"]), (&starred["messages"], &message["message_id"]));
    alice.put(&format!("{elsewhere}/star"), json!({})).await.refused(404, "MESSAGE_NOT_FOUND");
    alice.delete(&format!("{scoped}/star")).await.ok(204);
    assert_eq!(alice.get("/messages/starred").await.ok(200)["messages"], json!([]));
    bob.post(&format!("{scoped}/react"), json!({ "emoji": "👍" })).await.ok(204);
    assert_eq!(alice.get(&format!("/chats/{chat}/messages")).await.ok(200)["messages"][0]["reactions"][0]["emoji"], "👍");
    bob.delete(&format!("{scoped}/react")).await.ok(204);
    bob.post(&format!("{scoped}/react"), json!({ "emoji": "no" })).await.refused(422, "VALIDATION_ERROR");
    carol.post(&format!("{scoped}/react"), json!({ "emoji": "👍" })).await.refused(404, "CHAT_NOT_FOUND");
    alice.delete(&format!("/chats/{chat}/messages/nonsense")).await.refused(400, "BAD_REQUEST");
    assert_eq!(alice.texts(&chat).await, ["hello again"]);
    alice.delete(&format!("{scoped}?for=me")).await.ok(204);
    assert!(alice.texts(&chat).await.is_empty());
    assert_eq!(bob.texts(&chat).await, ["hello again"]);
    let second = bob.say(&chat, "not for long").await;
    bob.delete(&format!("/chats/{chat}/messages/{}?for=everyone", second["message_id"].as_str().unwrap())).await.ok(204);
    assert_eq!(alice.texts(&chat).await, ["This message was deleted"]);
}

#[tokio::test]
async fn a_socket_with_other_keys_gets_them_back() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let mut a = alice.connect().await;
    a.settle().await;
    let mut b = bob.connect().await;
    b.settle().await;
    let sent = a
        .ask_as_spelled(json!({ "type": "message.send", "payload": { "chat_id": chat, "client_msg_id": "1", "type": "text", "payload": { "body": "hello" } }, "ref": "r-1" }))
        .await;
    assert_eq!((&sent["event"], &sent["type"], &sent["req_id"]), (&json!("message.sent"), &json!("message.sent"), &json!("r-1")));
    let received = b.until("the message", |frame| frame["event"] == "message.new").await;
    assert!(received.get("type").is_none(), "whoever speaks the canonical form gets it: {received}");
    assert_eq!(received["data"]["payload"]["body"], "hello");

    // From the first such frame on everything carries both.
    b.send_text(json!({ "type": "typing.start", "payload": { "chat_id": chat } }).to_string()).await;
    let typing = a.until("typing", |frame| frame["event"] == "typing").await;
    assert_eq!((&typing["type"], &typing["data"]["typing"], &typing["data"]["is_typing"]), (&json!("typing"), &json!(true), &json!(true)));
    b.send_text(json!({ "event": "typing.stop", "data": { "chat_id": chat } }).to_string()).await;
    let typing = a.until("typing", |frame| frame["event"] == "typing").await;
    assert_eq!((&typing["data"]["typing"], &typing["data"]["is_typing"]), (&json!(false), &json!(false)));
    let pong = b.ask_as_spelled(json!({ "type": "ping", "ref": 7 })).await;
    assert_eq!((&pong["event"], &pong["req_id"]), (&json!("pong"), &json!(7)));
    let error = b.ask_as_spelled(json!({ "type": "typing.start", "payload": {}, "ref": "bad" })).await;
    assert_eq!((&error["event"], &error["type"], &error["data"]["code"]), (&json!("error"), &json!("error"), &json!(4000)));
    let error = b.ask_as_spelled(json!({ "type": "nothing", "ref": "unknown" })).await;
    assert_eq!((&error["event"], &error["data"]["code"]), (&json!("error"), &json!(4000)));
    // The canonical form keeps working on the same socket.
    assert_eq!(b.ask("ping", json!(null)).await["event"], "pong");
}

#[tokio::test]
async fn receipts_may_name_a_single_message() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let (first, second) = (alice.say(&chat, "one").await, alice.say(&chat, "two").await);
    let mut b = bob.connect().await;
    b.settle().await;
    let ack = b.ask("message.delivered", json!({ "message_id": first["message_id"] })).await;
    assert_eq!(ack["event"], "ack");
    assert_eq!(alice.status_of(&chat, &first).await, "delivered");
    assert_eq!(alice.status_of(&chat, &second).await, "sent");
    assert_eq!(b.ask("message.read", json!({ "message_id": first["message_id"] })).await["event"], "ack");
    assert_eq!(alice.status_of(&chat, &first).await, "read");
    assert_eq!(b.ask("message.read", json!({ "chat_id": chat, "message_id": second["message_id"] })).await["event"], "ack");
    assert_eq!(alice.status_of(&chat, &second).await, "read");
    for data in [json!({ "message_id": "x" }), json!({ "chat_id": "x", "message_id": first["message_id"] }), json!({})] {
        assert_eq!(b.ask("message.read", data).await["data"]["code"], 4000);
    }
    let foreign = json!({ "message_id": uuid::Uuid::new_v4().to_string() });
    assert_eq!(b.ask("message.read", foreign).await["data"]["code"], 4004);
    let deleted = b.ask("message.deleted", json!({ "message_id": first["message_id"], "for": "me" })).await;
    assert_eq!((&deleted["event"], &deleted["data"]["message_id"]), (&json!("message.deleted"), &first["message_id"]));
    assert_eq!(bob.texts(&chat).await, ["two"]);
}
