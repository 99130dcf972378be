//! Token buckets.

use std::time::Duration;

use async_trait::async_trait;

use super::Stored;
use crate::limits::RateLimit;

/// Whether a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Granted,
    /// Not before this long.
    Refused {
        /// When the bucket holds a token again.
        retry_after: Duration,
    },
}

/// Token buckets by key. A bucket that was never used is full.
///
/// * `a_full_bucket_grants_its_count_and_not_one_more`
/// * `a_bucket_refills_evenly`
/// * `a_refusal_tells_when_to_come_back`
/// * `keys_do_not_share_a_bucket`
/// * `concurrent_takers_get_no_more_than_the_count`
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Takes one token from the key's bucket, if there is one.
    async fn take(&self, key: &str, limit: RateLimit) -> Stored<Admission>;
}
