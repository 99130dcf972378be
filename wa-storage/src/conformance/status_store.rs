//! The contract of `StatusStore`.

use std::time::Duration;

use wa_core::id::{StatusId, UserId};
use wa_core::status_post::{LIFETIME, StatusContent, StatusPost};

use super::Subject;

impl Subject {
    fn status_of(&self, user: UserId, text: &str) -> StatusPost {
        StatusPost {
            id: self.id(),
            user_id: user,
            content: StatusContent::Text(text.to_owned()),
            caption: String::new(),
            bg_color: String::new(),
            created_at: self.now(),
            expires_at: self.now().after(LIFETIME),
        }
    }

    async fn show(&self, user: UserId, text: &str) -> StatusPost {
        self.env.advance(Duration::from_millis(1));
        let status = self.status_of(user, text);
        assert!(self.statuses.create(&status, 100).await.expect("stored"));
        status
    }

    async fn shown(&self, users: &[UserId], limit: usize) -> Vec<StatusPost> {
        self.statuses.of(users, self.now(), limit).await.expect("read")
    }

    async fn viewers_of(&self, id: StatusId) -> Vec<UserId> {
        self.statuses.viewers(&[id], 100).await.expect("read").remove(&id).unwrap_or_default()
    }
}

/// Case.
pub async fn a_status_reads_back(s: &Subject) {
    let user = s.user().await;
    let text = StatusPost { caption: "two\nlines".to_owned(), bg_color: "#ff00ff".to_owned(), ..s.status_of(user, "héllo 🎉") };
    let image = StatusPost { content: StatusContent::Image(s.id()), ..s.status_of(user, "") };
    for status in [text, image] {
        assert!(s.statuses.create(&status, 100).await.expect("stored"));
        assert_eq!(s.statuses.get(status.id, s.now()).await.expect("read"), Some(status));
    }
    assert_eq!(s.statuses.get(s.id(), s.now()).await.expect("read"), None);
}

/// Case.
pub async fn statuses_of_many_come_newest_first_and_bounded(s: &Subject) {
    let (a, b, c) = (s.user().await, s.user().await, s.user().await);
    let mut all = vec![s.show(a, "1").await, s.show(b, "2").await, s.show(a, "3").await];
    s.show(c, "4").await;
    all.reverse();
    let many: Vec<UserId> = [a].into_iter().chain((0..300).map(|_| s.id())).chain([b]).collect();
    assert_eq!(s.shown(&many, 10).await, all);
    assert_eq!(s.shown(&many, 2).await, all[..2]);
    assert_eq!(s.shown(&[], 10).await, []);
}

/// Case.
pub async fn an_expired_status_is_not_shown(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let status = s.show(a, "gone tomorrow").await;
    s.env.advance(LIFETIME - Duration::from_millis(1));
    assert_eq!(s.shown(&[a], 10).await.len(), 1);
    s.env.advance(Duration::from_millis(1));
    assert_eq!(s.shown(&[a], 10).await, []);
    assert_eq!(s.statuses.get(status.id, s.now()).await.expect("read"), None);
    assert!(!s.statuses.delete(a, status.id, s.now()).await.expect("answered"));
    s.statuses.view(status.id, b, s.now()).await.expect("answered");
}

/// Case.
pub async fn no_more_statuses_are_kept_than_a_user_may_have(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    for expected in [true, true, false] {
        assert_eq!(s.statuses.create(&s.status_of(a, "one more"), 2).await.expect("answered"), expected);
    }
    assert!(s.statuses.create(&s.status_of(b, "mine"), 2).await.expect("answered"));
    s.env.advance(LIFETIME);
    assert!(s.statuses.create(&s.status_of(a, "the next day"), 2).await.expect("answered"), "expired ones do not count");
}

/// Case.
pub async fn only_the_owner_deletes_a_status(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let status = s.show(a, "mine").await;
    assert!(!s.statuses.delete(b, status.id, s.now()).await.expect("answered"));
    assert_eq!(s.shown(&[a], 10).await.len(), 1);
    assert!(s.statuses.delete(a, status.id, s.now()).await.expect("answered"));
    assert!(!s.statuses.delete(a, status.id, s.now()).await.expect("answered"));
    assert_eq!(s.shown(&[a], 10).await, []);
}

/// Case.
pub async fn viewing_twice_is_viewing_once(s: &Subject) {
    let (a, b, c) = (s.user().await, s.user().await, s.user().await);
    let (status, other) = (s.show(a, "look").await, s.show(a, "and this").await);
    for viewer in [c, b, c] {
        s.env.advance(Duration::from_millis(1));
        s.statuses.view(status.id, viewer, s.now()).await.expect("noted");
    }
    assert_eq!(s.viewers_of(status.id).await, [c, b]);
    assert_eq!(s.viewers_of(other.id).await, []);
    assert_eq!(s.statuses.viewers(&[status.id], 1).await.expect("read")[&status.id], [c]);
    // One that is gone is passed over.
    s.statuses.view(s.id(), b, s.now()).await.expect("answered");
}

/// Case.
pub async fn expired_statuses_are_deleted_in_bounded_steps(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let first = s.show(a, "1").await;
    s.statuses.view(first.id, b, s.now()).await.expect("noted");
    for text in ["2", "3"] {
        s.show(a, text).await;
    }
    s.env.advance(LIFETIME);
    let kept = s.show(a, "4").await;
    assert!(s.statuses.expire(s.now(), 2).await.expect("deleted"), "more may be left");
    assert!(!s.statuses.expire(s.now(), 2).await.expect("deleted"));
    assert_eq!(s.shown(&[a], 10).await, [kept]);
    assert_eq!(s.viewers_of(first.id).await, []);
}

/// Case.
pub async fn statuses_and_views_go_with_their_account(s: &Subject) {
    let (a, b, c) = (s.user().await, s.user().await, s.user().await);
    let (of_a, of_b) = (s.show(a, "a").await, s.show(b, "b").await);
    for (status, viewer) in [(&of_a, b), (&of_b, a), (&of_b, c)] {
        s.statuses.view(status.id, viewer, s.now()).await.expect("noted");
    }
    s.users.erase(a, s.id(), s.now()).await.expect("erased");
    assert_eq!(s.shown(&[a, b], 10).await, std::slice::from_ref(&of_b));
    assert_eq!(s.viewers_of(of_b.id).await, [c]);
}
