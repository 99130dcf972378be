//! The contract of `MessageStore`.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use wa_core::chat::Membership;
use wa_core::event::Fact;
use wa_core::id::MediaId;
use wa_core::message::{Audio, Content, Document, Fingerprint, Location, Mention, MessageView, Picture, ReplyPreview, Rev, Seq, Source, System, Text};
use wa_core::ports::{Appended, NewMessage, Page, Reply, Viewer};
use wa_core::receipt::Status;

use super::Subject;
use super::people::{ids, seqs, text};

/// Case.
pub async fn the_first_message_of_a_chat_takes_seq_one(s: &Subject) {
    let (a, _, chat) = s.direct().await;
    let first = s.send(chat, a, "hello").await;
    assert_eq!(first.seq, Seq::new(1));
    let located = s.messages.locate(&[first.id, s.id(), first.id]).await.expect("places are found");
    assert_eq!(located.iter().map(|place| (place.message_id, place.seq)).collect::<Vec<_>>(), [(first.id, first.seq); 2], "in the order asked for");
}

/// Case.
pub async fn concurrent_appends_leave_no_gap_and_no_repeat(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let (_, _, other) = s.direct().await;
    let writers = (0..8).map(|writer| async move {
        let sender = if writer % 2 == 0 { a } else { b };
        let mut taken = Vec::new();
        for number in 0..25 {
            let message = s.send(chat, sender, &format!("{writer}.{number}")).await;
            taken.push((message.seq.get(), message.rev.get()));
        }
        taken
    });
    let taken: Vec<(i64, i64)> = join_all(writers).await.concat();
    let of_one_writer_rise = taken.chunks(25).all(|taken| taken.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(of_one_writer_rise, "what is sent later stands later");
    assert_eq!(taken.iter().map(|(seq, _)| *seq).collect::<BTreeSet<_>>(), (1..=200).collect());
    assert_eq!(taken.iter().map(|(_, rev)| *rev).collect::<BTreeSet<_>>().len(), 200);
    assert_eq!(s.seen(&s.viewer(chat, a)).await, (1..=200).collect::<Vec<_>>());
    assert_eq!(s.seen(&s.viewer(other, a)).await, [0; 0]);
}

/// Case.
pub async fn a_retried_append_stores_nothing_new(s: &Subject) {
    let (a, _, chat) = s.direct().await;
    let new = s.message(chat, a, text("once")).await;
    let stored = s.append(new.clone()).await;
    s.outbox.drain().await;
    let retry = |new: &NewMessage| NewMessage { id: s.id(), event_id: s.id(), ..new.clone() };
    assert_eq!(s.messages.append(retry(&new)).await.expect("answered"), Appended::Duplicate(stored.clone()));
    // Also when the first try and its repeats come at the same moment.
    let twin = s.message(chat, a, text("at once")).await;
    let answers = join_all((0..6).map(|_| s.messages.append(retry(&twin)))).await;
    let (mut first, mut repeats) = (Vec::new(), Vec::new());
    for answer in answers {
        match answer.expect("answered") {
            Appended::Stored(message) => first.push(message),
            Appended::Duplicate(message) => repeats.push(message),
            other => panic!("expected the message, got {other:?}"),
        }
    }
    assert_eq!(first.len(), 1);
    assert_eq!(repeats, vec![first[0].clone(); 5]);
    assert_eq!(s.seen(&s.viewer(chat, a)).await, [1, 2]);
    assert_eq!(s.facts().await.len(), 1);
}

/// Case.
pub async fn a_repeat_is_answered_whatever_the_membership(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let new = s.message(chat, a, text("accepted")).await;
    let stored = s.append(new.clone()).await;
    s.contacts.set_blocked(a, b, true, s.now()).await.expect("blocked");
    for version in [new.membership_version, Membership::NO_VERSION] {
        let repeat = NewMessage { id: s.id(), event_id: s.id(), membership_version: version, ..new.clone() };
        assert_eq!(s.messages.append(repeat).await.expect("answered"), Appended::Duplicate(stored.clone()));
    }
    let fresh = NewMessage { membership_version: Membership::NO_VERSION, ..s.message(chat, a, text("only asking")).await };
    assert_eq!(s.messages.append(fresh).await.expect("answered"), Appended::MembershipChanged);
    assert_eq!(s.seen(&s.viewer(chat, a)).await, [1]);
}

/// Case.
pub async fn a_key_used_for_another_message_is_a_conflict(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let c = s.user().await;
    let elsewhere = s.chat_of(a, c).await.id;
    let _ = b;
    let mut first = s.message(chat, a, text("one")).await;
    first.client_msg_id = "key".to_owned();
    s.append(first).await;
    for (chat, body) in [(chat, "another"), (elsewhere, "one")] {
        let mut other = s.message(chat, a, text(body)).await;
        other.client_msg_id = "key".to_owned();
        assert_eq!(s.messages.append(other).await.expect("answered"), Appended::KeyConflict);
    }
    assert_eq!(s.seen(&s.viewer(chat, a)).await, [1]);
    assert_eq!(s.seen(&s.viewer(elsewhere, a)).await, [0; 0]);
}

/// Case.
pub async fn keys_of_different_senders_do_not_meet(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    for (sender, seq) in [(a, 1), (b, 2)] {
        let mut message = s.message(chat, sender, text("same key")).await;
        message.client_msg_id = "key".to_owned();
        assert_eq!(s.append(message).await.seq, Seq::new(seq));
    }
}

/// Case.
pub async fn an_append_on_an_old_membership_stores_nothing(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let decided_before = s.message(chat, a, text("too late")).await;
    s.contacts.set_blocked(b, a, true, s.now()).await.expect("blocked");
    s.outbox.drain().await;
    assert_eq!(s.messages.append(decided_before.clone()).await.expect("answered"), Appended::MembershipChanged);
    let mut of_no_chat = decided_before.clone();
    of_no_chat.chat_id = s.id();
    assert_eq!(s.messages.append(of_no_chat).await.expect("answered"), Appended::MembershipChanged);
    assert!(s.facts().await.is_empty());
    let mut decided_again = s.message(chat, a, text("too late")).await;
    decided_again.client_msg_id = decided_before.client_msg_id;
    assert_eq!(s.append(decided_again).await.seq, Seq::new(1), "the refusal took no place and kept no key");
}

/// Case.
pub async fn every_append_takes_the_next_rev(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let before = s.chats.get(a, &[chat]).await.expect("read")[0].chat.clone();
    let first = s.send(chat, a, "one").await;
    s.messages.hide(&s.viewer(chat, b), first.id, s.id(), None).await.expect("hidden");
    s.env.advance(Duration::from_secs(1));
    let second = s.send(chat, b, "two").await;
    let after = s.chats.get(a, &[chat]).await.expect("read")[0].chat.clone();
    assert_eq!([first.rev.get(), second.rev.get()], [before.rev.get() + 1, before.rev.get() + 3]);
    assert_eq!((after.rev, after.last_seq, after.last_activity_at), (second.rev, second.seq, s.now()));
}

/// Case.
pub async fn a_stored_message_leaves_one_event(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let answered = s.send(chat, b, "a question").await;
    s.outbox.drain().await;
    let mut new = s.message(chat, a, text("an answer")).await;
    let reply =
        ReplyPreview { message_id: answered.id, sender_id: b, sender_name: "Somebody".to_owned(), kind: answered.kind, preview: "a question".to_owned() };
    new.reply_to = Some(Reply { preview: reply.clone(), at: answered.located() });
    new.origin = Some(s.id());
    let stored = s.append(new.clone()).await;
    let events = s.outbox.drain().await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].id, events[0].at), (new.event_id, new.created_at));
    let Fact::MessageNew(fact) = &events[0].fact else { panic!("expected a new message, got {:?}", events[0]) };
    assert_eq!(*fact.message, MessageView::of(&stored, Status::Sent, Some(reply)));
    assert_eq!((fact.chat_kind, fact.origin, fact.withheld_from), (new.chat_kind, new.origin, None));
    assert_eq!((&fact.sender_name, fact.answered), (&new.sender_name, Some(answered.located())));
    assert!(s.outbox.drain().await.is_empty(), "and not twice");
}

