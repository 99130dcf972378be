//! The contract of `SessionStore`.

use std::time::Duration;

use futures_util::future::join_all;
use wa_core::event::Fact;
use wa_core::id::{DeviceId, UserId};
use wa_core::ports::{Env as _, NewRotation, NewSession};
use wa_core::session::{Rotation, Session, TokenHash};

use super::Subject;
use super::people::phone;

const LIFETIME: Duration = Duration::from_secs(3600);
const WINDOW: Duration = Duration::from_secs(30);

impl Subject {
    fn token(&self) -> TokenHash {
        let mut bytes = [0; 32];
        self.env.fill(&mut bytes);
        TokenHash::of(&bytes)
    }

    /// Starts a session. Returns its device and refresh token.
    pub(super) async fn log_in(&self, user: UserId) -> (DeviceId, TokenHash) {
        let session = Session {
            device_id: self.id(),
            user_id: user,
            phone: None,
            name: "A phone".to_owned(),
            platform: Some("android".to_owned()),
            created_at: self.now(),
            last_active_at: self.now(),
            revoked: false,
        };
        let (device, refresh) = (session.device_id, self.token());
        self.sessions.create(NewSession { session, refresh: refresh.clone(), expires_at: self.now().after(LIFETIME) }).await.expect("a session starts");
        (device, refresh)
    }

    fn rotation(&self, old: &TokenHash, key: Option<&str>) -> NewRotation {
        NewRotation {
            old: old.clone(),
            new: self.token(),
            expires_at: self.now().after(LIFETIME),
            key: key.map(|key| TokenHash::of(key.as_bytes())),
            repeat_window: WINDOW,
            event_id: self.id(),
            at: self.now(),
        }
    }

    async fn rotate(&self, old: &TokenHash, key: Option<&str>) -> (Rotation, TokenHash) {
        let rotation = self.rotation(old, key);
        let new = rotation.new.clone();
        (self.sessions.rotate(rotation).await.expect("answered"), new)
    }

    async fn is_live(&self, device: DeviceId) -> bool {
        self.sessions.get(device).await.expect("read").is_some_and(|session| !session.revoked)
    }
}

/// Case.
pub async fn a_refresh_token_rotates_once(s: &Subject) {
    let user = s.user_with_phone(phone(1)).await;
    let (device, first) = s.log_in(user).await;
    let at_login = s.sessions.get(device).await.expect("read").expect("known");
    assert_eq!((at_login.user_id, at_login.phone.as_ref(), at_login.name.as_str()), (user, Some(&phone(1)), "A phone"));
    s.env.advance(Duration::from_secs(10));
    let (rotation, second) = s.rotate(&first, None).await;
    let Rotation::Rotated(session) = rotation else { panic!("expected a rotation, got {rotation:?}") };
    assert_eq!(session, Session { last_active_at: s.now(), ..(*at_login).clone() });
    assert_eq!(*s.sessions.get(device).await.expect("read").expect("known"), session);
    for token in [&first, &second] {
        assert_eq!(s.sessions.by_refresh(token).await.expect("read").map(|session| session.device_id), Some(device), "spent or not");
    }
    let (rotation, third) = s.rotate(&second, None).await;
    assert!(matches!(rotation, Rotation::Rotated(_)));
    assert!(s.facts().await.is_empty());
    let (rotation, _) = s.rotate(&first, None).await;
    assert!(matches!(rotation, Rotation::Reused(_)));
    let (rotation, _) = s.rotate(&third, None).await;
    assert_eq!(rotation, Rotation::Refused, "the session ended with the reuse");
}

/// Case.
pub async fn of_concurrent_rotations_one_wins(s: &Subject) {
    let (device, token) = s.log_in(s.user().await).await;
    let rotations = join_all((0..6).map(|_| s.rotate(&token, None))).await;
    let won = rotations.iter().filter(|(rotation, _)| matches!(rotation, Rotation::Rotated(_))).count();
    let reused = rotations.iter().filter(|(rotation, _)| matches!(rotation, Rotation::Reused(_))).count();
    assert_eq!((won, reused), (1, 1), "the rest is refused, as the session has ended");
    assert!(!s.is_live(device).await);
    // With one key they are repeats of one request.
    let (device, token) = s.log_in(s.user().await).await;
    let rotations = join_all((0..6).map(|_| s.rotate(&token, Some("key")))).await;
    let won = rotations.iter().filter(|(rotation, _)| matches!(rotation, Rotation::Rotated(_))).count();
    let repeated = rotations.iter().filter(|(rotation, _)| matches!(rotation, Rotation::Repeated(..))).count();
    assert_eq!((won, repeated), (1, 5));
    assert!(s.is_live(device).await);
}

/// Case.
pub async fn a_repeat_with_the_same_key_in_time_is_answered_again(s: &Subject) {
    let (device, first) = s.log_in(s.user().await).await;
    let made_at = s.now();
    let (_, second) = s.rotate(&first, Some("key")).await;
    for wait in [Duration::ZERO, WINDOW] {
        s.env.advance(wait);
        let (rotation, _) = s.rotate(&first, Some("key")).await;
        let Rotation::Repeated(session, at) = rotation else { panic!("expected a repeat, got {rotation:?}") };
        assert_eq!((session.device_id, at), (device, made_at));
    }
    assert!(s.is_live(device).await);
    let (rotation, _) = s.rotate(&second, None).await;
    assert!(matches!(rotation, Rotation::Rotated(_)), "the repeats spent nothing");
}

