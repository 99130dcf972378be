//! What the checks of the embedded server share: looking a chat up in full, and repeating a check with a planted defect.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::embedded::Person;

/// The messages of a chat by their place: the id of each.
pub(crate) type Order = BTreeMap<i64, String>;

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

pub(crate) fn integer(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Takes a message into an order; the same place always holds the same message.
pub(crate) fn take(order: &mut Order, message: &Value) {
    let (seq, id) = (integer(&message["seq"]), text(&message["message_id"]));
    let before = order.entry(seq).or_insert_with(|| id.clone());
    assert_eq!(*before, id, "two messages at place {seq}");
}

/// All messages of a chat above a place, as one person sees them, by their place.
pub(crate) async fn history(person: &Person, chat: &str, above: i64) -> BTreeMap<i64, Value> {
    let (mut found, mut after) = (BTreeMap::new(), above);
    loop {
        let page = person.get(&format!("/chats/{chat}/messages?after_seq={after}&limit=100")).await.ok(200);
        for message in page["messages"].as_array().expect("messages") {
            after = integer(&message["seq"]);
            assert!(found.insert(after, message.clone()).is_none(), "place {after} twice");
        }
        if page["has_more"] != true {
            return found;
        }
    }
}

pub(crate) fn order_of(history: &BTreeMap<i64, Value>) -> Order {
    history.iter().map(|(seq, message)| (*seq, text(&message["message_id"]))).collect()
}

/// What changed in the chats above these revisions, which are brought up to date. Asks until the answer is complete.
pub(crate) async fn sync(person: &Person, known: &mut BTreeMap<String, i64>) -> Vec<Value> {
    let mut items = Vec::new();
    loop {
        let answer = person.post("/sync", json!({ "chats": known, "limit": 1000 })).await.ok(200);
        for item in answer["chats"].as_array().expect("chats") {
            known.insert(text(&item["chat"]["chat_id"]), integer(&item["rev"]));
            items.push(item.clone());
        }
        if answer["complete"] == true {
            return items;
        }
    }
}
