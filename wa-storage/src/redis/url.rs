//! What the URL of a Redis says.

use ::redis::{ConnectionInfo, IntoConnectionInfo as _};

use crate::OpenError;

/// `redis://[user:password@]host[:port][/database][?prefix=…]`, or `rediss://` over TLS.
pub(super) struct CacheUrl {
    pub(super) info: ConnectionInfo,
    /// Stands before the name of every key, so that several installations can share a Redis.
    pub(super) prefix: String,
    /// `clock=own`: time is that of this process, and not that of Redis; for simulations, whose time is not real.
    pub(super) own_clock: bool,
}

impl CacheUrl {
    /// # Errors
    /// If it says something else. The text does not repeat the URL, which may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, OpenError> {
        let wrong = |reason: &str| OpenError::Cache { reason: reason.to_owned() };
        let url = ::redis::parse_redis_url(text).ok_or_else(|| wrong("it is no URL; write redis://[user:password@]host:port[/database]"))?;
        if !matches!(url.scheme(), "redis" | "rediss") || url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no server; write redis://host:port, or rediss://host:port for TLS"));
        }
        if url.fragment().is_some() {
            return Err(wrong("it has a fragment; a password with a # in it is written with %23, and certificates are always checked"));
        }
        if url.path().trim_matches('/').parse::<u16>().is_err() && !matches!(url.path(), "" | "/") {
            return Err(wrong("what follows the server is the number of a database, as in redis://host:6379/1"));
        }
        let (mut prefix, mut own_clock) = (String::new(), false);
        for (key, value) in url.query_pairs() {
            match (&*key, &*value) {
                ("prefix", value) if value.len() <= 64 && value.bytes().all(|byte| byte.is_ascii_graphic()) => value.clone_into(&mut prefix),
                ("prefix", _) => return Err(wrong("its prefix has at most 64 letters, digits and signs")),
                ("clock", "own") => own_clock = true,
                ("clock", "redis") => {}
                _ => return Err(wrong("it knows prefix=… and clock=redis|own, and nothing else")),
            }
        }
        let mut bare = url;
        bare.set_query(None);
        let info = bare.into_connection_info().map_err(|_| wrong("its user, password or database cannot be read; write special signs as %XX"))?;
        Ok(Self { info, prefix, own_clock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        CacheUrl::parse(url).err().unwrap_or_else(|| panic!("{url} is refused")).to_string()
    }

    #[test]
    fn a_url_names_a_server_its_credentials_and_a_database() {
        let parsed = CacheUrl::parse("redis://wa:p%23ss@10.0.0.7:6380/3?prefix=wa:").expect("a Redis");
        assert_eq!(parsed.info.addr().to_string(), "10.0.0.7:6380");
        let settings = parsed.info.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("wa"), Some("p#ss"), 3));
        assert_eq!((parsed.prefix.as_str(), parsed.own_clock), ("wa:", false));
        let parsed = CacheUrl::parse("rediss://cache.example.org?clock=own").expect("a Redis");
        assert!(matches!(parsed.info.addr(), ::redis::ConnectionAddr::TcpTls { port: 6379, insecure: false, .. }));
        assert!(parsed.own_clock);
    }

    #[test]
    fn a_url_that_says_something_else_is_refused_without_being_repeated() {
        for url in [
            "redis:",
            "redis://",
            "redis://:hunter2@",
            "redis://:hunter2@host/one",
            "redis://:hunter2@host/1/2",
            "redis://:hunter2@host/-1",
            "redis://:hunter2@host#fragment",
            "redis://:hunter2@host?protocol=resp3",
            "redis://:hunter2@host?prefix=a%20b",
            "redis+unix:///hunter2",
            "rediss://:hunter2@host#insecure",
            "redis://:hun%ffter2@host",
            "memcached://host",
        ] {
            let said = refusal(url);
            assert!(!said.contains("hunter2") && said.starts_with("storage.cache: "), "{url}: {said}");
        }
    }
}