/// Case.
pub async fn a_repeat_with_another_key_or_too_late_is_reuse(s: &Subject) {
    for (first_key, second_key, wait) in [
        (Some("key"), Some("other"), Duration::ZERO),
        (Some("key"), None, Duration::ZERO),
        (None, Some("key"), Duration::ZERO),
        (None, None, Duration::ZERO),
        (Some("key"), Some("key"), WINDOW + Duration::from_millis(1)),
    ] {
        let (device, token) = s.log_in(s.user().await).await;
        s.rotate(&token, first_key).await;
        s.env.advance(wait);
        let (rotation, _) = s.rotate(&token, second_key).await;
        assert!(matches!(rotation, Rotation::Reused(_)), "{first_key:?}, then {second_key:?} after {wait:?}: {rotation:?}");
        assert!(!s.is_live(device).await);
    }
}

/// Case.
pub async fn reuse_ends_the_session_and_leaves_its_event(s: &Subject) {
    let user = s.user().await;
    let (device, token) = s.log_in(user).await;
    let (another, _) = s.log_in(user).await;
    assert!(s.is_live(device).await);
    let (_, newest) = s.rotate(&token, None).await;
    let reuse = s.rotation(&token, None);
    let event_id = reuse.event_id;
    let Rotation::Reused(session) = s.sessions.rotate(reuse).await.expect("answered") else { panic!("expected the reuse to be noticed") };
    assert_eq!((session.device_id, session.revoked), (device, true));
    assert!(!s.is_live(device).await);
    assert!(s.is_live(another).await, "the user's other devices go on");
    assert_eq!(s.rotate(&newest, None).await.0, Rotation::Refused);
    let events = s.outbox.drain().await;
    let [event] = events.as_slice() else { panic!("expected one event, got {events:?}") };
    assert_eq!((event.id, &event.fact), (event_id, &Fact::SessionsRevoked { user_id: user, devices: vec![device] }));
}

/// Case.
pub async fn an_expired_or_unknown_refresh_token_is_refused(s: &Subject) {
    let (device, token) = s.log_in(s.user().await).await;
    assert_eq!(s.rotate(&s.token(), None).await.0, Rotation::Refused);
    assert_eq!(s.sessions.by_refresh(&s.token()).await.expect("read"), None);
    s.env.advance(LIFETIME);
    assert_eq!(s.rotate(&token, None).await.0, Rotation::Refused);
    assert!(s.is_live(device).await, "being late is no reuse");
}

/// Case.
pub async fn the_token_of_an_ended_session_is_refused(s: &Subject) {
    let user = s.user().await;
    let (device, token) = s.log_in(user).await;
    s.sessions.revoke(user, &[device], s.id(), s.now()).await.expect("revoked");
    assert_eq!(s.rotate(&token, None).await.0, Rotation::Refused);
    assert!(s.sessions.by_refresh(&token).await.expect("read").is_none_or(|session| session.revoked));
}

/// Case.
pub async fn revoking_is_per_user_and_idempotent(s: &Subject) {
    let (user, other) = (s.user().await, s.user().await);
    let (mine, also_mine, theirs) = (s.log_in(user).await.0, s.log_in(user).await.0, s.log_in(other).await.0);
    for device in [mine, also_mine, theirs] {
        assert!(s.is_live(device).await);
    }
    let event_id = s.id();
    let ended = s.sessions.revoke(user, &[mine, theirs, s.id()], event_id, s.now()).await.expect("revoked");
    assert_eq!(ended, [mine]);
    assert!(!s.is_live(mine).await);
    assert!(s.sessions.get(mine).await.expect("read").is_some(), "an ended session is still known");
    assert!(s.is_live(also_mine).await && s.is_live(theirs).await);
    assert!(s.sessions.revoke(user, &[mine], s.id(), s.now()).await.expect("answered").is_empty());
    assert!(s.sessions.revoke(user, &[], s.id(), s.now()).await.expect("answered").is_empty());
    let events = s.outbox.drain().await;
    let [event] = events.as_slice() else { panic!("expected one event, got {events:?}") };
    assert_eq!((event.id, &event.fact), (event_id, &Fact::SessionsRevoked { user_id: user, devices: vec![mine] }));
    // Readers at the same moment never make an ended session stay live.
    for _ in 0..20 {
        let (device, _) = s.log_in(user).await;
        let reads = join_all((0..8).map(|_| s.is_live(device)));
        let (_, ended) = tokio::join!(reads, s.sessions.revoke(user, std::slice::from_ref(&device), s.id(), s.now()));
        assert_eq!(ended.expect("revoked"), [device]);
        assert!(!s.is_live(device).await);
    }
}

/// Case.
pub async fn ended_sessions_are_not_listed(s: &Subject) {
    let user = s.user().await;
    let mut devices = Vec::new();
    for _ in 0..3 {
        s.env.advance(Duration::from_secs(1));
        devices.push(s.log_in(user).await.0);
    }
    s.sessions.revoke(user, &[devices[1]], s.id(), s.now()).await.expect("revoked");
    let listed = |user| async move { s.sessions.list(user).await.expect("read") };
    assert_eq!(listed(user).await.iter().map(|session| session.device_id).collect::<Vec<_>>(), [devices[2], devices[0]], "newest first");
    assert!(listed(s.id()).await.is_empty());
    s.env.advance(Duration::from_secs(60));
    s.sessions.touch(devices[0], s.now()).await.expect("noted");
    s.sessions.touch(devices[0], s.now().after(Duration::ZERO)).await.expect("noted");
    assert_eq!(listed(user).await[1].last_active_at, s.now());
    assert_eq!(s.sessions.get(devices[0]).await.expect("read").map(|session| session.last_active_at), Some(s.now()));
}
