//! What is announced, and who gets it: events as they leave the store's outbox, resolved as at fan-out.

use std::collections::BTreeSet;

use wa_core::api::{AuthApi, ChatApi, FanOutApi, MessageApi, PresenceApi, PrivacyUpdate, SendMessage, UserApi};
use wa_core::event::{Event, Fact};
use wa_core::id::{ConnectionId, UserId};
use wa_core::receipt::Status;

use super::world::{World, phone, text};

/// Everything announced since the last call, with who gets it.
async fn announced(world: &World) -> Vec<(Fact, BTreeSet<UserId>)> {
    let mut announced = Vec::new();
    for event in world.events().await {
        let users = recipients(world, &event).await;
        announced.push((event.fact.clone(), users));
    }
    announced
}

async fn recipients(world: &World, event: &Event) -> BTreeSet<UserId> {
    let users = world.fan_out.recipients(event, &[]).await.expect("resolves");
    let distinct: BTreeSet<UserId> = users.iter().copied().collect();
    assert_eq!(distinct.len(), users.len(), "each once");
    distinct
}

#[tokio::test]
async fn a_new_chat_and_a_new_message_reach_both_sides_once() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    world.direct(&bob, &alice).await;
    let origin = Some(ConnectionId::from_uuid(uuid::Uuid::from_u128(5)));
    for _ in 0..2 {
        world.messages.send(&alice, SendMessage { origin, ..text(chat, "key", "hello") }).await.expect("is sent");
    }
    let both = BTreeSet::from([alice.user_id, bob.user_id]);
    let announced = announced(&world).await;
    let [(Fact::ChatCreated { chat_id, created_by, .. }, to_chat), (Fact::MessageNew(new), to_message)] = &announced[..] else {
        panic!("one chat and one message, not {announced:?}");
    };
    assert_eq!((*chat_id, *created_by, to_chat, to_message), (chat, alice.user_id, &both, &both));
    assert_eq!((new.sender_name.as_str(), new.origin, new.message.seq.get()), ("User 1", origin, 1));
    // What is announced is what is read back.
    assert_eq!(world.seen(&bob, &new.message).await.as_ref(), Some(&*new.message));
}

#[tokio::test]
async fn what_the_blocked_send_is_announced_to_themselves_alone() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    world.users.set_blocked(&bob, alice.user_id, true).await.expect("is blocked");
    let secret = world.say(&alice, chat, "secret").await;
    world.users.set_blocked(&bob, alice.user_id, false).await.expect("is unblocked");
    world.events().await;
    let reply = SendMessage { reply_to_message_id: Some(secret.message_id), ..text(chat, "reply", "as I said") };
    world.messages.send(&alice, reply).await.expect("is sent");
    let events = world.events().await;
    let [event] = &events[..] else { panic!("one message, not {events:?}") };
    let shares = world.fan_out.shares(event, &[alice.user_id, bob.user_id]).await.expect("resolves");
    let quoted = |user| shares.iter().find(|share| share.users == [user]).map(|share| share.message.reply_to_preview.is_some());
    assert_eq!((quoted(alice.user_id), quoted(bob.user_id)), (Some(true), Some(false)), "the quote is not for Bob");

    world.users.set_blocked(&bob, alice.user_id, true).await.expect("is blocked");
    world.say(&alice, chat, "hello?").await;
    let announced = self::announced(&world).await;
    assert_eq!(announced.iter().map(|(_, to)| to.clone()).collect::<Vec<_>>(), [BTreeSet::from([alice.user_id])]);
}

#[tokio::test]
async fn a_block_holds_for_events_that_are_already_on_their_way() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    world.presence.typing(&alice, chat, true).await.expect("is noted");
    let typing = world.events().await.into_iter().find(|event| matches!(event.fact, Fact::Typing { .. })).expect("is announced");
    assert_eq!(recipients(&world, &typing).await, BTreeSet::from([bob.user_id]));
    world.users.set_blocked(&bob, alice.user_id, true).await.expect("is blocked");
    assert_eq!(recipients(&world, &typing).await, BTreeSet::new());
}

#[tokio::test]
async fn receipts_reach_the_sender_and_reads_the_readers_own_devices() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let message = world.say(&alice, chat, "hello").await;
    world.events().await;
    world.messages.mark_delivered(&bob, &[message.message_id], None).await.expect("is marked");
    world.read(&bob, &message).await;
    world.read(&bob, &message).await;
    let told: Vec<_> = announced(&world)
        .await
        .into_iter()
        .map(|(fact, to)| match fact {
            Fact::MessageStatus(status) => (status.status, status.user_id, to),
            other => panic!("a receipt, not {other:?}"),
        })
        .collect();
    let both = BTreeSet::from([alice.user_id, bob.user_id]);
    assert_eq!(told, [(Status::Delivered, bob.user_id, BTreeSet::from([alice.user_id])), (Status::Read, bob.user_id, both)]);
}

#[tokio::test]
async fn a_silent_read_reaches_the_readers_own_devices_alone() {
    for silent_side in [0, 1] {
        let world = World::new().await;
        let (alice, bob, chat) = world.pair().await;
        let message = world.say(&alice, chat, "hello").await;
        let silent = PrivacyUpdate { read_receipts: Some(false), ..PrivacyUpdate::default() };
        world.users.set_privacy(if silent_side == 0 { &alice } else { &bob }, silent).await.expect("is set");
        world.events().await;
        world.read(&bob, &message).await;
        for (fact, to) in announced(&world).await {
            let Fact::MessageStatus(status) = fact else { panic!("a receipt, not {fact:?}") };
            let expected = if status.status == Status::Read { bob.user_id } else { alice.user_id };
            assert_eq!(to, BTreeSet::from([expected]), "{:?} with {silent_side} silent", status.status);
        }
    }
}

#[tokio::test]
async fn hiding_a_message_is_told_to_ones_own_devices_alone() {
    let world = World::new().await;
    let (alice, bob, chat) = world.pair().await;
    let message = world.say(&alice, chat, "hello").await;
    world.events().await;
    for _ in 0..2 {
        world.messages.delete_for_me(&bob, message.message_id, None).await.expect("is hidden");
    }
    let announced = announced(&world).await;
    // What somebody deletes has arrived, though they never confirmed it.
    let [(Fact::MessageStatus(status), told), (Fact::MessageDeleted(deleted), to)] = &announced[..] else { panic!("one deletion, not {announced:?}") };
    assert_eq!((status.status, told), (Status::Delivered, &BTreeSet::from([alice.user_id])));
    assert!(!deleted.for_everyone && deleted.deleted_by == bob.user_id);
    assert_eq!(*to, BTreeSet::from([bob.user_id]));
    world.chats.get(&alice, chat).await.expect("is not concerned");
}

#[tokio::test]
async fn the_end_of_a_session_is_announced_with_its_devices() {
    let world = World::new().await;
    let (one, two) = (world.login(&phone(1)).await, world.login(&phone(1)).await);
    world.auth.logout(None, Some(&one.refresh_token)).await.expect("logs out");
    let caller = wa_core::session::Caller { user_id: two.user.id, device_id: two.device_id };
    world.users.delete_me(&caller, &phone(1)).await.expect("is erased");
    let ended: Vec<_> = world
        .events()
        .await
        .iter()
        .filter_map(|event| match &event.fact {
            Fact::SessionsRevoked { user_id, devices } => Some((*user_id, devices.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [(one.user.id, vec![one.device_id]), (one.user.id, vec![two.device_id])]);
}
