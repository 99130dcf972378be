//! A model of the server's logs, driven at random, against the view.
#![expect(clippy::expect_used, reason = "a test stops where its model is wrong")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;
use wa_core::id::MessageId;

use super::super::events::Reaction;
use super::*;

fn user(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

const CHATS: usize = 2;

fn chat_id(index: usize) -> ChatId {
    ChatId::from_uuid(Uuid::from_u128(100 + index as u128))
}

fn message_id(chat: usize, seq: i64) -> MessageId {
    MessageId::from_uuid(Uuid::from_u128(1_000_000 * (chat as u128 + 1) + seq as u128))
}

#[derive(Debug, Clone)]
struct Row {
    mine: bool,
    rev: i64,
    version: u64,
    /// Withheld from this user from the start.
    withheld: bool,
    /// Deleted by this user.
    hidden: bool,
    hidden_rev: i64,
}

#[derive(Debug, Default, Clone)]
struct Log {
    rows: Vec<Row>,
    rev: i64,
}

#[derive(Debug, Clone)]
enum Live {
    New(MessageView),
    Edited(MessageView),
    Deleted(usize, i64, i64),
    /// A change that is told without the message: its place, revision and new version.
    Annotated(usize, i64, i64, u64),
}

impl Log {
    fn view(&self, chat: usize, seq: i64) -> MessageView {
        let row = &self.rows[seq as usize - 1];
        let id = message_id(chat, seq);
        let at = "2026-01-01T00:00:00.000Z";
        serde_json::from_value(json!({
            "message_id": id, "chat_id": chat_id(chat), "sender_id": user(if row.mine { 1 } else { 2 }), "client_msg_id": "k", "seq": seq, "rev": row.rev,
            "type": "text", "payload": {"body": row.version.to_string()}, "forwarded": false, "status": "sent", "reactions": [], "is_deleted": false,
            "is_starred": false, "created_at": at, "updated_at": at
        }))
        .expect("a message object")
    }

    fn chat(&self, chat: usize) -> ChatView {
        let at = "2026-01-01T00:00:00.000Z";
        serde_json::from_value(json!({
            "chat_id": chat_id(chat), "type": "direct", "name": "", "description": "", "participants": [], "unread_count": 0, "is_muted": false,
            "is_pinned": false, "is_admin_only": false, "auto_delete_timer": "off", "last_seq": self.rows.len(), "rev": self.rev, "created_at": at, "updated_at": at
        }))
        .expect("a chat object")
    }

    fn visible(&self) -> impl Iterator<Item = i64> {
        (1..).zip(&self.rows).filter(|(_, row)| !row.withheld && !row.hidden).map(|(seq, _)| seq)
    }

    fn changed(&self, chat: usize, since: i64, limit: usize) -> SyncChat {
        let mut changed: Vec<_> = self.visible().filter(|seq| self.rows[*seq as usize - 1].rev > since).collect();
        changed.sort_by_key(|seq| self.rows[*seq as usize - 1].rev);
        let limited = changed.len() > limit;
        changed.truncate(limit);
        let rev = if limited { changed.last().map_or(since, |seq| self.rows[*seq as usize - 1].rev) } else { self.rev };
        let hidden =
            (1..).zip(&self.rows).filter(|(_, row)| row.hidden && row.hidden_rev > since && row.hidden_rev <= rev).map(|(seq, _)| message_id(chat, seq));
        SyncChat {
            chat: self.chat(chat),
            rev: Rev::new(rev),
            history_from_seq: Seq::new(1),
            hidden_message_ids: hidden.collect(),
            stars: Vec::new(),
            messages: changed.into_iter().map(|seq| self.view(chat, seq)).collect(),
            receipts: Vec::new(),
            limited,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        chat: usize,
        mine: bool,
        withheld: bool,
    },
    Edit {
        chat: usize,
        which: usize,
    },
    Annotate {
        chat: usize,
        which: usize,
    },
    Hide {
        chat: usize,
        which: usize,
    },
    /// The other side hides something: a revision this user sees nothing of.
    Elsewhere {
        chat: usize,
    },
    /// One of the announced events comes: any, any number of times.
    Deliver(usize),
    /// The newest announced event comes, as it mostly does.
    DeliverNewest,
    /// The client cannot take in an event.
    Miss(usize),
    /// A request is made, served, or its answer taken in.
    Fetch {
        limit: usize,
    },
    /// A request fails.
    Fail,
    /// The user takes what was told.
    Consume,
    /// The process ends and another one resumes.
    Resume,
    /// The connection broke and came back.
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let chat = 0..CHATS;
    prop_oneof![
        6 => (chat.clone(), any::<bool>(), prop::bool::weighted(0.15)).prop_map(|(chat, mine, withheld)| Step::Append { chat, mine, withheld }),
        1 => (chat.clone(), any::<usize>()).prop_map(|(chat, which)| Step::Edit { chat, which }),
        1 => (chat.clone(), any::<usize>()).prop_map(|(chat, which)| Step::Annotate { chat, which }),
        1 => (chat.clone(), any::<usize>()).prop_map(|(chat, which)| Step::Hide { chat, which }),
        1 => chat.prop_map(|chat| Step::Elsewhere { chat }),
        4 => any::<usize>().prop_map(Step::Deliver),
        4 => Just(Step::DeliverNewest),
        1 => any::<usize>().prop_map(Step::Miss),
        6 => (1..4usize).prop_map(|limit| Step::Fetch { limit }),
        1 => Just(Step::Fail),
        3 => Just(Step::Consume),
        1 => Just(Step::Resume),
        1 => Just(Step::Reconnect),
    ]
}

#[derive(Debug)]
enum Fetching {
    Nothing,
    Sync(SyncRequest),
    Synced(SyncAnswer),
    Walk(usize, i64),
    Walked(usize, MessagePage),
}

struct World {
    logs: Vec<Log>,
    announced: Vec<Live>,
    view: View,
    fetching: Fetching,
    queue: Vec<Told>,
    state: State,
    /// By chat: the places told, in order.
    told: Vec<Vec<i64>>,
    versions: BTreeMap<MessageId, String>,
    deleted: Vec<MessageId>,
}

impl World {
    fn new(state: State) -> Self {
        Self {
            logs: vec![Log::default(); CHATS],
            announced: Vec::new(),
            view: View::new(user(1), &state),
            fetching: Fetching::Nothing,
            queue: Vec::new(),
            state,
            told: vec![Vec::new(); CHATS],
            versions: BTreeMap::new(),
            deleted: Vec::new(),
        }
    }

    fn deliver(&mut self, which: usize) {
        match self.announced[which].clone() {
            Live::New(message) => drop(self.view.message(Box::new(message))),
            Live::Edited(message) => self.view.edited(Box::new(message)),
            Live::Annotated(chat, seq, rev, version) => {
                let (chat_id, message_id) = (chat_id(chat), message_id(chat, seq));
                let event = ServerEvent::Reaction(Reaction { chat_id, message_id, user_id: user(2), emoji: Some(version.to_string()) });
                self.view.annotated(chat_id, Seq::new(seq), Rev::new(rev), event);
            }
            Live::Deleted(chat, seq, rev) => self.view.deleted(&WireDeleted {
                message_id: message_id(chat, seq),
                chat_id: chat_id(chat),
                seq: Seq::new(seq),
                rev: Rev::new(rev),
                deleted_for_everyone: false,
            }),
        }
    }

    fn fetch(&mut self, limit: usize) {
        self.fetching = match std::mem::replace(&mut self.fetching, Fetching::Nothing) {
            Fetching::Nothing if self.view.wants_sync() && !self.view.must_walk() => Fetching::Sync(self.view.start_sync(limit as i64)),
            Fetching::Nothing => match self.view.walk() {
                Some((chat, after)) => Fetching::Walk((0..CHATS).find(|c| chat_id(*c) == chat).expect("a chat of the model"), after.get()),
                None => Fetching::Nothing,
            },
            Fetching::Sync(request) => {
                let mut budget = limit;
                let mut answer = SyncAnswer { chats: Vec::new(), removed_chat_ids: Vec::new(), complete: true };
                for (index, log) in self.logs.iter().enumerate() {
                    let since = request.chats.get(&chat_id(index)).map_or(-1, |rev| rev.get());
                    if log.rev <= since || (log.rev == 0 && since < 0) {
                        continue;
                    }
                    if budget == 0 {
                        answer.complete = false;
                        break;
                    }
                    let item = log.changed(index, since.max(0), budget);
                    budget -= item.messages.len().min(budget);
                    answer.complete &= !item.limited;
                    answer.chats.push(item);
                }
                Fetching::Synced(answer)
            }
            Fetching::Walk(chat, after) => {
                let log = &self.logs[chat];
                let mut seqs: Vec<_> = log.visible().filter(|seq| *seq > after).collect();
                let has_more = seqs.len() > limit;
                seqs.truncate(limit);
                let messages = seqs.into_iter().map(|seq| log.view(chat, seq)).collect();
                Fetching::Walked(chat, MessagePage { messages, next_cursor: None, has_more })
            }
            Fetching::Synced(answer) => {
                self.view.synced(answer);
                Fetching::Nothing
            }
            Fetching::Walked(chat, page) => {
                self.view.walked(chat_id(chat), page);
                Fetching::Nothing
            }
        };
    }

    fn fail(&mut self) {
        match std::mem::replace(&mut self.fetching, Fetching::Nothing) {
            Fetching::Sync(_) | Fetching::Synced(_) => self.view.lost(),
            Fetching::Walk(chat, _) | Fetching::Walked(chat, _) => self.view.walk_failed(chat_id(chat), false),
            Fetching::Nothing => {}
        }
    }

    fn consume(&mut self) {
        self.queue.extend(self.view.take());
        for Told { event, position } in self.queue.drain(..) {
            let body = |message: &MessageView| message.payload.to_value()["body"].as_str().map(ToOwned::to_owned).expect("a body");
            match event {
                Some(ServerEvent::Message(message)) => {
                    let chat = (0..CHATS).find(|c| chat_id(*c) == message.chat_id).expect("a chat of the model");
                    self.told[chat].push(message.seq.get());
                    self.versions.insert(message.message_id, body(&message));
                }
                Some(ServerEvent::MessageChanged(message)) => {
                    // An edit that comes after the deletion was seen by fetching cannot be told from one that does not.
                    let chat = (0..CHATS).find(|c| chat_id(*c) == message.chat_id).expect("a chat of the model");
                    let hidden = self.logs[chat].rows[message.seq.get() as usize - 1].hidden;
                    let known = self.versions.insert(message.message_id, body(&message));
                    assert!(known.is_some() || hidden, "a change of a message that was not told");
                }
                Some(ServerEvent::Reaction(reaction)) => {
                    // The model's reactions tell the version, as its bodies do.
                    let version = reaction.emoji.expect("a reaction that is set");
                    assert!(self.versions.insert(reaction.message_id, version).is_some(), "a reaction to a message that was not told");
                }
                Some(ServerEvent::MessageDeleted(deleted)) => self.deleted.push(deleted.message_id),
                _ => {}
            }
            match position {
                Some((chat, Some(position))) => drop(self.state.chats.insert(chat, position)),
                Some((chat, None)) => drop(self.state.chats.remove(&chat)),
                None => {}
            }
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Append { chat, mine, withheld } => {
                let log = &mut self.logs[chat];
                log.rev += 1;
                log.rows.push(Row { mine, rev: log.rev, version: 0, withheld, hidden: false, hidden_rev: 0 });
                if !withheld {
                    let seq = log.rows.len() as i64;
                    self.announced.push(Live::New(log.view(chat, seq)));
                }
            }
            Step::Edit { chat, which } => {
                let log = &mut self.logs[chat];
                let visible: Vec<_> = log.visible().collect();
                if !visible.is_empty() {
                    let seq = visible[which % visible.len()];
                    log.rev += 1;
                    let rev = log.rev;
                    let row = &mut log.rows[seq as usize - 1];
                    (row.rev, row.version) = (rev, row.version + 1);
                    self.announced.push(Live::Edited(log.view(chat, seq)));
                }
            }
            Step::Annotate { chat, which } => {
                let log = &mut self.logs[chat];
                let visible: Vec<_> = log.visible().collect();
                if !visible.is_empty() {
                    let seq = visible[which % visible.len()];
                    log.rev += 1;
                    let rev = log.rev;
                    let row = &mut log.rows[seq as usize - 1];
                    (row.rev, row.version) = (rev, row.version + 1);
                    self.announced.push(Live::Annotated(chat, seq, rev, row.version));
                }
            }
            Step::Hide { chat, which } => {
                let log = &mut self.logs[chat];
                let visible: Vec<_> = log.visible().collect();
                if !visible.is_empty() {
                    let seq = visible[which % visible.len()];
                    log.rev += 1;
                    let rev = log.rev;
                    let row = &mut log.rows[seq as usize - 1];
                    (row.hidden, row.hidden_rev) = (true, rev);
                    self.announced.push(Live::Deleted(chat, seq, rev));
                }
            }
            Step::Elsewhere { chat } => self.logs[chat].rev += 1,
            Step::Deliver(which) if !self.announced.is_empty() => self.deliver(which % self.announced.len()),
            Step::DeliverNewest if !self.announced.is_empty() => self.deliver(self.announced.len() - 1),
            Step::Miss(which) if !self.announced.is_empty() => {
                if let Live::New(message) = &self.announced[which % self.announced.len()] {
                    self.view.missed(message.chat_id, message.seq);
                }
            }
            Step::Deliver(_) | Step::DeliverNewest | Step::Miss(_) => {}
            Step::Fetch { limit } => self.fetch(limit),
            Step::Fail => self.fail(),
            Step::Consume => self.consume(),
            Step::Resume => {
                drop(self.view.take());
                self.fetching = Fetching::Nothing;
                self.view = View::new(user(1), &self.state);
            }
            Step::Reconnect => self.view.lost(),
        }
    }

    /// Lets the client fetch until it wants nothing more.
    fn settle(&mut self) {
        self.view.lost();
        for _ in 0..10_000 {
            self.fetch(3);
            if matches!(self.fetching, Fetching::Nothing) && !self.view.wants_sync() && !self.view.has_holes() {
                self.consume();
                return;
            }
        }
        panic!("the view never has enough: {:?}", self.view);
    }
}

proptest! {
    #[test]
    fn each_message_is_told_once_and_in_order_whatever_comes(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new(State::default());
        for step in &steps {
            world.run(step);
        }
        world.settle();
        for (chat, log) in world.logs.iter().enumerate() {
            let told = &world.told[chat];
            prop_assert!(told.is_sorted_by(|a, b| a < b), "chat {chat} was told as {told:?}");
            for seq in told {
                prop_assert!(!log.rows[*seq as usize - 1].withheld);
            }
            for seq in log.visible() {
                prop_assert!(told.contains(&seq), "message {seq} of chat {chat} was not told: {told:?}");
                let version = log.rows[seq as usize - 1].version.to_string();
                prop_assert_eq!(world.versions.get(&message_id(chat, seq)), Some(&version), "message {} of chat {}", seq, chat);
            }
            for seq in told {
                if log.rows[*seq as usize - 1].hidden {
                    prop_assert!(world.deleted.contains(&message_id(chat, *seq)), "the end of message {seq} of chat {chat} was not told");
                }
            }
        }
        prop_assert_eq!(world.view.held, world.view.chats.values().map(|track| track.held.len()).sum::<usize>());
    }

    #[test]
    fn what_comes_in_order_and_whole_needs_no_fetching(count in 1..40i64) {
        let mut world = World::new(State::default());
        drop(world.view.start_sync(100));
        for _ in 0..count {
            world.run(&Step::Append { chat: 0, mine: false, withheld: false });
            world.run(&Step::DeliverNewest);
        }
        prop_assert!(!world.view.wants_sync() && !world.view.has_holes());
        world.consume();
        prop_assert_eq!(&world.told[0], &(1..=count).collect::<Vec<_>>());
        prop_assert_eq!(world.state.chats[&chat_id(0)], Position { rev: Rev::new(count), seq: Some(Seq::new(count)), behind: false });
    }
}

#[test]
fn two_messages_that_change_places_are_told_in_order_without_fetching() {
    let mut world = World::new(State::default());
    drop(world.view.start_sync(100));
    for _ in 0..3 {
        world.run(&Step::Append { chat: 0, mine: false, withheld: false });
    }
    for which in [0, 2, 1] {
        world.deliver(which);
    }
    assert!(!world.view.wants_sync() && !world.view.has_holes());
    world.consume();
    assert_eq!(world.told[0], [1, 2, 3]);
}

#[test]
fn a_fresh_view_tells_what_was_not_delivered_and_nothing_older() {
    let mut world = World::new(State::default());
    for _ in 0..5 {
        world.run(&Step::Append { chat: 0, mine: false, withheld: false });
    }
    let mut view = View::new(user(1), &State { chats: [(chat_id(0), Position { rev: Rev::new(5), seq: None, behind: false })].into() });
    let request = view.start_sync(100);
    assert_eq!(request.chats[&chat_id(0)], Rev::new(4), "asked from below, so that the marks come along");
    let mut item = world.logs[0].changed(0, 4, 100);
    item.chat.unread_count = 3;
    item.receipts = vec![MarksView { user_id: user(1), delivered_up_to_seq: Seq::new(3), read_up_to_seq: Seq::new(2), delivered_beyond: vec![] }];
    view.synced(SyncAnswer { chats: vec![item], removed_chat_ids: Vec::new(), complete: true });
    assert_eq!(view.walk(), Some((chat_id(0), Seq::new(3))));
    let messages = vec![world.logs[0].view(0, 4), world.logs[0].view(0, 5)];
    view.walked(chat_id(0), MessagePage { messages, next_cursor: None, has_more: false });
    assert!(!view.wants_sync() && !view.has_holes());
    world.view = view;
    world.consume();
    assert_eq!(world.told[0], [4, 5]);
}

#[test]
fn receipts_given_while_away_are_asked_for_though_they_take_no_revision() {
    let mut world = World::new(State::default());
    world.run(&Step::Append { chat: 0, mine: true, withheld: false });
    world.settle();
    assert_eq!(world.view.start_sync(100).chats[&chat_id(0)], Rev::ZERO, "asked from below the own message");
    let mut item = world.logs[0].changed(0, 0, 100);
    item.receipts = vec![MarksView { user_id: user(2), delivered_up_to_seq: Seq::new(1), read_up_to_seq: Seq::new(1), delivered_beyond: vec![] }];
    world.view.synced(SyncAnswer { chats: vec![item], removed_chat_ids: Vec::new(), complete: true });
    let statuses: Vec<_> = world
        .view
        .take()
        .into_iter()
        .filter_map(|told| match told.event {
            Some(ServerEvent::Receipt(r)) => Some(r.status),
            _ => None,
        })
        .collect();
    assert_eq!(statuses, [Status::Delivered, Status::Read]);
    assert_eq!(world.view.start_sync(100).chats[&chat_id(0)], Rev::new(1), "all of it is read, nothing remains to be asked");
}

#[test]
fn a_chat_that_is_gone_is_told_and_forgotten() {
    let mut world = World::new(State::default());
    world.run(&Step::Append { chat: 0, mine: false, withheld: false });
    world.settle();
    world.view.synced(SyncAnswer { chats: Vec::new(), removed_chat_ids: vec![chat_id(0)], complete: true });
    assert_eq!(world.view.take(), [Told { event: Some(ServerEvent::ChatRemoved { chat_id: chat_id(0) }), position: Some((chat_id(0), None)) }]);
}

/// The chat objects that were told, by their revision.
fn told_chats(view: &mut View) -> Vec<i64> {
    let chats = view.take().into_iter().filter_map(|told| if let Some(ServerEvent::Chat(chat)) = told.event { Some(chat.rev.get()) } else { None });
    chats.collect()
}

#[test]
fn a_new_group_is_told_though_its_first_message_comes_before_it() {
    let mut log = Log::default();
    log.rows.push(Row { mine: false, rev: 1, version: 0, withheld: false, hidden: false, hidden_rev: 0 });
    log.rev = 2;
    let mut view = View::new(user(1), &State::default());
    drop(view.start_sync(100));
    view.message(Box::new(log.view(0, 1)));
    assert!(told_chats(&mut view).is_empty());
    view.created(Box::new(log.changed(0, 0, 100).chat));
    assert_eq!(told_chats(&mut view), [2]);
    view.changed(&WireChange { chat_id: chat_id(0), rev: Rev::new(2) });
    assert!(!view.wants_sync() && !view.has_holes(), "its members are told of with the same revision");
    assert_eq!(view.start_sync(100).chats[&chat_id(0)], Rev::new(2));
}

#[test]
fn a_change_of_a_chat_is_asked_for_once_it_is_heard_of() {
    let mut world = World::new(State::default());
    world.run(&Step::Append { chat: 0, mine: false, withheld: false });
    world.settle();
    world.view.take();
    assert!(!world.view.wants_sync());
    world.view.changed(&WireChange { chat_id: chat_id(0), rev: Rev::new(1) });
    assert!(!world.view.wants_sync(), "that is known");
    world.view.changed(&WireChange { chat_id: chat_id(0), rev: Rev::new(2) });
    assert!(world.view.wants_sync());
    drop(world.view.start_sync(100));
    world.logs[0].rev = 2;
    world.view.synced(SyncAnswer { chats: vec![world.logs[0].changed(0, 1, 100)], removed_chat_ids: Vec::new(), complete: true });
    assert_eq!((told_chats(&mut world.view), world.view.wants_sync()), (vec![2], false));
    world.view.changed(&WireChange { chat_id: chat_id(1), rev: Rev::new(7) });
    assert!(world.view.wants_sync(), "a chat not heard of yet");
}
