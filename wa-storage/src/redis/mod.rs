//! What all nodes share and may lose: one-time passwords, presence, typing and rate limits in Redis. Every change is one
//! script, so that it happens whole or not at all, and one round trip. [`link`] keeps the connection; what each store does
//! while there is none is its own.

mod link;
mod otp;
mod presence;
mod rate_limit;
mod typing;
mod url;

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::sync::Arc;

use wa_core::ports::{Env, EnvExt as _};
use wa_core::time::Timestamp;

use crate::OpenError;

pub(crate) use link::Link;
pub(crate) use otp::RedisOtpStore;
pub(crate) use presence::RedisPresenceStore;
pub(crate) use rate_limit::RedisRateLimiter;
pub(crate) use typing::RedisTypingStore;
use url::CacheUrl;

/// The name of this in errors and health reports.
const BACKEND: &str = "redis";

/// One Redis, as the stores use it.
pub(crate) struct Redis {
    pub(crate) link: Link,
    env: Arc<dyn Env>,
    prefix: String,
    /// Whether time is that of this process, and not that of Redis.
    own_clock: bool,
    /// Tells this process's leases from those of others.
    node: String,
}

impl Redis {
    /// Connects, and makes sure that it is a Redis that will do.
    ///
    /// # Errors
    /// If the URL says something else, or the server does not answer, or not as it should. The text repeats no password.
    pub(crate) async fn open(url: &str, env: Arc<dyn Env>) -> Result<Arc<Self>, OpenError> {
        let CacheUrl { info, prefix, own_clock } = CacheUrl::parse(url)?;
        let node = env.new_id::<uuid::Uuid>().simple().to_string();
        let link = Link::open(info, Arc::clone(&env)).await?;
        Ok(Arc::new(Self { link, env, prefix, own_clock, node }))
    }

    /// The name of a key.
    fn key(&self, kind: &str, name: impl Display) -> String {
        format!("{}{kind}:{name}", self.prefix)
    }

    /// The present millisecond as scripts are given it: nothing, for that of Redis.
    fn now(&self) -> String {
        self.at(self.env.now())
    }

    /// As [`Self::now`], where the caller says what its time is.
    fn at(&self, now: Timestamp) -> String {
        if self.own_clock { now.as_millis().to_string() } else { String::new() }
    }

    /// How long it is from now until then, in whole milliseconds and at least one.
    fn until(&self, then: Timestamp) -> u64 {
        u64::try_from(then.since(self.env.now()).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// The first lines of each script that needs the time: `now` in milliseconds. Nodes whose clocks differ agree on that of
/// Redis.
macro_rules! at_now {
    ($script:literal) => {
        concat!(
            "local now = tonumber(ARGV[1])\n\
             if not now then local t = redis.call('TIME'); now = t[1] * 1000 + math.floor(t[2] / 1000) end\n",
            $script
        )
    };
}
use at_now;