/// Case.
pub async fn a_page_is_ordered_and_bounded(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 7).await;
    let viewer = s.viewer(chat, b);
    let page = |page, limit| {
        let messages = &s.messages;
        async move { messages.page(&viewer, page, limit).await.expect("a page is read") }
    };
    assert_eq!(page(Page::Newest, 3).await, [sent[6].clone(), sent[5].clone(), sent[4].clone()]);
    assert_eq!(seqs(&page(Page::Before(Seq::new(5)), 3).await), [4, 3, 2]);
    assert_eq!(seqs(&page(Page::Before(Seq::new(2)), 3).await), [1]);
    assert_eq!(seqs(&page(Page::Before(Seq::new(1)), 3).await), [0; 0]);
    assert_eq!(seqs(&page(Page::Newest, 100).await), [7, 6, 5, 4, 3, 2, 1]);
    let mut some = s.messages.get(&viewer, &[sent[1].id, sent[5].id, s.id()]).await.expect("messages are read");
    some.sort_by_key(|message| message.seq);
    assert_eq!(some, [sent[1].clone(), sent[5].clone()]);
}

/// Case.
pub async fn a_page_after_a_seq_is_oldest_first(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    s.send_many(chat, a, 5).await;
    let viewer = s.viewer(chat, b);
    for (after, limit, expected) in [(0, 2, vec![1, 2]), (2, 2, vec![3, 4]), (4, 2, vec![5]), (5, 2, vec![]), (0, 100, vec![1, 2, 3, 4, 5])] {
        let page = s.messages.page(&viewer, Page::After(Seq::new(after)), limit).await.expect("a page is read");
        assert_eq!(seqs(&page), expected, "after {after}");
    }
}

