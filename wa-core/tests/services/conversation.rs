//! Two people talking: sending, reading back, receipts, blocks, replies, deleting for oneself.

use std::collections::BTreeSet;
use std::sync::Arc;

use wa_core::api::{ChatApi, HistoryQuery, MessageApi, PrivacyUpdate, SendMessage, UserApi};
use wa_core::id::MessageId;
use wa_core::limits::Limits;
use wa_core::message::MessageView;
use wa_core::receipt::Status;
use wa_core::session::Caller;

use super::world::{World, absent_message, bad_fields, body, refused, text};

async fn status(world: &World, viewer: &Caller, message: &MessageView) -> Status {
    world.seen(viewer, message).await.expect("is visible").status
}

async fn rows(world: &World, viewer: &Caller, message: &MessageView) -> Vec<(wa_core::id::UserId, Status, bool, bool)> {
    let rows = world.messages.receipts(viewer, message.message_id).await.expect("are shown");
    rows.iter().map(|row| (row.user_id, row.status, row.delivered_at.is_some(), row.read_at.is_some())).collect()
}

async fn set_read_receipts(world: &World, user: &Caller, given: bool) {
    world.users.set_privacy(user, PrivacyUpdate { read_receipts: Some(given), ..PrivacyUpdate::default() }).await.expect("is set");
}

#[tokio::test]
async fn a_message_goes_from_sent_to_delivered_to_read() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let message = world.say(&alice, chat, "hello").await;
    assert_eq!((message.status, message.seq.get(), message.sender_id), (Status::Sent, 1, alice.user_id));
    assert_eq!(rows(&world, &alice, &message).await, [(bob.user_id, Status::Sent, false, false)]);
    world.messages.mark_delivered(&bob, &[message.message_id], None).await.expect("is marked");
    assert_eq!(status(&world, &alice, &message).await, Status::Delivered);
    assert_eq!(rows(&world, &alice, &message).await, [(bob.user_id, Status::Delivered, true, false)]);
    world.read(&bob, &message).await;
    assert_eq!(status(&world, &alice, &message).await, Status::Read);
    assert_eq!(rows(&world, &alice, &message).await, [(bob.user_id, Status::Read, true, true)]);
    // It never falls back.
    world.messages.mark_delivered(&bob, &[message.message_id], None).await.expect("changes nothing");
    assert_eq!(status(&world, &alice, &message).await, Status::Read);
}

#[tokio::test]
async fn reading_covers_everything_older_and_nothing_newer() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let mut messages = Vec::new();
    for body in ["one", "two", "three"] {
        messages.push(world.say(&alice, chat, body).await);
    }
    world.read(&bob, &messages[1]).await;
    let mut states = Vec::new();
    for message in &messages {
        states.push(status(&world, &alice, message).await);
    }
    assert_eq!(states, [Status::Read, Status::Read, Status::Sent]);
}

#[tokio::test]
async fn reading_may_name_the_chat_the_message_or_both() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    world.messages.mark_read(&bob, Some(chat), None, None).await.expect("has nothing to mark");
    let one = world.say(&alice, chat, "one").await;
    world.messages.mark_read(&bob, None, Some(one.message_id), None).await.expect("is marked");
    assert_eq!(status(&world, &alice, &one).await, Status::Read);
    let two = world.say(&alice, chat, "two").await;
    world.messages.mark_read(&bob, Some(chat), None, None).await.expect("is marked");
    assert_eq!(status(&world, &alice, &two).await, Status::Read);
    // One's own message may be named as well.
    let three = world.say(&alice, chat, "three").await;
    let own = world.say(&bob, chat, "four").await;
    world.read(&bob, &own).await;
    assert_eq!(status(&world, &alice, &three).await, Status::Read);
    assert_eq!(bad_fields(world.messages.mark_read(&bob, None, None, None).await), ["chat_id"]);
}

#[tokio::test]
async fn only_a_message_of_the_chat_can_be_read_up_to() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let carol = world.user(3).await;
    let other = world.direct(&alice, &carol).await;
    let elsewhere = world.say(&carol, other, "elsewhere").await;
    world.say(&bob, chat, "here").await;
    for id in [elsewhere.message_id, absent_message()] {
        assert_eq!(refused(world.messages.mark_read(&alice, Some(chat), Some(id), None).await), "MESSAGE_NOT_FOUND");
    }
    assert_eq!(world.chats.get(&alice, chat).await.expect("is shown").unread_count, 1);
}

