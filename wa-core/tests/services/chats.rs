//! Direct chats and the chat list.

use std::time::Duration;

use uuid::Uuid;
use wa_core::api::{ChatApi, MessageApi, UserApi};
use wa_core::id::UserId;
use wa_core::user::{DELETED_ACCOUNT, ProfileUpdate};

use super::world::{World, absent_chat, bad_fields, body, now, phone, refused, somebody};

#[tokio::test]
async fn a_pair_has_one_chat_whoever_makes_it() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.user(2).await);
    let (made, is_new) = world.chats.create_direct(&alice, bob.user_id).await.expect("is made");
    let (found, is_new_again) = world.chats.create_direct(&bob, alice.user_id).await.expect("is found");
    assert_eq!((made.chat_id, is_new, is_new_again), (found.chat_id, true, false));
    // Each sees the other.
    assert_eq!((made.name.as_str(), found.name.as_str()), ("User 2", "User 1"));
    assert_eq!(made.participant.map(|peer| peer.id), Some(bob.user_id));
    assert_eq!(made.participants.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_has_one_chat_also_when_made_at_once() {
    let world = std::sync::Arc::new(World::new().await);
    let (alice, bob) = (world.user(1).await, world.user(2).await);
    let made: Vec<_> = (0..20)
        .map(|number| {
            let world = world.clone();
            let (maker, other) = if number % 2 == 0 { (alice, bob) } else { (bob, alice) };
            tokio::spawn(async move { world.chats.create_direct(&maker, other.user_id).await.expect("is made or found") })
        })
        .collect();
    let mut chats = Vec::new();
    for chat in made {
        let (chat, is_new) = chat.await.expect("ends");
        chats.push((chat.chat_id, is_new));
    }
    assert!(chats.iter().all(|(chat, _)| *chat == chats[0].0));
    assert_eq!(chats.iter().filter(|(_, is_new)| *is_new).count(), 1);
}

#[tokio::test]
async fn a_chat_needs_another_user_who_exists() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.user(2).await);
    assert_eq!(bad_fields(world.chats.create_direct(&alice, alice.user_id).await), ["participant_id"]);
    assert_eq!(refused(world.chats.create_direct(&alice, UserId::from_uuid(Uuid::nil())).await), "USER_NOT_FOUND");
    world.users.delete_me(&bob, &phone(2)).await.expect("is erased");
    assert_eq!(refused(world.chats.create_direct(&alice, bob.user_id).await), "USER_NOT_FOUND");
}

#[tokio::test]
async fn who_was_blocked_does_not_notice_it_when_opening_a_chat() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.user(2).await);
    world.users.set_blocked(&bob, alice.user_id, true).await.expect("is blocked");
    let (chat, is_new) = world.chats.create_direct(&alice, bob.user_id).await.expect("is made");
    assert!(is_new && chat.avatar_url.is_none());
}

#[tokio::test]
async fn the_list_shows_the_newest_message_and_what_is_unread() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    for body in ["one", "two", "three"] {
        world.say(&bob, chat, body).await;
    }
    let own = world.say(&alice, chat, "four").await;
    let listed = &world.chats.list(&alice, None, None).await.expect("is listed").chats[0];
    assert_eq!((listed.unread_count, listed.last_seq.get()), (3, 4));
    assert_eq!(listed.last_message.as_ref().map(|last| (last.preview.as_str(), last.seq.get())), Some(("four", 4)));
    // Having written does not mean having read; reading up to it does.
    world.read(&alice, &own).await;
    assert_eq!(world.chats.get(&alice, chat).await.expect("is shown").unread_count, 0);
    assert_eq!(world.chats.get(&bob, chat).await.expect("is shown").unread_count, 1);
}

