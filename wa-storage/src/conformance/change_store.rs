//! The contract of `ChangeStore`.

use std::time::Duration;

use wa_core::event::Fact;
use wa_core::message::{Fingerprint, MessageView, Rev, Source};
use wa_core::ports::{Change, Edit, Forward, Forwarded, NewMessage, Outcome, Reply, Revision};
use wa_core::receipt::Status;

use super::Subject;
use super::people::{made, text};

pub(super) fn edit(body: &str) -> Edit {
    Edit { content: text(body), withheld_from: None, reply: None }
}

/// Case.
pub async fn an_edit_takes_the_next_rev_and_leaves_one_event(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let question = s.send(chat, b, "a question").await;
    let sent = s.send(chat, a, "an answer").await;
    s.react(&sent, b, "👍").await;
    s.star(&sent, b, true).await;
    let before = s.chats.get(a, &[chat]).await.expect("read")[0].chat.rev;
    s.outbox.drain().await;
    s.env.advance(Duration::from_secs(5));
    let change = Change { origin: Some(s.id()), ..s.change(&sent, a).await };
    let reply = Reply { preview: question.reply_preview("Somebody".to_owned()), at: question.located() };
    let new = Edit { reply: Some(reply.clone()), ..edit("a better answer") };
    let edited = made(s.changes.edit(change, new).await.expect("answered"));
    assert_eq!((edited.content.as_ref(), edited.edited_at, edited.rev), (Some(&text("a better answer")), Some(s.now()), before.next()));
    assert_eq!((edited.seq, edited.created_at, edited.updated_at), (sent.seq, sent.created_at, s.now()));
    for user in [a, b] {
        assert_eq!(s.look(&sent, user).await, Some(edited.clone()));
    }
    assert_eq!(s.chats.get(a, &[chat]).await.expect("read")[0].chat.rev, edited.rev);
    let events = s.outbox.drain().await;
    let [event] = events.as_slice() else { panic!("expected one event, got {events:?}") };
    assert_eq!((event.id, event.at), (change.event_id, s.now()));
    let Fact::MessageEdited(fact) = &event.fact else { panic!("expected an edit, got {event:?}") };
    let reactions = s.added(&sent, a).await.reactions;
    assert_eq!(reactions.len(), 1);
    assert_eq!(*fact.message, MessageView { reactions, ..MessageView::of(&edited, Status::Sent, Some(reply.preview)) });
    assert_eq!((fact.answered, fact.withheld_from, fact.origin), (Some(question.located()), None, change.origin));
    assert_eq!((&fact.starred_by, fact.withheld_reactions.len()), (&vec![b], 0));
    assert!(fact.hidden_by.is_empty());
}

/// Case.
pub async fn an_edit_that_changes_nothing_writes_nothing(s: &Subject) {
    let (a, _, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    // The first edit shows, also when it says the same.
    let edited = s.edit(&sent, "hello").await;
    s.outbox.drain().await;
    let again = s.changes.edit(s.change(&sent, a).await, edit("hello")).await.expect("answered");
    assert_eq!(again, Outcome::Unchanged(edited.clone()));
    assert!(s.facts().await.is_empty());
    assert_eq!(s.chats.get(a, &[chat]).await.expect("read")[0].chat.rev, edited.rev);
}

/// Case.
pub async fn an_edit_withheld_from_somebody_is_its_senders_alone(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "before").await;
    s.outbox.drain().await;
    let withheld = Edit { withheld_from: Some(b), ..edit("after") };
    let edited = made(s.changes.edit(s.change(&sent, a).await, withheld).await.expect("answered"));
    assert_eq!(s.look(&sent, a).await, Some(edited.clone()));
    let seen = s.look(&sent, b).await.expect("it is still there");
    assert_eq!((seen.content, seen.edited_at), (sent.content.clone(), None));
    let facts = s.facts().await;
    assert!(matches!(facts.as_slice(), [Fact::MessageEdited(fact)] if fact.withheld_from == Some(b)), "{facts:?}");
    let of = |user| async move { s.messages.summaries(&[s.viewer(chat, user)]).await.expect("read").remove(0).last_message };
    assert_eq!((of(a).await.and_then(|m| m.content), of(b).await.and_then(|m| m.content)), (Some(text("after")), Some(text("before"))));
    let of = |user| async move { s.messages.changed(&s.viewer(chat, user), sent.rev, 10).await.expect("read").messages.remove(0).content };
    assert_eq!((of(a).await, of(b).await), (Some(text("after")), Some(text("before"))));
    // The same again, for everybody.
    let shown = made(s.changes.edit(s.change(&sent, a).await, edit("after")).await.expect("answered"));
    assert_eq!(s.look(&sent, b).await, Some(shown));
}

