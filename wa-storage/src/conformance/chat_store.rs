//! The contract of `ChatStore`.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use wa_core::chat::{ChatCursor, ChatKind, Personal};
use wa_core::event::Fact;
use wa_core::id::{ChatId, UserId};
use wa_core::message::{Rev, Seq};
use wa_core::ports::{ListedChat, PersonalUpdate};

use super::Subject;

/// Case.
pub async fn a_pair_has_one_chat_also_under_concurrency(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let made = join_all((0..10).map(|number| s.chats.create_direct(if number % 2 == 0 { s.new_chat(a, b) } else { s.new_chat(b, a) }))).await;
    let made: Vec<_> = made.into_iter().map(|made| made.expect("a chat is made or found")).collect();
    assert_eq!(made.iter().filter(|(_, is_new)| *is_new).count(), 1);
    assert!(made.iter().all(|(chat, _)| *chat == made[0].0));
    assert_eq!((made[0].0.kind, made[0].0.last_seq), (ChatKind::Direct, Seq::ZERO));
    let (again, is_new) = s.chats.create_direct(s.new_chat(b, a)).await.expect("found");
    assert_eq!((again, is_new), (made[0].0.clone(), false));
    let other = s.chat_of(a, s.user().await).await;
    assert_ne!(other.id, made[0].0.id);
}

/// Case.
pub async fn a_new_chat_leaves_one_event(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let new = s.new_chat(a, b);
    s.chats.create_direct(new).await.expect("made");
    s.chats.create_direct(s.new_chat(a, b)).await.expect("found");
    let events = s.outbox.drain().await;
    let [event] = events.as_slice() else { panic!("expected one event, got {events:?}") };
    assert_eq!((event.id, event.at, &event.fact), (new.event_id, new.at, &Fact::ChatCreated { chat_id: new.id, created_by: a, group: None }));
}

/// Case.
pub async fn membership_of_an_absent_chat_is_none(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let new = s.new_chat(a, b);
    assert_eq!(s.chats.membership(new.id).await.expect("answered"), None);
    s.chats.create_direct(new).await.expect("made");
    let membership = s.membership(new.id).await;
    assert_eq!((membership.chat_id, membership.kind, membership.is_admin_only), (new.id, ChatKind::Direct, false));
    assert_eq!(membership.everyone().map(|member| member.user_id).collect::<Vec<_>>(), new.pair.users());
    assert!(membership.everyone().all(|member| member.joined_seq == Seq::ZERO && member.joined_at == new.at && !member.has_blocked));
}

/// Case.
pub async fn a_block_makes_a_new_membership_version(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let elsewhere = s.chat_of(a, s.user().await).await.id;
    let (before, untouched) = (s.membership(chat).await, s.membership(elsewhere).await);
    s.contacts.set_blocked(a, b, true, s.now()).await.expect("blocked");
    let blocked = s.membership(chat).await;
    assert!(blocked.version > before.version);
    assert_eq!([a, b].map(|user| blocked.members[&user].has_blocked), [true, false]);
    s.contacts.set_blocked(a, b, true, s.now()).await.expect("blocked");
    assert_eq!(s.membership(chat).await, blocked, "repeating it changes nothing");
    s.contacts.set_blocked(a, b, false, s.now()).await.expect("unblocked");
    let unblocked = s.membership(chat).await;
    assert!(unblocked.version > blocked.version);
    assert_eq!([a, b].map(|user| unblocked.members[&user].has_blocked), [false, false]);
    assert_eq!(s.membership(elsewhere).await, untouched);
    // Readers at the same moment never make an older membership stay.
    for round in 0..20 {
        let block = round % 2 == 0;
        let reads = join_all((0..8).map(|_| s.membership(chat)));
        let (_, changed) = tokio::join!(reads, s.contacts.set_blocked(a, b, block, s.now()));
        changed.expect("changed");
        assert_eq!(s.membership(chat).await.members[&a].has_blocked, block);
    }
}

async fn listed(s: &Subject, user: UserId) -> Vec<ChatId> {
    s.chats.list(user, None, 100).await.expect("the list is read").iter().map(|listed| listed.chat.id).collect()
}

