//! The contract of `AnnotationStore`.

use std::time::Duration;

use wa_core::emoji::Emoji;
use wa_core::event::Fact;
use wa_core::message::Rev;
use wa_core::ports::{Change, NewMessage, Outcome, Revision};
use wa_core::star::{StarCursor, StarMark};

use super::Subject;
use super::people::{made, text};

fn emoji(text: &str) -> Option<Emoji> {
    Some(Emoji::parse(text).expect("one emoji"))
}

/// Case.
pub async fn a_reaction_takes_the_next_rev_and_leaves_one_event(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    s.read(b, &sent).await;
    s.outbox.drain().await;
    s.env.advance(Duration::from_secs(5));
    for (set, reactions) in [(emoji("👍"), 1), (None, 0)] {
        let before = s.chats.get(a, &[chat]).await.expect("read")[0].chat.clone();
        let change = Change { origin: Some(s.id()), ..s.change(&sent, b).await };
        let reacted = made(s.annotations.react(change, set.clone(), None).await.expect("answered"));
        assert_eq!(reacted, Revision { seq: sent.seq, rev: before.rev.next() });
        let seen = s.look(&sent, a).await.expect("it is there");
        assert_eq!((seen.rev, seen.updated_at, seen.edited_at, seen.content), (reacted.rev, s.now(), None, sent.content.clone()));
        let added = s.added(&sent, a).await.reactions;
        assert_eq!(added.len(), reactions);
        assert!(added.iter().all(|reaction| (reaction.user_id, reaction.emoji.as_str(), reaction.timestamp) == (b, "👍", s.now())));
        let events = s.outbox.drain().await;
        let [event] = events.as_slice() else { panic!("expected one event, got {events:?}") };
        let Fact::MessageReaction(fact) = &event.fact else { panic!("expected a reaction, got {event:?}") };
        assert_eq!((event.id, event.at, fact.message_id, fact.user_id), (change.event_id, s.now(), sent.id, b));
        assert_eq!((&fact.emoji, fact.seq, fact.rev, fact.origin), (&set, sent.seq, reacted.rev, change.origin));
        let after = s.chats.get(a, &[chat]).await.expect("read")[0].chat.clone();
        assert_eq!((after.last_seq, after.last_activity_at), (before.last_seq, before.last_activity_at), "no message came");
    }
    assert_eq!(s.messages.summaries(&[s.viewer(chat, b)]).await.expect("read")[0].unread, 0);
}

/// Case.
pub async fn a_user_has_one_reaction_to_a_message(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    s.react(&sent, b, "👍").await;
    s.env.advance(Duration::from_secs(1));
    s.react(&sent, a, "❤️").await;
    s.env.advance(Duration::from_secs(1));
    s.react(&sent, b, "😂").await;
    for user in [a, b] {
        let reactions: Vec<_> = s.added(&sent, user).await.reactions.into_iter().map(|reaction| (reaction.user_id, reaction.emoji)).collect();
        assert_eq!(reactions, [(a, "❤️".to_owned()), (b, "😂".to_owned())], "the oldest comes first");
    }
}

/// Case.
pub async fn reacting_alike_twice_changes_nothing(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    let none = s.annotations.react(s.change(&sent, b).await, None, None).await.expect("answered");
    assert_eq!(none, Outcome::Unchanged(Revision { seq: sent.seq, rev: sent.rev }));
    let reacted = s.react(&sent, b, "👍").await;
    s.outbox.drain().await;
    assert_eq!(s.annotations.react(s.change(&sent, b).await, emoji("👍"), None).await.expect("answered"), Outcome::Unchanged(reacted));
    assert!(s.facts().await.is_empty());
}

/// Case.
pub async fn a_withheld_reaction_is_not_shown_to_whom_it_is_withheld_from(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    s.outbox.drain().await;
    made(s.annotations.react(s.change(&sent, b).await, emoji("👍"), Some(a)).await.expect("answered"));
    assert_eq!((s.added(&sent, a).await.reactions.len(), s.added(&sent, b).await.reactions.len()), (0, 1));
    made(s.annotations.react(s.change(&sent, b).await, None, None).await.expect("answered"));
    let withheld: Vec<_> = s.facts().await.into_iter().map(|fact| if let Fact::MessageReaction(fact) = fact { fact.withheld_from } else { None }).collect();
    assert_eq!(withheld, [Some(a); 2], "nor is it seen how it goes");
    // A message that its other side never sees keeps its reactions to itself.
    let own = s.append(NewMessage { withheld_from: Some(a), ..s.message(chat, b, text("withheld")).await }).await;
    s.outbox.drain().await;
    s.react(&own, b, "👍").await;
    let facts = s.facts().await;
    assert!(matches!(facts.as_slice(), [Fact::MessageReaction(fact)] if fact.withheld_from == Some(a)), "{facts:?}");
}