/// Case.
pub async fn a_deletion_leaves_a_tombstone_without_content_reactions_and_stars(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    s.react(&sent, b, "👍").await;
    s.star(&sent, b, true).await;
    s.outbox.drain().await;
    let change = Change { origin: Some(s.id()), ..s.change(&sent, b).await };
    let before = s.chats.get(a, &[chat]).await.expect("read")[0].chat.rev;
    let deleted = made(s.changes.delete(change).await.expect("answered"));
    assert_eq!(deleted, Revision { seq: sent.seq, rev: before.next() });
    for user in [a, b] {
        let tombstone = s.look(&sent, user).await.expect("its place stays");
        assert_eq!((tombstone.content, tombstone.kind, tombstone.seq, tombstone.rev), (None, sent.kind, sent.seq, deleted.rev));
        let added = s.added(&sent, user).await;
        assert!(added.reactions.is_empty() && !added.is_starred);
    }
    assert!(s.annotations.starred(b, s.now(), None, 10).await.expect("read").is_empty());
    assert_eq!(s.messages.summaries(&[s.viewer(chat, b)]).await.expect("read")[0].unread, 0);
    let events = s.outbox.drain().await;
    let [event] = events.as_slice() else { panic!("expected one event, got {events:?}") };
    let Fact::MessageDeleted(fact) = &event.fact else { panic!("expected a deletion, got {event:?}") };
    assert_eq!((event.id, fact.message_id, fact.deleted_by, fact.for_everyone, fact.origin), (change.event_id, sent.id, b, true, change.origin));
    assert_eq!((fact.seq, fact.rev, fact.withheld_from), (deleted.seq, deleted.rev, None));
    assert_eq!(s.messages.changed(&s.viewer(chat, b), before, 10).await.expect("read").messages.len(), 1);
}

