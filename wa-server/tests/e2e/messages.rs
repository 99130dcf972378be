//! Sending, history, receipts and deleting for oneself, over REST (contract, sections 1.4, 7 and 10).

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Person, TestServer, texts};

#[tokio::test]
async fn a_sent_message_has_every_key() {
    let server = TestServer::start().await;
    let (alice, _bob, chat) = server.couple().await;
    let body = json!({ "client_msg_id": "m-1", "type": "text", "payload": { "body": "hello" }, "ignored": true });
    let message = alice.post(&format!("/chats/{chat}/messages"), body).await.ok(201);
    let keys = [
        "message_id",
        "chat_id",
        "sender_id",
        "client_msg_id",
        "seq",
        "rev",
        "type",
        "payload",
        "reply_to_message_id",
        "reply_to_preview",
        "forwarded",
        "forwarded_from",
        "status",
        "reactions",
        "is_deleted",
        "is_starred",
        "edited_at",
        "expires_at",
        "created_at",
        "updated_at",
    ];
    for key in keys {
        assert!(message.get(key).is_some(), "{key} is missing in {message}");
    }
    assert_eq!((&message["seq"], &message["status"], &message["client_msg_id"]), (&json!(1), &json!("sent"), &json!("m-1")));
    assert_eq!((&message["reactions"], &message["edited_at"], &message["is_deleted"]), (&json!([]), &Value::Null, &json!(false)));

    let reply = json!({ "client_msg_id": "m-2", "type": "text", "payload": { "body": "again" }, "reply_to_message_id": message["message_id"] });
    let reply = alice.post(&format!("/chats/{chat}/messages"), reply).await.ok(201);
    assert_eq!(reply["reply_to_message_id"], message["message_id"]);
    assert_eq!((&reply["reply_to_preview"]["preview"], &reply["reply_to_preview"]["sender_id"]), (&json!("hello"), &json!(alice.id)));
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_stored_message_and_a_changed_one_is_a_conflict() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let mut socket = bob.connect().await;
    let path = format!("/chats/{chat}/messages");
    let body = json!({ "client_msg_id": "once", "type": "text", "payload": { "body": "hello" } });
    let repeats = futures_util::future::join_all((0..10).map(|_| alice.post(&path, body.clone()))).await;
    assert_eq!(repeats.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(repeats.iter().filter(|answer| answer.status == 200).count(), 9);
    assert!(repeats.iter().all(|answer| answer.body["data"]["message_id"] == repeats[0].body["data"]["message_id"]));

    let changed = json!({ "client_msg_id": "once", "type": "text", "payload": { "body": "other" } });
    alice.post(&path, changed).await.refused(409, "CONFLICT");
    let elsewhere = alice.chat_with(&server.somebody().await).await;
    alice.post(&format!("/chats/{elsewhere}/messages"), body.clone()).await.refused(409, "CONFLICT");
    // Keys of different senders do not meet.
    bob.post(&path, body).await.ok(201);

    alice.say(&chat, "the end").await;
    socket.until("the end", |frame| frame["data"]["payload"]["body"] == "the end").await;
    let from_alice = socket.passed("message.new").iter().filter(|message| message["sender_id"] == alice.id.as_str()).count();
    assert_eq!(from_alice, 1, "no second event: {:?}", socket.passed_over);
}

#[tokio::test]
async fn concurrent_senders_leave_no_gap_and_everybody_sees_one_order() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let sends = (0..60).map(|number| {
        let (alice, bob, chat) = (alice.clone(), bob.clone(), chat.clone());
        async move { if number % 2 == 0 { alice.say(&chat, &format!("{number}")).await } else { bob.say(&chat, &format!("{number}")).await } }
    });
    let sent = futures_util::future::join_all(sends).await;
    let mut seqs: Vec<i64> = sent.iter().map(|message| message["seq"].as_i64().unwrap()).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=60).collect::<Vec<i64>>());
    assert_eq!(alice.texts(&chat).await, bob.texts(&chat).await);
}