/// Case.
pub async fn a_star_is_its_users_own(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    s.outbox.drain().await;
    let starred = s.star(&sent, b, true).await;
    assert_eq!(starred, Revision { seq: sent.seq, rev: sent.rev.next() });
    assert_eq!((s.added(&sent, a).await.is_starred, s.added(&sent, b).await.is_starred), (false, true));
    assert_eq!((s.look(&sent, a).await, s.look(&sent, b).await), (Some(sent.clone()), Some(sent.clone())), "the message itself is as before");
    assert!(s.annotations.starred(a, s.now(), None, 10).await.expect("read").is_empty());
    s.star(&sent, b, false).await;
    assert!(!s.added(&sent, b).await.is_starred);
    assert!(s.annotations.starred(b, s.now(), None, 10).await.expect("read").is_empty());
    let facts: Vec<_> =
        s.facts().await.into_iter().map(|fact| if let Fact::MessageStarred(fact) = fact { Some((fact.user_id, fact.is_starred)) } else { None }).collect();
    assert_eq!(facts, [Some((b, true)), Some((b, false))]);
}

/// Case.
pub async fn starring_twice_changes_nothing(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "hello").await;
    let starred = s.star(&sent, b, true).await;
    s.outbox.drain().await;
    for (user, is_starred) in [(b, true), (a, false)] {
        assert!(matches!(s.annotations.star(s.change(&sent, user).await, is_starred).await.expect("answered"), Outcome::Unchanged(_)));
    }
    assert_eq!(s.chats.get(a, &[chat]).await.expect("read")[0].chat.rev, starred.rev);
    assert!(s.facts().await.is_empty());
}

/// Case.
pub async fn the_starred_list_is_newest_star_first_and_pages_without_loss(s: &Subject) {
    let (a, b, one) = s.direct().await;
    let c = s.user().await;
    let two = s.chat_of(b, c).await.id;
    let mut sent = s.send_many(one, a, 4).await;
    sent.extend(s.send_many(two, c, 3).await);
    let mut expected = Vec::new();
    for (number, message) in [2, 5, 0, 6, 3].into_iter().map(|which| &sent[which]).enumerate() {
        // Some at the same time.
        s.env.advance(Duration::from_millis(number as u64 % 2));
        s.star(message, b, true).await;
        expected.push((s.now(), message.id));
    }
    expected.sort_unstable_by(|a, b| b.cmp(a));
    for limit in 1..=6 {
        let (mut after, mut listed) = (None, Vec::new());
        loop {
            let page = s.annotations.starred(b, s.now(), after, limit).await.expect("read");
            assert!(page.len() <= limit);
            listed.extend(page.iter().map(|starred| (starred.starred_at, starred.message.id)));
            let Some(last) = page.last() else { break };
            after = Some(StarCursor { starred_at: last.starred_at, message_id: last.message.id });
        }
        assert_eq!(listed, expected, "pages of {limit}");
    }
}

/// Case.
pub async fn the_starred_list_holds_only_what_can_be_seen(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let kept = s.send(chat, a, "kept").await;
    let (hidden, deleted) = (s.send(chat, a, "hidden").await, s.send(chat, a, "deleted").await);
    let passing = s.message(chat, a, text("passing")).await;
    let passing = s.append(NewMessage { expires_at: Some(s.now().after(Duration::from_secs(1))), ..passing }).await;
    for message in [&kept, &hidden, &deleted, &passing] {
        s.star(message, b, true).await;
    }
    assert_eq!(s.annotations.starred(b, s.now(), None, 10).await.expect("read").len(), 4);
    s.messages.hide(&s.viewer(chat, b), hidden.id, s.id(), None).await.expect("answered").expect("hidden");
    s.delete(&deleted).await;
    s.env.advance(Duration::from_secs(1));
    let listed = s.annotations.starred(b, s.now(), None, 10).await.expect("read");
    assert_eq!(listed.iter().map(|starred| starred.message.clone()).collect::<Vec<_>>(), [kept]);
}

/// Case.
pub async fn stars_and_reactions_come_with_the_changes_of_a_chat(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 4).await;
    let before = sent[3].rev;
    s.react(&sent[0], b, "👍").await;
    for (which, is_starred) in [(1, true), (2, true), (1, false), (3, true)] {
        s.star(&sent[which], b, is_starred).await;
    }
    s.react(&sent[1], a, "👍").await;
    let expected = [(2, true), (1, false), (3, true)].map(|(which, is_starred)| StarMark { message_id: sent[which].id, is_starred });
    for limit in 1..=4 {
        let (mut since, mut messages, mut stars) = (before, Vec::new(), Vec::new());
        loop {
            let part = s.messages.changed(&s.viewer(chat, b), since, limit).await.expect("read");
            messages.extend(part.messages.iter().map(|message| message.seq.get()));
            stars.extend(part.stars);
            if !part.limited {
                break;
            }
            assert!(part.complete_to > since, "limit {limit}");
            since = part.complete_to;
        }
        assert_eq!((messages, stars.as_slice()), (vec![1, 2], expected.as_slice()), "limit {limit}");
    }
    assert!(s.messages.changed(&s.viewer(chat, a), before, 10).await.expect("read").stars.is_empty());
    assert_eq!(s.messages.changed(&s.viewer(chat, b), Rev::ZERO, 10).await.expect("read").messages.len(), 4);
}
