//! A client as the contract describes one: it knows what events and syncs tell it and nothing else, notices gaps by `seq`
//! and `rev`, and shows a state that must be that of a client which starts fresh.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::world::World;

/// What a client knows of a chat.
#[derive(Debug, Clone, Default)]
struct Chat {
    rev: i64,
    last_seq: i64,
    kind: String,
    name: String,
    is_admin_only: bool,
    timer: String,
    /// By user: the role.
    members: BTreeMap<String, String>,
    messages: BTreeMap<i64, Value>,
    /// By user: delivered and read up to.
    marks: BTreeMap<String, (i64, i64)>,
    /// Messages delivered beyond that, by user.
    beyond: BTreeSet<(String, i64)>,
}

/// A message as it is shown and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) sender: String,
    pub(super) body: String,
    pub(super) status: &'static str,
    pub(super) is_deleted: bool,
    pub(super) is_edited: bool,
    pub(super) reactions: BTreeMap<String, String>,
    pub(super) is_forwarded: bool,
    pub(super) is_starred: bool,
}

/// A chat as it is shown and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Display {
    pub(super) messages: BTreeMap<i64, Shown>,
    pub(super) newest: Option<String>,
    pub(super) unread: usize,
    pub(super) name: String,
    pub(super) is_admin_only: bool,
    pub(super) timer: String,
    pub(super) members: BTreeMap<String, String>,
}

/// A client's state.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) me: String,
    chats: BTreeMap<String, Chat>,
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

pub(super) fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("no number: {value}"))
}

pub(super) fn reactions(message: &Value) -> BTreeMap<String, String> {
    message["reactions"].as_array().unwrap().iter().map(|reaction| (text(&reaction["user_id"]), text(&reaction["emoji"]))).collect()
}

impl Model {
    pub(super) fn new(me: &str) -> Self {
        Self { me: me.to_owned(), chats: BTreeMap::new() }
    }

    fn message(&mut self, message: &Value) {
        let chat = self.chats.entry(text(&message["chat_id"])).or_default();
        let seq = integer(&message["seq"]);
        chat.messages.insert(seq, message.clone());
        chat.last_seq = chat.last_seq.max(seq);
    }

    fn rev(&self, chat: &str) -> i64 {
        self.chats.get(chat).map_or(0, |chat| chat.rev)
    }

    /// A change took this revision; if it is the next one, all before it are known. Returns whether something is missing.
    fn raise(&mut self, chat: &str, rev: i64) -> bool {
        let chat = self.chats.entry(chat.to_owned()).or_default();
        let is_next = rev == chat.rev + 1;
        if is_next {
            chat.rev = rev;
        }
        !is_next
    }

