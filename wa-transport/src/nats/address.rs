//! The URL of NATS: `nats://[user:password@|token@]host:port[,host:port…][?replicas=3]`.

use std::fmt;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;

/// How NATS is reached. What it shows of itself holds no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsUrl {
    pub(super) servers: Vec<ServerAddr>,
    pub(super) credentials: Credentials,
    pub(crate) replicas: usize,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Password { user: String, password: String },
    Token(String),
}

/// The text is no URL of NATS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidNatsUrl(&'static str);

impl NatsUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it: it may hold a password.
    pub fn parse(url: &str) -> Result<Self, InvalidNatsUrl> {
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").ok_or(InvalidNatsUrl("is not a URL of NATS"))?;
        if !matches!(scheme, "nats" | "tls") {
            return Err(InvalidNatsUrl("is not a URL of NATS"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, hosts) = rest.rsplit_once('@').map_or((None, rest), |(credentials, hosts)| (Some(credentials), hosts));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| InvalidNatsUrl("has credentials that are not UTF-8"));
        let credentials = match credentials.map(|text| text.split_once(':').ok_or(text)) {
            None => Credentials::None,
            Some(Ok((user, password))) => Credentials::Password { user: decoded(user)?, password: decoded(password)? },
            Some(Err(token)) => Credentials::Token(decoded(token)?),
        };
        let server = |host: &str| match host.is_empty() || host.contains('/') {
            true => Err(InvalidNatsUrl("names no server")),
            false => format!("{scheme}://{host}").parse().map_err(|_| InvalidNatsUrl("names a server that is no host with a port")),
        };
        let servers = hosts.trim_end_matches('/').split(',').map(server).collect::<Result<Vec<_>, _>>()?;
        let replicas = match query {
            "" => 1,
            "replicas=1" => 1,
            "replicas=3" => 3,
            "replicas=5" => 5,
            _ => return Err(InvalidNatsUrl("has parameters other than replicas=1, 3 or 5")),
        };
        Ok(Self { servers, credentials, replicas })
    }
}

impl fmt::Display for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.servers.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{}:{}", server.host(), server.port())?;
        }
        Ok(())
    }
}

impl fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NatsUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_secret() {
        let shown = |url: &str| NatsUrl::parse(url).map(|url| format!("{url} {url:?} {}", url.replicas));
        assert_eq!(shown("nats://a").as_deref(), Ok("a:4222 NatsUrl(a:4222) 1"));
        assert_eq!(shown("nats://user:p%40ss@a:1,b:2?replicas=3").as_deref(), Ok("a:1,b:2 NatsUrl(a:1,b:2) 3"));
        let token = NatsUrl::parse("tls://to%3Aken@a").expect("a URL");
        assert!(token.credentials == Credentials::Token("to:ken".to_owned()));
        assert!(!format!("{token:?}").contains("ken"));
    }

    #[test]
    fn broken_ones_are_refused_without_quoting_them() {
        for url in
            ["", "nats", "http://a", "nats://", "nats://user:secret@", "nats://a,,b", "nats://a/b", "nats://a:port", "nats://a?x=secret", "nats://a?replicas=2"]
        {
            let error = NatsUrl::parse(url).expect_err(url);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
