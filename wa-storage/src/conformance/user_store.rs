//! The contract of `UserStore`.

use std::time::Duration;

use futures_util::future::join_all;
use wa_core::event::Fact;
use wa_core::ports::{Erased, NewUser};
use wa_core::privacy::{PrivacySettings, ShownTo};
use wa_core::user::{DEFAULT_STATUS_TEXT, ProfileUpdate, User};

use super::Subject;
use super::people::phone;

async fn get(s: &Subject, id: wa_core::id::UserId) -> User {
    s.users.get(&[id]).await.expect("read").pop().expect("the user is known")
}

/// Case.
pub async fn a_phone_has_one_account_also_under_concurrency(s: &Subject) {
    let register = |_| {
        let new = NewUser { id: s.id(), phone: Some(phone(1)), display_name: "Anna".to_owned(), at: s.now() };
        s.users.register(new)
    };
    let made: Vec<_> = join_all((0..10).map(register)).await.into_iter().map(|made| made.expect("registered")).collect();
    assert_eq!(made.iter().filter(|(_, is_new)| *is_new).count(), 1);
    let user = &made[0].0;
    assert!(made.iter().all(|(other, _)| other == user));
    assert_eq!((user.phone.as_ref(), user.display_name.as_str(), user.status_text.as_str()), (Some(&phone(1)), "Anna", DEFAULT_STATUS_TEXT));
    assert_eq!((user.avatar_url.as_str(), user.last_seen, user.created_at, user.is_deleted), ("", None, s.now(), false));
    assert_eq!(s.users.by_phones(&[phone(2), phone(1)]).await.expect("read"), std::slice::from_ref(user));
}

/// Case.
pub async fn an_account_without_a_phone_is_found_by_its_id(s: &Subject) {
    let new = NewUser { id: s.id(), phone: None, display_name: "Host's user".to_owned(), at: s.now() };
    let (user, is_new) = s.users.register(new.clone()).await.expect("registered");
    assert!(is_new);
    assert_eq!((user.id, user.phone.as_ref()), (new.id, None));
    let again = s.users.register(NewUser { display_name: "Renamed".to_owned(), ..new.clone() }).await.expect("found");
    assert_eq!(again, (user, false));
    let (other, is_new) = s.users.register(NewUser { id: s.id(), ..new }).await.expect("registered");
    assert!(is_new && other.id != again.0.id, "having no phone is not having the same one");
}

/// Case.
pub async fn unknown_users_are_left_out(s: &Subject) {
    let known = s.user().await;
    let found = s.users.get(&[s.id(), known, s.id()]).await.expect("read");
    assert_eq!(found.iter().map(|user| user.id).collect::<Vec<_>>(), [known]);
    assert!(s.users.get(&[]).await.expect("read").is_empty());
    assert!(s.users.by_phones(&[]).await.expect("read").is_empty());
    let many: Vec<_> = (0..700).map(|_| s.id()).chain([known]).collect();
    assert_eq!(s.users.get(&many).await.expect("read").len(), 1);
    assert_eq!(s.users.update(s.id(), ProfileUpdate::default(), s.now()).await.expect("answered"), None);
}

/// Case.
pub async fn an_update_leaves_other_fields_alone(s: &Subject) {
    let id = s.user_with_phone(phone(1)).await;
    let before = get(s, id).await;
    s.env.advance(Duration::from_secs(1));
    let update = ProfileUpdate { display_name: Some("Берта 🌻".to_owned()), ..ProfileUpdate::default() };
    let after = s.users.update(id, update, s.now()).await.expect("answered").expect("known");
    assert_eq!(after, User { display_name: "Берта 🌻".to_owned(), updated_at: s.now(), ..before });
    let update = ProfileUpdate { status_text: Some(String::new()), avatar_url: Some("/a.jpg".to_owned()), display_name: None };
    let last = s.users.update(id, update, s.now()).await.expect("answered").expect("known");
    assert_eq!(last, User { status_text: String::new(), avatar_url: "/a.jpg".to_owned(), ..after });
    assert_eq!(get(s, id).await, last);
}

/// Case.
pub async fn last_seen_only_rises(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let at = |seconds| s.now().after(Duration::from_secs(seconds));
    s.users.set_last_seen(&[(a, at(5)), (b, at(1)), (a, at(3)), (s.id(), at(9))]).await.expect("noted");
    assert_eq!((get(s, a).await.last_seen, get(s, b).await.last_seen), (Some(at(5)), Some(at(1))));
    s.users.set_last_seen(&[(a, at(4)), (b, at(2))]).await.expect("noted");
    assert_eq!((get(s, a).await.last_seen, get(s, b).await.last_seen), (Some(at(5)), Some(at(2))));
    s.users.set_last_seen(&[]).await.expect("noted");
}

