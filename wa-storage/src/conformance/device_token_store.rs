//! The contract of `DeviceTokenStore`.

use std::time::Duration;

use wa_core::id::{DeviceId, UserId};
use wa_core::ports::{NewDeviceToken, Note};
use wa_core::push::{DeviceToken, Lane, Platform, PushAddress, PushKind, WebPushKeys};

use super::Subject;

impl Subject {
    pub(super) fn new_token(&self, user: UserId, device: DeviceId, token: &str) -> NewDeviceToken {
        NewDeviceToken {
            id: self.id(),
            user_id: user,
            device_id: device,
            platform: Platform::Android,
            address: PushAddress { token: token.to_owned(), keys: None },
            most: 20,
            at: self.now(),
        }
    }

    pub(super) async fn register(&self, user: UserId, device: DeviceId, token: &str) -> DeviceToken {
        self.device_tokens.register(self.new_token(user, device, token)).await.expect("answered").expect("registered")
    }

    pub(super) async fn is_reachable(&self, user: UserId) -> bool {
        self.push_queue.reachable(&[user]).await.expect("read") == [user]
    }

    /// The tokens of a user, as a push to each of them finds them.
    async fn tokens_of(&self, user: UserId) -> Vec<DeviceToken> {
        let chat = self.chat_of(user, self.user().await).await.id;
        let note = Note { user_id: user, chat_id: chat, kind: PushKind::Messages, first: 1, last: 1, by: None, due_at: self.now(), at: self.now() };
        self.push_queue.note(vec![note]).await.expect("noted");
        let mut found = Vec::new();
        for lane in Lane::ALL {
            let due = self.push_queue.due(lane, self.now(), u32::MAX, 1000).await.expect("read");
            found.extend(due.into_iter().filter(|due| due.chat_id == chat).map(|due| due.token));
        }
        found.sort_by(|a, b| a.address.token.cmp(&b.address.token));
        found
    }

    async fn names_of(&self, user: UserId) -> Vec<String> {
        self.tokens_of(user).await.into_iter().map(|token| token.address.token).collect()
    }
}

/// Case.
pub async fn a_token_is_of_who_registered_it_last(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let first = s.register(a, s.id(), "shared").await;
    assert_eq!((first.user_id, s.is_reachable(a).await, s.is_reachable(b).await), (a, true, false));
    s.tokens_of(a).await;
    let second = s.register(b, s.id(), "shared").await;
    assert_eq!((second.user_id, s.is_reachable(a).await, s.is_reachable(b).await), (b, false, true));
    // What waited for the one is not for the other.
    assert_eq!(s.push_queue.due(Lane::Phones, s.now(), u32::MAX, 10).await.expect("read"), []);
}

/// Case.
pub async fn a_token_registered_again_is_the_same(s: &Subject) {
    let (user, device) = (s.user().await, s.id());
    let first = s.register(user, device, "mine").await;
    s.env.advance(Duration::from_secs(1));
    let (other, keys) = (s.id(), WebPushKeys { p256dh: [4; 65], auth: [7; 16] });
    let address = PushAddress { token: "mine".to_owned(), keys: Some(keys) };
    let new = NewDeviceToken { platform: Platform::Web, address: address.clone(), ..s.new_token(user, other, "mine") };
    let second = s.device_tokens.register(new).await.expect("answered").expect("registered");
    assert_eq!(second, DeviceToken { device_id: other, platform: Platform::Web, address, updated_at: s.now(), ..first });
    assert_eq!(s.tokens_of(user).await, [second]);
}

/// Case.
pub async fn past_the_limit_the_oldest_token_goes(s: &Subject) {
    let user = s.user().await;
    for name in ["a", "b", "c", "a", "d"] {
        s.env.advance(Duration::from_secs(1));
        s.device_tokens.register(NewDeviceToken { most: 3, ..s.new_token(user, s.id(), name) }).await.expect("answered").expect("registered");
    }
    assert_eq!(s.names_of(user).await, ["a", "c", "d"]);
}

/// Case.
pub async fn removing_a_token_is_per_user_and_idempotent(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let (phone, tablet) = (s.id(), s.id());
    s.register(a, phone, "phone").await;
    s.register(a, phone, "browser").await;
    s.register(a, tablet, "tablet").await;
    s.device_tokens.remove(b, "phone").await.expect("answered");
    assert_eq!(s.names_of(a).await.len(), 3);
    for _ in 0..2 {
        s.device_tokens.remove(a, "phone").await.expect("answered");
        assert_eq!(s.names_of(a).await, ["browser", "tablet"]);
    }
    s.device_tokens.remove_of(b, &[phone]).await.expect("answered");
    for _ in 0..2 {
        s.device_tokens.remove_of(a, &[phone]).await.expect("answered");
        assert_eq!(s.names_of(a).await, ["tablet"]);
    }
    s.device_tokens.remove_of(a, &[]).await.expect("answered");
}

/// Case.
pub async fn a_token_ends_with_its_session(s: &Subject) {
    let user = s.user().await;
    let ((phone, _), (tablet, _)) = (s.log_in(user).await, s.log_in(user).await);
    s.register(user, phone, "phone").await;
    s.register(user, tablet, "tablet").await;
    s.sessions.revoke(user, &[phone], s.id(), s.now()).await.expect("ended");
    assert_eq!(s.names_of(user).await, ["tablet"]);
}

/// Case.
pub async fn an_ended_session_registers_no_token(s: &Subject) {
    let user = s.user().await;
    let ((phone, _), (tablet, _)) = (s.log_in(user).await, s.log_in(user).await);
    s.register(user, tablet, "tablet").await;
    s.sessions.revoke(user, &[phone], s.id(), s.now()).await.expect("ended");
    for name in ["phone", "tablet"] {
        assert_eq!(s.device_tokens.register(s.new_token(user, phone, name)).await.expect("answered"), None);
    }
    assert_eq!(s.names_of(user).await, ["tablet"], "and takes none over");
    s.register(user, tablet, "again").await;
}

/// Case.
pub async fn a_token_ends_with_its_account(s: &Subject) {
    let user = s.user().await;
    s.register(user, s.id(), "phone").await;
    s.users.erase(user, s.id(), s.now()).await.expect("erased");
    assert!(!s.is_reachable(user).await);
}

/// Case.
pub async fn a_stale_token_goes_unless_it_was_registered_since(s: &Subject) {
    let (user, device) = (s.user().await, s.id());
    let first = s.register(user, device, "phone").await;
    s.env.advance(Duration::from_secs(1));
    let second = s.register(user, device, "phone").await;
    s.device_tokens.drop_stale(&first).await.expect("answered");
    assert!(s.is_reachable(user).await);
    s.device_tokens.drop_stale(&second).await.expect("answered");
    assert!(!s.is_reachable(user).await);
}
