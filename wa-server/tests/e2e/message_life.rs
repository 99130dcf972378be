//! What becomes of messages over real sockets: edits, deletions, reactions, stars, forwards, replies, mentions, expiry, and
//! what is refused (contract, sections 1.4, 3.3, 3.4, 7 and 10).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Person, TestServer, eventually, texts};

fn id(message: &Value) -> String {
    message["message_id"].as_str().expect("an id").to_owned()
}

fn path(message: &Value) -> String {
    format!("/messages/{}", id(message))
}

/// The message as somebody sees it in the chat's history.
async fn seen(person: &Person, message: &Value) -> Value {
    let page = person.get(&format!("/chats/{}/messages?limit=100", message["chat_id"].as_str().expect("a chat"))).await.ok(200);
    page["messages"].as_array().expect("messages").iter().find(|other| other["message_id"] == message["message_id"]).cloned().unwrap_or(Value::Null)
}

async fn group(admin: &Person, others: &[&Person]) -> String {
    let others: Vec<&str> = others.iter().map(|person| person.id.as_str()).collect();
    let made = admin.post("/chats", json!({ "type": "group", "name": "Friends", "participant_ids": others })).await.ok(201);
    made["chat_id"].as_str().expect("an id").to_owned()
}

/// Another device of the same person.
async fn another_device(server: &TestServer, person: &Person) -> Person {
    server.login(&person.phone).await
}

#[tokio::test]
async fn an_edit_reaches_everybody_and_its_sender_is_answered() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    let mut tablet = another_device(&server, &alice).await.connect().await;
    let sent = alice.say(&chat, "helo").await;
    bob.post(&format!("{}/star", path(&sent)), json!({})).await.ok(204);
    for socket in [&mut a, &mut b, &mut tablet] {
        socket.expect("message.new").await;
    }
    let answer = a
        .ask("message.edit", json!({ "message_id": id(&sent), "payload": { "body": "hello", "mentions": [{ "user_id": bob.id, "offset": 0, "length": 5 }] } }))
        .await;
    assert_eq!(
        (&answer["event"], &answer["data"]["payload"]["body"], &answer["data"]["is_starred"]),
        (&json!("message.edited"), &json!("hello"), &json!(false))
    );
    assert!(answer["data"]["edited_at"].is_string() && answer["data"]["rev"].as_i64() > sent["rev"].as_i64());
    let (to_bob, to_tablet) = (b.expect("message.edited").await, tablet.expect("message.edited").await);
    assert_eq!(to_bob, seen(&bob, &sent).await, "what is announced is what is read, the star included");
    assert_eq!(to_tablet, seen(&alice, &sent).await);
    // Over REST the socket of the same device is told as well.
    let edited = alice.patch(&path(&sent), json!({ "payload": { "body": "hello!" } })).await.ok(200);
    assert_eq!((&edited["payload"]["body"], &edited["payload"]["mentions"]), (&json!("hello!"), &json!([])));
    assert_eq!(a.expect("message.edited").await, edited);
    let list = bob.get("/chats").await.ok(200);
    assert_eq!((&list["chats"][0]["last_message"]["preview"], &list["chats"][0]["unread_count"]), (&json!("hello!"), &json!(1)));
}