#[tokio::test]
async fn history_is_paged_both_ways() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    for number in 1..=10 {
        alice.say(&chat, &number.to_string()).await;
    }
    let (mut back, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = bob.get(&format!("/chats/{chat}/messages?limit=4{cursor}")).await.ok(200);
        back.extend(texts(&page["messages"]));
        assert_eq!(page["has_more"], page["next_cursor"].is_string());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(back, (1..=10).rev().map(|number| number.to_string()).collect::<Vec<_>>());

    let (mut forth, mut after) = (Vec::new(), 0);
    loop {
        let page = bob.get(&format!("/chats/{chat}/messages?after_seq={after}&limit=3")).await.ok(200);
        forth.extend(texts(&page["messages"]));
        after = page["messages"].as_array().unwrap().last().map_or(after, |last| last["seq"].as_i64().unwrap());
        if page["has_more"] == false {
            break;
        }
    }
    back.reverse();
    assert_eq!(forth, back);
    assert_eq!(bob.get(&format!("/chats/{chat}/messages?after_seq=10")).await.ok(200)["messages"], json!([]));
    let other = bob.chat_with(&server.somebody().await).await;
    let foreign = bob.say(&other, "elsewhere").await["message_id"].as_str().unwrap().to_owned();
    bob.get(&format!("/chats/{chat}/messages?cursor={foreign}")).await.refused(400, "BAD_REQUEST");
    for bad in ["cursor=garbage", "after_seq=x", "limit=x"] {
        bob.get(&format!("/chats/{chat}/messages?{bad}")).await.refused(400, "BAD_REQUEST");
    }
    bob.get("/chats/nonsense/messages").await.refused(400, "BAD_REQUEST");
}

#[tokio::test]
async fn messages_that_break_the_rules_are_refused_and_nothing_is_stored() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let path = format!("/chats/{chat}/messages");
    let text = |body: Value| json!({ "client_msg_id": "x", "type": "text", "payload": { "body": body } });
    let invalid = [
        text(json!("")),
        text(json!(7)),
        text(json!("a".repeat(4097))),
        json!({ "client_msg_id": "x", "type": "text", "payload": {} }),
        json!({ "client_msg_id": "x", "type": "text" }),
        json!({ "client_msg_id": "x", "type": "text", "payload": "hi" }),
        json!({ "client_msg_id": "", "type": "text", "payload": { "body": "hi" } }),
        json!({ "client_msg_id": "x".repeat(129), "type": "text", "payload": { "body": "hi" } }),
        json!({ "type": "text", "payload": { "body": "hi" } }),
        json!({ "client_msg_id": "x", "type": "carrier-pigeon", "payload": { "body": "hi" } }),
        json!({ "client_msg_id": "x", "type": "system", "payload": { "body": "hi", "action": "joined" } }),
        json!({ "client_msg_id": "x", "type": "location", "payload": { "latitude": 91, "longitude": 0 } }),
        json!({ "client_msg_id": "x", "type": "text", "payload": { "body": "hi" }, "reply_to_message_id": uuid::Uuid::new_v4() }),
        json!({ "client_msg_id": "x", "type": "text", "payload": { "body": "hi" }, "reply_to_message_id": "nonsense" }),
    ];
    for body in invalid {
        let answer = alice.post(&path, body.clone()).await;
        assert_eq!((answer.status, answer.body["error"]["code"].as_str()), (422, Some("VALIDATION_ERROR")), "{body}: {}", answer.text);
        assert!(answer.body["error"]["details"][0]["field"].is_string(), "{}", answer.text);
    }
    assert_eq!(bob.texts(&chat).await, Vec::<String>::new());
    alice.post(&path, text(json!("é".repeat(4096)))).await.ok(201);
    let location = json!({ "client_msg_id": "l", "type": "location", "payload": { "latitude": 52.5, "longitude": 13.4, "name": "Berlin" } });
    assert_eq!(alice.post(&path, location).await.ok(201)["payload"]["name"], "Berlin");
}

