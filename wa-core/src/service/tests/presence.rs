//! Coming, going and typing.

use std::sync::{Arc, Mutex};

use super::mocks::{MockChatStore, MockContactStore, MockEventBus, MockPresenceStore, MockTypingStore, MockUserStore};
use super::{ALICE, BOB, CAROL, CHAT, caller, direct, down, env, limits, settings_of, strangers, user};
use crate::api::PresenceApi;
use crate::chat::Membership;
use crate::event::Fact;
use crate::id::{ConnectionId, UserId};
use crate::ports::{CameAndWent, Env};
use crate::privacy::ShownTo;
use crate::service::{PresenceDeps, PresenceService};
use crate::user::{PresenceView, User};

struct Ports {
    presence: MockPresenceStore,
    typing: MockTypingStore,
    chats: MockChatStore,
    users: MockUserStore,
    contacts: MockContactStore,
    bus: MockEventBus,
    told: Arc<Mutex<Vec<Fact>>>,
}

impl Ports {
    fn new() -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut bus = MockEventBus::new();
        let facts = Arc::clone(&told);
        bus.expect_publish().returning(move |events| {
            facts.lock().expect("is whole").extend(events.iter().map(|event| event.fact.clone()));
            Ok(())
        });
        Self {
            presence: MockPresenceStore::new(),
            typing: MockTypingStore::new(),
            chats: MockChatStore::new(),
            users: MockUserStore::new(),
            contacts: MockContactStore::new(),
            bus,
            told,
        }
    }

    fn in_chat(membership: Membership) -> Self {
        let mut ports = Self::new();
        ports.chats.expect_membership().returning(move |_| Ok(Some(Arc::new(membership.clone()))));
        ports
    }

    fn service(self) -> PresenceService {
        PresenceService::new(PresenceDeps {
            presence: Arc::new(self.presence),
            typing: Arc::new(self.typing),
            chats: Arc::new(self.chats),
            users: Arc::new(self.users),
            contacts: Arc::new(self.contacts),
            bus: Arc::new(self.bus),
            env: env(),
            limits: limits(),
        })
    }
}

fn connection() -> ConnectionId {
    ConnectionId::from_uuid(uuid::Uuid::from_u128(5))
}

fn facts(told: &Mutex<Vec<Fact>>) -> Vec<Fact> {
    std::mem::take(&mut *told.lock().expect("is whole"))
}

#[tokio::test]
async fn only_coming_and_going_is_announced() {
    for (changed, announced) in [(true, 1), (false, 0)] {
        let mut ports = Ports::new();
        ports.presence.expect_connect().return_once(move |_, _| Ok(changed));
        ports.presence.expect_disconnect().return_once(move |_, _| Ok(changed));
        ports.users.expect_get().returning(|ids| Ok(ids.iter().map(|id| user(*id)).collect()));
        ports.users.expect_set_last_seen().times(announced).returning(|_| Ok(()));
        let told = Arc::clone(&ports.told);
        let service = ports.service();
        service.connected(&caller(ALICE), connection()).await.expect("connects");
        assert_eq!(facts(&told), vec![Fact::Presence { user_id: ALICE, online: true, last_seen: None }; announced]);
        service.disconnected(&caller(ALICE), connection()).await.expect("disconnects");
        assert_eq!(facts(&told), vec![Fact::Presence { user_id: ALICE, online: false, last_seen: Some(env().now()) }; announced]);
    }
}

#[tokio::test]
async fn going_is_announced_even_if_it_could_not_be_noted() {
    let mut ports = Ports::new();
    ports.presence.expect_disconnect().return_once(|_, _| Ok(true));
    ports.users.expect_set_last_seen().return_once(|_| down());
    let told = Arc::clone(&ports.told);
    assert!(ports.service().disconnected(&caller(ALICE), connection()).await.is_err());
    assert_eq!(facts(&told).len(), 1);
}

#[tokio::test]
async fn typing_is_announced_when_it_starts_and_when_it_stops() {
    for is_news in [true, false] {
        let mut ports = Ports::in_chat(direct());
        ports
            .typing
            .expect_start()
            .withf(|chat, user, until| (*chat, *user, until.since(env().now()).as_secs()) == (CHAT, ALICE, 5))
            .return_once(move |_, _, _| Ok(is_news));
        ports.typing.expect_stop().return_once(move |_, _| Ok(is_news));
        let told = Arc::clone(&ports.told);
        let service = ports.service();
        for is_typing in [true, false] {
            service.typing(&caller(ALICE), CHAT, is_typing).await.expect("is noted");
            assert_eq!(facts(&told), vec![Fact::Typing { chat_id: CHAT, user_id: ALICE, is_typing }; usize::from(is_news)]);
        }
    }
}

#[tokio::test]
async fn typing_stays_unknown_where_either_side_has_blocked_the_other() {
    for blocker in [ALICE, BOB] {
        let mut membership = direct();
        membership.members.get_mut(&blocker).expect("is in").has_blocked = true;
        let ports = Ports::in_chat(membership);
        let told = Arc::clone(&ports.told);
        ports.service().typing(&caller(ALICE), CHAT, true).await.expect("looks like any other");
        assert_eq!(facts(&told), []);
    }
}

#[tokio::test]
async fn strangers_cannot_type_in_a_chat() {
    let service = Ports::in_chat(direct()).service();
    assert_eq!(service.typing(&caller(CAROL), CHAT, true).await.expect_err("is refused").code(), "CHAT_NOT_FOUND");
}

