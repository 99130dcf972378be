//! Sync proven: a client that follows events, loses its connection, is ended as too slow, and lives through restarts of the
//! server ends in exactly the state of one that starts fresh. `WA_CONVERGENCE_STEPS` is how much happens to it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::bounds::narrow;
use crate::embedded::{PATIENCE, Person, Socket, TestServer};
use crate::scene::{history, integer, text};
use crate::support::{Random, number, seed};

/// A message as it is compared: id, sender, body and state.
type Shown = (String, String, String, &'static str);

/// What a client knows of a chat, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chat {
    rev: i64,
    last_seq: i64,
    messages: BTreeMap<i64, (String, String, String)>,
    /// By user: delivered and read up to.
    marks: BTreeMap<String, (i64, i64)>,
}

/// What is shown of a chat.
#[derive(Debug, PartialEq, Eq)]
struct Display {
    messages: BTreeMap<i64, Shown>,
    newest: Option<String>,
    unread: usize,
    rev: i64,
    last_seq: i64,
}

/// A client's state, made of what the server tells it by events and syncs.
#[derive(Debug, Default)]
struct Model {
    me: String,
    chats: BTreeMap<String, Chat>,
}

impl Model {
    fn message(&mut self, message: &Value) {
        let chat = self.chats.entry(text(&message["chat_id"])).or_default();
        let seq = integer(&message["seq"]);
        let body = text(&message["payload"]["body"]);
        chat.messages.insert(seq, (text(&message["message_id"]), text(&message["sender_id"]), body));
        chat.last_seq = chat.last_seq.max(seq);
    }

    fn mark(&mut self, chat: &str, user: &str, delivered: i64, read: i64) {
        let marks = self.chats.entry(chat.to_owned()).or_default().marks.entry(user.to_owned()).or_default();
        // Read implies delivered.
        *marks = (marks.0.max(delivered).max(read), marks.1.max(read));
    }

    /// Takes an event in. Returns whether something before it is missing, so that a sync is due.
    fn event(&mut self, frame: &Value) -> bool {
        let data = &frame["data"];
        match frame["event"].as_str().unwrap() {
            "message.new" => {
                let known = self.chats.get(data["chat_id"].as_str().unwrap());
                let (rev, seq) = (integer(&data["rev"]), integer(&data["seq"]));
                let (known_rev, is_known) = known.map_or((0, false), |chat| (chat.rev, chat.messages.contains_key(&seq)));
                if rev <= known_rev || is_known {
                    // Known, or hidden since.
                    return false;
                }
                self.message(data);
                self.raise(&text(&data["chat_id"]), rev)
            }
            "message.status" => {
                let chat = text(&data["chat_id"]);
                let id = data["message_id"].as_str().unwrap();
                let up_to = data["up_to_seq"].as_i64().or_else(|| {
                    let chat = self.chats.get(&chat)?;
                    chat.messages.iter().find(|(_, (known, ..))| known == id).map(|(seq, _)| *seq)
                });
                let Some(up_to) = up_to else { return true };
                let read = if data["status"] == "read" { up_to } else { 0 };
                self.mark(&chat, data["user_id"].as_str().unwrap(), up_to, read);
                false
            }
            "message.deleted" => {
                let (chat, rev) = (text(&data["chat_id"]), integer(&data["rev"]));
                if rev <= self.chats.get(&chat).map_or(0, |chat| chat.rev) {
                    return false;
                }
                self.chats.entry(chat.clone()).or_default().messages.remove(&integer(&data["seq"]));
                self.raise(&chat, rev)
            }
            "chat.created" | "resync" => true,
            _ => false,
        }
    }

    /// A change took this revision; if it is the next one, all before it are known.
    fn raise(&mut self, chat: &str, rev: i64) -> bool {
        let chat = self.chats.entry(chat.to_owned()).or_default();
        let is_next = rev == chat.rev + 1;
        if is_next {
            chat.rev = rev;
        }
        !is_next
    }

