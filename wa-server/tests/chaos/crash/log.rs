//! What one client knows: what it wrote, what was acknowledged, what it got and how. The server's promises are checked
//! against this alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

/// A message as a client or the history shows it; everything that must never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) message_id: String,
    pub(crate) key: String,
    pub(crate) sender: String,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn of(message: &Value) -> (String, i64, Self) {
        let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
        let seen = Self {
            message_id: text("message_id"),
            key: text("client_msg_id"),
            sender: text("sender_id"),
            body: message["payload"]["body"].as_str().unwrap_or_default().to_owned(),
        };
        (text("chat_id"), message["seq"].as_i64().unwrap_or_default(), seen)
    }
}

/// Messages by chat and place.
pub(crate) type Places = BTreeMap<String, BTreeMap<i64, Seen>>;

/// A message that this client wrote.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) chat: String,
    pub(crate) key: String,
    pub(crate) body: String,
}

/// What an acknowledgement said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) chat: String,
    pub(crate) message_id: String,
    pub(crate) seq: i64,
}

/// Marks of one user in one chat: delivered up to, read up to.
pub(crate) type Marks = (i64, i64);

#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) name: String,
    pub(crate) user_id: String,
    /// In the order in which they were written.
    pub(crate) written: Vec<Written>,
    /// Those of them that are not acknowledged yet.
    pub(crate) open: Vec<Written>,
    pub(crate) acknowledged: HashMap<String, Acknowledged>,
    /// What came by itself: pending at connecting, live, and what a `resync` pointed to.
    pub(crate) pushed: Places,
    /// What following the log by `rev` brought.
    pub(crate) synced: Places,
    /// Up to where the log was followed.
    pub(crate) revs: BTreeMap<String, i64>,
    /// The highest marks seen, by chat and user.
    pub(crate) marks: HashMap<(String, String), Marks>,
    /// The furthest state of own messages that was announced: 1 delivered, 2 read.
    pub(crate) announced: HashMap<String, u8>,
    /// Own receipts that the server confirmed.
    pub(crate) confirmed_delivered: BTreeMap<String, BTreeSet<i64>>,
    pub(crate) confirmed_read: BTreeMap<String, i64>,
    pub(crate) counts: Counts,
    /// Whether a message had to be repeated on the same socket, after which the order may differ.
    pub(crate) refused: bool,
    /// What was wrong at first sight.
    pub(crate) wrong: Vec<String>,
}

/// How much happened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) connections: u64,
    pub(crate) repeated: u64,
    pub(crate) duplicates: u64,
    pub(crate) resyncs: u64,
    pub(crate) syncs: u64,
}

impl Counts {
    pub(crate) const fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.repeated += other.repeated;
        self.duplicates += other.duplicates;
        self.resyncs += other.resyncs;
        self.syncs += other.syncs;
    }
}

impl Log {
    pub(crate) fn wrong(&mut self, what: &str) {
        // One defect may show a thousand times.
        if self.wrong.len() < 20 {
            self.wrong.push(format!("{}: {what}", self.name));
        }
    }

    /// Notes a `message.new`; returns its chat and place.
    pub(crate) fn push(&mut self, message: &Value) -> (String, i64) {
        let (chat, seq, seen) = Seen::of(message);
        self.compare(&chat, seq, &seen);
        self.pushed.entry(chat.clone()).or_default().insert(seq, seen);
        (chat, seq)
    }

    /// The same place never holds another message, whichever way it is seen.
    fn compare(&mut self, chat: &str, seq: i64, seen: &Seen) {
        let before = [&self.pushed, &self.synced].into_iter().find_map(|places| places.get(chat)?.get(&seq));
        if let Some(before) = before
            && before != seen
        {
            let what = format!("changed: place {seq} of chat {chat} was {before:?} and is {seen:?}");
            self.wrong(&what);
        }
    }

    /// Notes the answer to a sync. Returns whether it was the last of its row.
    pub(crate) fn sync(&mut self, answer: &Value) -> bool {
        self.counts.syncs += 1;
        for item in answer["chats"].as_array().into_iter().flatten() {
            let chat = item["chat"]["chat_id"].as_str().unwrap_or_default().to_owned();
            for message in item["messages"].as_array().into_iter().flatten() {
                let (chat, seq, seen) = Seen::of(message);
                self.compare(&chat, seq, &seen);
                self.synced.entry(chat).or_default().insert(seq, seen);
            }
            for marks in item["receipts"].as_array().into_iter().flatten() {
                self.note_marks(&chat, marks);
            }
            let rev = self.revs.entry(chat).or_default();
            *rev = (*rev).max(item["rev"].as_i64().unwrap_or_default());
        }
        if answer["removed_chat_ids"].as_array().is_none_or(|removed| !removed.is_empty()) {
            self.wrong(&format!("chats vanished: {answer}"));
        }
        answer["complete"] == true
    }

    /// Marks never fall, and never below what was confirmed.
    pub(crate) fn note_marks(&mut self, chat: &str, marks: &Value) {
        let user = marks["user_id"].as_str().unwrap_or_default().to_owned();
        let (delivered, read) = (marks["delivered_up_to_seq"].as_i64().unwrap_or(-1), marks["read_up_to_seq"].as_i64().unwrap_or(-1));
        let before = self.marks.entry((chat.to_owned(), user.clone())).or_default();
        let fell = delivered < before.0 || read < before.1;
        let was = *before;
        *before = (was.0.max(delivered), was.1.max(read));
        let confirmed = self.confirmed_read.get(chat).copied().unwrap_or_default();
        if user == self.user_id && read < confirmed {
            self.wrong(&format!("receipts fell: read up to {read} in chat {chat}, and {confirmed} was confirmed"));
        }
        if fell {
            self.wrong(&format!("receipts fell: of {user} in chat {chat} from {was:?} to {:?}", (delivered, read)));
        }
    }

    /// Notes a `message.status` of an own message.
    pub(crate) fn announce(&mut self, change: &Value) {
        let level = match change["status"].as_str() {
            Some("delivered") => 1,
            Some("read") => 2,
            _ => return self.wrong(&format!("an unknown status: {change}")),
        };
        if change["user_id"] == self.user_id.as_str() {
            return;
        }
        if let Some(message) = change["message_id"].as_str() {
            let known = self.announced.entry(message.to_owned()).or_default();
            *known = (*known).max(level);
        }
    }

    /// Notes a `message.sent`.
    pub(crate) fn acknowledge(&mut self, sent: &Value) {
        let text = |key: &str| sent[key].as_str().unwrap_or_default().to_owned();
        let (key, now) =
            (text("client_msg_id"), Acknowledged { chat: text("chat_id"), message_id: text("message_id"), seq: sent["seq"].as_i64().unwrap_or_default() });
        if sent["duplicate"] == true {
            self.counts.duplicates += 1;
        }
        self.open.retain(|written| written.key != key);
        match self.acknowledged.insert(key.clone(), now.clone()) {
            Some(before) if before != now => self.wrong(&format!("acknowledged twice: {key} as {before:?} and as {now:?}")),
            _ => {}
        }
    }
}
