//! The contract of `TypingStore`.

use std::time::Duration;

use super::Subject;

const TTL: Duration = Duration::from_secs(5);

/// Case.
pub async fn starting_again_prolongs_and_is_not_new(s: &Subject) {
    let (chat, user) = (s.id(), s.id());
    let start = || async { s.typing.start(chat, user, s.now().after(TTL)).await.expect("answered") };
    assert!(start().await);
    s.env.advance(TTL - Duration::from_secs(1));
    assert!(!start().await);
    s.env.advance(TTL - Duration::from_secs(1));
    assert!(s.typing.take_expired(s.now()).await.expect("answered").is_empty());
    s.env.advance(Duration::from_secs(1));
    assert_eq!(s.typing.take_expired(s.now()).await.expect("answered"), [(chat, user)]);
    assert!(start().await, "after it has run out it is new");
    assert!(s.typing.start(s.id(), user, s.now().after(TTL)).await.expect("answered"), "in another chat it is another notice");
}

/// Case.
pub async fn stopping_what_was_not_started_is_nothing(s: &Subject) {
    let (chat, user) = (s.id(), s.id());
    assert!(!s.typing.stop(chat, user).await.expect("answered"));
    s.typing.start(chat, user, s.now().after(TTL)).await.expect("answered");
    assert!(!s.typing.stop(chat, s.id()).await.expect("answered"));
    assert!(s.typing.stop(chat, user).await.expect("answered"));
    assert!(!s.typing.stop(chat, user).await.expect("answered"));
    s.env.advance(TTL);
    assert!(s.typing.take_expired(s.now()).await.expect("answered").is_empty(), "what was stopped does not run out");
}

/// Case.
pub async fn an_expired_notice_is_returned_once(s: &Subject) {
    let (chat, first, second) = (s.id(), s.id(), s.id());
    s.typing.start(chat, first, s.now().after(TTL)).await.expect("answered");
    s.typing.start(chat, second, s.now().after(TTL * 2)).await.expect("answered");
    assert!(s.typing.take_expired(s.now()).await.expect("answered").is_empty());
    s.env.advance(TTL);
    assert_eq!(s.typing.take_expired(s.now()).await.expect("answered"), [(chat, first)]);
    assert!(s.typing.take_expired(s.now()).await.expect("answered").is_empty());
    s.env.advance(TTL);
    assert_eq!(s.typing.take_expired(s.now()).await.expect("answered"), [(chat, second)]);
}