async fn receipt(of: &Person, message: &Value, to: &Person) -> Value {
    let rows = of.get(&format!("/messages/{}/receipts", message["message_id"].as_str().unwrap())).await.ok(200);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 1, "one row per recipient: {rows:?}");
    assert_eq!(rows[0]["user_id"], to.id.as_str());
    for key in ["user_id", "status", "timestamp", "delivered_at", "read_at", "updated_at"] {
        assert!(rows[0].get(key).is_some(), "{key} is missing");
    }
    rows[0].clone()
}

#[tokio::test]
async fn receipts_are_exact_per_message_and_only_rise() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let one = alice.say(&chat, "one").await;
    let two = alice.say(&chat, "two").await;
    let mut socket = bob.connect().await;
    // Delivering the second alone leaves the first as it was.
    socket.ask("message.delivered", json!({ "message_ids": [two["message_id"]] })).await;
    assert_eq!((alice.status_of(&chat, &one).await, alice.status_of(&chat, &two).await), ("sent".to_owned(), "delivered".to_owned()));
    let first = receipt(&alice, &one, &bob).await;
    assert_eq!((&first["status"], &first["delivered_at"], &first["read_at"]), (&json!("sent"), &Value::Null, &Value::Null));
    let second = receipt(&alice, &two, &bob).await;
    assert!(second["delivered_at"].is_string() && second["read_at"].is_null(), "{second}");

    // Read implies delivered, for everything older as well.
    assert_eq!(bob.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": two["message_id"] })).await.status, 204);
    for message in [&one, &two] {
        let row = receipt(&alice, message, &bob).await;
        assert_eq!(row["status"], "read");
        assert!(row["delivered_at"].is_string() && row["read_at"].is_string(), "{row}");
    }
    // Backward updates change nothing.
    let before = receipt(&alice, &two, &bob).await;
    socket.ask("message.delivered", json!({ "message_ids": [one["message_id"], two["message_id"]] })).await;
    bob.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": one["message_id"] })).await;
    assert_eq!(receipt(&alice, &two, &bob).await, before);
    assert_eq!(alice.status_of(&chat, &two).await, "read");
    let three = alice.say(&chat, "three").await;
    assert_eq!(alice.status_of(&chat, &three).await, "sent");
}

#[tokio::test]
async fn reading_up_to_what_is_not_in_the_chat_is_not_found() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    alice.say(&chat, "one").await;
    let other = alice.chat_with(&server.somebody().await).await;
    let elsewhere = alice.say(&other, "elsewhere").await;
    let path = format!("/chats/{chat}/messages/read");
    bob.post(&path, json!({ "up_to_message_id": elsewhere["message_id"] })).await.refused(404, "MESSAGE_NOT_FOUND");
    alice.post(&path, json!({ "up_to_message_id": elsewhere["message_id"] })).await.refused(404, "MESSAGE_NOT_FOUND");
    bob.post(&path, json!({ "up_to_message_id": uuid::Uuid::new_v4() })).await.refused(404, "MESSAGE_NOT_FOUND");
    bob.post(&path, json!({ "up_to_message_id": 1 })).await.refused(422, "VALIDATION_ERROR");
    assert_eq!(bob.get(&format!("/chats/{chat}")).await.ok(200)["unread_count"], 1);
}

#[tokio::test]
async fn without_read_receipts_reading_does_not_show_and_delivery_does() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    bob.put("/users/me/privacy", json!({ "read_receipts": false })).await.ok(200);
    let mut socket = alice.connect().await;
    let message = alice.say(&chat, "hello").await;
    bob.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": message["message_id"] })).await;
    let row = receipt(&alice, &message, &bob).await;
    assert_eq!((&row["status"], &row["read_at"]), (&json!("delivered"), &Value::Null));
    assert_eq!(bob.get(&format!("/chats/{chat}")).await.ok(200)["unread_count"], 0, "for oneself it is read");
    // Nor does Bob see that Alice read his.
    let answer = bob.say(&chat, "answer").await;
    alice.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": answer["message_id"] })).await;
    assert_eq!(bob.status_of(&chat, &answer).await, "delivered");
    bob.say(&chat, "the end").await;
    socket.until("the end", |frame| frame["data"]["payload"]["body"] == "the end").await;
    let statuses: Vec<&Value> = socket.passed("message.status").into_iter().filter(|status| status["user_id"] == bob.id.as_str()).collect();
    assert!(statuses.iter().all(|status| status["status"] == "delivered"), "{statuses:?}");
}

