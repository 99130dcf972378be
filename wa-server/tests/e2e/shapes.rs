//! Every shape in which the server runs, as real processes over real services: alone, on several nodes, behind a gateway, split
//! into eight. People on different nodes meet, and what one of them changes holds for the others.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use wa_storage::conformance::ScratchDatabase;

use crate::media::{png, upload};
use crate::nats::NatsServer;
use crate::push::Provider;
use crate::support::{Person, Socket, eventually, fresh_phone, http, soon};

#[path = "../support/cluster.rs"]
mod cluster;
use cluster::{Cluster, Layout, SECRET};

/// Messages of each person in a conversation.
const EACH: usize = 15;

/// A shape that runs, and what it stands on.
struct Shape {
    name: &'static str,
    cluster: Cluster,
    provider: Provider,
    /// How long it took until something was so on another node.
    took: Mutex<Vec<(&'static str, Duration)>>,
    _folder: tempfile::TempDir,
    _nats: Option<NatsServer>,
}

impl Shape {
    async fn start(name: &'static str, layout: Layout, over_services: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let provider = Provider::start().await;
        let account = folder.path().join("service-account.json");
        std::fs::write(&account, provider.account()).expect("written");
        let mut shared = format!("push.fcm_credentials = {account:?}\npush.fcm_endpoint = \"http://{}\"\n", provider.address);
        let mut nats = None;
        if over_services {
            let database = ScratchDatabase::on_test_server().await;
            let redis = std::env::var("WA_TEST_REDIS").expect("WA_TEST_REDIS names a Redis: run `make services-up` and do what it says");
            let s3 = std::env::var("WA_TEST_S3").expect("WA_TEST_S3 names an S3 server: run `make services-up` and do what it says");
            let own = uuid::Uuid::now_v7().simple();
            let server = NatsServer::start().await;
            let (database, redis, events) = (database.url(), format!("{redis}?prefix=shape-{own}:"), server.url());
            let media = s3.replace("whatsapp-media", &format!("whatsapp-media-{own}"));
            shared += &format!("auth.jwt_secret = \"{SECRET}\"\n");
            for (key, url) in [("database", database), ("cache", &redis), ("events", &events), ("media", &media)] {
                shared += &format!("storage.{key} = \"{url}\"\n");
            }
            nats = Some(server);
        }
        let cluster = Cluster::start(layout, &shared).await;
        Self { name, cluster, provider, took: Mutex::default(), _folder: folder, _nats: nats }
    }

    /// Where the person with this number is.
    fn front(&self, number: usize) -> SocketAddr {
        self.cluster.fronts[number % self.cluster.fronts.len()]
    }

    /// Logs somebody in who is at this front, by a code that was asked for at another one; once more if something was not
    /// there just then.
    async fn login(&self, number: usize, phone: &str) -> Person {
        let login = eventually("a login", async || {
            let asked = Person::ask(self.front(number + 1), "/auth/request-otp", json!({ "phone": phone })).await;
            if asked.status == 503 {
                return None;
            }
            let verify = json!({ "phone": phone, "otp": asked.ok(200)["otp"], "device_name": "Test" });
            let login = Person::ask(self.front(number), "/auth/verify-otp", verify).await;
            (login.status != 503).then(|| login.ok(200))
        });
        Person::of(self.front(number), phone, &login.await)
    }

    async fn somebody(&self, number: usize, name: &str) -> Person {
        let person = self.login(number, &fresh_phone()).await;
        person.patch("/users/me", json!({ "display_name": name })).await.ok(200);
        person
    }

    /// The same person, at another front.
    fn at(&self, number: usize, person: &Person) -> Person {
        Person { address: self.front(number), ..person.clone() }
    }

    /// Notes how long something takes from now.
    async fn timed<T>(&self, what: &'static str, until: impl Future<Output = T>) -> T {
        let since = Instant::now();
        let result = until.await;
        self.took.lock().expect("is whole").push((what, since.elapsed()));
        result
    }