    /// Asks for everything that is not known. Receipts take no revision: asked from below the newest change, a chat is
    /// listed with its present marks.
    async fn sync(&mut self, person: &Person) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut known: BTreeMap<String, i64> = self.chats.iter().map(|(id, chat)| (id.clone(), (chat.rev - 1).max(0))).collect();
        loop {
            let answer = person.post("/sync", json!({ "chats": known, "limit": 40 })).await.ok(200);
            for item in answer["chats"].as_array().unwrap() {
                let id = text(&item["chat"]["chat_id"]);
                for message in item["messages"].as_array().unwrap() {
                    self.message(message);
                    messages.push(message.clone());
                }
                for marks in item["receipts"].as_array().unwrap() {
                    self.mark(&id, marks["user_id"].as_str().unwrap(), integer(&marks["delivered_up_to_seq"]), integer(&marks["read_up_to_seq"]));
                }
                let hidden: BTreeSet<String> = item["hidden_message_ids"].as_array().unwrap().iter().map(text).collect();
                let chat = self.chats.entry(id.clone()).or_default();
                chat.messages.retain(|_, (message, ..)| !hidden.contains(message));
                chat.rev = chat.rev.max(integer(&item["rev"]));
                chat.last_seq = chat.last_seq.max(integer(&item["chat"]["last_seq"]));
                known.insert(id, integer(&item["rev"]));
            }
            if answer["complete"] == true {
                return messages;
            }
        }
    }

    /// What a user would see.
    fn display(&self) -> BTreeMap<String, Display> {
        let show = |chat: &Chat| {
            let state = |seq: i64, sender: &String| {
                let others = chat.marks.iter().filter(|(user, _)| *user != sender);
                let (delivered, read) = others.fold((0, 0), |_, (_, marks)| *marks);
                if seq <= read {
                    "read"
                } else if seq <= delivered {
                    "delivered"
                } else {
                    "sent"
                }
            };
            let read = chat.marks.get(&self.me).map_or(0, |marks| marks.1);
            Display {
                messages: chat
                    .messages
                    .iter()
                    .map(|(seq, (id, sender, body))| (*seq, (id.clone(), sender.clone(), body.clone(), state(*seq, sender))))
                    .collect(),
                newest: chat.messages.last_key_value().map(|(_, (id, ..))| id.clone()),
                unread: chat.messages.iter().filter(|(seq, (_, sender, _))| *sender != self.me && **seq > read).count(),
                rev: chat.rev,
                last_seq: chat.last_seq,
            }
        };
        self.chats.iter().map(|(id, chat)| (id.clone(), show(chat))).collect()
    }
}

/// What the server shows to somebody who just came: the list of chats and their whole histories.
async fn fresh(person: &Person) -> BTreeMap<String, Display> {
    let list = person.get("/chats?limit=100").await.ok(200);
    let mut shown = BTreeMap::new();
    for chat in list["chats"].as_array().unwrap() {
        let id = text(&chat["chat_id"]);
        let state = |message: &Value| match message["status"].as_str() {
            Some("read") => "read",
            Some("delivered") => "delivered",
            _ => "sent",
        };
        let messages = history(person, &id, 0).await;
        let messages = messages
            .into_iter()
            .map(|(seq, message)| (seq, (text(&message["message_id"]), text(&message["sender_id"]), text(&message["payload"]["body"]), state(&message))));
        let newest = chat["last_message"]["message_id"].as_str().map(ToOwned::to_owned);
        let unread = usize::try_from(integer(&chat["unread_count"])).unwrap();
        let display = Display { messages: messages.collect(), newest, unread, rev: integer(&chat["rev"]), last_seq: integer(&chat["last_seq"]) };
        shown.insert(id, display);
    }
    shown
}

/// A client that follows.
struct Follower {
    person: Person,
    model: Model,
    socket: Option<Socket>,
    /// How often its connection ended, and how often for being too slow.
    ends: u32,
    overflows: u32,
    syncs: u32,
    /// What was received and not yet confirmed: id, chat and place.
    unconfirmed: BTreeMap<String, (String, i64)>,
}

impl Follower {
    fn new(person: Person) -> Self {
        Self { model: Model { me: person.id.clone(), ..Model::default() }, person, socket: None, ends: 0, overflows: 0, syncs: 0, unconfirmed: BTreeMap::new() }
    }

    /// Takes in what has come; connects again if it has to. Subscribes first, then syncs.
    async fn pump(&mut self) {
        loop {
            let is_new = self.socket.is_none();
            if is_new {
                let url = format!("ws://{}/ws?token={}", self.person.address, self.person.access);
                self.socket = Some(Socket::over(narrow(self.person.address).await, &url).await);
            }
            let socket = self.socket.as_mut().unwrap();
            let mut is_behind = is_new;
            let (alive, code) = socket.try_ask("ping", Value::Null).await;
            for frame in std::mem::take(&mut socket.passed_over) {
                if frame["event"] == "message.new" {
                    note(&self.person, &mut self.unconfirmed, &frame["data"]);
                }
                is_behind |= self.model.event(&frame);
            }
            if !alive {
                self.ended(code);
                continue;
            }
            if is_behind {
                self.syncs += 1;
                for message in self.model.sync(&self.person).await {
                    note(&self.person, &mut self.unconfirmed, &message);
                }
            }
            if !self.unconfirmed.is_empty() {
                let ids: Vec<&String> = self.unconfirmed.keys().collect();
                let (alive, code) = socket.try_ask("message.delivered", json!({ "message_ids": ids })).await;
                if !alive {
                    self.ended(code);
                    continue;
                }
                for (chat, seq) in std::mem::take(&mut self.unconfirmed).into_values() {
                    self.model.mark(&chat, &self.person.id, seq, 0);
                }
            }
            return;
        }
    }

