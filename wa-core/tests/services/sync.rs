//! Sync: whatever happened and however small the answers, a client that repeats with the returned revs ends with exactly
//! what the server has.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use wa_core::api::{ChatApi, MessageApi, SyncAnswer, SyncRequest, UserApi};
use wa_core::id::{ChatId, MessageId};
use wa_core::limits::Limits;
use wa_core::message::{MessageView, Rev, Seq};
use wa_core::session::Caller;

use super::world::{World, absent_chat, refused};

/// What a client holds.
#[derive(Default)]
struct Client {
    revs: HashMap<ChatId, Rev>,
    messages: BTreeMap<(ChatId, MessageId), MessageView>,
    /// Chats that were in one answer, at the most.
    most_chats: usize,
}

impl Client {
    fn take(&mut self, answer: SyncAnswer) {
        self.most_chats = self.most_chats.max(answer.chats.len());
        for item in answer.chats {
            let chat = item.chat.chat_id;
            let known = self.revs.insert(chat, item.rev);
            assert!(known.is_none_or(|known| item.rev > known), "every listed chat gets the client further");
            assert_eq!(item.limited, item.rev < item.chat.rev);
            assert!(item.messages.is_sorted_by_key(|message| message.rev), "the oldest change comes first");
            for message in item.messages {
                assert!(known.is_none_or(|known| message.rev > known), "only what changed is listed");
                self.messages.insert((chat, message.message_id), message);
            }
            for hidden in item.hidden_message_ids {
                self.messages.remove(&(chat, hidden));
            }
        }
    }

    /// Syncs until the answer is complete. Returns the number of answers.
    async fn sync(&mut self, world: &World, caller: &Caller, limit: Option<i64>) -> usize {
        for answers in 1.. {
            assert!(answers < 200, "sync comes to an end");
            let answer = world.messages.sync(caller, SyncRequest { chats: self.revs.clone(), limit }).await.expect("answers");
            let listed: usize = answer.chats.iter().map(|item| item.messages.len()).sum();
            assert!(listed <= limit.map_or(500, |limit| limit.clamp(1, 1000) as usize));
            let complete = answer.complete;
            assert!(complete || !answer.chats.is_empty(), "an incomplete answer gets the client further");
            self.take(answer);
            if complete {
                return answers;
            }
        }
        unreachable!("the loop returns")
    }
}

/// Everything the viewer can see, by the other way.
async fn everything(world: &World, viewer: &Caller, chats: &[ChatId]) -> BTreeMap<(ChatId, MessageId), MessageView> {
    let mut all = BTreeMap::new();
    for chat in chats {
        all.extend(world.history(viewer, *chat).await.into_iter().map(|message| ((*chat, message.message_id), message)));
    }
    all
}

#[derive(Debug, Clone)]
enum Step {
    /// A message in one of the chats, by the client's user or the other side.
    Say { chat: usize, own: bool },
    /// The client's user hides one of the messages.
    Hide(prop::sample::Index),
    /// The other side of a chat blocks the client's user, or the reverse, or it ends.
    Block { chat: usize, own: bool, blocked: bool },
    /// The client syncs, with this limit.
    Sync(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3usize, any::<bool>()).prop_map(|(chat, own)| Step::Say { chat, own }),
        2 => any::<prop::sample::Index>().prop_map(Step::Hide),
        1 => (0..3usize, any::<bool>(), any::<bool>()).prop_map(|(chat, own, blocked)| Step::Block { chat, own, blocked }),
        2 => (-1..6i64).prop_map(Step::Sync),
    ]
}

async fn play(steps: Vec<Step>, sync_chats: usize, last_limit: i64) {
    let world = World::with(Limits { sync_chats, ..Limits::default() }).await;
    let alice = world.user(1).await;
    let mut others = Vec::new();
    let mut chats = Vec::new();
    for number in 2..=4 {
        let other = world.user(number).await;
        chats.push(world.direct(&alice, &other).await);
        others.push(other);
    }
    let mut client = Client::default();
    let mut said: Vec<MessageId> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Say { chat, own } => {
                let sender = if own { &alice } else { &others[chat] };
                // Whoever blocked the other cannot write; that is no change.
                if let Ok(sent) = world.try_say(sender, chats[chat], &format!("key {number}"), &format!("text {number}")).await {
                    said.push(sent.message.message_id);
                }
            }
            Step::Hide(index) if !said.is_empty() => {
                // What was withheld from Alice is none of hers to hide.
                let _ = world.messages.delete_for_me(&alice, said[index.index(said.len())], None).await;
            }
            Step::Hide(_) => {}
            Step::Block { chat, own, blocked } => {
                let (blocker, target) = if own { (&alice, &others[chat]) } else { (&others[chat], &alice) };
                world.users.set_blocked(blocker, target.user_id, blocked).await.expect("is set");
            }
            Step::Sync(limit) => _ = client.sync(&world, &alice, Some(limit)).await,
        }
    }
    client.sync(&world, &alice, Some(last_limit)).await;
    assert_eq!(client.messages, everything(&world, &alice, &chats).await);
    assert!(client.most_chats <= sync_chats, "{} chats in one answer", client.most_chats);
    assert_eq!(client.sync(&world, &alice, None).await, 1, "a client that has everything is told so at once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_client_that_syncs_to_the_end_has_exactly_what_the_server_has(
        steps in prop::collection::vec(step(), 0..40),
        sync_chats in 1..4usize,
        last_limit in 1..8i64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        runtime.block_on(play(steps, sync_chats, last_limit));
    }
}

