//! Compares what the clients logged with what the server has in the end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use super::log::{Log, Places, Seen};
use crate::support::{Login, PATIENCE, Site};

/// One person, as the checks need them.
pub(super) struct Person {
    pub(super) login: Login,
    pub(super) log: Arc<Mutex<Log>>,
}

/// A chat and its two people.
pub(super) struct Chat {
    pub(super) id: String,
    pub(super) people: [usize; 2],
}

/// The whole log of every chat, as its first person reads it.
pub(super) async fn histories(site: &Site, people: &[Person], chats: &[Chat]) -> (Places, Vec<String>) {
    let (mut truth, mut wrong) = (Places::new(), Vec::new());
    for chat in chats {
        let token = &people[chat.people[0]].login.token;
        let mut messages = BTreeMap::new();
        loop {
            let after = messages.last_key_value().map_or(0, |(seq, _)| *seq);
            let page = site.get(Some(token), &format!("/chats/{}/messages?after_seq={after}&limit=100", chat.id), None).await;
            for message in page["messages"].as_array().into_iter().flatten() {
                let (id, seq, seen) = Seen::of(message);
                let expected = messages.len() as i64 + 1;
                if id != chat.id || seq != expected {
                    wrong.push(format!("gap: chat {} has {seq} where {expected} should be", chat.id));
                }
                messages.insert(seq, seen);
            }
            if page["has_more"] != true {
                break;
            }
        }
        truth.insert(chat.id.clone(), messages);
    }
    (truth, wrong)
}

/// Everything acknowledged is there as acknowledged, everything written is there once, and nothing else is.
pub(super) fn nothing_lost_or_doubled(people: &[Person], truth: &Places) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut stored: HashMap<(&str, &str), (&str, i64, &Seen)> = HashMap::new();
    for (chat, messages) in truth {
        for (seq, seen) in messages {
            if let Some((before, at, _)) = stored.insert((&seen.sender, &seen.key), (chat, *seq, seen)) {
                wrong.push(format!("twice: {} is stored at {at} of {before} and at {seq} of {chat}", seen.key));
            }
        }
    }
    let mut written = 0;
    for person in people {
        let log = person.log.lock().unwrap();
        written += log.written.len();
        let mut last: HashMap<&str, i64> = HashMap::new();
        for message in &log.written {
            let acknowledged = log.acknowledged.get(&message.key);
            match (acknowledged, stored.get(&(log.user_id.as_str(), message.key.as_str()))) {
                (None, _) => wrong.push(format!("unanswered: {} was never acknowledged", message.key)),
                (Some(sent), None) => wrong.push(format!("lost: {} was acknowledged as {sent:?}", message.key)),
                (Some(sent), Some((chat, seq, seen))) => {
                    let same = (&*sent.chat, sent.seq, &sent.message_id) == (*chat, *seq, &seen.message_id) && message.chat == *chat;
                    if !same || seen.body != message.body {
                        wrong.push(format!("lost: {} was acknowledged as {sent:?} and is stored at {seq} of {chat} as {seen:?}", message.key));
                    }
                    let before = last.insert(chat, *seq).unwrap_or_default();
                    if before > *seq && !log.refused {
                        wrong.push(format!("order: {} is at {seq}, and one written before it is at {before} of {chat}", message.key));
                    }
                }
            }
        }
    }
    if written != stored.len() {
        wrong.push(format!("twice: {written} messages were written and {} are stored", stored.len()));
    }
    wrong
}

/// Waits until everybody has got, by itself, what others wrote to them. Returns what never came.
pub(super) async fn everything_came(people: &[Person], chats: &[Chat], truth: &Places, events: &watch::Sender<u64>) -> Vec<String> {
    let mut changed = events.subscribe();
    let waiting = async {
        loop {
            changed.mark_unchanged();
            if missing(people, chats, truth).is_empty() {
                return;
            }
            // The sender lives as long as this borrow of it.
            let _ = changed.changed().await;
        }
    };
    let _ = timeout(PATIENCE, waiting).await;
    missing(people, chats, truth)
}

fn missing(people: &[Person], chats: &[Chat], truth: &Places) -> Vec<String> {
    let mut wrong = Vec::new();
    for chat in chats {
        for person in chat.people {
            let log = people[person].log.lock().unwrap();
            let pushed = log.pushed.get(&chat.id);
            for (seq, seen) in &truth[&chat.id] {
                if seen.sender != log.user_id && pushed.is_none_or(|pushed| pushed.get(seq) != Some(seen)) {
                    wrong.push(format!("missing: {} never got {seq} of {}: {}", log.name, chat.id, seen.key));
                }
            }
            // What came beyond that were own messages; whatever it was, it must be stored.
            for seq in pushed.into_iter().flat_map(BTreeMap::keys).filter(|seq| !truth[&chat.id].contains_key(seq)) {
                wrong.push(format!("made up: {} got {seq} of {}, which is not stored", log.name, chat.id));
            }
        }
    }
    wrong
}