#[tokio::test]
async fn what_may_not_be_edited_is_refused() {
    let (server, clock) = TestServer::with_clock(|config| config.limits.edit_window = Duration::from_secs(60)).await;
    let (alice, bob, chat) = server.couple().await;
    let sent = alice.say(&chat, "hello").await;
    let edit = |body: &str| json!({ "payload": { "body": body } });
    bob.patch(&path(&sent), edit("mine")).await.refused(403, "FORBIDDEN");
    server.somebody().await.patch(&path(&sent), edit("mine")).await.refused(404, "MESSAGE_NOT_FOUND");
    for (body, field) in [
        (json!({}), "payload"),
        (json!({ "payload": null }), "payload"),
        (json!({ "payload": "x" }), "payload"),
        (edit(" "), "payload.body"),
        (edit(&"x".repeat(4097)), "payload.body"),
        (json!({ "payload": { "body": "x", "mentions": [{ "user_id": bob.id, "offset": 0, "length": 2 }] } }), "payload.mentions"),
        (json!({ "payload": { "body": "x", "mentions": [{ "user_id": uuid::Uuid::new_v4(), "offset": 0, "length": 1 }] } }), "payload.mentions"),
    ] {
        let error = alice.patch(&path(&sent), body.clone()).await.refused(422, "VALIDATION_ERROR");
        assert_eq!(error["details"][0]["field"], field, "{body}");
    }
    let place = json!({ "client_msg_id": "place", "type": "location", "payload": { "latitude": 1, "longitude": 2, "name": "here" } });
    let place = alice.post(&format!("/chats/{chat}/messages"), place).await.ok(201);
    alice.patch(&path(&place), json!({ "payload": { "latitude": 3, "longitude": 4 } })).await.refused(422, "VALIDATION_ERROR");
    alice.patch("/messages/x", edit("x")).await.refused(400, "BAD_REQUEST");
    clock.advance(Duration::from_secs(30));
    alice.patch(&path(&sent), edit("in time")).await.ok(200);
    clock.advance(Duration::from_secs(31));
    alice.patch(&path(&sent), edit("too late")).await.refused(403, "FORBIDDEN");
    alice.post(&format!("/users/{}/block", bob.id), json!({})).await.ok(204);
    let fresh = bob.say(&chat, "unseen").await;
    alice.patch(&path(&fresh), edit("x")).await.refused(404, "MESSAGE_NOT_FOUND");
}

#[tokio::test]
async fn an_edit_does_not_reach_past_a_block() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let sent = alice.say(&chat, "before").await;
    bob.post(&format!("/users/{}/block", alice.id), json!({})).await.ok(204);
    let mut b = bob.connect().await;
    alice.patch(&path(&sent), json!({ "payload": { "body": "after" } })).await.ok(200);
    alice.post(&format!("{}/react", path(&sent)), json!({ "emoji": "👍" })).await.ok(204);
    assert_eq!((&seen(&alice, &sent).await["payload"]["body"], &seen(&alice, &sent).await["reactions"][0]["emoji"]), (&json!("after"), &json!("👍")));
    let theirs = seen(&bob, &sent).await;
    assert_eq!((&theirs["payload"]["body"], &theirs["edited_at"], &theirs["reactions"]), (&json!("before"), &Value::Null, &json!([])));
    bob.post(&format!("{}/react", path(&sent)), json!({ "emoji": "👍" })).await.refused(403, "USER_BLOCKED");
    let own = alice.say(&chat, "a marker nobody sees").await;
    assert_eq!(seen(&bob, &own).await, Value::Null);
    b.settle().await;
    assert!(b.passed("message.edited").is_empty() && b.passed("message.reaction").is_empty(), "nothing of it was told");
}