#[tokio::test]
async fn pinned_chats_come_first_then_the_newest_and_pages_lose_none() {
    let world = World::new().await;
    let alice = world.user(1).await;
    let mut expected = Vec::new();
    for number in 2..=8 {
        let other = world.user(number).await;
        let chat = world.direct(&alice, &other).await;
        world.say(&other, chat, &format!("from {number}")).await;
        expected.insert(0, chat);
    }
    let pinned = expected.remove(4);
    world.chats.pin(&alice, pinned, true).await.expect("is pinned");
    expected.insert(0, pinned);
    for limit in [1, 2, 3, 6, 7, 8] {
        let mut listed = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = world.chats.list(&alice, cursor.as_deref(), Some(limit)).await.expect("is listed");
            assert!(page.chats.len() as i64 <= limit && page.has_more == page.next_cursor.is_some());
            listed.extend(page.chats.iter().map(|chat| chat.chat_id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(listed, expected, "pages of {limit}");
    }
}

#[tokio::test]
async fn a_garbled_or_foreign_cursor_is_refused() {
    let world = World::new().await;
    let alice = world.user(1).await;
    for number in [2, 3] {
        let other = world.user(number).await;
        world.direct(&alice, &other).await;
    }
    let cursor = world.chats.list(&alice, None, Some(1)).await.expect("is listed").next_cursor.expect("has more");
    world.chats.list(&alice, Some(&cursor), None).await.expect("is her own");
    assert_eq!(refused(world.chats.list(&somebody(2), Some(&cursor), None).await), "BAD_REQUEST");
    for garbled in ["", "x", "018f3f6e-7b1c-7c4e-8a57-0242ac120002", &cursor[1..], &format!("{cursor}A"), &"A".repeat(100_000)] {
        assert_eq!(refused(world.chats.list(&alice, Some(garbled), None).await), "BAD_REQUEST", "{garbled:.50}");
    }
}

#[tokio::test]
async fn mute_and_pin_are_ones_own() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let until = now(&world).after(Duration::from_secs(60));
    world.chats.mute(&alice, chat, true, Some(until)).await.expect("is muted");
    world.chats.pin(&alice, chat, true).await.expect("is pinned");
    let shown = world.chats.get(&alice, chat).await.expect("is shown");
    assert_eq!((shown.is_muted, shown.mute_until, shown.is_pinned), (true, Some(until), true));
    let other = world.chats.get(&bob, chat).await.expect("is shown");
    assert_eq!((other.is_muted, other.mute_until, other.is_pinned), (false, None, false));
    world.env.advance(Duration::from_secs(60));
    let shown = world.chats.get(&alice, chat).await.expect("is shown");
    assert_eq!((shown.is_muted, shown.mute_until), (false, None));
    world.chats.mute(&alice, chat, true, None).await.expect("is muted for ever");
    world.env.advance(Duration::from_secs(1_000_000_000));
    assert!(world.chats.get(&alice, chat).await.expect("is shown").is_muted);
    world.chats.mute(&alice, chat, false, None).await.expect("is unmuted");
    assert!(!world.chats.get(&alice, chat).await.expect("is shown").is_muted);
    assert_eq!(bad_fields(world.chats.mute(&alice, chat, true, Some(until)).await), ["mute_until"]);
}

#[tokio::test]
async fn a_stranger_cannot_tell_a_chat_from_none() {
    let world = World::new().await;
    let (_, bob, chat) = world.pair().await;
    let message = world.say(&bob, chat, "hello").await;
    let carol = world.user(3).await;
    for chat in [chat, absent_chat()] {
        assert_eq!(refused(world.chats.get(&carol, chat).await), "CHAT_NOT_FOUND");
        assert_eq!(refused(world.chats.mute(&carol, chat, true, None).await), "CHAT_NOT_FOUND");
        assert_eq!(refused(world.chats.pin(&carol, chat, true).await), "CHAT_NOT_FOUND");
        assert_eq!(refused(world.try_say(&carol, chat, "key", "hello").await), "CHAT_NOT_FOUND");
        assert_eq!(refused(world.messages.history(&carol, chat, Default::default()).await), "CHAT_NOT_FOUND");
        assert_eq!(refused(world.messages.mark_read(&carol, Some(chat), Some(message.message_id), None).await), "CHAT_NOT_FOUND");
    }
    for id in [message.message_id, super::world::absent_message()] {
        assert_eq!(refused(world.messages.receipts(&carol, id).await), "MESSAGE_NOT_FOUND");
        assert_eq!(refused(world.messages.delete_for_me(&carol, id, None).await), "MESSAGE_NOT_FOUND");
        assert_eq!(refused(world.messages.mark_read(&carol, None, Some(id), None).await), "MESSAGE_NOT_FOUND");
    }
    assert!(world.chats.list(&carol, None, None).await.expect("is listed").chats.is_empty());
}

#[tokio::test]
async fn names_follow_their_owners_and_erased_ones_are_told_as_such() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let message = world.say(&bob, chat, "hello").await;
    let renamed = ProfileUpdate { display_name: Some("Bobby".to_owned()), ..ProfileUpdate::default() };
    world.users.update_me(&bob, renamed).await.expect("is renamed");
    assert_eq!(world.chats.get(&alice, chat).await.expect("is shown").name, "Bobby");
    world.users.delete_me(&bob, &phone(2)).await.expect("is erased");
    let shown = world.chats.get(&alice, chat).await.expect("is still hers");
    assert_eq!(shown.name, DELETED_ACCOUNT);
    // What they said stays.
    assert_eq!(world.seen(&alice, &message).await.map(|message| body(&message)).as_deref(), Some("hello"));
}