    /// Takes an event in. Returns whether something before it is missing, so that a sync is due.
    pub(super) fn event(&mut self, frame: &Value) -> bool {
        let data = &frame["data"];
        let chat = data["chat_id"].as_str().unwrap_or_default().to_owned();
        let rev = data["rev"].as_i64().unwrap_or(0);
        match frame["event"].as_str().unwrap() {
            "message.new" => {
                let is_known = self.chats.get(&chat).is_some_and(|chat| chat.messages.contains_key(&integer(&data["seq"])));
                if rev <= self.rev(&chat) || is_known {
                    // Known, or hidden since.
                    return false;
                }
                self.message(data);
                self.raise(&chat, rev)
            }
            "message.edited" if rev > self.rev(&chat) => {
                self.message(data);
                self.raise(&chat, rev)
            }
            "message.status" => {
                let id = data["message_id"].as_str().unwrap();
                let Some(known) = self.chats.get_mut(&chat) else { return true };
                let user = text(&data["user_id"]);
                if let Some(up_to) = data["up_to_seq"].as_i64() {
                    if data["status"] == "read" {
                        known.mark(&user, up_to, up_to);
                    } else {
                        known.beyond.extend((integer(&data["from_seq"])..=up_to).map(|seq| (user.clone(), seq)));
                    }
                    return false;
                }
                let Some(seq) = known.messages.iter().find(|(_, message)| message["message_id"] == id).map(|(seq, _)| *seq) else { return true };
                known.beyond.insert((user.clone(), seq));
                if data["status"] == "read" {
                    known.mark(&user, 0, seq);
                }
                false
            }
            "message.deleted" if rev > self.rev(&chat) => {
                let seq = integer(&data["seq"]);
                let known = self.chats.entry(chat.clone()).or_default();
                if data["deleted_for_everyone"] == true {
                    if let Some(message) = known.messages.get_mut(&seq) {
                        message["is_deleted"] = json!(true);
                    }
                } else {
                    known.messages.remove(&seq);
                }
                self.raise(&chat, rev)
            }
            "message.reaction" if rev > self.rev(&chat) => {
                let known = self.chats.entry(chat.clone()).or_default();
                if let Some(message) = known.messages.values_mut().find(|message| message["message_id"] == data["message_id"]) {
                    let others = message["reactions"].as_array().unwrap().iter().filter(|reaction| reaction["user_id"] != data["user_id"]).cloned();
                    let mut reactions: Vec<Value> = others.collect();
                    if data["removed"] != true {
                        reactions.push(json!({ "user_id": data["user_id"], "emoji": data["emoji"] }));
                    }
                    message["reactions"] = json!(reactions);
                }
                self.raise(&chat, rev)
            }
            "message.starred" if rev > self.rev(&chat) => {
                let known = self.chats.entry(chat.clone()).or_default();
                if let Some(message) = known.messages.get_mut(&integer(&data["seq"])) {
                    message["is_starred"] = data["is_starred"].clone();
                }
                self.raise(&chat, rev)
            }
            "chat.updated" if rev > self.rev(&chat) => {
                let known = self.chats.entry(chat.clone()).or_default();
                let changes = &data["changes"];
                if let Some(name) = changes["name"].as_str() {
                    known.name = name.to_owned();
                }
                if let Some(is_admin_only) = changes["is_admin_only"].as_bool() {
                    known.is_admin_only = is_admin_only;
                }
                if let Some(timer) = changes["auto_delete_timer"].as_str() {
                    known.timer = timer.to_owned();
                }
                if let (Some(user), Some(role)) = (changes["user_id"].as_str(), changes["role"].as_str()) {
                    known.members.insert(user.to_owned(), role.to_owned());
                }
                self.raise(&chat, rev)
            }
            "group.member.removed" if data["user_id"] == self.me.as_str() => {
                self.chats.remove(&chat);
                false
            }
            "group.member.removed" if rev > self.rev(&chat) => {
                let known = self.chats.entry(chat.clone()).or_default();
                known.members.remove(data["user_id"].as_str().unwrap());
                self.raise(&chat, rev)
            }
            "group.member.added" if data["user_id"] == self.me.as_str() => true,
            "group.member.added" if rev > self.rev(&chat) => {
                let known = self.chats.entry(chat.clone()).or_default();
                known.members.insert(text(&data["user_id"]), "member".to_owned());
                self.raise(&chat, rev)
            }
            "chat.created" | "resync" => true,
            _ => false,
        }
    }

    /// Asks for everything that is not known. Receipts take no revision: asked from below the newest change, a chat is
    /// listed with its present marks. Returns the messages of the answers.
    pub(super) async fn sync(&mut self, world: &World, token: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut known: BTreeMap<String, i64> = self.chats.iter().map(|(id, chat)| (id.clone(), (chat.rev - 1).max(0))).collect();
        for round in 0.. {
            assert!(round < 100, "sync comes to no end: {known:?}");
            let answer = world.ask("POST", "/sync", token, Some(json!({ "chats": known, "limit": 12 }))).await.ok();
            for removed in answer["removed_chat_ids"].as_array().unwrap() {
                self.chats.remove(removed.as_str().unwrap());
                known.remove(removed.as_str().unwrap());
            }
            for item in answer["chats"].as_array().unwrap() {
                messages.extend(self.item(item));
                known.insert(text(&item["chat"]["chat_id"]), integer(&item["rev"]));
            }
            if answer["complete"] == true {
                return messages;
            }
        }
        messages
    }

    fn item(&mut self, item: &Value) -> Vec<Value> {
        let id = text(&item["chat"]["chat_id"]);
        let messages = item["messages"].as_array().unwrap();
        let mut last = 0;
        for message in messages {
            assert!(integer(&message["rev"]) >= last, "changes out of order: {item}");
            last = integer(&message["rev"]);
            self.message(message);
        }
        let hidden: BTreeSet<String> = item["hidden_message_ids"].as_array().unwrap().iter().map(text).collect();
        let chat = self.chats.entry(id).or_default();
        let history_from = integer(&item["history_from_seq"]);
        chat.messages.retain(|_, message| integer(&message["seq"]) >= history_from);
        chat.marks.clear();
        chat.beyond.clear();
        for marks in item["receipts"].as_array().unwrap() {
            let user = text(&marks["user_id"]);
            chat.mark(&user, integer(&marks["delivered_up_to_seq"]), integer(&marks["read_up_to_seq"]));
            for run in marks["delivered_beyond"].as_array().unwrap() {
                chat.beyond.extend((integer(&run["from"])..=integer(&run["to"])).map(|seq| (user.clone(), seq)));
            }
        }
        for star in item["stars"].as_array().unwrap() {
            if let Some(message) = chat.messages.values_mut().find(|message| message["message_id"] == star["message_id"]) {
                message["is_starred"] = star["is_starred"].clone();
            }
        }
        chat.messages.retain(|_, message| !hidden.contains(message["message_id"].as_str().unwrap()));
        chat.rev = chat.rev.max(integer(&item["rev"]));
        chat.last_seq = chat.last_seq.max(integer(&item["chat"]["last_seq"]));
        chat.kind = text(&item["chat"]["type"]);
        chat.name = text(&item["chat"]["name"]);
        chat.is_admin_only = item["chat"]["is_admin_only"] == true;
        chat.timer = text(&item["chat"]["auto_delete_timer"]);
        chat.members = item["chat"]["participants"].as_array().unwrap().iter().map(|member| (text(&member["user_id"]), text(&member["role"]))).collect();
        messages.clone()
    }

