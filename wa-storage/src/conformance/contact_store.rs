//! The contract of `ContactStore`.

use std::time::Duration;

use wa_core::id::UserId;
use wa_core::privacy::Relation;

use super::Subject;

async fn contacts(s: &Subject, owner: UserId) -> Vec<(UserId, bool)> {
    s.contacts.list(owner).await.expect("the list is read").iter().map(|contact| (contact.user_id, contact.is_blocked)).collect()
}

async fn relation(s: &Subject, viewer: UserId, owner: UserId) -> Relation {
    s.contacts.relations(&[(viewer, owner)]).await.expect("relations are read")[&(viewer, owner)]
}

/// Case.
pub async fn saving_contacts_adds_and_never_removes(s: &Subject) {
    let owner = s.user().await;
    let others = [s.user().await, s.user().await, s.user().await];
    s.contacts.save(owner, &[others[0], others[1], others[0]], s.now()).await.expect("saved");
    let first = s.now();
    s.env.advance(Duration::from_secs(1));
    s.contacts.save(owner, &[others[2], others[1]], s.now()).await.expect("saved");
    s.contacts.save(owner, &[], s.now()).await.expect("saved");
    let list = s.contacts.list(owner).await.expect("read");
    assert_eq!(list.len(), 3);
    assert_eq!(list.iter().map(|contact| contact.created_at).collect::<Vec<_>>(), [first, first, s.now()], "oldest first");
    assert_eq!(list[2].user_id, others[2]);
    assert!(list.iter().all(|contact| contact.nickname.is_empty() && !contact.is_blocked));
    assert!(contacts(s, others[0]).await.is_empty());
}

/// Case.
pub async fn a_block_alone_makes_no_contact(s: &Subject) {
    let (owner, target) = (s.user().await, s.user().await);
    s.contacts.set_blocked(owner, target, true, s.now()).await.expect("blocked");
    assert_eq!(contacts(s, owner).await, [(target, true)]);
    let seen = relation(s, owner, target).await;
    assert!(!seen.owner_is_contact && seen.viewer_blocked_owner);
    s.contacts.set_blocked(owner, target, false, s.now()).await.expect("unblocked");
    assert_eq!(contacts(s, owner).await, []);
    assert_eq!(relation(s, owner, target).await, Relation::default());
    s.contacts.set_blocked(owner, target, true, s.now()).await.expect("blocked");
    s.contacts.save(owner, &[target], s.now()).await.expect("saved");
    let seen = relation(s, owner, target).await;
    assert!(seen.owner_is_contact && seen.viewer_blocked_owner, "somebody blocked can be saved, and stays blocked");
}

/// Case.
pub async fn unblocking_a_contact_keeps_it(s: &Subject) {
    let (owner, target) = (s.user().await, s.user().await);
    s.contacts.save(owner, &[target], s.now()).await.expect("saved");
    s.contacts.set_blocked(owner, target, true, s.now()).await.expect("blocked");
    assert_eq!(contacts(s, owner).await, [(target, true)]);
    s.contacts.set_blocked(owner, target, false, s.now()).await.expect("unblocked");
    assert_eq!(contacts(s, owner).await, [(target, false)]);
    assert!(relation(s, owner, target).await.owner_is_contact);
}

/// Case.
pub async fn blocking_twice_is_blocking_once(s: &Subject) {
    let (owner, target) = (s.user().await, s.user().await);
    for blocked in [true, true, false, false] {
        s.contacts.set_blocked(owner, target, blocked, s.now()).await.expect("answered");
        assert_eq!(contacts(s, owner).await.len(), usize::from(blocked));
        assert_eq!(relation(s, owner, target).await.viewer_blocked_owner, blocked);
    }
}

/// Case.
pub async fn relations_tell_both_directions_apart(s: &Subject) {
    let (a, b, c) = (s.user().await, s.user().await, s.user().await);
    s.contacts.save(a, &[b], s.now()).await.expect("saved");
    s.contacts.set_blocked(b, a, true, s.now()).await.expect("blocked");
    let pairs = [(a, b), (b, a), (a, a), (a, c), (c, a)];
    let relations = s.contacts.relations(&pairs).await.expect("read");
    assert_eq!(relations.len(), pairs.len());
    assert_eq!(relations[&(a, b)], Relation { owner_is_contact: true, owner_blocked_viewer: true, ..Relation::default() });
    assert_eq!(relations[&(b, a)], Relation { viewer_is_contact: true, viewer_blocked_owner: true, ..Relation::default() });
    assert_eq!(relations[&(a, a)], Relation { is_self: true, ..Relation::default() });
    assert_eq!((relations[&(a, c)], relations[&(c, a)]), (Relation::default(), Relation::default()));
    let many: Vec<_> = (0..300).map(|_| (a, s.id())).chain([(a, b)]).collect();
    let relations = s.contacts.relations(&many).await.expect("read");
    assert_eq!((relations.len(), relations[&(a, b)].owner_is_contact), (301, true));
    assert!(s.contacts.relations(&[]).await.expect("read").is_empty());
}

/// Case.
pub async fn a_relation_to_an_unknown_user_is_a_strangers(s: &Subject) {
    let known = s.user().await;
    let unknown = s.id();
    assert_eq!(relation(s, known, unknown).await, Relation::default());
    assert_eq!(relation(s, unknown, known).await, Relation::default());
}
