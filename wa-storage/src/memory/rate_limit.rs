//! Token buckets in memory, in the form of GCRA: a bucket is the one moment at which it will be full again.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use wa_core::limits::RateLimit;
use wa_core::ports::{Admission, Env, RateLimiter, Stored};

use super::locked;

/// Buckets held at a time, over all shards.
const BUCKETS: usize = 200_000;

/// Locks that buckets share.
const SHARDS: usize = 16;

/// Token buckets in memory.
pub(crate) struct MemoryRateLimiter {
    env: Arc<dyn Env>,
    hasher: RandomState,
    capacity: usize,
    /// When each bucket is full again, in microseconds of the clock.
    shards: Vec<Mutex<HashMap<String, i128>>>,
}

impl MemoryRateLimiter {
    pub(crate) fn new(env: Arc<dyn Env>) -> Self {
        Self { env, hasher: RandomState::new(), capacity: BUCKETS / SHARDS, shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn now(&self) -> i128 {
        i128::from(self.env.now().as_millis()) * 1000
    }
}

/// Makes room: full buckets say nothing, and of the rest those go that are full soonest. Whoever is refused now has
/// spent most, and so is kept.
fn make_room(buckets: &mut HashMap<String, i128>, now: i128, capacity: usize) {
    buckets.retain(|_, full_at| *full_at > now);
    if buckets.len() < capacity {
        return;
    }
    let mut moments: Vec<i128> = buckets.values().copied().collect();
    let middle = moments.len() / 2;
    let (_, median, _) = moments.select_nth_unstable(middle);
    let median = *median;
    let mut excess = buckets.len().saturating_sub(capacity / 2);
    buckets.retain(|_, full_at| {
        let keep = *full_at > median || excess == 0;
        excess -= usize::from(!keep);
        keep
    });
}

#[async_trait]
impl RateLimiter for MemoryRateLimiter {
    async fn take(&self, key: &str, limit: RateLimit) -> Stored<Admission> {
        let now = self.now();
        let window = i128::try_from(limit.window.as_micros()).unwrap_or(i128::MAX);
        // A limit of none per window grants nothing, and is worth asking again after a window.
        if limit.count == 0 {
            return Ok(Admission::Refused { retry_after: limit.window });
        }
        let per_token = (window / i128::from(limit.count)).max(1);
        let index = usize::try_from(self.hasher.hash_one(key)).unwrap_or(0) % SHARDS;
        let mut buckets = locked(&self.shards[index]);
        let full_at = buckets.get(key).copied().unwrap_or(now).max(now);
        // A bucket holds whole tokens while the time to fill it leaves room for one.
        let after = full_at + per_token;
        let room = per_token * i128::from(limit.count);
        if after - now > room {
            let wait = u64::try_from(after - now - room).unwrap_or(u64::MAX);
            return Ok(Admission::Refused { retry_after: Duration::from_micros(wait) });
        }
        if let Some(bucket) = buckets.get_mut(key) {
            *bucket = after;
        } else {
            if buckets.len() >= self.capacity {
                make_room(&mut buckets, now, self.capacity);
            }
            buckets.insert(key.to_owned(), after);
        }
        Ok(Admission::Granted)
    }
}

#[cfg(test)]
mod tests {
    use wa_core::testing::SimEnv;

    use super::*;

    #[tokio::test]
    async fn the_map_stays_bounded_and_keeps_whoever_spent_most() {
        let env = Arc::new(SimEnv::new(1));
        let mut limiter = MemoryRateLimiter::new(env);
        limiter.capacity = 8;
        let limit = RateLimit::new(3, Duration::from_secs(60));
        for _ in 0..3 {
            assert_eq!(limiter.take("busy", limit).await.ok(), Some(Admission::Granted));
        }
        for n in 0..1000 {
            assert_eq!(limiter.take(&format!("other {n}"), limit).await.ok(), Some(Admission::Granted));
        }
        assert!(matches!(limiter.take("busy", limit).await, Ok(Admission::Refused { .. })));
        let held: usize = limiter.shards.iter().map(|shard| locked(shard).len()).sum();
        assert!(held <= 8 * SHARDS, "{held}");
    }
}
