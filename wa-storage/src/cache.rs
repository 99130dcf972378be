//! The stores of what need not last, in memory or in Redis: the only place that picks between them.

use std::sync::Arc;

use wa_core::ports::{Env, OtpStore, PresenceStore, RateLimiter, Stored, TypingStore};

use crate::{OpenError, memory};

/// What `storage.cache` can say, for errors.
const SUPPORTED: &str = if cfg!(feature = "redis") { "memory:, redis://host:port and rediss://host:port" } else { "memory:" };

pub(crate) struct Cache {
    pub(crate) otps: Arc<dyn OtpStore>,
    pub(crate) presence: Arc<dyn PresenceStore>,
    pub(crate) typing: Arc<dyn TypingStore>,
    pub(crate) rate_limiter: Arc<dyn RateLimiter>,
    pub(crate) backend: CacheBackend,
}

/// What holds them.
pub(crate) enum CacheBackend {
    Memory,
    #[cfg(feature = "redis")]
    Redis(Arc<crate::redis::Redis>),
}

impl CacheBackend {
    /// Whether it can be used now.
    pub(crate) async fn check(&self) -> Stored<()> {
        match self {
            Self::Memory => Ok(()),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.link.check().await,
        }
    }

    /// Whether it could be used when it was last tried.
    pub(crate) fn is_up(&self) -> bool {
        match self {
            Self::Memory => true,
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.link.is_up(),
        }
    }
}

impl Cache {
    /// Opens the cache of this URL, holding so many typing notices.
    pub(crate) async fn open(url: &str, typing_notices: usize, env: &Arc<dyn Env>) -> Result<Self, OpenError> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self {
                otps: Arc::new(memory::MemoryOtpStore::new(Arc::clone(env))),
                presence: Arc::new(memory::MemoryPresenceStore::default()),
                typing: Arc::new(memory::MemoryTypingStore::new(typing_notices)),
                rate_limiter: Arc::new(memory::MemoryRateLimiter::new(Arc::clone(env))),
                backend: CacheBackend::Memory,
            }),
            #[cfg(feature = "redis")]
            Some(("redis" | "rediss", _)) => {
                use crate::redis::{Redis, RedisOtpStore, RedisPresenceStore, RedisRateLimiter, RedisTypingStore};
                let redis = Redis::open(url, Arc::clone(env)).await?;
                Ok(Self {
                    otps: Arc::new(RedisOtpStore::new(Arc::clone(&redis))),
                    presence: Arc::new(RedisPresenceStore::new(Arc::clone(&redis))),
                    typing: Arc::new(RedisTypingStore::new(Arc::clone(&redis), typing_notices)),
                    rate_limiter: Arc::new(RedisRateLimiter::new(Arc::clone(&redis))),
                    backend: CacheBackend::Redis(redis),
                })
            }
            _ => {
                let scheme = url.split(':').next().unwrap_or_default();
                Err(OpenError::Unsupported { key: "cache", found: format!("{scheme}:…"), supported: SUPPORTED })
            }
        }
    }
}