#[tokio::test]
async fn delivered_passes_over_foreign_own_and_unknown_messages() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let carol = world.user(3).await;
    let (one, two) = (world.say(&alice, chat, "one").await, world.say(&alice, chat, "two").await);
    let ids = [two.message_id, absent_message(), two.message_id];
    world.messages.mark_delivered(&carol, &ids, None).await.expect("passes over");
    world.messages.mark_delivered(&alice, &ids, None).await.expect("passes over");
    assert_eq!(status(&world, &alice, &two).await, Status::Sent);
    world.messages.mark_delivered(&bob, &ids, None).await.expect("is marked");
    // Exactly those named, not those before.
    assert_eq!((status(&world, &alice, &one).await, status(&world, &alice, &two).await), (Status::Sent, Status::Delivered));
}

#[tokio::test]
async fn without_read_receipts_neither_side_sees_a_read() {
    for silent_side in [0, 1] {
        let world = World::new().await;
        let (alice, bob, chat) = world.pair().await;
        set_read_receipts(&world, if silent_side == 0 { &alice } else { &bob }, false).await;
        let message = world.say(&alice, chat, "hello").await;
        world.read(&bob, &message).await;
        assert_eq!(status(&world, &alice, &message).await, Status::Delivered);
        assert_eq!(rows(&world, &alice, &message).await, [(bob.user_id, Status::Delivered, true, false)]);
        // The reader knows what they have read.
        assert_eq!(status(&world, &bob, &message).await, Status::Read);
        assert_eq!(world.chats.get(&bob, chat).await.expect("is shown").unread_count, 0);
        // Switched on again, it shows.
        set_read_receipts(&world, if silent_side == 0 { &alice } else { &bob }, true).await;
        assert_eq!(status(&world, &alice, &message).await, Status::Read);
    }
}

#[tokio::test]
async fn a_repeat_stores_nothing_and_gets_the_message_as_it_is_now() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let first = world.try_say(&alice, chat, "key", "hello").await.expect("is sent");
    world.read(&bob, &first.message).await;
    let again = world.try_say(&alice, chat, "key", "hello").await.expect("is a repeat");
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(again.message, MessageView { status: Status::Read, ..first.message });
    assert_eq!(world.bodies(&bob, chat).await, ["hello"]);
    // Another user's key is another key.
    assert!(!world.try_say(&bob, chat, "key", "hello").await.expect("is sent").duplicate);
}