/// Case.
pub async fn a_viewer_sees_only_what_stands_above_their_joining(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 4).await;
    let joined_late = Viewer { above: Seq::new(2), ..s.viewer(chat, b) };
    assert_eq!(s.seen(&joined_late).await, [3, 4]);
    let got = s.messages.get(&joined_late, &ids(&sent)).await.expect("messages are read");
    assert_eq!(seqs(&got).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([3, 4]));
    let changed = s.messages.changed(&joined_late, Rev::ZERO, 100).await.expect("changes are read");
    assert_eq!(seqs(&changed.messages), [3, 4]);
    let summary = &s.messages.summaries(&[joined_late]).await.expect("summaries are read")[0];
    assert_eq!(summary.unread, 2);
    let joined_last = Viewer { above: Seq::new(4), ..joined_late };
    let summary = &s.messages.summaries(&[joined_last]).await.expect("summaries are read")[0];
    assert_eq!((summary.unread, summary.last_message.as_ref()), (0, None));
    assert_eq!(s.messages.hide(&joined_late, sent[0].id, s.id(), None).await.expect("answered"), None, "what is not seen cannot be hidden");
}

/// Case.
pub async fn a_withheld_message_is_never_shown_to_whom_it_is_withheld_from(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let before = s.send(chat, a, "before").await;
    let mut new = s.message(chat, a, text("withheld")).await;
    new.withheld_from = Some(b);
    let withheld = s.append(new).await;
    assert_eq!(withheld.withheld_from, Some(b));
    let facts = s.facts().await;
    let Some(Fact::MessageNew(fact)) = facts.last() else { panic!("expected a new message, got {facts:?}") };
    assert_eq!(fact.withheld_from, Some(b));
    assert_eq!(s.seen(&s.viewer(chat, a)).await, [1, 2]);
    let viewer = s.viewer(chat, b);
    assert_eq!(s.seen(&viewer).await, [1]);
    assert!(s.messages.get(&viewer, &[withheld.id]).await.expect("read").is_empty());
    let changed = s.messages.changed(&viewer, Rev::ZERO, 100).await.expect("read");
    assert_eq!((changed.messages, changed.complete_to), (vec![before.clone()], withheld.rev));
    assert_eq!(s.messages.undelivered(b, s.now(), 100).await.expect("read").messages, vec![before.clone()]);
    let summary = &s.messages.summaries(&[viewer]).await.expect("read")[0];
    assert_eq!((summary.unread, summary.last_message.as_ref()), (1, Some(&before)));
    assert_eq!(s.messages.locate(&[withheld.id]).await.expect("read")[0].withheld_from, Some(b));
}