    fn ended(&mut self, code: Option<u16>) {
        self.ends += 1;
        self.overflows += u32::from(code == Some(4008));
        self.socket = None;
    }
}

/// Notes a message that its recipient has to confirm.
fn note(person: &Person, unconfirmed: &mut BTreeMap<String, (String, i64)>, message: &Value) {
    if message["sender_id"] != person.id.as_str() {
        unconfirmed.insert(text(&message["message_id"]), (text(&message["chat_id"]), integer(&message["seq"])));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_follows_ends_as_one_that_starts_fresh() {
    let (steps, seed) = (number("WA_CONVERGENCE_STEPS").unwrap_or(150), seed());
    println!("convergence: {steps} steps, seed {seed}");
    let mut random = Random::new(seed);
    let mut server = TestServer::with(|config| {
        config.limits.ws_queue_bytes = 16 << 10;
        config.limits.connect_backlog = 20;
    })
    .await;
    let people = [server.somebody().await, server.somebody().await, server.somebody().await];
    let mut chats = vec![(0, 1, people[0].chat_with(&people[1]).await)];
    let mut followers = [Follower::new(server.login(&people[0].phone).await), Follower::new(server.login(&people[1].phone).await)];
    let mut restarts = 0;
    for step in 0..steps {
        let (one, other, chat) = chats[usize::try_from(random.below(chats.len() as u64)).unwrap()].clone();
        let (speaker, listener) = if random.once_in(2) { (&people[one], &people[other]) } else { (&people[other], &people[one]) };
        match random.below(20) {
            0..8 => drop(speaker.say(&chat, &format!("step {step}")).await),
            8..10 => {
                // More than the queue of one who does not read may hold.
                let body = format!("{step} {}", "x".repeat(2000));
                for _ in 0..40 {
                    speaker.say(&chat, &body).await;
                }
            }
            what @ 10..15 => {
                let page = listener.get(&format!("/chats/{chat}/messages?limit=10")).await.ok(200);
                let messages = page["messages"].as_array().unwrap();
                if messages.is_empty() {
                    continue;
                }
                let message = &messages[usize::try_from(random.below(messages.len() as u64)).unwrap()];
                listener.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": message["message_id"] })).await.ok(204);
                if what >= 13 {
                    listener.delete(&format!("/messages/{}?for=me", message["message_id"].as_str().unwrap())).await.ok(204);
                }
            }
            15 if chats.len() < 3 => {
                let new = if chats.len() == 1 { (0, 2) } else { (1, 2) };
                chats.push((new.0, new.1, people[new.0].chat_with(&people[new.1]).await));
            }
            16 => followers[usize::try_from(random.below(2)).unwrap()].socket = None,
            17 if random.once_in(2) => {
                server = server.restart().await;
                restarts += 1;
            }
            _ => followers[usize::try_from(random.below(2)).unwrap()].pump().await,
        }
    }
    // A flood that nobody reads, and nothing after it that would show a gap.
    for follower in &mut followers {
        follower.pump().await;
    }
    let body = "x".repeat(2000);
    for _ in 0..80 {
        people[0].say(&chats[0].2, &body).await;
    }
    // From here on each looks only at what comes by itself: what is missing silently stays missing.
    for mut follower in followers {
        let converged = tokio::time::timeout(PATIENCE, async {
            loop {
                follower.pump().await;
                if follower.model.display() == fresh(&follower.person).await {
                    return;
                }
            }
        });
        let converged = converged.await.is_ok();
        let (shown, fresh) = (follower.model.display(), fresh(&follower.person).await);
        for (chat, fresh) in &fresh {
            let shown = shown.get(chat);
            assert!(shown.is_some_and(|shown| shown == fresh), "the follower did not converge, seed {seed}: {}", difference(shown, fresh));
        }
        assert!(converged, "the follower did not converge, seed {seed}");
        let Follower { ends, overflows, syncs, .. } = follower;
        println!("convergence: {ends} connections ended by the server, {overflows} of them as too slow, {restarts} restarts, {syncs} syncs");
    }
}

fn difference(shown: Option<&Display>, fresh: &Display) -> String {
    let Some(shown) = shown else { return "a chat is missing".to_owned() };
    let messages: Vec<_> = fresh.messages.keys().chain(shown.messages.keys()).filter(|seq| shown.messages.get(seq) != fresh.messages.get(seq)).collect();
    format!(
        "places {messages:?}; newest {:?} {:?}; unread {} {}; rev {} {}; last_seq {} {}",
        shown.newest, fresh.newest, shown.unread, fresh.unread, shown.rev, fresh.rev, shown.last_seq, fresh.last_seq
    )
}