#[tokio::test]
async fn a_deletion_for_everyone_leaves_a_tombstone() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    let first = alice.say(&chat, "keep").await;
    let sent = alice.say(&chat, "take back").await;
    bob.post(&format!("{}/react", path(&sent)), json!({ "emoji": "👍" })).await.ok(204);
    bob.post(&format!("{}/star", path(&sent)), json!({})).await.ok(204);
    let reply = json!({ "client_msg_id": "reply", "type": "text", "payload": { "body": "why?" }, "reply_to_message_id": id(&sent) });
    let reply = bob.post(&format!("/chats/{chat}/messages"), reply).await.ok(201);
    assert_eq!(reply["reply_to_preview"]["preview"], "take back");
    bob.delete(&format!("{}?for=everyone", path(&sent))).await.refused(403, "FORBIDDEN");
    alice.delete(&format!("{}?for=everybody", path(&sent))).await.refused(422, "VALIDATION_ERROR");
    let answer = a.ask("message.delete", json!({ "message_id": id(&sent), "for": "everyone" })).await;
    assert_eq!(answer["event"], "message.deleted");
    let told = b.expect("message.deleted").await;
    let keys = ["message_id", "chat_id", "seq", "rev", "for", "deleted_by", "deleted_for_everyone", "timestamp"];
    assert!(keys.iter().all(|key| told.get(key).is_some()), "{told}");
    assert_eq!((&told["for"], &told["deleted_by"], &told["deleted_for_everyone"]), (&json!("everyone"), &json!(alice.id), &json!(true)));
    let tombstone = seen(&bob, &sent).await;
    assert_eq!((&tombstone["is_deleted"], &tombstone["payload"]["body"]), (&json!(true), &json!("This message was deleted")));
    assert_eq!(
        (&tombstone["seq"], &tombstone["rev"], &tombstone["reactions"], &tombstone["is_starred"]),
        (&sent["seq"], &told["rev"], &json!([]), &json!(false))
    );
    assert_eq!(seen(&bob, &reply).await["reply_to_preview"]["preview"], "This message was deleted", "the preview follows");
    assert_eq!(bob.get("/messages/starred").await.ok(200)["messages"], json!([]));
    assert_eq!(bob.get("/chats").await.ok(200)["chats"][0]["unread_count"], 1, "a deleted message is not unread");
    // Twice is once; and it is no message any more that could be changed.
    alice.delete(&format!("{}?for=everyone", path(&sent))).await.ok(204);
    assert_eq!(a.ask("message.delete", json!({ "message_id": id(&sent), "for": "everyone" })).await["data"]["rev"], told["rev"]);
    alice.patch(&path(&sent), json!({ "payload": { "body": "x" } })).await.refused(409, "CONFLICT");
    bob.post(&format!("{}/react", path(&sent)), json!({ "emoji": "👍" })).await.refused(409, "CONFLICT");
    bob.post(&format!("{}/star", path(&sent)), json!({})).await.refused(409, "CONFLICT");
    bob.post(&format!("{}/forward", path(&sent)), json!({ "target_chat_ids": [chat] })).await.refused(409, "CONFLICT");
    bob.delete(&format!("{}/react", path(&sent))).await.ok(204);
    bob.delete(&format!("{}/star", path(&sent))).await.ok(204);
    bob.delete(&path(&sent)).await.ok(204);
    assert_eq!(texts(&bob.get(&format!("/chats/{chat}/messages")).await.ok(200)["messages"]), ["why?", "keep"]);
    assert_eq!(alice.texts(&chat).await.len(), 3, "what one hides the other still sees");
    let _ = first;
}

#[tokio::test]
async fn admins_delete_for_everyone_in_groups_and_members_their_own() {
    let server = TestServer::start().await;
    let (alice, bob, carol) = (server.somebody().await, server.somebody().await, server.somebody().await);
    let chat = group(&alice, &[&bob, &carol]).await;
    let (of_bob, of_carol) = (bob.say(&chat, "by bob").await, carol.say(&chat, "by carol").await);
    bob.delete(&format!("{}?for=everyone", path(&of_carol))).await.refused(403, "FORBIDDEN");
    alice.delete(&format!("{}?for=everyone", path(&of_carol))).await.ok(204);
    bob.delete(&format!("{}?for=everyone", path(&of_bob))).await.ok(204);
    assert_eq!(seen(&carol, &of_carol).await["is_deleted"], true);
    let note = alice.get(&format!("/chats/{chat}/messages?after_seq=0&limit=1")).await.ok(200)["messages"][0].clone();
    assert_eq!(note["type"], "system");
    for refused in [
        alice.delete(&format!("{}?for=everyone", path(&note))).await,
        alice.patch(&path(&note), json!({ "payload": { "body": "x" } })).await,
        bob.post(&format!("{}/react", path(&note)), json!({ "emoji": "👍" })).await,
        bob.post(&format!("{}/forward", path(&note)), json!({ "target_chat_ids": [chat] })).await,
    ] {
        refused.refused(403, "FORBIDDEN");
    }
    // In a group in which only admins write, members still react, and still take back what they wrote.
    let late = bob.say(&chat, "before it was closed").await;
    alice.patch(&format!("/chats/{chat}"), json!({ "is_admin_only": true })).await.ok(200);
    bob.patch(&path(&late), json!({ "payload": { "body": "x" } })).await.refused(403, "FORBIDDEN");
    carol.post(&format!("{}/react", path(&late)), json!({ "emoji": "👍" })).await.ok(204);
    bob.delete(&format!("{}?for=everyone", path(&late))).await.ok(204);
    // Who is out has no say.
    alice.delete(&format!("/chats/{chat}/participants/{}", bob.id)).await.ok(204);
    bob.delete(&format!("{}?for=everyone", path(&of_bob))).await.refused(403, "NOT_CHAT_MEMBER");
    bob.post(&format!("{}/star", path(&of_bob)), json!({})).await.refused(403, "NOT_CHAT_MEMBER");
}