#[tokio::test]
async fn a_key_is_good_for_one_message() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let carol = world.user(3).await;
    let other = world.direct(&alice, &carol).await;
    let message = world.try_say(&alice, chat, "key", "hello").await.expect("is sent").message;
    assert_eq!(refused(world.try_say(&alice, chat, "key", "hello!").await), "CONFLICT");
    assert_eq!(refused(world.try_say(&alice, other, "key", "hello").await), "CONFLICT");
    let reply = SendMessage { reply_to_message_id: Some(message.message_id), ..text(chat, "key", "hello") };
    assert_eq!(refused(world.messages.send(&alice, reply).await), "CONFLICT");
    assert_eq!(world.bodies(&bob, chat).await, ["hello"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_at_once_leave_no_gap_and_repeats_no_trace() {
    let world = Arc::new(World::new().await);
    let (alice, bob, chat) = world.pair().await;
    let sends: Vec<_> = (0..80)
        .map(|number| {
            let world = world.clone();
            let sender = if number % 2 == 0 { alice } else { bob };
            // Every key is sent four times, by the same sender.
            let key = format!("key {}", number / 8 * 2 + number % 2);
            tokio::spawn(async move { world.try_say(&sender, chat, &key, &key).await.expect("is sent") })
        })
        .collect();
    let mut new = BTreeSet::new();
    for send in sends {
        let sent = send.await.expect("ends");
        assert!(sent.duplicate || new.insert(sent.message.seq.get()));
    }
    assert_eq!(new, (1..=20).collect());
    let seqs: Vec<i64> = world.history(&alice, chat).await.iter().map(|message| message.seq.get()).collect();
    assert_eq!(seqs, (1..=20).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_blocked_send_is_accepted_and_never_shown() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    world.users.set_blocked(&bob, alice.user_id, true).await.expect("is blocked");
    let message = world.say(&alice, chat, "hello").await;
    assert_eq!(message.status, Status::Sent);
    assert_eq!(refused(world.try_say(&bob, chat, "key", "no").await), "USER_BLOCKED");
    for is_blocked in [true, false] {
        world.users.set_blocked(&bob, alice.user_id, is_blocked).await.expect("is set");
        assert_eq!(world.bodies(&bob, chat).await, Vec::<String>::new());
        let shown = world.chats.get(&bob, chat).await.expect("is shown");
        assert!(shown.unread_count == 0 && shown.last_message.is_none());
        assert!(world.messages.pending(&bob).await.expect("is told").messages.is_empty());
        assert_eq!(refused(world.messages.receipts(&bob, message.message_id).await), "MESSAGE_NOT_FOUND");
        assert_eq!(refused(world.messages.mark_read(&bob, Some(chat), Some(message.message_id), None).await), "MESSAGE_NOT_FOUND");
        // To its sender it looks like any message to a phone that is off.
        assert_eq!(rows(&world, &alice, &message).await, [(bob.user_id, Status::Sent, false, false)]);
    }
    // Even when the other side has long gone on.
    let later = world.say(&alice, chat, "are you there?").await;
    world.read(&bob, &later).await;
    assert_eq!((status(&world, &alice, &message).await, status(&world, &alice, &later).await), (Status::Sent, Status::Read));
    assert_eq!(world.bodies(&bob, chat).await, ["are you there?"]);
}

#[tokio::test]
async fn a_quote_does_not_show_what_was_withheld() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    world.users.set_blocked(&bob, alice.user_id, true).await.expect("is blocked");
    let secret = world.say(&alice, chat, "secret").await;
    world.users.set_blocked(&bob, alice.user_id, false).await.expect("is unblocked");
    let reply = SendMessage { reply_to_message_id: Some(secret.message_id), ..text(chat, "reply", "as I said") };
    let reply = world.messages.send(&alice, reply).await.expect("is sent").message;
    assert_eq!(reply.reply_to_preview.as_ref().map(|preview| preview.preview.as_str()), Some("secret"));
    assert_eq!(world.seen(&bob, &reply).await.expect("is visible").reply_to_preview, None);
}

#[tokio::test]
async fn whoever_blocked_meanwhile_still_learns_that_their_message_was_accepted() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let first = world.try_say(&alice, chat, "key", "hello").await.expect("is sent");
    world.users.set_blocked(&alice, bob.user_id, true).await.expect("is blocked");
    let again = world.try_say(&alice, chat, "key", "hello").await.expect("is a repeat");
    assert!(again.duplicate && again.message == first.message);
    for (key, body) in [("other", "hello"), ("key", "other")] {
        assert_eq!(refused(world.try_say(&alice, chat, key, body).await), "USER_BLOCKED");
    }
}

#[tokio::test]
async fn an_answer_quotes_a_message_of_the_same_chat_that_its_sender_can_see() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let carol = world.user(3).await;
    let elsewhere = world.direct(&alice, &carol).await;
    let elsewhere = world.say(&alice, elsewhere, "elsewhere").await;
    let asked = world.say(&bob, chat, "are you there?").await;
    let answer = |id: MessageId| SendMessage { reply_to_message_id: Some(id), ..text(chat, "answer", "yes") };
    for id in [elsewhere.message_id, absent_message()] {
        assert_eq!(bad_fields(world.messages.send(&alice, answer(id)).await), ["reply_to_message_id"]);
    }
    let sent = world.messages.send(&alice, answer(asked.message_id)).await.expect("is sent").message;
    let preview = sent.reply_to_preview.clone().expect("has a preview");
    assert_eq!((preview.message_id, preview.sender_name.as_str(), preview.preview.as_str()), (asked.message_id, "User 2", "are you there?"));
    assert_eq!(world.seen(&bob, &sent).await, Some(sent));
    // Hidden, it can be answered no more, and its line is gone for the one who hid it.
    world.messages.delete_for_me(&alice, asked.message_id, None).await.expect("is hidden");
    let another = SendMessage { client_msg_id: "another".to_owned(), ..answer(asked.message_id) };
    assert_eq!(bad_fields(world.messages.send(&alice, another).await), ["reply_to_message_id"]);
    assert!(world.messages.send(&alice, answer(asked.message_id)).await.expect("is a repeat").duplicate);
    assert_eq!(world.history(&alice, chat).await[0].reply_to_preview, None);
}

