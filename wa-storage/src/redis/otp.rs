//! One-time passwords: `otp:<phone>` holds the hash of the code, until when it is good, and the attempts made.

use std::sync::{Arc, LazyLock};

use ::redis::Script;
use async_trait::async_trait;
use wa_core::phone::Phone;
use wa_core::ports::{OtpStore, Stored};
use wa_core::session::OtpAttempt;
use wa_core::time::Timestamp;

use super::Redis;

/// Replaces a code with its attempts.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('DEL', KEYS[1])\n\
         redis.call('HSET', KEYS[1], 'hash', ARGV[1], 'expires_at', ARGV[2], 'attempts', 0)\n\
         return redis.call('PEXPIRE', KEYS[1], ARGV[3])",
    )
});

/// Counts an attempt, and only then hands the hash out.
static ATTEMPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local code = redis.call('HMGET', KEYS[1], 'hash', 'expires_at', 'attempts')\n\
         if not code[1] or tonumber(ARGV[1]) >= tonumber(code[2]) then return {'', '0', 0} end\n\
         if tonumber(code[3]) >= tonumber(ARGV[2]) then return {'', code[2], 0} end\n\
         return {code[1], code[2], redis.call('HINCRBY', KEYS[1], 'attempts', 1)}",
    )
});

/// Uses a code up, if it is this one.
static CONSUME: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('HGET', KEYS[1], 'hash') ~= ARGV[1] then return 0 end\n\
         return redis.call('DEL', KEYS[1])",
    )
});

/// One-time passwords in Redis.
pub(crate) struct RedisOtpStore(Arc<Redis>);

impl RedisOtpStore {
    pub(crate) const fn new(redis: Arc<Redis>) -> Self {
        Self(redis)
    }

    fn key(&self, phone: &Phone) -> String {
        self.0.key("otp", phone)
    }
}

#[async_trait]
impl OtpStore for RedisOtpStore {
    async fn ready(&self, _: &Phone) -> Stored<()> {
        self.0.link.check().await
    }

    async fn put(&self, phone: &Phone, hash: &str, expires_at: Timestamp) -> Stored<()> {
        let ttl = self.0.until(expires_at);
        self.0.link.run(PUT.key(self.key(phone)).arg(hash).arg(expires_at.as_millis()).arg(ttl)).await
    }

    async fn attempt(&self, phone: &Phone, max_attempts: u32, now: Timestamp) -> Stored<OtpAttempt> {
        let (hash, expires_at, attempt): (String, i64, u32) = self.0.link.run(ATTEMPT.key(self.key(phone)).arg(now.as_millis()).arg(max_attempts)).await?;
        let expires_at = Timestamp::from_millis(expires_at);
        Ok(match (hash.is_empty(), expires_at.as_millis()) {
            (true, 0) => OtpAttempt::Absent,
            (true, _) => OtpAttempt::Exhausted { expires_at },
            (false, _) => OtpAttempt::Allowed { hash, attempt, expires_at },
        })
    }

    async fn consume(&self, phone: &Phone, hash: &str) -> Stored<bool> {
        self.0.link.run(CONSUME.key(self.key(phone)).arg(hash)).await
    }
}