/// Case.
pub async fn an_expired_message_is_not_shown(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let lasting = s.send(chat, a, "lasting").await;
    let mut new = s.message(chat, a, text("passing")).await;
    new.expires_at = Some(s.now().after(Duration::from_secs(60)));
    let passing = s.append(new).await;
    assert_eq!(s.seen(&s.viewer(chat, b)).await, [1, 2]);
    s.env.advance(Duration::from_secs(60));
    let viewer = s.viewer(chat, b);
    assert_eq!(s.seen(&viewer).await, [1]);
    assert!(s.messages.get(&viewer, &[passing.id]).await.expect("read").is_empty());
    assert_eq!(s.messages.changed(&viewer, Rev::ZERO, 100).await.expect("read").messages, vec![lasting.clone()]);
    assert_eq!(s.messages.undelivered(b, s.now(), 100).await.expect("read").messages, vec![lasting.clone()]);
    let summary = &s.messages.summaries(&[viewer]).await.expect("read")[0];
    assert_eq!((summary.unread, summary.last_message.as_ref()), (1, Some(&lasting)));
}

/// Case.
pub async fn a_hidden_message_is_hidden_for_its_user_only(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 2).await;
    s.outbox.drain().await;
    let (viewer, event_id, origin) = (s.viewer(chat, b), s.id(), Some(s.id()));
    let hidden = s.messages.hide(&viewer, sent[1].id, event_id, origin).await.expect("answered").expect("it was not hidden before");
    assert_eq!((hidden.seq, hidden.rev), (sent[1].seq, sent[1].rev.next()));
    assert_eq!(s.seen(&viewer).await, [1]);
    assert_eq!(s.seen(&s.viewer(chat, a)).await, [1, 2]);
    assert!(s.messages.get(&viewer, &[sent[1].id]).await.expect("read").is_empty());
    let summary = &s.messages.summaries(&[viewer]).await.expect("read")[0];
    assert_eq!((summary.unread, summary.last_message.as_ref()), (1, Some(&sent[0])));
    assert_eq!(s.messages.undelivered(b, s.now(), 100).await.expect("read").messages, vec![sent[0].clone()]);
    let theirs = s.messages.changed(&viewer, sent[1].rev, 100).await.expect("read");
    assert_eq!((theirs.messages, theirs.hidden, theirs.complete_to), (vec![], vec![sent[1].id], hidden.rev));
    let others = s.messages.changed(&s.viewer(chat, a), sent[1].rev, 100).await.expect("read");
    assert_eq!((others.messages, others.hidden, others.complete_to), (vec![], vec![], hidden.rev));
    let events = s.outbox.drain().await;
    let [event] = events.as_slice() else { panic!("expected one event, got {events:?}") };
    let Fact::MessageDeleted(deleted) = &event.fact else { panic!("expected a deletion, got {event:?}") };
    assert_eq!((event.id, deleted.message_id, deleted.deleted_by, deleted.for_everyone, deleted.origin), (event_id, sent[1].id, b, false, origin));
    assert_eq!((deleted.seq, deleted.rev), (hidden.seq, hidden.rev));
}

/// Case.
pub async fn hiding_twice_changes_nothing(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    let viewer = s.viewer(chat, b);
    let hidden = s.messages.hide(&viewer, sent.id, s.id(), None).await.expect("answered").expect("it can be seen");
    let rev = s.chats.get(a, &[chat]).await.expect("read")[0].chat.rev;
    s.outbox.drain().await;
    assert_eq!(s.messages.hide(&viewer, sent.id, s.id(), None).await.expect("answered"), Some(hidden));
    assert_eq!(s.messages.hide(&viewer, s.id(), s.id(), None).await.expect("answered"), None);
    assert_eq!(s.chats.get(a, &[chat]).await.expect("read")[0].chat.rev, rev);
    assert!(s.facts().await.is_empty());
}

