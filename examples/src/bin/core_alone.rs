//! The core alone: the rules of a chat, with no runtime, no database and no network. Nothing but `wa-core` is used, so the
//! same code runs in a simulation, in a client, or in WebAssembly.
//!
//! `cargo run -p wa-examples --bin core_alone`

use std::collections::{BTreeMap, HashMap};

use serde_json::json;
use uuid::Uuid;
use wa_core::Error;
use wa_core::id::{ChatId, UserId};
use wa_core::limits::Limits;
use wa_core::message::{Content, Fingerprint, Seq};
use wa_core::privacy::{Field, PrivacySettings, Relation, ShownTo, may_see};
use wa_core::receipt::{Marks, SeqRange};

/// A chat that lives in memory: content is checked, a repeated key stores nothing twice, and receipts only rise.
struct Log {
    chat: ChatId,
    limits: Limits,
    messages: Vec<Content>,
    keys: HashMap<(UserId, String), (Fingerprint, Seq)>,
    marks: BTreeMap<UserId, Marks>,
}

impl Log {
    fn append(&mut self, sender: UserId, key: &str, body: &str) -> Result<Seq, Error> {
        let content = Content::parse("text", &json!({ "body": body }), &self.limits)?;
        let fingerprint = Fingerprint::of(self.chat, &content, None);
        if let Some((known, seq)) = self.keys.get(&(sender, key.to_owned())) {
            let conflict = Error::Conflict(wa_core::error::Conflict::State("The key was used for another message"));
            return if *known == fingerprint { Ok(*seq) } else { Err(conflict) };
        }
        let seq = self.messages.last().map_or(Seq::ZERO, |_| self.last()).next();
        self.messages.push(content);
        self.keys.insert((sender, key.to_owned()), (fingerprint, seq));
        Ok(seq)
    }

    fn last(&self) -> Seq {
        Seq::new(i64::try_from(self.messages.len()).unwrap_or(i64::MAX))
    }
}

fn main() -> Result<(), Error> {
    // Ids come from outside, as time and randomness do: the same input gives the same output.
    let [alice, bob] = [1, 2].map(|number| UserId::from_uuid(Uuid::from_u128(number)));
    let chat = ChatId::from_uuid(Uuid::from_u128(3));
    let mut log = Log { chat, limits: Limits::default(), messages: Vec::new(), keys: HashMap::new(), marks: BTreeMap::new() };

    let first = log.append(alice, "key-1", "Hello Bob")?;
    let again = log.append(alice, "key-1", "Hello Bob")?;
    println!("sent at {first}, and the repeat is the same message: {}", first == again);
    for refused in [log.append(alice, "key-1", "Something else"), log.append(alice, "key-2", ""), log.append(alice, "key-3", &"x".repeat(5000))] {
        if let Err(error) = refused {
            println!("refused with {} {:?}", error.code(), error.details().iter().map(|detail| &detail.field).collect::<Vec<_>>());
        }
    }
    let second = log.append(alice, "key-4", "Are you there?")?;
    println!("{} messages; the list shows {:?}", log.last(), log.messages.last().map_or_else(String::new, Content::preview));

    // Two devices of Bob report in any order, and more than once; what comes out is the same.
    let delivered = |seq| {
        let mut marks = Marks::default();
        marks.deliver(SeqRange { from: seq, to: seq });
        marks
    };
    let of_bob = log.marks.entry(bob).or_default();
    of_bob.merge(&delivered(second));
    println!("Bob's phone got the second: first {:?}, second {:?}", of_bob.status_of(first), of_bob.status_of(second));
    of_bob.read(second);
    of_bob.merge(&delivered(first));
    println!("Bob's tablet read both:     first {:?}, second {:?}", of_bob.status_of(first), of_bob.status_of(second));

    // One function decides who sees what, and what it does not know it hides.
    let settings = PrivacySettings { last_seen: ShownTo::Contacts, ..PrivacySettings::default() };
    let friend = Relation { viewer_is_contact: true, ..Relation::default() };
    for (who, relation) in [("a contact", Some(&friend)), ("a stranger", Some(&Relation::default())), ("somebody unknown", None)] {
        println!("{who} sees whether Alice is online: {}", may_see(Field::Presence, &settings, relation));
    }
    Ok(())
}
