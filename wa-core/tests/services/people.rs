//! Profiles, contacts, blocks, privacy and presence.

use std::time::Duration;

use uuid::Uuid;
use wa_core::api::{PresenceApi, PrivacyUpdate, UserApi};
use wa_core::id::ConnectionId;
use wa_core::privacy::{PrivacySettings, ShownTo};
use wa_core::session::Caller;
use wa_core::user::{PresenceView, ProfileUpdate};

use super::world::{World, now, phone, refused, somebody};

fn hide_all(shown_to: ShownTo) -> PrivacyUpdate {
    PrivacyUpdate { last_seen: Some(shown_to), profile_photo: Some(shown_to), about: Some(shown_to), read_receipts: None }
}

fn connection(number: u128) -> ConnectionId {
    ConnectionId::from_uuid(Uuid::from_u128(number))
}

/// What the viewer sees of the owner: picture, status text, phone, whether they are online.
async fn seen(world: &World, viewer: &Caller, owner: &Caller) -> (bool, bool, bool, bool) {
    let profile = world.users.profile(viewer, owner.user_id).await.expect("is shown");
    let presence = world.presence.see(viewer, &[owner.user_id]).await.expect("is shown")[0];
    assert!(presence.online || presence.last_seen.is_none(), "a hidden presence tells nothing");
    (profile.avatar_url.is_some(), profile.status_text.is_some(), !profile.phone.is_empty(), presence.online)
}

#[tokio::test]
async fn every_field_follows_the_owners_privacy() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user(1).await, world.user(2).await, world.user(3).await);
    world.presence.connected(&alice, connection(1)).await.expect("connects");
    // Bob is in Alice's contacts; Carol has Alice in hers, which shows her the number and nothing else.
    world.users.sync_contacts(&alice, &[phone(2)]).await.expect("syncs");
    world.users.sync_contacts(&carol, &[phone(1)]).await.expect("syncs");
    for (shown_to, to_bob, to_carol) in [(ShownTo::Everyone, true, true), (ShownTo::Contacts, true, false), (ShownTo::Nobody, false, false)] {
        world.users.set_privacy(&alice, hide_all(shown_to)).await.expect("is set");
        assert_eq!(seen(&world, &bob, &alice).await, (to_bob, to_bob, false, to_bob), "{shown_to:?}");
        assert_eq!(seen(&world, &carol, &alice).await, (to_carol, to_carol, true, to_carol), "{shown_to:?}");
        assert_eq!(seen(&world, &alice, &alice).await, (true, true, true, true), "{shown_to:?}");
    }
}

#[tokio::test]
async fn the_blocked_see_nothing_until_they_are_unblocked() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.user(2).await);
    world.presence.connected(&alice, connection(1)).await.expect("connects");
    world.presence.connected(&bob, connection(2)).await.expect("connects");
    for _ in 0..2 {
        world.users.set_blocked(&alice, bob.user_id, true).await.expect("is blocked");
    }
    assert_eq!(seen(&world, &bob, &alice).await, (false, false, false, false));
    // Whoever blocks somebody does not watch them either, but their picture is not withdrawn.
    assert_eq!(seen(&world, &alice, &bob).await, (true, true, false, false));
    for _ in 0..2 {
        world.users.set_blocked(&alice, bob.user_id, false).await.expect("is unblocked");
    }
    assert_eq!(seen(&world, &bob, &alice).await, (true, true, false, true));
}

#[tokio::test]
async fn contacts_are_those_synced_and_those_blocked() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user(1).await, world.user(2).await, world.user(3).await);
    let found = world.users.sync_contacts(&alice, &[phone(2), phone(1), phone(999), "nonsense".to_owned()]).await.expect("syncs");
    assert_eq!(found.iter().map(|found| (found.user_id, found.phone.clone())).collect::<Vec<_>>(), [(bob.user_id, phone(2))]);
    // A later sync adds and never removes.
    world.users.sync_contacts(&alice, &[phone(999)]).await.expect("syncs");
    world.env.advance(Duration::from_secs(1));
    world.users.set_blocked(&alice, carol.user_id, true).await.expect("is blocked");
    let contacts = world.users.contacts(&alice).await.expect("are listed");
    let listed: Vec<_> = contacts.iter().map(|contact| (contact.user_id, contact.phone.clone(), contact.is_blocked)).collect();
    // Blocking somebody does not show their number.
    assert_eq!(listed, [(bob.user_id, phone(2), false), (carol.user_id, String::new(), true)]);
}

#[tokio::test]
async fn blocking_an_unknown_user_is_refused() {
    let world = World::new().await;
    let alice = world.user(1).await;
    assert_eq!(refused(world.users.set_blocked(&alice, somebody(9).user_id, true).await), "USER_NOT_FOUND");
    assert_eq!(refused(world.users.profile(&alice, somebody(9).user_id).await), "USER_NOT_FOUND");
}

#[tokio::test]
async fn a_profile_update_leaves_the_rest_alone() {
    let world = World::new().await;
    let alice = world.user(1).await;
    let before = world.users.me(&alice).await.expect("is shown");
    assert_eq!((before.display_name.as_str(), before.phone.as_str(), before.avatar_url.as_deref()), ("User 1", phone(1).as_str(), Some("")));
    world.env.advance(Duration::from_secs(1));
    let after = world.users.update_me(&alice, ProfileUpdate { status_text: Some("busy".to_owned()), ..ProfileUpdate::default() }).await.expect("is updated");
    assert_eq!((after.status_text.as_deref(), after.display_name.as_str()), (Some("busy"), "User 1"));
    assert!(after.updated_at > before.updated_at && after.created_at == before.created_at);
}

#[tokio::test]
async fn privacy_has_defaults_and_is_set_piece_by_piece() {
    let world = World::new().await;
    let alice = world.user(1).await;
    assert_eq!(world.users.privacy(&alice).await.expect("is shown"), PrivacySettings::default());
    world.users.set_privacy(&alice, PrivacyUpdate { read_receipts: Some(false), ..PrivacyUpdate::default() }).await.expect("is set");
    let settings = world.users.set_privacy(&alice, PrivacyUpdate { about: Some(ShownTo::Nobody), ..PrivacyUpdate::default() }).await.expect("is set");
    assert_eq!(settings, PrivacySettings { read_receipts: false, about: ShownTo::Nobody, ..PrivacySettings::default() });
    assert_eq!(world.users.privacy(&alice).await.expect("is shown"), settings);
}

#[tokio::test]
async fn a_user_is_online_while_any_device_is_and_last_seen_after() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.user(2).await);
    let presence = async || world.presence.see(&alice, &[bob.user_id]).await.expect("is shown")[0];
    assert_eq!(presence().await, PresenceView { user_id: bob.user_id, online: false, last_seen: None });
    for number in [1, 2] {
        world.presence.connected(&bob, connection(number)).await.expect("connects");
    }
    world.presence.disconnected(&bob, connection(1)).await.expect("disconnects");
    assert!(presence().await.online);
    world.env.advance(Duration::from_secs(5));
    world.presence.disconnected(&bob, connection(2)).await.expect("disconnects");
    assert_eq!(presence().await, PresenceView { user_id: bob.user_id, online: false, last_seen: Some(now(&world)) });
}

#[tokio::test]
async fn a_host_finds_its_user_again() {
    let world = World::new().await;
    let alice = world.user(1).await;
    let again = world.user(1).await;
    assert_eq!(alice, again);
    assert_eq!(world.users.me(&alice).await.expect("is shown").display_name, "User 1");
}