/// Case.
pub async fn changes_come_in_the_order_of_their_rev(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 3).await;
    let viewer = s.viewer(chat, b);
    let all = s.messages.changed(&viewer, Rev::ZERO, 100).await.expect("read");
    assert_eq!((all.messages.clone(), all.complete_to, all.limited), (sent.clone(), sent[2].rev, false));
    assert!(all.messages.windows(2).all(|pair| pair[0].rev < pair[1].rev));
    let later = s.messages.changed(&viewer, sent[0].rev, 100).await.expect("read");
    assert_eq!(later.messages, sent[1..]);
    let none = s.messages.changed(&viewer, sent[2].rev, 100).await.expect("read");
    assert_eq!((none.messages.len(), none.complete_to, none.limited), (0, sent[2].rev, false));
}

/// Case.
pub async fn a_limited_answer_continues_without_loss(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 7).await;
    let viewer = s.viewer(chat, b);
    for hide in [1, 3, 4, 5] {
        s.messages.hide(&viewer, sent[hide].id, s.id(), None).await.expect("hidden");
    }
    let newest = s.send(chat, b, "after hiding").await;
    for limit in 1..=6 {
        let (mut since, mut messages, mut hidden, mut rounds) = (Rev::ZERO, Vec::new(), Vec::new(), 0);
        loop {
            let part = s.messages.changed(&viewer, since, limit).await.expect("read");
            assert!(part.messages.len() <= limit, "limit {limit}");
            assert!(part.messages.iter().all(|message| message.rev > since && message.rev <= part.complete_to), "limit {limit}");
            messages.extend(ids(&part.messages));
            hidden.extend(part.hidden);
            rounds += 1;
            assert!(rounds < 50, "limit {limit} makes no headway at {since}");
            if !part.limited {
                assert_eq!(part.complete_to, newest.rev);
                break;
            }
            assert!(part.complete_to > since, "limit {limit}");
            since = part.complete_to;
        }
        assert_eq!(messages, [sent[0].id, sent[2].id, sent[6].id, newest.id], "limit {limit}");
        assert_eq!(hidden, [sent[1].id, sent[3].id, sent[4].id, sent[5].id], "limit {limit}");
    }
    let nothing = s.messages.changed(&viewer, Rev::ZERO, 0).await.expect("read");
    assert_eq!((nothing.messages.len(), nothing.complete_to, nothing.limited), (0, Rev::ZERO, true));
}

/// Case.
pub async fn undelivered_messages_come_oldest_first_per_chat(s: &Subject) {
    let (a, b, one) = s.direct().await;
    let c = s.user().await;
    let two = s.chat_of(b, c).await.id;
    for _ in 0..3 {
        s.send(one, a, "to b").await;
        s.send(one, b, "by b").await;
        s.send(two, c, "to b").await;
    }
    let waiting = s.messages.undelivered(b, s.now(), 100).await.expect("read");
    let of = |chat| waiting.messages.iter().filter(|message| message.chat_id == chat).map(|message| message.seq.get()).collect::<Vec<_>>();
    assert_eq!((of(one), of(two), waiting.more_in.len()), (vec![1, 3, 5], vec![1, 2, 3], 0));
    assert_eq!(s.messages.undelivered(a, s.now(), 100).await.expect("read").messages.len(), 3);
}

/// Case.
pub async fn undelivered_messages_past_the_limit_are_announced(s: &Subject) {
    let (a, b, one) = s.direct().await;
    let c = s.user().await;
    let two = s.chat_of(b, c).await.id;
    s.send_many(one, a, 3).await;
    s.send_many(two, c, 3).await;
    for (limit, chats_with_more) in [(0, 2), (1, 2), (3, 1), (5, 1), (6, 0), (7, 0)] {
        let waiting = s.messages.undelivered(b, s.now(), limit).await.expect("read");
        assert_eq!(waiting.messages.len(), limit.min(6));
        assert_eq!(waiting.more_in.iter().collect::<BTreeSet<_>>().len(), chats_with_more, "limit {limit}");
        assert_eq!(waiting.more_in.len(), chats_with_more, "limit {limit}");
        for chat in [one, two] {
            let here = waiting.messages.iter().filter(|message| message.chat_id == chat).map(|message| message.seq.get()).collect::<Vec<_>>();
            assert_eq!(here, (1..).take(here.len()).collect::<Vec<_>>(), "the oldest come first");
            assert_eq!(waiting.more_in.contains(&chat), here.len() < 3, "limit {limit}");
        }
    }
}