#[tokio::test]
async fn deleting_for_me_hides_from_the_caller_alone() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    let bobs_other = server.login(&bob.phone).await;
    let mut other_device = bobs_other.connect().await;
    let one = alice.say(&chat, "one").await;
    alice.say(&chat, "two").await;
    let path = format!("/messages/{}", one["message_id"].as_str().unwrap());
    assert_eq!(bob.delete(&path).await.status, 204, "without `for` it is for me");
    assert_eq!(bob.delete(&format!("{path}?for=me")).await.status, 204, "deleting twice is no error");
    assert_eq!(bob.texts(&chat).await, ["two"]);
    assert_eq!(alice.texts(&chat).await, ["two", "one"]);
    let deleted = other_device.expect("message.deleted").await;
    assert_eq!((&deleted["message_id"], &deleted["for"], &deleted["deleted_by"]), (&one["message_id"], &json!("me"), &json!(bob.id)));
    assert_eq!(deleted["deleted_for_everyone"], false);
    for key in ["chat_id", "seq", "rev", "timestamp"] {
        assert!(deleted.get(key).is_some(), "{key} is missing");
    }
    bob.delete(&format!("{path}?for=nobody")).await.refused(422, "VALIDATION_ERROR");
    bob.delete(&format!("/messages/{}?for=me", uuid::Uuid::new_v4())).await.refused(404, "MESSAGE_NOT_FOUND");
    bob.delete("/messages/nonsense").await.refused(400, "BAD_REQUEST");
}

#[tokio::test]
async fn what_a_blocked_person_sends_is_accepted_stays_sent_and_never_shows() {
    let server = TestServer::start().await;
    let (alice, bob, chat) = server.couple().await;
    bob.say(&chat, "before").await;
    let block = format!("/users/{}/block", bob.id);
    assert_eq!(alice.call(Method::POST, &block, None).await.status, 204);
    let mut socket = alice.connect().await;
    socket.settle().await;

    let withheld = bob.say(&chat, "while blocked").await;
    let body = json!({ "client_msg_id": "a", "type": "text", "payload": { "body": "hi" } });
    alice.post(&format!("/chats/{chat}/messages"), body).await.refused(403, "USER_BLOCKED");
    assert_eq!(alice.texts(&chat).await, ["before"]);
    assert_eq!(bob.texts(&chat).await, ["while blocked", "before"]);
    let seen = alice.get(&format!("/chats/{chat}")).await.ok(200);
    assert_eq!((&seen["unread_count"], &seen["last_message"]["preview"]), (&json!(1), &json!("before")));
    // Nothing Alice says about it makes it delivered.
    socket.ask("message.delivered", json!({ "message_ids": [withheld["message_id"]] })).await;
    alice.get(&format!("/messages/{}/receipts", withheld["message_id"].as_str().unwrap())).await.refused(404, "MESSAGE_NOT_FOUND");

    assert_eq!(alice.delete(&block).await.status, 204);
    bob.say(&chat, "after").await;
    socket.until("after", |frame| frame["data"]["payload"]["body"] == "after").await;
    assert!(!socket.passed("message.new").iter().any(|message| message["payload"]["body"] == "while blocked"));
    assert_eq!(alice.texts(&chat).await, ["after", "before"], "it stays hidden after unblocking");
    let sync = alice.post("/sync", json!({ "chats": {} })).await.ok(200);
    assert_eq!(texts(&sync["chats"][0]["messages"]), ["before", "after"]);
    let last = alice.get(&format!("/chats/{chat}/messages")).await.ok(200)["messages"][0]["message_id"].clone();
    alice.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": last })).await;
    assert_eq!(bob.status_of(&chat, &withheld).await, "sent");
}