/// Case.
pub async fn the_list_is_pinned_first_then_newest_activity(s: &Subject) {
    let user = s.user().await;
    let mut chats = Vec::new();
    for _ in 0..4 {
        s.env.advance(Duration::from_secs(1));
        chats.push(s.chat_of(user, s.user().await).await.id);
    }
    assert_eq!(listed(s, user).await, [chats[3], chats[2], chats[1], chats[0]]);
    s.env.advance(Duration::from_secs(1));
    s.send(chats[1], user, "news").await;
    assert_eq!(listed(s, user).await, [chats[1], chats[3], chats[2], chats[0]]);
    assert!(s.chats.set_personal(user, chats[0], PersonalUpdate::Pin(true)).await.expect("pinned"));
    assert_eq!(listed(s, user).await, [chats[0], chats[1], chats[3], chats[2]]);
    assert!(s.chats.set_personal(user, chats[0], PersonalUpdate::Pin(false)).await.expect("unpinned"));
    assert_eq!(listed(s, user).await, [chats[1], chats[3], chats[2], chats[0]]);
    assert_eq!(listed(s, s.id()).await, []);
}

/// Case.
pub async fn the_list_pages_without_loss_or_repeat(s: &Subject) {
    let user = s.user().await;
    for number in 0..11 {
        // Some at the same moment, so that the id decides.
        s.env.advance(Duration::from_secs(u64::from(number % 3 == 0)));
        let chat = s.chat_of(user, s.user().await).await.id;
        if number % 4 == 0 {
            s.chats.set_personal(user, chat, PersonalUpdate::Pin(true)).await.expect("pinned");
        }
    }
    let all = s.chats.list(user, None, 100).await.expect("read");
    assert_eq!(all.len(), 11);
    let cursor =
        |listed: &ListedChat| ChatCursor { is_pinned: listed.personal.is_pinned, last_activity_at: listed.chat.last_activity_at, chat_id: listed.chat.id };
    assert!(all.windows(2).all(|pair| cursor(&pair[0]) > cursor(&pair[1])), "the order is that of the cursor");
    for limit in [1, 3, 11, 12] {
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = s.chats.list(user, after, limit).await.expect("read");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(cursor(last));
            paged.extend(page);
        }
        assert_eq!(paged, all, "limit {limit}");
    }
}

/// Case.
pub async fn personal_settings_are_the_users_own(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let personal = |user| async move { s.chats.get(user, &[chat]).await.expect("read")[0].personal };
    let set = |user, update| async move { s.chats.set_personal(user, chat, update).await.expect("answered") };
    assert_eq!(personal(a).await, Personal::default());
    let until = s.now().after(Duration::from_secs(60));
    assert!(set(a, PersonalUpdate::Mute(Some(until))).await);
    assert!(set(a, PersonalUpdate::Pin(true)).await);
    assert_eq!(personal(a).await, Personal { is_muted: true, mute_until: Some(until), is_pinned: true });
    assert!(set(a, PersonalUpdate::Mute(None)).await);
    assert_eq!(personal(a).await, Personal { is_muted: true, mute_until: None, is_pinned: true });
    assert!(set(a, PersonalUpdate::Unmute).await);
    assert_eq!(personal(a).await, Personal { is_muted: false, mute_until: None, is_pinned: true });
    assert_eq!(personal(b).await, Personal::default());
    let stranger = s.user().await;
    assert!(!set(stranger, PersonalUpdate::Pin(true)).await);
    assert!(s.chats.get(stranger, &[chat]).await.expect("read").is_empty());
    assert!(!s.chats.set_personal(a, s.id(), PersonalUpdate::Pin(true)).await.expect("answered"));
}

/// Case.
pub async fn a_user_knows_the_rev_of_each_of_their_chats(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let other = s.chat_of(a, s.user().await).await;
    let sent = s.send_many(chat, b, 3).await;
    let revs: BTreeMap<ChatId, Rev> = s.chats.revs(a).await.expect("read").into_iter().collect();
    assert_eq!(revs, BTreeMap::from([(chat, sent[2].rev), (other.id, other.rev)]));
    assert_eq!(s.chats.revs(b).await.expect("read"), [(chat, sent[2].rev)]);
    assert_eq!(s.chats.revs(s.id()).await.expect("read"), []);
}
