//! The contract of `OtpStore`.

use std::time::Duration;

use futures_util::future::join_all;
use wa_core::session::OtpAttempt;

use super::Subject;
use super::people::phone;

const LIFETIME: Duration = Duration::from_secs(300);
const MOST: u32 = 5;

async fn put(s: &Subject, number: u32, hash: &str) {
    s.otps.put(&phone(number), hash, s.now().after(LIFETIME)).await.expect("stored");
}

async fn attempt(s: &Subject, number: u32) -> OtpAttempt {
    s.otps.attempt(&phone(number), MOST, s.now()).await.expect("answered")
}

/// Case.
pub async fn a_new_code_replaces_the_old_and_its_attempts(s: &Subject) {
    put(s, 1, "old").await;
    for number in 1..=3 {
        assert!(matches!(attempt(s, 1).await, OtpAttempt::Allowed { attempt, .. } if attempt == number));
    }
    s.env.advance(Duration::from_secs(1));
    put(s, 1, "new").await;
    let expected = OtpAttempt::Allowed { hash: "new".to_owned(), attempt: 1, expires_at: s.now().after(LIFETIME) };
    assert_eq!(attempt(s, 1).await, expected);
    assert_eq!(attempt(s, 2).await, OtpAttempt::Absent, "another phone has its own");
}

/// Case.
pub async fn attempts_are_counted_atomically(s: &Subject) {
    put(s, 1, "code").await;
    let attempts = join_all((0..20).map(|_| attempt(s, 1))).await;
    let mut allowed: Vec<u32> =
        attempts.iter().filter_map(|attempt| if let OtpAttempt::Allowed { attempt, .. } = attempt { Some(*attempt) } else { None }).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, (1..=MOST).collect::<Vec<_>>());
    assert_eq!(attempts.iter().filter(|attempt| matches!(attempt, OtpAttempt::Exhausted { .. })).count(), 15);
}

/// Case.
pub async fn a_code_is_consumed_once(s: &Subject) {
    put(s, 1, "code").await;
    assert!(!s.otps.consume(&phone(1), "other").await.expect("answered"));
    let consumed = join_all((0..10).map(|_| async { s.otps.consume(&phone(1), "code").await.expect("answered") })).await;
    assert_eq!(consumed.iter().filter(|consumed| **consumed).count(), 1);
    assert_eq!(attempt(s, 1).await, OtpAttempt::Absent);
    assert!(!s.otps.consume(&phone(2), "code").await.expect("answered"));
}

/// Case.
pub async fn a_replaced_code_cannot_be_consumed(s: &Subject) {
    put(s, 1, "old").await;
    put(s, 1, "new").await;
    assert!(!s.otps.consume(&phone(1), "old").await.expect("answered"));
    assert!(s.otps.consume(&phone(1), "new").await.expect("answered"));
}

/// Case.
pub async fn an_expired_code_is_absent(s: &Subject) {
    put(s, 1, "code").await;
    s.env.advance(LIFETIME - Duration::from_millis(1));
    assert!(matches!(attempt(s, 1).await, OtpAttempt::Allowed { .. }));
    s.env.advance(Duration::from_millis(1));
    assert_eq!(attempt(s, 1).await, OtpAttempt::Absent);
}

/// Case.
pub async fn an_exhausted_code_stays_exhausted_until_replaced(s: &Subject) {
    put(s, 1, "code").await;
    let expires_at = s.now().after(LIFETIME);
    for _ in 0..MOST {
        attempt(s, 1).await;
    }
    s.env.advance(Duration::from_secs(10));
    for _ in 0..3 {
        assert_eq!(attempt(s, 1).await, OtpAttempt::Exhausted { expires_at });
    }
    put(s, 1, "new").await;
    assert!(matches!(attempt(s, 1).await, OtpAttempt::Allowed { attempt: 1, .. }));
}

/// Case.
pub async fn a_store_that_can_take_a_code_is_ready(s: &Subject) {
    s.otps.ready(&phone(1)).await.expect("a code can be stored");
    put(s, 1, "code").await;
    s.otps.ready(&phone(1)).await.expect("and replaced");
}