#[tokio::test]
async fn deleting_for_oneself_hides_it_from_nobody_else() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let (one, two) = (world.say(&bob, chat, "one").await, world.say(&bob, chat, "two").await);
    let hidden = world.messages.delete_for_me(&alice, two.message_id, None).await.expect("is hidden");
    assert_eq!((hidden.chat_id, hidden.seq, hidden.for_everyone), (chat, two.seq, false));
    assert!(hidden.rev > two.rev);
    assert_eq!(world.messages.delete_for_me(&alice, two.message_id, None).await.expect("changes nothing"), hidden);
    assert_eq!(world.bodies(&alice, chat).await, ["one"]);
    assert_eq!(world.bodies(&bob, chat).await, ["two", "one"]);
    let shown = world.chats.get(&alice, chat).await.expect("is shown");
    assert_eq!((shown.unread_count, shown.last_message.map(|last| last.message_id)), (1, Some(one.message_id)));
    // A cursor stays good though its message is hidden.
    let query = HistoryQuery { cursor: Some(two.message_id), ..HistoryQuery::default() };
    let page = world.messages.history(&alice, chat, query).await.expect("is shown");
    assert_eq!(page.messages.iter().map(body).collect::<Vec<_>>(), ["one"]);
}

#[tokio::test]
async fn history_pages_both_ways_without_loss_or_repeat() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let mut expected = Vec::new();
    for number in 1..=11 {
        expected.push(world.say(if number % 3 == 0 { &bob } else { &alice }, chat, &number.to_string()).await.seq.get());
    }
    for limit in [1, 2, 5, 10, 11, 12] {
        let (mut down, mut up) = (Vec::new(), Vec::new());
        let mut query = HistoryQuery { limit: Some(limit), ..HistoryQuery::default() };
        loop {
            let page = world.messages.history(&alice, chat, query).await.expect("is shown");
            down.extend(page.messages.iter().map(|message| message.seq.get()));
            assert_eq!(page.has_more, page.next_cursor.is_some());
            let Some(cursor) = page.next_cursor else { break };
            query.cursor = Some(cursor.parse().expect("is a message id"));
        }
        let mut query = HistoryQuery { limit: Some(limit), after_seq: Some(-7), cursor: Some(absent_message()) };
        loop {
            let page = world.messages.history(&alice, chat, query).await.expect("is shown");
            up.extend(page.messages.iter().map(|message| message.seq.get()));
            let Some(cursor) = page.next_cursor else { break };
            query.after_seq = Some(cursor.parse().expect("is a seq"));
        }
        down.reverse();
        assert_eq!((&down, &up), (&expected, &expected), "pages of {limit}");
    }
    let all = HistoryQuery { limit: Some(i64::MAX), after_seq: Some(i64::MAX), ..HistoryQuery::default() };
    assert!(world.messages.history(&alice, chat, all).await.expect("is shown").messages.is_empty());
}

#[tokio::test]
async fn what_waits_is_told_on_connect_up_to_a_limit_and_the_rest_announced() {
    let world = World::with(Limits { connect_backlog: 3, ..Limits::default() }).await;
    let (alice, bob, chat) = world.pair().await;
    let mut sent = Vec::new();
    for body in ["one", "two", "three", "four"] {
        sent.push(world.say(&alice, chat, body).await.message_id);
    }
    let pending = world.messages.pending(&bob).await.expect("is told");
    assert_eq!(pending.messages.iter().map(|message| message.message_id).collect::<Vec<_>>(), sent[..3]);
    assert_eq!(pending.more_in, [chat]);
    world.messages.mark_delivered(&bob, &sent[..3], None).await.expect("is marked");
    let pending = world.messages.pending(&bob).await.expect("is told");
    assert_eq!((pending.messages.iter().map(body).collect::<Vec<_>>(), pending.more_in), (vec!["four".to_owned()], vec![]));
    world.read(&bob, &pending.messages[0]).await;
    assert!(world.messages.pending(&bob).await.expect("is told").messages.is_empty());
    assert!(world.messages.pending(&alice).await.expect("is told").messages.is_empty(), "one's own messages do not wait");
}