/// Case.
pub async fn deleting_twice_changes_nothing(s: &Subject) {
    let (a, _, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    let deleted = s.delete(&sent).await;
    s.outbox.drain().await;
    assert_eq!(s.changes.delete(s.change(&sent, a).await).await.expect("answered"), Outcome::Unchanged(deleted));
    assert!(s.facts().await.is_empty());
}

/// Case.
pub async fn a_tombstone_is_changed_no_more(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    let deleted = s.delete(&sent).await;
    s.outbox.drain().await;
    assert_eq!(s.changes.edit(s.change(&sent, a).await, edit("again")).await.expect("answered"), Outcome::Deleted);
    let emoji = wa_core::emoji::Emoji::parse("👍");
    assert_eq!(s.annotations.react(s.change(&sent, b).await, emoji, None).await.expect("answered"), Outcome::Deleted);
    assert_eq!(s.annotations.star(s.change(&sent, b).await, true).await.expect("answered"), Outcome::Deleted);
    assert_eq!(s.changes.forward(forward(s, &sent, vec![s.message(chat, a, text("on")).await]).await).await.expect("answered"), Forwarded::Deleted);
    assert!(s.facts().await.is_empty());
    assert_eq!(s.chats.get(a, &[chat]).await.expect("read")[0].chat.rev, deleted.rev);
    // A repeat of the message still finds it.
    let again = NewMessage { client_msg_id: sent.client_msg_id.clone(), ..s.message(chat, a, text("hello")).await };
    assert!(matches!(s.messages.append(again).await.expect("answered"), wa_core::ports::Appended::Duplicate(message) if message.is_deleted()));
}

/// Case.
pub async fn a_change_on_an_old_membership_writes_nothing(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    let old = s.change(&sent, a).await;
    let new = s.message(chat, a, text("on")).await;
    s.contacts.set_blocked(b, a, true, s.now()).await.expect("blocked");
    s.outbox.drain().await;
    assert_eq!(s.changes.edit(old, edit("too late")).await.expect("answered"), Outcome::MembershipChanged);
    assert_eq!(s.changes.delete(old).await.expect("answered"), Outcome::MembershipChanged);
    let emoji = wa_core::emoji::Emoji::parse("👍");
    assert_eq!(s.annotations.react(old, emoji, None).await.expect("answered"), Outcome::MembershipChanged);
    assert_eq!(s.annotations.star(old, true).await.expect("answered"), Outcome::MembershipChanged);
    let by_source = Forward { membership_version: old.membership_version, ..forward(s, &sent, vec![s.message(chat, a, text("on")).await]).await };
    assert_eq!(s.changes.forward(by_source).await.expect("answered"), Forwarded::MembershipChanged);
    assert_eq!(s.changes.forward(forward(s, &sent, vec![new]).await).await.expect("answered"), Forwarded::MembershipChanged);
    assert!(s.facts().await.is_empty());
    assert_eq!(s.look(&sent, b).await, Some(sent.clone()));
    assert_eq!(s.seen(&s.viewer(chat, a)).await, [1]);
}

/// Case.
pub async fn a_message_that_cannot_be_seen_is_not_changed(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let mut passing = s.message(chat, a, text("passing")).await;
    passing.expires_at = Some(s.now().after(Duration::from_secs(1)));
    let (hidden, passing) = (s.send(chat, a, "hidden").await, s.append(passing).await);
    let mut withheld = s.message(chat, b, text("withheld")).await;
    withheld.withheld_from = Some(a);
    let withheld = s.append(withheld).await;
    s.messages.hide(&s.viewer(chat, a), hidden.id, s.id(), None).await.expect("answered").expect("hidden");
    s.env.advance(Duration::from_secs(1));
    s.outbox.drain().await;
    for unseen in [&hidden, &passing, &withheld] {
        let change = s.change(unseen, a).await;
        assert_eq!(s.changes.edit(change, edit("no")).await.expect("answered"), Outcome::Absent);
        assert_eq!(s.changes.delete(change).await.expect("answered"), Outcome::Absent);
        let emoji = wa_core::emoji::Emoji::parse("👍");
        assert_eq!(s.annotations.react(change, emoji, None).await.expect("answered"), Outcome::Absent);
        assert_eq!(s.annotations.star(change, true).await.expect("answered"), Outcome::Absent);
        let on = Forward { viewer: change.viewer, ..forward(s, unseen, vec![s.message(chat, a, text("on")).await]).await };
        assert_eq!(s.changes.forward(on).await.expect("answered"), Forwarded::Absent);
    }
    let absent = Change { message_id: s.id(), ..s.change(&hidden, b).await };
    assert_eq!(s.changes.delete(absent).await.expect("answered"), Outcome::Absent);
    assert!(s.facts().await.is_empty());
}

async fn forward(s: &Subject, source: &wa_core::message::Message, messages: Vec<NewMessage>) -> Forward {
    let viewer = s.viewer(source.chat_id, source.sender_id);
    Forward { viewer, message_id: source.id, membership_version: s.membership(source.chat_id).await.version, messages }
}

/// Case.
pub async fn a_forward_reaches_all_its_chats_or_none(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let (c, d) = (s.user().await, s.user().await);
    let (one, two) = (s.chat_of(a, c).await.id, s.chat_of(a, d).await.id);
    let source = s.send(chat, b, "pass it on").await;
    let from = Source { chat_id: chat, message_id: source.id };
    let mut new = Vec::new();
    for target in [one, two, chat] {
        let message = s.message(target, a, text("pass it on")).await;
        new.push(NewMessage { forwarded_from: Some(from), fingerprint: Fingerprint::of_forward(target, source.id), ..message });
    }
    s.contacts.set_blocked(d, a, true, s.now()).await.expect("blocked");
    s.outbox.drain().await;
    let all = Forward { viewer: s.viewer(chat, a), ..forward(s, &source, new.clone()).await };
    assert_eq!(s.changes.forward(all.clone()).await.expect("answered"), Forwarded::MembershipChanged);
    assert_eq!((s.seen(&s.viewer(one, a)).await, s.seen(&s.viewer(two, a)).await.len(), s.facts().await.len()), (vec![], 0, 0));
    new[1].membership_version = s.membership(two).await.version;
    let stored: Vec<_> = new.iter().map(|message| (message.chat_id, message.id)).collect();
    assert_eq!(s.changes.forward(Forward { messages: new, ..all }).await.expect("answered"), Forwarded::Made(stored));
    for target in [one, two, chat] {
        let newest = s.messages.page(&s.viewer(target, a), wa_core::ports::Page::Newest, 1).await.expect("read").remove(0);
        assert_eq!((newest.forwarded_from, newest.content), (Some(from), Some(text("pass it on"))));
    }
    let facts = s.facts().await;
    assert!(facts.len() == 3 && facts.iter().all(|fact| matches!(fact, Fact::MessageNew(_))), "{facts:?}");
}

/// Case.
pub async fn a_repeated_forward_stores_nothing_new(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let source = s.send(chat, b, "pass it on").await;
    let message = NewMessage { fingerprint: Fingerprint::of_forward(chat, source.id), ..s.message(chat, a, text("pass it on")).await };
    let once = Forward { viewer: s.viewer(chat, a), ..forward(s, &source, vec![message.clone()]).await };
    let stored = s.changes.forward(once.clone()).await.expect("answered");
    assert_eq!(stored, Forwarded::Made(vec![(chat, message.id)]));
    s.outbox.drain().await;
    // The source may say something else by now.
    let again = NewMessage { id: s.id(), event_id: s.id(), content: text("changed"), ..message.clone() };
    assert_eq!(s.changes.forward(Forward { messages: vec![again.clone()], ..once.clone() }).await.expect("answered"), stored);
    let other = NewMessage { fingerprint: Fingerprint::of_forward(chat, s.id()), ..again };
    assert_eq!(s.changes.forward(Forward { messages: vec![other], ..once }).await.expect("answered"), Forwarded::KeyConflict);
    assert!(s.facts().await.is_empty());
    assert_eq!(s.seen(&s.viewer(chat, a)).await, [1, 2]);
}

/// Case.
pub async fn expired_messages_are_deleted_with_all_that_hangs_on_them(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let expiring = |seconds| {
        async move |body: &str| {
            let message = s.message(chat, a, text(body)).await;
            s.append(NewMessage { expires_at: Some(s.now().after(Duration::from_secs(seconds))), ..message }).await
        }
    };
    let (first, later) = (expiring(60)("first").await, expiring(61)("later").await);
    let lasting = s.send(chat, a, "lasting").await;
    for message in [&first, &later, &lasting] {
        s.env.advance(Duration::from_millis(1));
        s.react(message, b, "👍").await;
        s.star(message, b, true).await;
    }
    s.messages.hide(&s.viewer(chat, a), first.id, s.id(), None).await.expect("answered").expect("hidden");
    let rev = s.chats.get(a, &[chat]).await.expect("read")[0].chat.rev;
    s.outbox.drain().await;
    assert_eq!(s.changes.expire(s.now(), 10).await.expect("answered"), 0);
    s.env.advance(Duration::from_secs(60));
    assert_eq!(s.changes.expire(s.now(), 10).await.expect("answered"), 1);
    assert_eq!(s.seen(&s.viewer(chat, b)).await, [2, 3]);
    assert_eq!(s.changes.expire(s.now(), 10).await.expect("answered"), 0);
    assert_eq!((s.chats.get(a, &[chat]).await.expect("read")[0].chat.rev, s.facts().await.len()), (rev, 0), "it is no change that is announced");
    let starred = s.annotations.starred(b, s.now(), None, 10).await.expect("read");
    assert_eq!(starred.iter().map(|starred| starred.message.id).collect::<Vec<_>>(), [lasting.id, later.id]);
    assert_eq!(s.added(&first, b).await, wa_core::ports::Annotations::default());
    // Nothing of it is left that another message at its place could inherit, and its key is free again.
    assert!(s.messages.changed(&s.viewer(chat, a), Rev::ZERO, 10).await.expect("read").hidden.is_empty());
    let again = NewMessage { client_msg_id: first.client_msg_id.clone(), ..s.message(chat, a, text("again")).await };
    assert_eq!(s.append(again).await.seq.get(), 4, "its place is not given away again");
    assert_eq!(s.seen(&s.viewer(chat, b)).await, [2, 3, 4]);
}

/// Case.
pub async fn expiry_takes_no_more_than_the_limit(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    for number in 0..5 {
        let message = s.message(chat, a, text(&number.to_string())).await;
        s.append(NewMessage { expires_at: Some(s.now().after(Duration::from_secs(1))), ..message }).await;
    }
    s.env.advance(Duration::from_secs(1));
    let mut taken = Vec::new();
    for _ in 0..4 {
        assert!(s.seen(&s.viewer(chat, b)).await.is_empty(), "they are not seen before either");
        taken.push(s.changes.expire(s.now(), 2).await.expect("answered"));
    }
    assert_eq!(taken, [2, 2, 1, 0]);
}
