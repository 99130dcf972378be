//! Groups over real sockets: every route of theirs, who is told what, what is refused to whom, and what is left to those who
//! go (contract, sections 1.3, 3.4, 7 and 10).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use wa_transport::client::{Client, ServerEvent, Tokens};

use crate::support::{Person, Socket, TestServer, soon, texts};

/// A group of these people, whose admin is the first.
async fn group(people: &[&Person]) -> String {
    let others: Vec<&str> = people[1..].iter().map(|person| person.id.as_str()).collect();
    let made = people[0].post("/chats", json!({ "type": "group", "name": "Friends", "participant_ids": others })).await.ok(201);
    made["chat_id"].as_str().expect("an id").to_owned()
}

/// Three people in a group, and a fourth who is not.
async fn friends(server: &TestServer) -> ([Person; 4], String) {
    let people = [server.somebody().await, server.somebody().await, server.somebody().await, server.somebody().await];
    let chat = group(&[&people[0], &people[1], &people[2]]).await;
    (people, chat)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn members(chat: &Value) -> BTreeSet<(&str, &str)> {
    let members = chat["participants"].as_array().expect("participants");
    members.iter().map(|member| (member["user_id"].as_str().expect("an id"), member["role"].as_str().expect("a role"))).collect()
}

async fn add(admin: &Person, chat: &str, user: &Person) {
    admin.post(&format!("/chats/{chat}/participants"), json!({ "user_ids": [user.id] })).await.ok(204);
}

async fn remove(by: &Person, chat: &str, user: &Person) {
    by.delete(&format!("/chats/{chat}/participants/{}", user.id)).await.ok(204);
}

/// The names of the next so many events.
async fn next_events(socket: &mut Socket, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        events.push(socket.next().await.expect("the socket stands"));
    }
    events
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn everybody_is_told_of_a_new_group_in_order() {
    let server = TestServer::start().await;
    let (alice, bob, carol) = (server.somebody().await, server.somebody().await, server.somebody().await);
    alice.patch("/users/me", json!({ "display_name": "Alice" })).await.ok(200);
    let mut sockets = [alice.connect().await, bob.connect().await, carol.connect().await];
    let request = json!({ "type": "group", "name": " Friends ", "description": "us", "participant_ids": [bob.id, carol.id, alice.id, bob.id] });
    let made = alice.post("/chats", request).await.ok(201);
    assert_eq!((&made["type"], &made["name"], &made["description"], &made["avatar_url"]), (&json!("group"), &json!("Friends"), &json!("us"), &json!("")));
    assert_eq!((&made["participant"], &made["is_admin_only"], &made["auto_delete_timer"]), (&Value::Null, &json!(false), &json!("off")));
    let everybody = BTreeSet::from([(alice.id.as_str(), "admin"), (bob.id.as_str(), "member"), (carol.id.as_str(), "member")]);
    assert_eq!(members(&made), everybody);
    for socket in &mut sockets {
        let events = next_events(socket, 4).await;
        assert_eq!(names(&events), ["message.new", "chat.created", "group.member.added", "group.member.added"]);
        let [message, chat, first, second] = [0, 1, 2, 3].map(|index| &events[index]["data"]);
        assert_eq!((&message["type"], &message["seq"], &message["rev"], &message["sender_id"]), (&json!("system"), &json!(1), &json!(1), &json!(alice.id)));
        assert_eq!(message["payload"], json!({ "body": "Alice created the group \"Friends\"", "action": "group_created" }));
        assert_eq!((&chat["chat_id"], &chat["created_by"], &chat["name"], &chat["rev"]), (&made["chat_id"], &json!(alice.id), &json!("Friends"), &made["rev"]));
        assert_eq!(members(chat), everybody);
        let mut expected = keys(&made);
        expected.insert("created_by");
        assert_eq!(keys(chat), expected);
        assert_eq!(keys(first), BTreeSet::from(["chat_id", "user_id", "display_name", "added_by", "rev"]));
        assert_eq!([&first["user_id"], &second["user_id"]], [&json!(bob.id), &json!(carol.id)]);
        assert_eq!((&first["added_by"], &first["rev"]), (&json!(alice.id), &made["rev"]));
    }
    let listed = bob.get("/chats").await.ok(200)["chats"][0].clone();
    assert_eq!((&listed["name"], &listed["unread_count"], &listed["participants"]), (&json!("Friends"), &json!(0), &json!([])));
    assert_eq!((&listed["last_message"]["type"], &listed["last_seq"]), (&json!("system"), &json!(1)));
}

#[tokio::test]
async fn a_message_reaches_every_member_and_its_state_is_the_weakest_of_them() {
    let server = TestServer::start().await;
    let ([alice, bob, carol, dora], chat) = friends(&server).await;
    let (mut to_bob, mut to_carol, mut to_dora) = (bob.connect().await, carol.connect().await, dora.connect().await);
    let mut from_alice = alice.connect().await;
    for socket in [&mut to_bob, &mut to_carol] {
        assert_eq!(socket.expect("message.new").await["type"], "system", "what was said while they were away");
    }
    let sent = from_alice.say(&chat, "hello").await;
    let message = json!({ "message_id": sent["message_id"] });
    for socket in [&mut to_bob, &mut to_carol] {
        let got = socket.expect("message.new").await;
        assert_eq!((&got["message_id"], &got["payload"]["body"]), (&sent["message_id"], &json!("hello")));
    }
    to_dora.settle().await;
    assert!(to_dora.passed_over.is_empty(), "{:?}", to_dora.passed_over);
    assert_eq!(bob.get(&format!("/chats/{chat}")).await.ok(200)["unread_count"], 1);
    to_bob.ask("message.read", json!({ "chat_id": chat, "up_to_message_id": sent["message_id"] })).await;
    assert_eq!(alice.status_of(&chat, &message).await, "sent", "Carol has not got it");
    to_carol.ask("message.delivered", json!({ "message_ids": [sent["message_id"]] })).await;
    assert_eq!(alice.status_of(&chat, &message).await, "delivered");
    let rows = alice.get(&format!("/messages/{}/receipts", sent["message_id"].as_str().unwrap())).await.ok(200);
    let states: BTreeSet<(&str, &str)> =
        rows.as_array().unwrap().iter().map(|row| (row["user_id"].as_str().unwrap(), row["status"].as_str().unwrap())).collect();
    assert_eq!(states, BTreeSet::from([(bob.id.as_str(), "read"), (carol.id.as_str(), "delivered")]));
    to_carol.ask("message.read", json!({ "chat_id": chat, "up_to_message_id": sent["message_id"] })).await;
    assert_eq!(alice.status_of(&chat, &message).await, "read");
    to_bob.ask("typing.start", json!({ "chat_id": chat })).await;
    assert_eq!(to_carol.expect("typing").await["user_id"], json!(bob.id));
    assert_eq!(from_alice.expect("typing").await["user_id"], json!(bob.id));
}

#[tokio::test]
async fn what_changes_in_a_group_is_told_with_a_message_and_an_event() {
    let server = TestServer::start().await;
    let ([alice, bob, _carol, _], chat) = friends(&server).await;
    let mut socket = bob.connect().await;
    socket.expect("message.new").await;
    let changed = alice.patch(&format!("/chats/{chat}"), json!({ "name": "Family", "is_admin_only": true, "colour": "red" })).await.ok(200);
    assert_eq!((&changed["name"], &changed["is_admin_only"], &changed["description"]), (&json!("Family"), &json!(true), &json!("")));
    let events = next_events(&mut socket, 3).await;
    assert_eq!(names(&events), ["message.new", "message.new", "chat.updated"]);
    assert_eq!([0, 1].map(|index| events[index]["data"]["payload"]["action"].as_str().unwrap()), ["name_changed", "admin_only_changed"]);
    let updated = &events[2]["data"];
    assert_eq!(updated["changes"], json!({ "name": "Family", "is_admin_only": true }));
    assert_eq!((&updated["name"], &updated["is_admin_only"]), (&json!("Family"), &json!(true)), "the changed keys are mirrored");
    assert_eq!((&updated["updated_by"], &updated["rev"]), (&json!(alice.id), &changed["rev"]));
    let revs: Vec<i64> = events.iter().map(|event| event["data"]["rev"].as_i64().unwrap()).collect();
    assert_eq!(revs, [3, 4, 5], "each takes a revision of its own");

    let body = json!({ "client_msg_id": "k", "type": "text", "payload": { "body": "may I?" } });
    bob.post(&format!("/chats/{chat}/messages"), body.clone()).await.refused(403, "FORBIDDEN");
    let refused = socket.ask("message.send", json!({ "chat_id": chat, "client_msg_id": "k", "type": "text", "payload": { "body": "may I?" } })).await;
    assert_eq!((&refused["event"], &refused["data"]["code"], &refused["data"]["name"]), (&json!("error"), &json!(4003), &json!("FORBIDDEN")));
    alice.patch(&format!("/chats/{chat}/participants/{}/role", bob.id), json!({ "role": "admin" })).await.ok(204);
    let promoted = socket.expect("chat.updated").await;
    assert_eq!(promoted["changes"], json!({ "user_id": bob.id, "role": "admin" }));
    bob.post(&format!("/chats/{chat}/messages"), body).await.ok(201);

    let timer = bob.put(&format!("/chats/{chat}/disappearing"), json!({ "timer": "24h" })).await.ok(200);
    assert_eq!(timer, json!({ "timer": "24h" }));
    let told = socket.expect("chat.updated").await;
    assert_eq!((&told["changes"], &told["auto_delete_timer"]), (&json!({ "auto_delete_timer": "24h" }), &json!("24h")));
    assert!(alice.say(&chat, "goes away").await["expires_at"].is_string());
    let rev = bob.get(&format!("/chats/{chat}")).await.ok(200)["rev"].clone();
    assert_eq!(bob.patch(&format!("/chats/{chat}"), json!({ "name": "Family" })).await.ok(200)["rev"], rev, "nothing changes");
    assert_eq!(bob.patch(&format!("/chats/{chat}"), json!({})).await.ok(200)["rev"], rev);

    // Over a restart, all of it.
    let server = server.restart().await;
    let seen = alice.get(&format!("/chats/{chat}")).await.ok(200);
    assert_eq!((&seen["name"], &seen["is_admin_only"], &seen["auto_delete_timer"], &seen["rev"]), (&json!("Family"), &json!(true), &json!("24h"), &rev));
    assert!(members(&seen).contains(&(bob.id.as_str(), "admin")));
    server.stop().await;
}

#[tokio::test]
async fn who_is_removed_is_told_so_and_gets_nothing_more() {
    let server = TestServer::start().await;
    let ([alice, bob, carol, dora], chat) = friends(&server).await;
    let said = alice.say(&chat, "before").await;
    let (mut first, second) = (carol.connect().await, server.login(&carol.phone).await);
    let mut others = bob.connect().await;
    let mut second_socket = second.connect().await;
    for socket in [&mut first, &mut second_socket, &mut others] {
        socket.settle().await;
        socket.passed_over.clear();
    }
    remove(&alice, &chat, &carol).await;
    alice.say(&chat, "after").await;
    alice.patch(&format!("/chats/{chat}"), json!({ "name": "Without Carol" })).await.ok(200);
    let mut typing = alice.connect().await;
    typing.ask("typing.start", json!({ "chat_id": chat })).await;
    add(&alice, &chat, &dora).await;
    for socket in [&mut first, &mut second_socket] {
        let removed = socket.expect("group.member.removed").await;
        assert_eq!(keys(&removed), BTreeSet::from(["chat_id", "user_id", "display_name", "removed_by", "rev"]));
        assert_eq!((&removed["user_id"], &removed["removed_by"]), (&json!(carol.id), &json!(alice.id)));
        socket.settle().await;
        assert!(socket.passed_over.is_empty(), "{:?}", socket.passed_over);
    }
    others.expect("group.member.added").await;
    assert_eq!(names(&others.passed_over), ["message.new", "group.member.removed", "message.new", "message.new", "chat.updated", "typing", "message.new"]);

    // No route shows it to her any more, and none lets her in.
    let message = said["message_id"].as_str().unwrap();
    for path in [format!("/chats/{chat}"), format!("/chats/{chat}/messages"), format!("/messages/{message}/receipts")] {
        carol.get(&path).await.refused(403, "NOT_CHAT_MEMBER");
    }
    carol
        .post(&format!("/chats/{chat}/messages"), json!({ "client_msg_id": "k", "type": "text", "payload": { "body": "x" } }))
        .await
        .refused(403, "NOT_CHAT_MEMBER");
    carol.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": message })).await.refused(403, "NOT_CHAT_MEMBER");
    carol.delete(&format!("/messages/{message}?for=me")).await.refused(403, "NOT_CHAT_MEMBER");
    carol.put(&format!("/chats/{chat}/pin"), json!({ "is_pinned": true })).await.refused(403, "NOT_CHAT_MEMBER");
    carol.patch(&format!("/chats/{chat}/mute"), json!({ "is_muted": true })).await.refused(403, "NOT_CHAT_MEMBER");
    carol.patch(&format!("/chats/{chat}"), json!({ "name": "Mine" })).await.refused(403, "NOT_CHAT_MEMBER");
    carol.put(&format!("/chats/{chat}/disappearing"), json!({ "timer": "7d" })).await.refused(403, "NOT_CHAT_MEMBER");
    carol.post(&format!("/chats/{chat}/participants"), json!({ "user_ids": [dora.id] })).await.refused(403, "NOT_CHAT_MEMBER");
    carol.delete(&format!("/chats/{chat}/participants/{}", carol.id)).await.refused(403, "NOT_CHAT_MEMBER");
    carol.post(&format!("/chats/{chat}/invite"), json!({})).await.refused(403, "NOT_CHAT_MEMBER");
    for (event, data) in [
        ("message.send", json!({ "chat_id": chat, "client_msg_id": "k", "type": "text", "payload": { "body": "x" } })),
        ("message.read", json!({ "chat_id": chat, "up_to_message_id": message })),
        ("typing.start", json!({ "chat_id": chat })),
    ] {
        let answer = first.ask(event, data).await;
        assert_eq!((&answer["event"], &answer["data"]["name"]), (&json!("error"), &json!("NOT_CHAT_MEMBER")), "{event}");
    }
    let answer = carol.post("/sync", json!({ "chats": { (chat.as_str()): 1 } })).await.ok(200);
    assert_eq!((&answer["removed_chat_ids"], &answer["chats"]), (&json!([chat]), &json!([])));
    assert_eq!(carol.get("/chats").await.ok(200)["chats"], json!([]));
    let mut again = carol.connect().await;
    again.settle().await;
    assert!(again.passed_over.is_empty(), "{:?}", again.passed_over);

    // When she comes back, her history starts there.
    add(&alice, &chat, &carol).await;
    again.expect("group.member.added").await;
    assert_eq!(carol.texts(&chat).await.len(), 1);
    alice.say(&chat, "welcome back").await;
    assert_eq!(again.expect("message.new").await["payload"]["body"], "welcome back");
    carol.get(&format!("/chats/{chat}/messages?cursor={message}")).await.refused(400, "BAD_REQUEST");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_after_a_removal_is_answered() {
    let server = TestServer::start().await;
    for round in 0..5 {
        let ([alice, bob, carol, _], chat) = friends(&server).await;
        let carol = Arc::new(carol);
        let sending: Vec<_> = (0..4)
            .map(|sender| {
                let (carol, chat) = (Arc::clone(&carol), chat.clone());
                tokio::spawn(async move {
                    for number in 0.. {
                        let body = json!({ "client_msg_id": format!("{sender}-{number}"), "type": "text", "payload": { "body": "x" } });
                        let answer = carol.post(&format!("/chats/{chat}/messages"), body).await;
                        if answer.status != 201 {
                            answer.refused(403, "NOT_CHAT_MEMBER");
                            return number;
                        }
                    }
                    unreachable!()
                })
            })
            .collect();
        alice.say(&chat, "one").await;
        if round % 2 == 0 {
            remove(&alice, &chat, &carol).await;
        } else {
            remove(&carol, &chat, &carol).await;
        }
        // By now, whatever is to be seen is there, and stays all there is.
        let last = bob.get(&format!("/chats/{chat}")).await.ok(200)["last_seq"].clone();
        let mut sent = 0;
        for sender in sending {
            sent += soon("a refusal", sender).await.unwrap();
        }
        assert_eq!(bob.get(&format!("/chats/{chat}")).await.ok(200)["last_seq"], last);
        let history = bob.get(&format!("/chats/{chat}/messages?limit=100")).await.ok(200);
        assert_eq!(history["messages"][0]["type"], "system", "the removal is the last of it");
        assert_eq!(last.as_i64().unwrap(), sent + 3, "all that was accepted came before");
    }
}

#[tokio::test]
async fn the_last_admin_and_the_last_member_go_in_order() {
    let server = TestServer::start().await;
    let ([alice, bob, carol, dora], chat) = friends(&server).await;
    let role = |user: &Person| format!("/chats/{chat}/participants/{}/role", user.id);
    alice.patch(&role(&alice), json!({ "role": "member" })).await.refused(409, "LAST_ADMIN");
    alice.patch(&role(&dora), json!({ "role": "admin" })).await.refused(404, "USER_NOT_FOUND");
    alice.patch(&role(&carol), json!({ "role": "owner" })).await.refused(422, "VALIDATION_ERROR");
    bob.patch(&role(&bob), json!({ "role": "admin" })).await.refused(403, "NOT_ADMIN");
    add(&alice, &chat, &dora).await;
    remove(&alice, &chat, &bob).await;
    let mut socket = carol.connect().await;
    socket.settle().await;
    remove(&alice, &chat, &alice).await;
    let events = next_events(&mut socket, 4).await;
    assert_eq!(names(&events), ["message.new", "message.new", "group.member.removed", "chat.updated"]);
    assert_eq!(events[3]["data"]["changes"], json!({ "user_id": carol.id, "role": "admin" }), "who came first of those who are left");
    remove(&dora, &chat, &dora).await;
    socket.expect("group.member.removed").await;
    remove(&carol, &chat, &carol).await;
    let last = socket.expect("group.member.removed").await;
    assert_eq!((&last["user_id"], &last["removed_by"]), (&json!(carol.id), &json!(carol.id)));
    for person in [&alice, &bob, &carol, &dora] {
        person.get(&format!("/chats/{chat}")).await.refused(404, "CHAT_NOT_FOUND");
        person.get(&format!("/chats/{chat}/messages")).await.refused(404, "CHAT_NOT_FOUND");
        let answer = person.post("/sync", json!({ "chats": { (chat.as_str()): 1 } })).await.ok(200);
        assert_eq!(answer["removed_chat_ids"], json!([chat]));
    }
}

#[tokio::test]
async fn an_invite_lets_in_whoever_has_it() {
    let server = TestServer::with(|config| config.limits.group_size = 4).await;
    let ([alice, bob, _carol, dora], chat) = friends(&server).await;
    bob.post(&format!("/chats/{chat}/invite"), json!({})).await.refused(403, "NOT_ADMIN");
    let first = alice.post(&format!("/chats/{chat}/invite"), json!({})).await.ok(201);
    let invite = alice.post(&format!("/chats/{chat}/invite"), json!({})).await.ok(201);
    let code = invite["code"].as_str().unwrap();
    assert_eq!(keys(&invite), BTreeSet::from(["code", "url"]));
    assert_eq!(invite["url"], format!("http://{}/#join={code}", server.address));
    dora.post("/chats/join", json!({ "code": first["code"] })).await.refused(404, "NOT_FOUND");
    dora.post("/chats/join", json!({ "code": "nonsense" })).await.refused(404, "NOT_FOUND");
    dora.post("/chats/join", json!({ "code": "" })).await.refused(422, "VALIDATION_ERROR");
    let mut socket = bob.connect().await;
    socket.settle().await;
    let joined = dora.post("/chats/join", json!({ "code": code })).await.ok(200);
    assert_eq!((&joined["chat_id"], members(&joined).len()), (&json!(chat), 4));
    assert_eq!(socket.expect("message.new").await["payload"]["action"], "member_joined");
    let added = socket.expect("group.member.added").await;
    assert_eq!((&added["user_id"], &added["added_by"]), (&json!(dora.id), &json!(dora.id)));
    assert_eq!(dora.post("/chats/join", json!({ "code": code })).await.ok(200)["rev"], joined["rev"], "once is enough");
    let eve = server.somebody().await;
    eve.post("/chats/join", json!({ "code": code })).await.refused(409, "GROUP_FULL");
    alice.delete(&format!("/chats/{chat}/invite")).await.ok(204);
    alice.delete(&format!("/chats/{chat}/invite")).await.ok(204);
    remove(&dora, &chat, &dora).await;
    dora.post("/chats/join", json!({ "code": code })).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn bad_requests_for_groups_are_told_apart() {
    let server = TestServer::with(|config| config.limits.group_size = 5).await;
    let ([alice, bob, carol, dora], chat) = friends(&server).await;
    let absent = uuid::Uuid::new_v4().to_string();
    for bad in [
        json!({ "type": "group", "participant_ids": [bob.id] }),
        json!({ "type": "group", "name": "", "participant_ids": [bob.id] }),
        json!({ "type": "group", "name": "x".repeat(101), "participant_ids": [bob.id] }),
        json!({ "type": "group", "name": "x", "description": "x".repeat(513), "participant_ids": [bob.id] }),
        json!({ "type": "group", "name": "x" }),
        json!({ "type": "group", "name": "x", "participant_ids": [] }),
        json!({ "type": "group", "name": "x", "participant_ids": [alice.id] }),
        json!({ "type": "group", "name": "x", "participant_ids": ["nobody"] }),
    ] {
        let error = alice.post("/chats", bad.clone()).await.refused(422, "VALIDATION_ERROR");
        assert!(!error["details"].as_array().unwrap().is_empty(), "{bad}");
    }
    let error = alice.post("/chats", json!({ "type": "group", "name": "x", "participant_ids": [bob.id, absent] })).await.refused(404, "USER_NOT_FOUND");
    assert!(error["message"].as_str().unwrap().contains(&absent), "{error}");
    let crowd: Vec<String> = (0..300).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    alice.post("/chats", json!({ "type": "group", "name": "x", "participant_ids": crowd })).await.refused(409, "GROUP_FULL");

    let people = format!("/chats/{chat}/participants");
    alice.post(&people, json!({ "user_ids": [] })).await.refused(422, "VALIDATION_ERROR");
    alice.post(&people, json!({ "user_ids": [bob.id, bob.id, alice.id] })).await.refused(409, "ALREADY_MEMBER");
    alice.post(&people, json!({ "user_ids": [absent] })).await.refused(404, "USER_NOT_FOUND");
    alice.post(&people, json!({ "user_ids": crowd })).await.refused(409, "GROUP_FULL");
    bob.post(&people, json!({ "user_ids": [dora.id] })).await.refused(403, "NOT_ADMIN");
    dora.post(&people, json!({ "user_ids": [dora.id] })).await.refused(404, "CHAT_NOT_FOUND");
    alice.delete(&format!("{people}/{}", dora.id)).await.refused(404, "USER_NOT_FOUND");
    alice.delete(&format!("{people}/me")).await.refused(400, "BAD_REQUEST");
    bob.delete(&format!("{people}/{}", carol.id)).await.refused(403, "NOT_ADMIN");
    bob.patch(&format!("/chats/{chat}"), json!({ "name": "Mine" })).await.refused(403, "NOT_ADMIN");
    bob.put(&format!("/chats/{chat}/disappearing"), json!({ "timer": "7d" })).await.refused(403, "NOT_ADMIN");
    alice.put(&format!("/chats/{chat}/disappearing"), json!({ "timer": "1h" })).await.refused(422, "VALIDATION_ERROR");
    for bad in [json!({ "name": " " }), json!({ "name": "x".repeat(101) }), json!({ "description": "x".repeat(513) }), json!({ "avatar_url": "javascript:x" })]
    {
        alice.patch(&format!("/chats/{chat}"), bad).await.refused(422, "VALIDATION_ERROR");
    }
    bob.post(&format!("/users/{}/block", alice.id), json!({})).await.ok(204);
    let block = json!({ "type": "group", "name": "x", "participant_ids": [bob.id] });
    alice.post("/chats", block).await.refused(403, "FORBIDDEN");

    // What only groups have is refused for a direct chat, and a stranger learns nothing by asking.
    let direct = alice.chat_with(&dora).await;
    let system = json!({ "client_msg_id": "k", "type": "system", "payload": { "body": "x", "action": "y" } });
    alice.post(&format!("/chats/{chat}/messages"), system).await.refused(422, "VALIDATION_ERROR");
    let calls = |chat: &str| {
        [
            ("PATCH", format!("/chats/{chat}"), json!({ "name": "x" })),
            ("POST", format!("/chats/{chat}/participants"), json!({ "user_ids": [carol.id] })),
            ("DELETE", format!("/chats/{chat}/participants/{}", dora.id), Value::Null),
            ("PATCH", format!("/chats/{chat}/participants/{}/role", dora.id), json!({ "role": "admin" })),
            ("POST", format!("/chats/{chat}/invite"), json!({})),
            ("DELETE", format!("/chats/{chat}/invite"), Value::Null),
        ]
    };
    for ((method, path, body), (_, path_to_none, _)) in calls(&direct).into_iter().zip(calls(&absent)) {
        let call = |person: &Person, path: &str| {
            let (person, method, path, body) = (person.clone(), method.parse().expect("a method"), path.to_owned(), body.clone());
            async move { person.call(method, &path, (!body.is_null()).then_some(body)).await }
        };
        call(&alice, &path).await.refused(422, "VALIDATION_ERROR");
        let (real, made_up) = (call(&carol, &path).await, call(&carol, &path_to_none).await);
        assert_eq!((real.status, &real.body["error"]), (made_up.status, &made_up.body["error"]), "{method} {path}");
        real.refused(404, "CHAT_NOT_FOUND");
    }
    alice.put(&format!("/chats/{direct}/disappearing"), json!({ "timer": "7d" })).await.ok(200);
    assert_eq!(dora.get(&format!("/chats/{direct}")).await.ok(200)["auto_delete_timer"], "7d");
    // A cursor is a message of the same chat.
    let elsewhere = alice.say(&direct, "elsewhere").await;
    alice.get(&format!("/chats/{chat}/messages?cursor={}", elsewhere["message_id"].as_str().unwrap())).await.refused(400, "BAD_REQUEST");
}

#[tokio::test]
async fn an_erased_account_leaves_its_groups() {
    let server = TestServer::start().await;
    let ([alice, bob, carol, _], chat) = friends(&server).await;
    let mut socket = bob.connect().await;
    socket.settle().await;
    alice.call(reqwest::Method::DELETE, "/users/me", Some(json!({ "confirm": alice.phone }))).await.ok(204);
    assert_eq!(socket.expect("group.member.removed").await["user_id"], json!(alice.id));
    socket.expect("chat.updated").await;
    let seen = bob.get(&format!("/chats/{chat}")).await.ok(200);
    let left = members(&seen);
    assert_eq!(left.iter().filter(|(_, role)| *role == "admin").count(), 1);
    assert_eq!(left.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>(), BTreeSet::from([bob.id.as_str(), carol.id.as_str()]));
    bob.post(&format!("/chats/{chat}/participants"), json!({ "user_ids": [alice.id] })).await.refused(404, "USER_NOT_FOUND");
}

#[tokio::test]
async fn the_typed_client_follows_a_group() {
    let server = TestServer::start().await;
    let ([alice, _bob, carol, dora], chat) = friends(&server).await;
    let typed = |person: &Person| Client::builder(server.url("")).tokens(Tokens::access_only(&person.access)).build().expect("a client");
    let (admin, chat_id) = (typed(&alice), chat.parse().expect("an id"));
    let connection = typed(&dora).connect().await.unwrap();
    let told = |what: &'static str, fits: fn(&ServerEvent) -> bool| {
        let connection = &connection;
        async move {
            loop {
                let event = soon(what, connection.next()).await.unwrap();
                if fits(&event) {
                    return event;
                }
            }
        }
    };
    admin.add_members(chat_id, &[dora.id.parse().unwrap()]).await.unwrap();
    let ServerEvent::Chat(seen) = told("the group", |event| matches!(event, ServerEvent::Chat(_))).await else { unreachable!() };
    assert_eq!((seen.chat_id, seen.name.as_str(), seen.participants.len()), (chat_id, "Friends", 4));
    let change = wa_core::group::ProfileChange { name: Some("Family".to_owned()), ..Default::default() };
    assert_eq!(admin.update_group(chat_id, &change).await.unwrap().name, "Family");
    told("the new name", |event| matches!(event, ServerEvent::Chat(chat) if chat.name == "Family")).await;
    admin.set_role(chat_id, dora.id.parse().unwrap(), wa_core::chat::Role::Admin).await.unwrap();
    told(
        "the new role",
        |event| matches!(event, ServerEvent::Chat(chat) if chat.participants.iter().filter(|member| member.role == wa_core::chat::Role::Admin).count() == 2),
    )
    .await;
    remove(&alice, &chat, &carol).await;
    told("the new members", |event| matches!(event, ServerEvent::Chat(chat) if chat.participants.len() == 3)).await;
    admin.remove_member(chat_id, dora.id.parse().unwrap()).await.unwrap();
    told("the removal", |event| matches!(event, ServerEvent::ChatRemoved { .. })).await;
    let invite = admin.create_invite(chat_id).await.unwrap();
    assert!(!format!("{invite:?}").contains(&invite.code));
    let back = typed(&dora).join(&invite.code).await.unwrap();
    assert_eq!(back.participants.len(), 3);
    told("the group again", |event| matches!(event, ServerEvent::Chat(_))).await;
    admin.set_timer(chat_id, wa_core::chat::AutoDeleteTimer::Week).await.unwrap();
    told("the timer", |event| matches!(event, ServerEvent::Chat(chat) if chat.auto_delete_timer == wa_core::chat::AutoDeleteTimer::Week)).await;
    // Made together, it is told once it is known.
    let made = admin.create_group("Two", "", &[dora.id.parse().unwrap()]).await.unwrap();
    let ServerEvent::Chat(second) = told("the second group", |event| matches!(event, ServerEvent::Chat(chat) if chat.name == "Two")).await else {
        unreachable!()
    };
    assert_eq!((second.chat_id, second.participants.len()), (made.chat_id, 2));
    assert_eq!(texts(&dora.get(&format!("/chats/{}/messages", made.chat_id)).await.ok(200)["messages"]).len(), 1);
    connection.close().await;
}