    fn report(&self) {
        let took = self.took.lock().expect("is whole");
        let lines: Vec<_> = took.iter().map(|(what, time)| format!("  {what}: {} ms", time.as_millis())).collect();
        eprintln!("{}\n{}", self.name, lines.join("\n"));
    }
}

/// The places of what people wrote in a chat that came over a socket, in the order in which it came.
fn places(socket: &Socket, chat: &str) -> Vec<i64> {
    let messages = socket.passed("message.new");
    messages
        .iter()
        .filter(|message| message["chat_id"] == chat && message["type"] != "system")
        .map(|message| message["seq"].as_i64().expect("a place"))
        .collect()
}

/// Awaits frames until this many messages of a chat have come.
async fn receive(socket: &mut Socket, chat: &str, count: usize) {
    while places(socket, chat).len() < count {
        let frame = soon("a message", socket.next()).await.expect("the socket stands");
        socket.passed_over.push(frame);
    }
}

/// Awaits a text; it counts as passed in any case.
async fn says(socket: &mut Socket, text: &str) -> Value {
    let is_it = |frame: &Value| frame["event"] == "message.new" && frame["data"]["payload"]["body"] == text;
    if let Some(frame) = socket.passed_over.iter().find(|frame| is_it(frame)) {
        return frame["data"].clone();
    }
    let frame = socket.until(text, is_it).await;
    socket.passed_over.push(frame.clone());
    frame["data"].clone()
}

/// Whether a text came.
fn heard(socket: &Socket, text: &str) -> bool {
    socket.passed("message.new").iter().any(|message| message["payload"]["body"] == text)
}

/// What can be seen of somebody's presence.
async fn presence(by: &Person, of: &Person) -> Value {
    by.get(&format!("/users/{}/presence", of.id)).await.ok(200)
}

/// Awaits that it is seen so.
async fn is_seen(by: &Person, of: &Person, online: bool) -> Value {
    eventually("presence", async || Some(presence(by, of).await).filter(|seen| seen["online"] == online)).await
}

/// Awaits a change of presence.
async fn told_presence(socket: &mut Socket, of: &Person, online: bool) -> Value {
    let frame =
        socket.until("presence", |frame| frame["event"] == "presence" && frame["data"]["user_id"] == of.id.as_str() && frame["data"]["online"] == online);
    frame.await["data"].clone()
}

async fn everything_works(shape: &mut Shape) {
    let (alice, bob, carol) = (shape.somebody(0, "Alice").await, shape.somebody(1, "Bob").await, shape.somebody(2, "Carol").await);
    let tablet = shape.login(2, &alice.phone).await;
    let (mut a, mut b, mut c, mut t) = (alice.connect().await, bob.connect().await, carol.connect().await, tablet.connect().await);
    for socket in [&mut a, &mut b, &mut c, &mut t] {
        socket.settle().await;
    }
    for node in shape.cluster.processes.iter().filter(|process| process.name.starts_with("node")) {
        assert!(node.metric("ws_connections_active").await > Some(0.0), "{} has sockets", node.name);
    }
    let chat = alice.chat_with(&bob).await;
    assert_eq!(bob.chat_with(&alice).await, chat, "the same on every node");
    let everybody = json!({ "type": "group", "name": "Friends", "participant_ids": [bob.id, carol.id] });
    let group = alice.post("/chats", everybody).await.ok(201)["chat_id"].as_str().expect("an id").to_owned();
    for socket in [&mut b, &mut c, &mut t] {
        socket.until("the group", |frame| frame["event"] == "chat.created" && frame["data"]["chat_id"] == group.as_str()).await;
    }

    conversation(shape, &chat, &group, [&mut a, &mut b, &mut c, &mut t]).await;
    receipts(shape, &chat, (&alice, &mut a), &mut b).await;
    typing_and_presence(shape, &chat, (&alice, &mut a), (&bob, b), &carol).await;
    let mut b = bob.connect().await;
    told_presence(&mut a, &bob, true).await;

    history(shape, &chat, &group, &alice, &carol).await;
    files(shape, &chat, (&alice, &mut a), (&bob, &mut b), &carol).await;
    blocks_and_privacy(shape, &chat, (&alice, &mut a), (&bob, &mut b), &carol).await;
    removal(shape, &chat, &group, (&alice, &mut a), (&bob, &mut b), (&carol, &mut c)).await;
    revocation(shape, &bob, (&tablet, t), &alice).await;
    pushes(shape, &alice, &mut a).await;
    ends(shape, &mut a).await;
}

/// Everybody writes at once, in a direct chat and in a group.
async fn conversation(shape: &Shape, chat: &str, group: &str, sockets: [&mut Socket; 4]) {
    let [a, b, c, t] = sockets;
    let write = async |socket: &mut Socket, name: &str, chats: &[&str]| {
        for number in 0..EACH {
            for chat in chats {
                socket.say(chat, &format!("{name} {number}")).await;
            }
        }
    };
    let (both, one) = ([chat, group], [group]);
    let writing = async { tokio::join!(write(a, "Alice", &both), write(b, "Bob", &both), write(c, "Carol", &one)) };
    shape.timed("a conversation of 75 messages", writing).await;
    let own = EACH;
    receive(t, chat, 2 * own).await;
    receive(t, group, 3 * own).await;
    receive(a, chat, own).await;
    receive(b, chat, own).await;
    for socket in [&mut *a, &mut *b, &mut *c] {
        receive(socket, group, 2 * own).await;
        socket.settle().await;
    }
    t.settle().await;
    let whole = |first: usize, count: usize| (first..first + count).map(|place| i64::try_from(place).expect("small")).collect::<Vec<_>>();
    assert_eq!(places(t, chat), whole(1, 2 * own), "each once, and in order");
    // A group begins with a message of the system.
    assert_eq!(places(t, group), whole(2, 3 * own), "each once, and in order");
    for socket in [a, b, c] {
        for of_chat in [places(socket, chat), places(socket, group)] {
            assert!(of_chat.windows(2).all(|pair| pair[0] < pair[1]), "each once, and in order: {of_chat:?}");
        }
        socket.passed_over.clear();
    }
    t.passed_over.clear();
}

async fn receipts(shape: &Shape, chat: &str, (alice, a): (&Person, &mut Socket), b: &mut Socket) {
    let sent = a.say(chat, "have you read this?").await;
    says(b, "have you read this?").await;
    b.ask("message.read", json!({ "chat_id": chat, "up_to_message_id": sent["message_id"] })).await;
    let told = a.until("the receipt", |frame| frame["event"] == "message.status" && frame["data"]["status"] == "read");
    shape.timed("a receipt", told).await;
    let elsewhere = shape.at(2, alice);
    let path = format!("/messages/{}/receipts", sent["message_id"].as_str().expect("an id"));
    assert_eq!(elsewhere.get(&path).await.ok(200)[0]["status"], "read");
    assert_eq!(elsewhere.status_of(chat, &sent).await, "read");
}

async fn typing_and_presence(shape: &Shape, chat: &str, (alice, a): (&Person, &mut Socket), (bob, mut b): (&Person, Socket), carol: &Person) {
    b.ask("typing.start", json!({ "chat_id": chat })).await;
    assert_eq!(shape.timed("typing", a.expect("typing")).await["is_typing"], true);
    b.ask("typing.stop", json!({ "chat_id": chat })).await;
    assert_eq!(a.expect("typing").await, json!({ "chat_id": chat, "user_id": bob.id, "is_typing": false }));

    assert_eq!(a.ask("presence.subscribe", json!({ "user_ids": [bob.id] })).await["event"], "ack");
    if a.passed("presence").is_empty() {
        let now = a.expect("presence").await;
        assert_eq!((&now["online"], &now["user_id"]), (&json!(true), &json!(bob.id)));
    }
    a.passed_over.clear();
    b.close().await;
    let gone = shape.timed("going offline", told_presence(a, bob, false)).await;
    assert!(gone["last_seen"].is_string(), "{gone}");
    for (number, person) in [(0, alice), (1, carol), (2, carol)] {
        let seen = presence(&shape.at(number, person), bob).await;
        assert_eq!(seen, json!({ "user_id": bob.id, "online": false, "last_seen": gone["last_seen"] }), "on every node");
    }
    let back = bob.connect().await;
    shape.timed("coming online", told_presence(a, bob, true)).await;
    is_seen(carol, bob, true).await;
    back.close().await;
    told_presence(a, bob, false).await;
}

/// What one person did is found by the others, whichever node they ask.
async fn history(shape: &Shape, chat: &str, group: &str, alice: &Person, carol: &Person) {
    for number in 0..shape.cluster.fronts.len() {
        let alice = shape.at(number, alice);
        let found = eventually("what is searched for", async || {
            let found = alice.get(&format!("/chats/{chat}/messages/search?q=have%20you%20read")).await.ok(200);
            found["results"].as_array().is_some_and(|results| !results.is_empty()).then_some(found)
        });
        assert_eq!(found.await["results"][0]["message"]["payload"]["body"], "have you read this?");
        let synced = alice.post("/sync", json!({ "chats": {} })).await.ok(200);
        let chats = synced["chats"].as_array().expect("chats");
        assert_eq!(chats.len(), 2, "{synced}");
        let of_chat = chats.iter().find(|item| item["chat"]["chat_id"] == chat).expect("the chat");
        assert_eq!(of_chat["messages"].as_array().expect("messages").len(), 2 * EACH + 1);
        assert_eq!(of_chat["limited"], false);
        let mut places: Vec<_> = of_chat["messages"].as_array().expect("messages").iter().map(|message| message["seq"].as_i64().expect("a place")).collect();
        places.sort_unstable();
        assert_eq!(places, (1..=places.len()).map(|place| i64::try_from(place).expect("small")).collect::<Vec<_>>());
        let carol = shape.at(number, carol);
        let listed = carol.get("/chats").await.ok(200);
        assert_eq!(listed["chats"].as_array().expect("chats").iter().map(|listed| &listed["chat_id"]).collect::<Vec<_>>(), [group]);
        carol.get(&format!("/chats/{chat}/messages")).await.refused(404, "CHAT_NOT_FOUND");
    }
}

/// A file goes up on one node and comes down from another.
async fn files(shape: &Shape, chat: &str, (alice, a): (&Person, &mut Socket), (bob, b): (&Person, &mut Socket), carol: &Person) {
    let picture = png(120, 80, 7);
    let media = upload(alice, "image", "a.png", picture.clone()).await;
    let data = json!({ "chat_id": chat, "client_msg_id": "a picture", "type": "image", "payload": { "media_id": media["media_id"] } });
    a.ask("message.send", data).await;
    let shown = b.until("the picture", |frame| frame["event"] == "message.new" && frame["data"]["type"] == "image").await["data"].clone();
    let whole = http().get(shown["payload"]["media_url"].as_str().expect("an address")).send().await.expect("an answer");
    assert_eq!(whole.bytes().await.expect("bytes"), picture);
    let path = format!("/media/{}", media["media_id"].as_str().expect("an id"));
    let thumbnail = http().get(bob.get(&path).await.ok(200)["thumbnail_url"].as_str().expect("an address")).send().await.expect("an answer");
    assert!(thumbnail.bytes().await.expect("bytes").starts_with(&[0xFF, 0xD8, 0xFF]));
    for number in 0..shape.cluster.fronts.len() {
        shape.at(number, carol).get(&path).await.refused(404, "NOT_FOUND");
    }
}

async fn blocks_and_privacy(shape: &Shape, chat: &str, (alice, a): (&Person, &mut Socket), (bob, b): (&Person, &mut Socket), carol: &Person) {
    // Seen just before, so that whatever a node keeps at hand is there.
    is_seen(alice, bob, true).await;
    bob.post(&format!("/users/{}/block", alice.id), Value::Null).await.ok(204);
    shape.timed("a block, seen by presence", is_seen(alice, bob, false)).await;
    a.say(chat, "withheld").await;
    a.ask("typing.start", json!({ "chat_id": chat })).await;
    bob.delete(&format!("/users/{}/block", alice.id)).await.ok(204);
    shape.timed("the end of a block", is_seen(alice, bob, true)).await;
    a.say(chat, "shown").await;
    says(b, "shown").await;
    assert!(!heard(b, "withheld") && b.passed("typing").is_empty(), "{:?}", b.passed_over);

    a.ask("presence.subscribe", json!({ "user_ids": [carol.id] })).await;
    is_seen(alice, carol, true).await;
    carol.put("/users/me/privacy", json!({ "last_seen": "nobody" })).await.ok(200);
    shape.timed("a change of privacy", is_seen(alice, carol, false)).await;
    carol.put("/users/me/privacy", json!({ "last_seen": "everyone" })).await.ok(200);
    shape.timed("a change of privacy back", is_seen(alice, carol, true)).await;
}

async fn removal(
    shape: &Shape,
    chat: &str,
    group: &str,
    (alice, a): (&Person, &mut Socket),
    (bob, b): (&Person, &mut Socket),
    (carol, c): (&Person, &mut Socket),
) {
    b.say(group, "before").await;
    says(c, "before").await;
    c.settle().await;
    alice.delete(&format!("/chats/{group}/participants/{}", carol.id)).await.ok(204);
    let removed = |frame: &Value| frame["event"] == "group.member.removed" && frame["data"]["user_id"] == carol.id.as_str();
    let gone = async {
        eventually("the refusal", async || (carol.get(&format!("/chats/{group}/messages")).await.status == 403).then_some(())).await;
    };
    shape.timed("a removal, in what may be read", gone).await;
    // It was answered, so it holds: on every node, for whoever writes.
    b.say(group, "without Carol").await;
    a.say(group, "without Carol too").await;
    shape.timed("a removal, as told", c.until("the removal", removed)).await;
    let refused = c.ask("message.send", json!({ "chat_id": group, "client_msg_id": "too late", "type": "text", "payload": { "body": "x" } })).await;
    assert_eq!((&refused["event"], &refused["data"]["code"]), (&json!("error"), &json!(4003)), "{refused}");
    says(b, "without Carol too").await;
    let marker = bob.chat_with(carol).await;
    b.say(&marker, "the marker").await;
    says(c, "the marker").await;
    c.settle().await;
    assert!(c.passed_over.iter().all(|frame| !frame["data"]["payload"]["body"].as_str().unwrap_or_default().starts_with("without")), "{:?}", c.passed_over);
    a.say(chat, "on").await;
    says(b, "on").await;
}

async fn revocation(shape: &Shape, bob: &Person, (tablet, mut t): (&Person, Socket), alice: &Person) {
    t.settle().await;
    for number in 0..shape.cluster.fronts.len() {
        shape.at(number, tablet).get("/users/me").await.ok(200);
    }
    alice.delete(&format!("/auth/devices/{}", tablet.device)).await.ok(204);
    let fronts = 0..shape.cluster.fronts.len();
    let refused = join_all(fronts.map(|number| {
        let tablet = shape.at(number, tablet);
        async move { eventually("the refusal", async || (tablet.get("/users/me").await.status == 401).then_some(())).await }
    }));
    let (_, code) = tokio::join!(shape.timed("a revoked token refused on every node", refused), shape.timed("a revoked socket closed", t.close_code()));
    assert_eq!(code, 4001);
    Person::ask(tablet.address, "/auth/refresh", json!({ "refresh_token": tablet.refresh })).await.refused(401, "UNAUTHORIZED");
    // Whoever logs out of their own device.
    let own = shape.login(0, &bob.phone).await;
    let mut socket = own.connect().await;
    socket.settle().await;
    shape.at(1, &own).post("/auth/logout", json!({})).await.ok(200);
    assert_eq!(shape.timed("a socket after logout on another node", socket.close_code()).await, 4001);
}

async fn pushes(shape: &Shape, alice: &Person, a: &mut Socket) {
    let dave = shape.somebody(1, "Dave").await;
    dave.put("/users/me/fcm-token", json!({ "token": "dave", "platform": "android" })).await.ok(204);
    let chat = alice.chat_with(&dave).await;
    for number in 1..=3 {
        a.say(&chat, &format!("wake up {number}")).await;
        shape.timed("a push", shape.provider.lines(number)).await;
    }
    let lines = shape.provider.lines(3).await;
    assert_eq!(lines, ["dave: Alice: wake up 1", "dave: Alice: wake up 2", "dave: Alice: wake up 3"], "each once");
}

/// Each process is told to end: sockets are told so, and it ends well.
async fn ends(shape: &mut Shape, a: &mut Socket) {
    shape.cluster.processes[0].signal("TERM");
    assert_eq!(shape.timed("a socket closed by the end of its process", a.close_code()).await, 1001);
    for process in &mut shape.cluster.processes[1..] {
        process.signal("TERM");
    }
    for process in &mut shape.cluster.processes {
        let status = process.ended().await;
        assert_eq!(status.code(), Some(0), "{} ends well: {:?}", process.name, process.logged("WARN"));
        assert_eq!(process.logged("\"ERROR\""), Vec::<String>::new(), "{} had nothing to complain of", process.name);
    }
}

async fn shape(name: &'static str, layout: Layout, over_services: bool) {
    let mut shape = Shape::start(name, layout, over_services).await;
    everything_works(&mut shape).await;
    shape.report();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_in_one_process_alone() {
    shape("one process alone", Layout::Nodes(1), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, Redis, NATS and S3"]
async fn everything_works_on_one_node_over_postgres_redis_nats_s3() {
    shape("one node", Layout::Nodes(1), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, Redis, NATS and S3"]
async fn everything_works_on_two_nodes_over_postgres_redis_nats_s3() {
    shape("two nodes", Layout::Nodes(2), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, Redis, NATS and S3"]
async fn everything_works_on_three_nodes_over_postgres_redis_nats_s3() {
    shape("three nodes", Layout::Nodes(3), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, Redis, NATS and S3"]
async fn everything_works_in_eight_processes_over_postgres_redis_nats_s3() {
    shape("eight processes", Layout::Split, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL, Redis, NATS and S3"]
async fn everything_works_behind_a_gateway_over_postgres_redis_nats_s3() {
    shape("two nodes behind a gateway", Layout::BehindGateway(2), true).await;
}
