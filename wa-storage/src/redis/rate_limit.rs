//! Token buckets over all nodes, in the form of GCRA: `rate:<key>` is the microsecond of Redis's clock at which the bucket
//! will be full again. Without Redis each node counts by itself, and goes back when it is back.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ::redis::Script;
use async_trait::async_trait;
use wa_core::limits::RateLimit;
use wa_core::ports::{Admission, RateLimiter, Stored};

use super::Redis;
use crate::memory::MemoryRateLimiter;

/// Takes a token, or tells how many microseconds it takes until there is one. A bucket that claims to be emptier than empty,
/// as after the clock was set back, is empty.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local now = tonumber(ARGV[1])\n\
         if now then now = now * 1000 else local t = redis.call('TIME'); now = t[1] * 1000000 + t[2] end\n\
         local token, room = tonumber(ARGV[2]), tonumber(ARGV[3])\n\
         local full = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or now), now), now + room)\n\
         local after = full + token\n\
         if after - now > room then return after - now - room end\n\
         redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))\n\
         return 0",
    )
});

/// Token buckets in Redis.
pub(crate) struct RedisRateLimiter {
    redis: Arc<Redis>,
    /// While Redis is away.
    local: MemoryRateLimiter,
}

impl RedisRateLimiter {
    pub(crate) fn new(redis: Arc<Redis>) -> Self {
        let local = MemoryRateLimiter::new(Arc::clone(&redis.env));
        Self { redis, local }
    }

    pub(super) async fn take_shared(&self, key: &str, limit: RateLimit) -> Stored<Admission> {
        let window = u64::try_from(limit.window.as_micros()).unwrap_or(u64::MAX);
        let token = (window / u64::from(limit.count)).max(1);
        let room = token.saturating_mul(limit.count.into());
        let redis = &self.redis;
        let wait: u64 = redis.link.run(TAKE.key(redis.key("rate", key)).arg(redis.now()).arg(token).arg(room)).await?;
        Ok(if wait == 0 { Admission::Granted } else { Admission::Refused { retry_after: Duration::from_micros(wait) } })
    }
}

#[async_trait]
impl RateLimiter for RedisRateLimiter {
    async fn take(&self, key: &str, limit: RateLimit) -> Stored<Admission> {
        if limit.count == 0 {
            return Ok(Admission::Refused { retry_after: limit.window });
        }
        match self.take_shared(key, limit).await {
            Ok(admission) => Ok(admission),
            Err(error) => {
                tracing::debug!(%error, "a limit counts on this node alone");
                self.local.take(key, limit).await
            }
        }
    }
}