/// Case.
pub async fn delivered_messages_are_not_undelivered(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 6).await;
    s.deliver(b, &[&sent[0], &sent[3], &sent[4]]).await;
    assert_eq!(seqs(&s.messages.undelivered(b, s.now(), 100).await.expect("read").messages), [2, 3, 6]);
    let limited = s.messages.undelivered(b, s.now(), 2).await.expect("read");
    assert_eq!((seqs(&limited.messages), limited.more_in), (vec![2, 3], vec![chat]));
    s.read(b, &sent[1]).await;
    assert_eq!(seqs(&s.messages.undelivered(b, s.now(), 100).await.expect("read").messages), [3, 6]);
    s.deliver(b, &[&sent[2], &sent[5]]).await;
    let none = s.messages.undelivered(b, s.now(), 100).await.expect("read");
    assert_eq!((none.messages.len(), none.more_in.len()), (0, 0));
}

/// Case.
pub async fn unread_counts_only_what_others_sent_and_is_visible(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let c = s.user().await;
    let empty = s.chat_of(b, c).await.id;
    let of_a = s.send_many(chat, a, 3).await;
    s.send(chat, b, "own").await;
    let mut system = s.message(chat, a, Content::System(System { body: "a note".to_owned(), action: "noted".to_owned() })).await;
    system.client_msg_id = "system".to_owned();
    let system = s.append(system).await;
    s.messages.hide(&s.viewer(chat, b), of_a[2].id, s.id(), None).await.expect("hidden");
    let summaries = |user| async move {
        let mut summaries = s.messages.summaries(&[s.viewer(chat, user), s.viewer(empty, user)]).await.expect("read");
        summaries.sort_by_key(|summary| summary.chat_id != chat);
        summaries
    };
    let before = summaries(b).await;
    assert_eq!((before[0].unread, before[0].last_message.as_ref().map(|message| message.id)), (2, Some(system.id)));
    assert_eq!((before[1].chat_id, before[1].unread, before[1].last_message.as_ref()), (empty, 0, None));
    s.read(b, &of_a[0]).await;
    assert_eq!(summaries(b).await[0].unread, 1);
    s.read(b, &system).await;
    assert_eq!(summaries(b).await[0].unread, 0);
    assert_eq!(summaries(a).await[0].unread, 1);
    let many: Vec<Viewer> = (0..150).map(|_| s.viewer(s.id(), b)).chain([s.viewer(chat, a)]).collect();
    assert_eq!(s.messages.summaries(&many).await.expect("read").iter().map(|summary| summary.unread).sum::<u64>(), 1);
}

/// Case.
pub async fn content_of_every_type_reads_back(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let media_id: MediaId = s.id();
    let contents = [
        Content::Text(Text {
            body: "it's \"quoted\" \\ ünïcødé 👩‍👩‍👧\n".to_owned(), mentions: vec![Mention { user_id: b, offset: 0, length: 2 }]
        }),
        Content::Image(Picture { media_id, caption: Some("a caption".to_owned()) }),
        Content::Video(Picture { media_id, caption: None }),
        Content::Audio(Audio { media_id, duration_ms: Some(u32::MAX), waveform: Some(vec![0, 255]) }),
        Content::Document(Document { media_id, filename: Some("a.pdf".to_owned()), caption: None }),
        Content::Location(Location { latitude: -89.999_999_999, longitude: 0.1, name: Some("here".to_owned()), address: None }),
        Content::System(System { body: "a note".to_owned(), action: "noted".to_owned() }),
    ];
    let mut sent = Vec::new();
    for content in contents {
        let mut new = s.message(chat, a, content.clone()).await;
        new.fingerprint = Fingerprint::of(chat, &content, None);
        new.forwarded_from = Some(Source { chat_id: chat, message_id: s.id() });
        new.expires_at = Some(s.now().after(Duration::from_secs(600)));
        let stored = s.append(new).await;
        assert_eq!((stored.kind, stored.content.as_ref()), (content.kind(), Some(&content)));
        sent.push(stored);
    }
    let read = s.messages.page(&s.viewer(chat, b), Page::After(Seq::ZERO), 100).await.expect("read");
    assert_eq!(read, sent);
}