#[tokio::test]
async fn typing_that_ran_out_is_announced_as_stopped() {
    let mut ports = Ports::new();
    ports.typing.expect_take_expired().return_once(|_| Ok(vec![(CHAT, ALICE), (CHAT, BOB)]));
    let told = Arc::clone(&ports.told);
    ports.service().expire_typing().await.expect("expires");
    let stopped = |user_id| Fact::Typing { chat_id: CHAT, user_id, is_typing: false };
    assert_eq!(facts(&told), [stopped(ALICE), stopped(BOB)]);
}

#[tokio::test]
async fn who_came_or_went_unnoticed_is_announced() {
    for by_renewal in [true, false] {
        let mut ports = Ports::new();
        let changes = CameAndWent { came: vec![ALICE], went: vec![BOB, CAROL] };
        if by_renewal {
            ports.presence.expect_renew().return_once(|| Ok(changes));
        } else {
            ports.presence.expect_expire().return_once(|| Ok(changes));
        }
        ports.users.expect_get().returning(|ids| Ok(ids.iter().map(|id| user(*id)).collect()));
        ports.users.expect_set_last_seen().once().withf(|seen| *seen == [(BOB, env().now()), (CAROL, env().now())]).returning(|_| Ok(()));
        let told = Arc::clone(&ports.told);
        let service = ports.service();
        if by_renewal { service.renew().await } else { service.expire().await }.expect("is told");
        let went = |user_id| Fact::Presence { user_id, online: false, last_seen: Some(env().now()) };
        assert_eq!(facts(&told), [went(BOB), went(CAROL), Fact::Presence { user_id: ALICE, online: true, last_seen: None }]);
    }
}

#[tokio::test]
async fn what_cannot_be_known_now_looks_hidden_and_typing_is_not_told() {
    let mut ports = Ports::in_chat(direct());
    ports.users.expect_get().returning(|ids| Ok(ids.iter().map(|id| User { last_seen: Some(env().now()), ..user(*id) }).collect()));
    ports.users.expect_privacy().returning(|ids| Ok(settings_of(ids, |_, _| {})));
    ports.contacts.expect_relations().returning(|pairs| Ok(strangers(pairs)));
    ports.presence.expect_online().returning(|_| down());
    ports.typing.expect_start().returning(|_, _, _| down());
    ports.typing.expect_stop().returning(|_, _| down());
    let told = Arc::clone(&ports.told);
    let service = ports.service();
    assert_eq!(service.see(&caller(ALICE), &[BOB]).await.expect("is answered"), [PresenceView::hidden(BOB)]);
    for is_typing in [true, false] {
        service.typing(&caller(ALICE), CHAT, is_typing).await.expect("is no error");
    }
    assert_eq!(facts(&told), []);
}

/// What Alice sees of Bob, who is online and was last seen before.
async fn alice_sees_bob(shown_to: ShownTo, is_deleted: bool) -> PresenceView {
    let mut ports = Ports::new();
    ports.users.expect_get().returning(move |ids| Ok(ids.iter().map(|id| User { last_seen: Some(env().now()), is_deleted, ..user(*id) }).collect()));
    ports.users.expect_privacy().returning(move |ids| Ok(settings_of(ids, |_, settings| settings.last_seen = shown_to)));
    ports.contacts.expect_relations().returning(|pairs| Ok(strangers(pairs)));
    ports.presence.expect_online().returning(|users| Ok(users.to_vec()));
    ports.service().see(&caller(ALICE), &[BOB]).await.expect("sees")[0]
}

#[tokio::test]
async fn hidden_and_erased_users_look_offline() {
    assert_eq!(alice_sees_bob(ShownTo::Everyone, false).await, PresenceView { user_id: BOB, online: true, last_seen: Some(env().now()) });
    for (shown_to, is_deleted) in [(ShownTo::Contacts, false), (ShownTo::Nobody, false), (ShownTo::Everyone, true)] {
        assert_eq!(alice_sees_bob(shown_to, is_deleted).await, PresenceView::hidden(BOB));
    }
}

#[tokio::test]
async fn a_relation_that_is_not_known_hides() {
    let mut ports = Ports::new();
    ports.users.expect_get().returning(|ids| Ok(ids.iter().map(|id| user(*id)).collect()));
    ports.users.expect_privacy().returning(|ids| Ok(settings_of(ids, |_, _| {})));
    ports.contacts.expect_relations().returning(|_| Ok(std::collections::HashMap::new()));
    assert_eq!(ports.service().see(&caller(ALICE), &[BOB]).await.expect("sees"), [PresenceView::hidden(BOB)]);
}

#[tokio::test]
async fn presence_is_answered_in_the_order_it_was_asked_for() {
    let mut ports = Ports::new();
    ports.users.expect_get().returning(|_| Ok(vec![user(BOB)]));
    ports.users.expect_privacy().returning(|ids| Ok(settings_of(ids, |_, _| {})));
    ports.contacts.expect_relations().returning(|pairs| Ok(strangers(pairs)));
    ports.presence.expect_online().returning(|users| Ok(users.to_vec()));
    let seen = ports.service().see(&caller(ALICE), &[CAROL, BOB, CAROL]).await.expect("sees");
    assert_eq!(seen.iter().map(|view| (view.user_id, view.online)).collect::<Vec<_>>(), [(CAROL, false), (BOB, true), (CAROL, false)]);
}

#[tokio::test]
async fn five_hundred_users_can_be_watched_and_not_one_more() {
    let mut ports = Ports::new();
    ports.users.expect_get().returning(|_| Ok(vec![]));
    let service = ports.service();
    let users = |count: u128| (0..count).map(|number| UserId::from_uuid(uuid::Uuid::from_u128(number))).collect::<Vec<_>>();
    assert_eq!(service.see(&caller(ALICE), &users(500)).await.expect("sees").len(), 500);
    assert_eq!(service.see(&caller(ALICE), &users(501)).await.expect_err("is refused").code(), "VALIDATION_ERROR");
}
