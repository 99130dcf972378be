//! Who is typing: `typing:<chat>:<user>` lives as long as the notice, and the sorted set `typing` says which ends when, so
//! that each end is told once, by whichever node comes first.

use std::sync::{Arc, LazyLock};

use ::redis::Script;
use async_trait::async_trait;
use wa_core::error::StoreError;
use wa_core::id::{ChatId, UserId};
use wa_core::ports::{Stored, TypingStore};
use wa_core::time::Timestamp;

use super::{BACKEND, Redis, at_now};

/// Notices whose end is told at a time.
const ENDS: usize = 500;

static START: LazyLock<Script> = LazyLock::new(|| {
    Script::new(at_now!(
        "local known = redis.call('ZSCORE', KEYS[2], ARGV[2])\n\
         if not known and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then return 0 end\n\
         redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[2])\n\
         redis.call('SET', KEYS[1], 1, 'PX', ARGV[3])\n\
         return known and 0 or 1"
    ))
});

static STOP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('DEL', KEYS[1])\n\
         return redis.call('ZREM', KEYS[2], ARGV[1])",
    )
});

static TAKE_EXPIRED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(at_now!(
        "local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[2])\n\
         if #over > 0 then redis.call('ZREM', KEYS[1], unpack(over)) end\n\
         return over"
    ))
});

/// Typing notices in Redis.
pub(crate) struct RedisTypingStore {
    redis: Arc<Redis>,
    capacity: usize,
}

impl RedisTypingStore {
    /// Holds this many notices of all nodes; further ones are dropped, as nobody misses them.
    pub(crate) const fn new(redis: Arc<Redis>, capacity: usize) -> Self {
        Self { redis, capacity }
    }

    fn ends(&self) -> String {
        format!("{}typing", self.redis.prefix)
    }
}

fn read(notice: &str) -> Option<(ChatId, UserId)> {
    let (chat, user) = notice.split_once(':')?;
    Some((chat.parse().ok()?, user.parse().ok()?))
}

#[async_trait]
impl TypingStore for RedisTypingStore {
    async fn start(&self, chat: ChatId, user: UserId, until: Timestamp) -> Stored<bool> {
        let redis = &self.redis;
        let notice = format!("{chat}:{user}");
        let mut script = START.key(redis.key("typing", &notice));
        redis.link.run(script.key(self.ends()).arg(redis.now()).arg(&notice).arg(redis.until(until)).arg(self.capacity)).await
    }

    async fn stop(&self, chat: ChatId, user: UserId) -> Stored<bool> {
        let notice = format!("{chat}:{user}");
        self.redis.link.run(STOP.key(self.redis.key("typing", &notice)).key(self.ends()).arg(&notice)).await
    }

    async fn take_expired(&self, now: Timestamp) -> Stored<Vec<(ChatId, UserId)>> {
        let redis = &self.redis;
        let over: Vec<String> = redis.link.run(TAKE_EXPIRED.key(self.ends()).arg(redis.at(now)).arg(ENDS)).await?;
        over.iter().map(|notice| read(notice).ok_or_else(|| StoreError::corrupt(BACKEND, "a typing notice names no chat and user"))).collect()
    }
}