#[tokio::test]
async fn a_first_sync_lists_every_chat_the_newest_activity_first() {
    let world = World::new().await;
    let alice = world.user(1).await;
    let mut chats = Vec::new();
    for number in 2..=4 {
        let other = world.user(number).await;
        let chat = world.direct(&alice, &other).await;
        world.say(&other, chat, &format!("from {number}")).await;
        chats.insert(0, chat);
    }
    world.chats.pin(&alice, chats[2], true).await.expect("is pinned");
    let answer = world.messages.sync(&alice, SyncRequest::default()).await.expect("answers");
    assert!(answer.complete && answer.removed_chat_ids.is_empty());
    assert_eq!(answer.chats.iter().map(|item| item.chat.chat_id).collect::<Vec<_>>(), chats);
}

#[tokio::test]
async fn chats_that_may_not_be_seen_are_removed_ones_whatever_they_are() {
    let world = World::new().await;
    let (_, _, foreign) = world.pair().await;
    let carol = world.user(3).await;
    let request = SyncRequest { chats: HashMap::from([(foreign, Rev::ZERO), (absent_chat(), Rev::new(7))]), limit: None };
    let answer = world.messages.sync(&carol, request).await.expect("answers");
    assert_eq!((answer.removed_chat_ids, answer.chats.len(), answer.complete), (vec![foreign, absent_chat()], 0, true));
}

#[tokio::test]
async fn the_limit_counts_messages_over_the_whole_answer() {
    let world = World::new().await;
    let alice = world.user(1).await;
    for number in 2..=4 {
        let other = world.user(number).await;
        let chat = world.direct(&alice, &other).await;
        for text in 0..5 {
            world.say(&other, chat, &format!("{number} {text}")).await;
        }
    }
    for (limit, expected) in [(1, 1), (0, 1), (-3, 1), (7, 7), (15, 15), (i64::MAX, 15)] {
        let answer = world.messages.sync(&alice, SyncRequest { limit: Some(limit), ..SyncRequest::default() }).await.expect("answers");
        assert_eq!(answer.chats.iter().map(|item| item.messages.len()).sum::<usize>(), expected, "limit {limit}");
        assert_eq!(answer.complete, expected == 15);
    }
}

#[tokio::test]
async fn a_rev_below_zero_is_none_at_all() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    world.say(&bob, chat, "hello").await;
    let request = SyncRequest { chats: HashMap::from([(chat, Rev::new(i64::MIN))]), limit: None };
    let answer = world.messages.sync(&alice, request).await.expect("answers");
    assert_eq!(answer.chats[0].messages.len(), 1);
}

#[tokio::test]
async fn the_present_marks_come_with_a_chat_and_reads_as_privacy_allows() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let message = world.say(&alice, chat, "hello").await;
    world.read(&bob, &message).await;
    let marks = async |viewer: Caller| {
        let answer = world.messages.sync(&viewer, SyncRequest::default()).await.expect("answers");
        let of = |user: Caller| {
            answer.chats[0].receipts.iter().find(|marks| marks.user_id == user.user_id).map(|marks| (marks.delivered_up_to_seq, marks.read_up_to_seq))
        };
        (of(alice), of(bob))
    };
    let (_, of_bob) = marks(alice).await;
    assert_eq!(of_bob, Some((Seq::new(1), Seq::new(1))));
    let silent = wa_core::api::PrivacyUpdate { read_receipts: Some(false), ..Default::default() };
    world.users.set_privacy(&bob, silent).await.expect("is set");
    let (_, of_bob) = marks(alice).await;
    assert_eq!(of_bob, Some((Seq::new(1), Seq::ZERO)));
    let (_, of_bob) = marks(bob).await;
    assert_eq!(of_bob, Some((Seq::new(1), Seq::new(1))), "one's own marks are known to oneself");
}

#[tokio::test]
async fn ten_thousand_known_chats_are_too_many_by_one() {
    let world = World::with(Limits { sync_known_chats: 1, ..Limits::default() }).await;
    let (alice, _, chat) = world.pair().await;
    let request = |chats: &[ChatId]| SyncRequest { chats: chats.iter().map(|chat| (*chat, Rev::ZERO)).collect(), limit: None };
    world.messages.sync(&alice, request(&[chat])).await.expect("answers");
    assert_eq!(refused(world.messages.sync(&alice, request(&[chat, absent_chat()])).await), "VALIDATION_ERROR");
}
