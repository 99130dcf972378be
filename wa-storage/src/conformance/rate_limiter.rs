//! The contract of `RateLimiter`.

use std::time::Duration;

use futures_util::future::join_all;
use wa_core::limits::RateLimit;
use wa_core::ports::Admission;

use super::Subject;

const LIMIT: RateLimit = RateLimit::new(4, Duration::from_secs(20));

async fn take(s: &Subject, key: &str) -> Admission {
    s.rate_limiter.take(key, LIMIT).await.expect("answered")
}

/// How many are granted until one is refused.
async fn drain(s: &Subject, key: &str) -> u32 {
    let mut granted = 0;
    while take(s, key).await == Admission::Granted {
        granted += 1;
        assert!(granted < 100, "the bucket has no bottom");
    }
    granted
}

/// Case.
pub async fn a_full_bucket_grants_its_count_and_not_one_more(s: &Subject) {
    assert_eq!(drain(s, "key").await, LIMIT.count);
    s.env.advance(LIMIT.window * 10);
    assert_eq!(drain(s, "key").await, LIMIT.count, "it does not overflow");
}

/// Case.
pub async fn a_bucket_refills_evenly(s: &Subject) {
    drain(s, "key").await;
    for _ in 0..3 {
        s.env.advance(Duration::from_millis(4999));
        assert!(matches!(take(s, "key").await, Admission::Refused { .. }));
        s.env.advance(Duration::from_millis(1));
        assert_eq!(drain(s, "key").await, 1);
    }
    s.env.advance(Duration::from_secs(10));
    assert_eq!(drain(s, "key").await, 2);
}

/// Case.
pub async fn a_refusal_tells_when_to_come_back(s: &Subject) {
    drain(s, "key").await;
    s.env.advance(Duration::from_secs(2));
    let Admission::Refused { retry_after } = take(s, "key").await else { panic!("expected a refusal") };
    assert_eq!(retry_after, Duration::from_secs(3));
    s.env.advance(retry_after);
    assert_eq!(take(s, "key").await, Admission::Granted);
}

/// Case.
pub async fn keys_do_not_share_a_bucket(s: &Subject) {
    assert_eq!(drain(s, "one").await, LIMIT.count);
    assert_eq!(drain(s, "two").await, LIMIT.count);
}

/// Case.
pub async fn concurrent_takers_get_no_more_than_the_count(s: &Subject) {
    let takers = join_all((0..8).map(|_| async {
        let mut granted = 0;
        for _ in 0..5 {
            granted += u32::from(take(s, "key").await == Admission::Granted);
        }
        granted
    }));
    assert_eq!(takers.await.iter().sum::<u32>(), LIMIT.count);
}