#[tokio::test]
async fn everybody_has_one_reaction() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let sent = alice.say(&chat, "hello").await;
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    let answer = b.ask("message.react", json!({ "message_id": id(&sent), "emoji": "👍" })).await;
    let told = a.expect("message.reaction").await;
    assert_eq!(answer["event"], "message.reaction");
    for data in [&answer["data"], &told] {
        assert_eq!((&data["emoji"], &data["removed"]), (&json!("👍"), &json!(false)));
        assert_eq!((&data["user_id"], &data["chat_id"], &data["message_id"]), (&json!(bob.id), &json!(chat), &sent["message_id"]));
    }
    assert_eq!(seen(&alice, &sent).await["rev"], told["rev"]);
    bob.post(&format!("{}/react", path(&sent)), json!({ "emoji": "❤️" })).await.ok(204);
    alice.post(&format!("{}/react", path(&sent)), json!({ "emoji": "👨‍👩‍👧‍👦" })).await.ok(204);
    let reactions = seen(&alice, &sent).await["reactions"].clone();
    let short: Vec<_> = reactions.as_array().expect("reactions").iter().map(|reaction| (reaction["user_id"].clone(), reaction["emoji"].clone())).collect();
    assert_eq!(short, [(json!(bob.id), json!("❤️")), (json!(alice.id), json!("👨‍👩‍👧‍👦"))]);
    assert!(reactions[0]["timestamp"].is_string());
    assert_eq!(bob.get("/chats").await.ok(200)["chats"][0]["unread_count"], 1, "reacting reads nothing");
    let gone = b.ask("message.react", json!({ "message_id": id(&sent), "emoji": null })).await;
    assert_eq!((&gone["data"]["emoji"], &gone["data"]["removed"]), (&Value::Null, &json!(true)));
    alice.delete(&format!("{}/react", path(&sent))).await.ok(204);
    alice.delete(&format!("{}/react", path(&sent))).await.ok(204);
    assert_eq!(seen(&bob, &sent).await["reactions"], json!([]));
    for bad in ["", "ok", "👍👍", "1", "👨🏻‍❤️‍💋‍👨🏿"] {
        let error = bob.post(&format!("{}/react", path(&sent)), json!({ "emoji": bad })).await.refused(422, "VALIDATION_ERROR");
        assert_eq!(error["details"][0]["field"], "emoji", "{bad}");
        assert_eq!(b.ask("message.react", json!({ "message_id": id(&sent), "emoji": bad })).await["data"]["name"], "VALIDATION_ERROR");
    }
    bob.post(&format!("{}/react", path(&sent)), json!({})).await.refused(422, "VALIDATION_ERROR");
    server.somebody().await.post(&format!("{}/react", path(&sent)), json!({ "emoji": "👍" })).await.refused(404, "MESSAGE_NOT_FOUND");
}