/// Everybody's sync, from where they were and from the beginning, their receipts and their counts agree with the log.
pub(super) async fn everybody_agrees(site: &Site, people: &[Person], chats: &[Chat], truth: &Places) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, person) in people.iter().enumerate() {
        let token = Some(&*person.login.token);
        loop {
            let known = person.log.lock().unwrap().revs.clone();
            let answer = site.get(token, "/sync", Some(&json!({ "chats": known, "limit": 1000 }))).await;
            if person.log.lock().unwrap().sync(&answer) {
                break;
            }
        }
        let mut fresh = Log { user_id: person.login.user_id.clone(), ..Log::default() };
        let mut statuses = HashMap::new();
        loop {
            let answer = site.get(token, "/sync", Some(&json!({ "chats": fresh.revs, "limit": 1000 }))).await;
            for message in answer["chats"].as_array().into_iter().flatten().flat_map(|item| item["messages"].as_array().into_iter().flatten()) {
                let status = message["status"].as_str().unwrap_or_default().to_owned();
                statuses.insert(message["message_id"].as_str().unwrap_or_default().to_owned(), status);
            }
            if fresh.sync(&answer) {
                break;
            }
        }
        let list = site.get(token, "/chats?limit=100", None).await;
        let mut log = person.log.lock().unwrap();
        let name = log.name.clone();
        for chat in chats.iter().filter(|chat| chat.people.contains(&index)) {
            let expected = &truth[&chat.id];
            for (how, places) in [("following", &log.synced), ("a fresh sync", &fresh.synced)] {
                let empty = BTreeMap::new();
                let got = places.get(&chat.id).unwrap_or(&empty);
                if got != expected {
                    let (first, here) = (expected.iter().find(|(seq, seen)| got.get(seq) != Some(seen)), got.len());
                    wrong.push(format!("missing: {how} gave {name} {here} of {} messages of {}; the first difference: {first:?}", expected.len(), chat.id));
                }
            }
            for ((of, user), marks) in log.marks.iter().filter(|((of, _), _)| *of == chat.id) {
                let now = fresh.marks.get(&(of.clone(), user.clone())).copied().unwrap_or_default();
                if now.0 < marks.0 || now.1 < marks.1 {
                    wrong.push(format!("receipts fell: {name} saw {marks:?} of {user} in {of}, now they are {now:?}"));
                }
            }
            let (delivered, read) = fresh.marks.get(&(chat.id.clone(), log.user_id.clone())).copied().unwrap_or_default();
            let confirmed = log.confirmed_delivered.get(&chat.id).and_then(|seqs| seqs.last().copied()).unwrap_or_default();
            let confirmed_read = log.confirmed_read.get(&chat.id).copied().unwrap_or_default();
            if delivered < confirmed || read < confirmed_read {
                wrong.push(format!(
                    "receipts fell: {name} had {confirmed} delivered and {confirmed_read} read confirmed in {}, now it is {delivered} and {read}",
                    chat.id
                ));
            }
            let recount = expected.range(read + 1..).filter(|(_, seen)| seen.sender != log.user_id).count();
            let shown = list["chats"].as_array().into_iter().flatten().find(|shown| shown["chat_id"] == chat.id.as_str());
            let shown = shown.map_or((Value::Null, Value::Null, Value::Null), |chat| {
                (chat["unread_count"].clone(), chat["last_seq"].clone(), chat["last_message"]["message_id"].clone())
            });
            let last = expected.last_key_value().map(|(_, seen)| &seen.message_id);
            if shown != (json!(recount), json!(expected.len()), json!(last)) {
                wrong.push(format!("unread: the list shows {name} {shown:?} of {}, recounted it is {recount} of {}", chat.id, expected.len()));
            }
        }
        let rank = |message: &str| match statuses.get(message).map(String::as_str) {
            Some("delivered") => 1,
            Some("read") => 2,
            _ => 0,
        };
        let own: HashSet<&str> = log.acknowledged.values().map(|sent| sent.message_id.as_str()).collect();
        for (message, announced) in log.announced.iter().filter(|(message, _)| own.contains(message.as_str())) {
            if rank(message) < *announced {
                wrong.push(format!("receipts fell: {name} was told {announced} of {message}, now it is {:?}", statuses.get(message)));
            }
        }
        wrong.append(&mut log.wrong);
        wrong.append(&mut fresh.wrong);
    }
    wrong
}
