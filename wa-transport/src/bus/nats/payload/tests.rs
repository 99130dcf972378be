//! Every fact survives the way there and back, and says what the contract, section 5.1, lists.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;
use wa_core::message::{Content, Text};
use wa_core::ports::EnvExt as _;
use wa_core::testing::SimEnv;

use super::*;

/// One event of every kind, as the core's own snapshot has them.
fn events() -> BTreeMap<String, Event> {
    let snapshot = include_str!("../../../../../wa-core/tests/snapshots/wire__events.snap");
    let (_, json) = snapshot.trim_start_matches("---").split_once("---").expect("a header");
    serde_json::from_str(json).expect("events by their subjects")
}

fn described() -> Described {
    Described { users: vec![UserId::from_uuid(Uuid::from_u128(1))], chat_name: "Friends".to_owned() }
}

#[test]
fn every_event_reads_back_as_it_was() {
    let mut flat = BTreeMap::new();
    for (subject, event) in events() {
        assert_eq!(subject, event.subject());
        let payload = encode(&event, described()).expect("written");
        flat.insert(subject.clone(), serde_json::from_slice::<Value>(&payload).expect("JSON"));
        if subject == "typing" {
            continue;
        }
        assert_eq!(decode(&subject, Some(event.id), &payload).expect("reads back"), event, "{subject}");
        let Value::Object(mut more) = flat[&subject].clone() else { panic!("no object: {subject}") };
        more.insert("of_a_later_release".to_owned(), Value::Bool(true));
        assert_eq!(decode(&subject, Some(event.id), &serde_json::to_vec(&more).expect("JSON")).expect("unknown keys are ignored"), event);
    }
}

#[test]
fn what_is_no_event_is_refused() {
    let id = Some(EventId::from_uuid(Uuid::nil()));
    for (subject, payload) in [("msg.new", "{}"), ("msg.new", "["), ("msg.deleted", "null"), ("chat.created", r#"{"chat_id":1}"#), ("typing", "{}"), ("", "{}")]
    {
        assert!(decode(subject, id, payload.as_bytes()).is_err(), "{subject} {payload}");
    }
    assert!(matches!(decode("msg.new", None, b"{}"), Err(Unreadable::Id)));
}

proptest! {
    #[test]
    fn any_text_reads_back_as_it_was(body in "\\PC{0,40}|[\u{0}-\u{1f}\"\\\\{}]{0,20}", name in ".{0,20}", millis in 0_i64..=253_402_300_799_999) {
        let env = SimEnv::new(1);
        let mut event = events().remove("msg.new").expect("a new message");
        event.at = Timestamp::from_millis(millis);
        if let Fact::MessageNew(new) = &mut event.fact {
            new.sender_name = name;
            let text = Content::Text(Text { body, mentions: Vec::new() });
            Arc::make_mut(&mut new.message).payload = serde_json::from_str(text.payload().as_str()).expect("JSON");
            new.origin = Some(env.new_id());
        }
        let payload = encode(&event, described()).expect("written");
        prop_assert_eq!(decode("msg.new", Some(event.id), &payload).expect("reads back"), event);
    }
}