#[tokio::test]
async fn stars_are_ones_own_and_listed_newest_first() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let phone = another_device(&server, &bob).await;
    let (mut a, mut p) = (alice.connect().await, phone.connect().await);
    let mut sent = Vec::new();
    for text in ["one", "two", "three"] {
        sent.push(alice.say(&chat, text).await);
    }
    for message in [&sent[2], &sent[0], &sent[1]] {
        bob.post(&format!("{}/star", path(message)), json!({})).await.ok(204);
    }
    bob.post(&format!("{}/star", path(&sent[2])), json!({})).await.ok(204);
    let told = p.expect("message.starred").await;
    assert_eq!((&told["message_id"], &told["is_starred"]), (&sent[2]["message_id"], &json!(true)));
    assert!(told["rev"].as_i64() > sent[2]["rev"].as_i64());
    let page = bob.get("/messages/starred?limit=2").await.ok(200);
    assert_eq!((texts(&page["messages"]), &page["has_more"]), (vec!["two".to_owned(), "one".to_owned()], &json!(true)));
    assert!(page["messages"].as_array().expect("messages").iter().all(|message| message["is_starred"] == true));
    let cursor = page["next_cursor"].as_str().expect("a cursor").to_owned();
    let rest = bob.get(&format!("/messages/starred?cursor={cursor}")).await.ok(200);
    assert_eq!((texts(&rest["messages"]), &rest["next_cursor"], &rest["has_more"]), (vec!["three".to_owned()], &Value::Null, &json!(false)));
    alice.get(&format!("/messages/starred?cursor={cursor}")).await.refused(400, "BAD_REQUEST");
    for foreign in ["x", &id(&sent[0]), bob.get("/chats?limit=1").await.ok(200)["next_cursor"].as_str().unwrap_or("AAAA")] {
        bob.get(&format!("/messages/starred?cursor={foreign}")).await.refused(400, "BAD_REQUEST");
    }
    assert_eq!((&seen(&bob, &sent[0]).await["is_starred"], &seen(&alice, &sent[0]).await["is_starred"]), (&json!(true), &json!(false)));
    bob.delete(&format!("{}/star", path(&sent[0]))).await.ok(204);
    bob.delete(&format!("{}/star", path(&sent[0]))).await.ok(204);
    assert_eq!(texts(&bob.get("/messages/starred").await.ok(200)["messages"]), ["two", "three"]);
    // A device that was away learns of it by syncing.
    let since = sent[2]["rev"].clone();
    let synced = phone.post("/sync", json!({ "chats": { chat.as_str(): since } })).await.ok(200);
    let stars = synced["chats"][0]["stars"].as_array().expect("stars").clone();
    assert_eq!(stars.last(), Some(&json!({ "message_id": sent[0]["message_id"], "is_starred": false })));
    assert_eq!(alice.post("/sync", json!({ "chats": { chat.as_str(): since } })).await.ok(200)["chats"][0]["stars"], json!([]));
    // Hidden, it is no longer in the list.
    bob.delete(&path(&sent[1])).await.ok(204);
    assert_eq!(texts(&bob.get("/messages/starred").await.ok(200)["messages"]), ["three"]);
    a.settle().await;
    assert!(a.passed("message.starred").is_empty(), "nobody else is told");
}

#[tokio::test]
async fn a_forward_reaches_all_chats_or_none() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let (carol, dora) = (server.somebody().await, server.somebody().await);
    let to_carol = alice.chat_with(&carol).await;
    let friends = group(&alice, &[&bob, &dora]).await;
    let source = bob.say(&chat, "pass it on").await;
    let forward = |targets: Value| json!({ "target_chat_ids": targets });
    let (mut c, mut b) = (carol.connect().await, bob.connect().await);
    let made = alice.post(&format!("{}/forward", path(&source)), forward(json!([to_carol, friends, to_carol]))).await.ok(201);
    let made = made["forwarded_messages"].as_array().expect("messages").clone();
    assert_eq!(made.iter().map(|message| message["chat_id"].clone()).collect::<Vec<_>>(), [json!(to_carol), json!(friends)]);
    let to = |person: &Person, index: usize| {
        let (person, message) = (person.clone(), made[index].clone());
        async move { seen(&person, &message).await }
    };
    let is_forward = |frame: &Value| frame["data"]["forwarded"] == true;
    // Who may read the source sees where it comes from.
    let origin = json!({ "chat_id": chat, "message_id": source["message_id"] });
    for (viewer, index, shown) in [(&alice, 0, true), (&carol, 0, false), (&alice, 1, true), (&bob, 1, true), (&dora, 1, false)] {
        let message = to(viewer, index).await;
        assert_eq!((&message["payload"]["body"], &message["forwarded"]), (&json!("pass it on"), &json!(true)));
        assert_eq!(message["forwarded_from"], if shown { origin.clone() } else { Value::Null });
    }
    assert_eq!(c.until("the forward", is_forward).await["data"]["forwarded_from"], Value::Null);
    assert_eq!(b.until("the forward", is_forward).await["data"]["forwarded_from"], origin, "each is told what they may know");
    // A forward of a forward names the first source.
    let again = carol.post(&format!("/messages/{}/forward", made[0]["message_id"].as_str().expect("an id")), forward(json!([to_carol]))).await.ok(201);
    assert_eq!(seen(&alice, &again["forwarded_messages"][0]).await["forwarded_from"], origin);
    assert_eq!(seen(&carol, &again["forwarded_messages"][0]).await["forwarded_from"], Value::Null);
    // All or nothing.
    let before = alice.texts(&to_carol).await.len();
    let stranger = bob.chat_with(&dora).await;
    dora.post(&format!("/users/{}/block", alice.id), json!({})).await.ok(204);
    let to_dora = alice.chat_with(&dora).await;
    alice.post(&format!("/users/{}/block", dora.id), json!({})).await.ok(204);
    let url = format!("{}/forward", path(&source));
    alice.post(&url, forward(json!([to_carol, stranger]))).await.refused(404, "CHAT_NOT_FOUND");
    alice.post(&url, forward(json!([to_carol, uuid::Uuid::new_v4()]))).await.refused(404, "CHAT_NOT_FOUND");
    alice.post(&url, forward(json!([to_carol, to_dora]))).await.refused(403, "USER_BLOCKED");
    assert_eq!(alice.texts(&to_carol).await.len(), before);
    carol.post(&url, forward(json!([to_carol]))).await.refused(404, "MESSAGE_NOT_FOUND");
    for bad in [json!([]), json!(vec![to_carol.clone(); 21]), json!(["x"]), json!(null), json!(to_carol)] {
        alice.post(&url, forward(bad)).await.refused(422, "VALIDATION_ERROR");
    }
    alice.post(&url, forward(json!(vec![to_carol.clone(); 20]))).await.ok(201);
}