/// Case.
pub async fn erasing_removes_every_personal_field(s: &Subject) {
    let (id, other) = (s.user_with_phone(phone(1)).await, s.user().await);
    let update = ProfileUpdate { display_name: Some("Anna".to_owned()), status_text: Some("busy".to_owned()), avatar_url: Some("/a.jpg".to_owned()) };
    s.users.update(id, update, s.now()).await.expect("updated");
    s.users.set_last_seen(&[(id, s.now())]).await.expect("noted");
    s.users.set_privacy(id, PrivacySettings { about: ShownTo::Nobody, ..PrivacySettings::default() }, s.now()).await.expect("set");
    s.contacts.save(id, &[other], s.now()).await.expect("saved");
    s.contacts.save(other, &[id], s.now()).await.expect("saved");
    let created_at = get(s, id).await.created_at;
    let chat = s.chat_of(id, other).await.id;
    let sent = s.send(chat, id, "what stays").await;
    s.env.advance(Duration::from_secs(1));
    assert_eq!(s.users.erase(id, s.id(), s.now()).await.expect("erased"), Erased::Done(vec![]), "there was no device");
    let tombstone = User {
        id,
        phone: None,
        display_name: String::new(),
        avatar_url: String::new(),
        status_text: String::new(),
        last_seen: None,
        created_at,
        updated_at: s.now(),
        is_deleted: true,
    };
    assert_eq!(get(s, id).await, tombstone);
    assert!(s.contacts.list(id).await.expect("read").is_empty());
    assert!(s.contacts.list(other).await.expect("read").is_empty());
    assert_eq!(s.users.privacy(&[id]).await.expect("read")[&id], PrivacySettings::default());
    let update = ProfileUpdate { display_name: Some("Back".to_owned()), ..ProfileUpdate::default() };
    assert_eq!(s.users.update(id, update, s.now()).await.expect("answered"), None);
    s.users.set_last_seen(&[(id, s.now())]).await.expect("answered");
    assert_eq!(get(s, id).await, tombstone);
    let seen = s.messages.get(&s.viewer(chat, other), &[sent.id]).await.expect("read");
    assert_eq!(seen, [sent]);
}

/// Case.
pub async fn erasing_frees_the_phone(s: &Subject) {
    let old = s.user_with_phone(phone(1)).await;
    s.users.erase(old, s.id(), s.now()).await.expect("erased");
    assert!(s.users.by_phones(&[phone(1)]).await.expect("read").is_empty());
    let (new, is_new) = s.users.register(NewUser { id: s.id(), phone: Some(phone(1)), display_name: String::new(), at: s.now() }).await.expect("registered");
    assert!(is_new);
    assert_ne!(new.id, old);
    assert_eq!(s.users.by_phones(&[phone(1)]).await.expect("read"), [new]);
}

/// Case.
pub async fn erasing_ends_every_session_and_leaves_their_event(s: &Subject) {
    let (user, other) = (s.user_with_phone(phone(1)).await, s.user().await);
    let mut devices = [s.log_in(user).await.0, s.log_in(user).await.0];
    devices.sort_unstable();
    let ended_before = s.log_in(user).await.0;
    s.sessions.revoke(user, &[ended_before], s.id(), s.now()).await.expect("revoked");
    let of_other = s.log_in(other).await.0;
    for device in devices.iter().chain([&of_other]) {
        assert!(s.sessions.get(*device).await.expect("read").is_some_and(|session| !session.revoked));
    }
    s.outbox.drain().await;
    let event_id = s.id();
    let Erased::Done(mut ended) = s.users.erase(user, event_id, s.now()).await.expect("erased") else { panic!("they were in no group") };
    ended.sort_unstable();
    assert_eq!(ended, devices);
    for device in devices {
        let session = s.sessions.get(device).await.expect("read");
        assert!(session.is_none_or(|session| session.revoked && session.phone.is_none() && session.name.is_empty()));
    }
    assert!(s.sessions.list(user).await.expect("read").is_empty());
    assert!(s.sessions.get(of_other).await.expect("read").is_some_and(|session| !session.revoked));
    let events = s.outbox.drain().await;
    let [event] = events.as_slice() else { panic!("expected one event, got {events:?}") };
    let Fact::SessionsRevoked { user_id, devices: told } = &event.fact else { panic!("expected ended sessions, got {event:?}") };
    let mut told = told.clone();
    told.sort_unstable();
    assert_eq!((event.id, *user_id, told), (event_id, user, devices.to_vec()));
    assert_eq!(s.users.erase(user, s.id(), s.now()).await.expect("answered"), Erased::Done(vec![]));
    assert!(s.facts().await.is_empty(), "erasing again announces nothing");
}

/// Case.
pub async fn an_account_in_a_group_is_not_erased(s: &Subject) {
    let (admin, user) = (s.user().await, s.user_with_phone(phone(1)).await);
    let groups = [s.group(admin, &[user]).await, s.group(user, &[admin]).await];
    s.chat_of(admin, user).await;
    s.log_in(user).await;
    s.outbox.drain().await;
    let Erased::InGroups(mut found) = s.users.erase(user, s.id(), s.now()).await.expect("answered") else { panic!("they are in two groups") };
    found.sort_unstable();
    let mut expected = groups;
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(!get(s, user).await.is_deleted && s.sessions.list(user).await.expect("read").len() == 1 && s.facts().await.is_empty());
    for group in groups {
        s.leave(group, user).await;
    }
    assert!(matches!(s.users.erase(user, s.id(), s.now()).await.expect("erased"), Erased::Done(ended) if ended.len() == 1));
    assert!(get(s, user).await.is_deleted);
}

/// Case.
pub async fn privacy_has_defaults_until_set(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let unknown = s.id();
    let settings = PrivacySettings { last_seen: ShownTo::Contacts, profile_photo: ShownTo::Nobody, about: ShownTo::Everyone, read_receipts: false };
    s.users.set_privacy(a, PrivacySettings::default(), s.now()).await.expect("set");
    s.users.set_privacy(a, settings, s.now()).await.expect("set");
    let read = s.users.privacy(&[a, b, unknown]).await.expect("read");
    assert_eq!((read[&a], read[&b], read[&unknown]), (settings, PrivacySettings::default(), PrivacySettings::default()));
}