    /// Notes that this client confirmed a message.
    pub(super) fn confirmed(&mut self, chat: &str, seq: i64) {
        let me = self.me.clone();
        if let Some(chat) = self.chats.get_mut(chat) {
            chat.beyond.insert((me, seq));
        }
    }

    /// What a user would see at this moment. A direct chat in which nothing is to be seen is not worth a line: who was blocked may
    /// make one without the other being told. Nor is it shown how far the log goes, as others' deletions for themselves and
    /// what is withheld raise it too.
    pub(super) fn display(&self, now: i64) -> BTreeMap<String, Display> {
        self.chats
            .iter()
            .filter(|(_, chat)| chat.kind == "group" || chat.messages.values().any(|message| !is_gone(message, now)))
            .map(|(id, chat)| (id.clone(), chat.display(&self.me, now)))
            .collect()
    }
}

/// Whether the time of a disappearing message has come.
pub(super) fn is_gone(message: &Value, now: i64) -> bool {
    message["expires_at"].as_str().is_some_and(|at| wa_core::time::Timestamp::parse(at).unwrap().as_millis() <= now)
}

impl Chat {
    fn mark(&mut self, user: &str, delivered: i64, read: i64) {
        let marks = self.marks.entry(user.to_owned()).or_default();
        // Read implies delivered.
        *marks = (marks.0.max(delivered).max(read), marks.1.max(read));
    }

    /// The state of one's own message in a direct chat: as it came, or as receipts have raised it since. Of a group, a client
    /// cannot tell whose receipts count; there the recount of the server's own answers must do.
    fn status(&self, me: &str, seq: i64, message: &Value) -> &'static str {
        if self.kind != "direct" || message["sender_id"] != me {
            return "";
        }
        let (delivered, read) = match self.members.keys().find(|member| message["sender_id"] != member.as_str()) {
            Some(other) => {
                let (delivered, read) = self.marks.get(other).copied().unwrap_or_default();
                (seq <= delivered || self.beyond.contains(&(other.clone(), seq)), seq <= read)
            }
            None => (false, false),
        };
        let came = message["status"].as_str().unwrap();
        if read || came == "read" {
            "read"
        } else if delivered || came == "delivered" {
            "delivered"
        } else {
            "sent"
        }
    }

    fn display(&self, me: &str, now: i64) -> Display {
        let present = || self.messages.iter().filter(|(_, message)| !is_gone(message, now));
        let read = self.marks.get(me).map_or(0, |marks| marks.1);
        let show = |seq: i64, message: &Value| {
            let is_deleted = message["is_deleted"] == true;
            let body = message["payload"]["body"].as_str().unwrap_or_default().to_owned();
            Shown {
                id: text(&message["message_id"]),
                sender: message["sender_id"].as_str().unwrap_or_default().to_owned(),
                body: if is_deleted { String::new() } else { body.chars().take(40).collect() },
                status: self.status(me, seq, message),
                is_deleted,
                is_edited: !is_deleted && message["edited_at"].is_string(),
                reactions: if is_deleted { BTreeMap::new() } else { reactions(message) },
                is_forwarded: message["forwarded"] == true,
                is_starred: !is_deleted && message["is_starred"] == true,
            }
        };
        let counts = |seq: i64, message: &Value| seq > read && message["sender_id"] != me && message["type"] != "system" && message["is_deleted"] != true;
        Display {
            messages: present().map(|(seq, message)| (*seq, show(*seq, message))).collect(),
            newest: present().next_back().map(|(_, message)| text(&message["message_id"])),
            unread: present().filter(|(seq, message)| counts(**seq, message)).count(),
            name: self.name.clone(),
            is_admin_only: self.is_admin_only,
            timer: self.timer.clone(),
            members: self.members.clone(),
        }
    }
}