#[tokio::test]
async fn a_forward_repeated_under_its_key_sends_nothing_twice() {
    let server = TestServer::start().await;
    let (alice, _bob, chat) = server.couple().await;
    let source = alice.say(&chat, "pass it on").await;
    let forward = async |key: &str| {
        let url = server.url(&format!("/api/v1{}/forward", path(&source)));
        let request = crate::support::http().post(url).bearer_auth(&alice.access).header("Idempotency-Key", key).json(&json!({ "target_chat_ids": [chat] }));
        crate::support::Answer::of(request).await.ok(201)["forwarded_messages"].clone()
    };
    let once = forward("a").await;
    alice.patch(&path(&source), json!({ "payload": { "body": "changed" } })).await.ok(200);
    assert_eq!(forward("a").await, once);
    assert_ne!(forward("b").await, once);
    assert_eq!(alice.texts(&chat).await, ["changed", "pass it on", "changed"]);
}

#[tokio::test]
async fn answers_quote_only_what_their_reader_may_see() {
    let server = TestServer::start().await;
    let (alice, bob, carol) = (server.somebody().await, server.somebody().await, server.somebody().await);
    let chat = group(&alice, &[&bob]).await;
    let old = bob.say(&chat, "before carol came").await;
    alice.post(&format!("/chats/{chat}/participants"), json!({ "user_ids": [carol.id] })).await.ok(204);
    let (mut b, mut c) = (bob.connect().await, carol.connect().await);
    let answer = |key: &str, to: &Value| json!({ "client_msg_id": key, "type": "text", "payload": { "body": "indeed" }, "reply_to_message_id": to });
    let reply = alice.post(&format!("/chats/{chat}/messages"), answer("one", &old["message_id"])).await.ok(201);
    assert_eq!(reply["reply_to_preview"]["preview"], "before carol came");
    let is_reply = |frame: &Value| frame["data"]["message_id"] == reply["message_id"];
    let (to_bob, to_carol) = (b.until("the answer", is_reply).await, c.until("the answer", is_reply).await);
    assert_eq!((&to_bob["data"]["reply_to_preview"]["preview"], &to_carol["data"]["reply_to_preview"]), (&json!("before carol came"), &Value::Null));
    assert_eq!(to_carol["data"]["reply_to_message_id"], old["message_id"]);
    assert_eq!(seen(&carol, &reply).await["reply_to_preview"], Value::Null);
    // One cannot answer what one cannot see, nor what stands elsewhere.
    carol.post(&format!("/chats/{chat}/messages"), answer("two", &old["message_id"])).await.refused(422, "VALIDATION_ERROR");
    let elsewhere = alice.say(&alice.chat_with(&bob).await, "elsewhere").await;
    alice.post(&format!("/chats/{chat}/messages"), answer("three", &elsewhere["message_id"])).await.refused(422, "VALIDATION_ERROR");
    // Nor change, star or forward it.
    carol.post(&format!("{}/react", path(&old)), json!({ "emoji": "👍" })).await.refused(404, "MESSAGE_NOT_FOUND");
    bob.patch(&path(&old), json!({ "payload": { "body": "edited" } })).await.ok(200);
    b.expect("message.edited").await;
    assert_eq!(seen(&bob, &reply).await["reply_to_preview"]["preview"], "edited");
    c.settle().await;
    assert!(c.passed("message.edited").is_empty(), "what becomes of it is not told to who came later");
}

#[tokio::test]
async fn a_message_disappears_when_its_time_has_come() {
    let (server, clock) = TestServer::with_clock(|config| config.auth.access_ttl = Duration::from_secs(30 * 86_400)).await;
    let (alice, bob, chat) = server.couple().await;
    let lasting = alice.say(&chat, "lasting").await;
    alice.put(&format!("/chats/{chat}/disappearing"), json!({ "timer": "24h" })).await.ok(200);
    let passing = alice.say(&chat, "passing").await;
    assert_eq!(lasting["expires_at"], Value::Null);
    assert!(passing["expires_at"].is_string());
    bob.post(&format!("{}/star", path(&passing)), json!({})).await.ok(204);
    let reply = json!({ "client_msg_id": "reply", "type": "text", "payload": { "body": "noted" }, "reply_to_message_id": id(&passing) });
    bob.put(&format!("/chats/{chat}/disappearing"), json!({ "timer": "off" })).await.ok(200);
    let reply = bob.post(&format!("/chats/{chat}/messages"), reply).await.ok(201);
    assert_eq!(bob.get("/chats").await.ok(200)["chats"][0]["unread_count"], 2);
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(seen(&bob, &passing).await, Value::Null);
    assert_eq!(bob.get("/chats").await.ok(200)["chats"][0]["unread_count"], 1);
    assert_eq!(bob.get("/messages/starred").await.ok(200)["messages"], json!([]));
    assert_eq!(seen(&bob, &reply).await["reply_to_preview"], Value::Null);
    let synced = bob.post("/sync", json!({ "chats": {} })).await.ok(200);
    assert!(!texts(&synced["chats"][0]["messages"]).contains(&"passing".to_owned()));
    assert_eq!(synced["chats"][0]["rev"], synced["chats"][0]["chat"]["rev"], "the answer is complete: the hole is an expiry");
    for refused in [
        alice.patch(&path(&passing), json!({ "payload": { "body": "x" } })).await,
        bob.post(&format!("{}/react", path(&passing)), json!({ "emoji": "👍" })).await,
        bob.post(&format!("{}/forward", path(&passing)), json!({ "target_chat_ids": [chat] })).await,
        alice.delete(&format!("{}?for=everyone", path(&passing))).await,
        alice.get(&format!("{}/receipts", path(&passing))).await,
    ] {
        refused.refused(404, "MESSAGE_NOT_FOUND");
    }
    let mut late = bob.connect().await;
    late.settle().await;
    assert!(late.passed("message.new").iter().all(|frame| frame["data"]["payload"]["body"] != "passing"), "it is not delivered any more");
    // The background job takes it away: its key is free again.
    let again = json!({ "client_msg_id": passing["client_msg_id"], "type": "text", "payload": { "body": "another" } });
    eventually("the row to go", || async {
        let answer = alice.post(&format!("/chats/{chat}/messages"), again.clone()).await;
        (answer.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_device_that_was_away_gets_exactly_what_changed() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let mut sent = Vec::new();
    for text in ["edited", "deleted", "reacted", "hidden", "as it was"] {
        sent.push(alice.say(&chat, text).await);
    }
    let since = sent[4]["rev"].clone();
    alice.patch(&path(&sent[0]), json!({ "payload": { "body": "new text" } })).await.ok(200);
    alice.delete(&format!("{}?for=everyone", path(&sent[1]))).await.ok(204);
    alice.post(&format!("{}/react", path(&sent[2])), json!({ "emoji": "👍" })).await.ok(204);
    bob.delete(&path(&sent[3])).await.ok(204);
    let mut b = bob.connect().await;
    let synced = b.ask("sync", json!({ "chats": { chat.as_str(): since } })).await;
    let item = &synced["data"]["chats"][0];
    let mut expected = Vec::new();
    for message in &sent[..3] {
        expected.push(seen(&bob, message).await);
    }
    assert_eq!(item["messages"], json!(expected), "in the order of their changes, as they are now");
    assert_eq!((&item["hidden_message_ids"], &item["limited"]), (&json!([sent[3]["message_id"]]), &json!(false)));
    assert_eq!(item["rev"], item["chat"]["rev"]);
}
