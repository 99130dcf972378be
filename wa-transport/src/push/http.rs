//! The HTTP client of the providers: bounded in time and in what it reads, follows nowhere, and reaches no private network
//! on behalf of a user.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::address::is_public;

/// How long a provider may take for one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read; the rest is not looked at.
const ANSWER: usize = 16 << 10;

/// The system's trusted certificates cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("pushes cannot be sent over TLS: {0}")]
pub struct NoTls(String);

/// Whom a client may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Whatever the operator configured.
    Configured,
    /// The public Internet: the address comes from a user.
    Public,
    /// This machine alone.
    Loopback,
}

/// A client. The crypto provider is passed in rather than installed: a library leaves the process's default alone.
pub(super) fn client(reach: Reach) -> Result<reqwest::Client, NoTls> {
    let fail = |error: &dyn std::fmt::Display| NoTls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| fail(&error))?;
    let tls = if reach == Reach::Loopback {
        tls.with_root_certificates(rustls::RootCertStore::empty())
    } else {
        tls.with_platform_verifier().map_err(|error| fail(&error))?
    };
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.with_no_client_auth())
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .pool_max_idle_per_host(16);
    if reach == Reach::Loopback {
        builder = builder.no_proxy();
    }
    if reach == Reach::Public {
        builder = builder.dns_resolver(Arc::new(PublicOnly));
    }
    builder.build().map_err(|error| fail(&error))
}

/// Resolves names, and leaves out addresses that are not of the public Internet: whoever registers an endpoint chooses
/// its name, and must not reach into the operator's network by it.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err("no public address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The beginning of an answer's body.
pub(super) async fn beginning(mut response: reqwest::Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        let room = ANSWER - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if body.len() == ANSWER {
            break;
        }
    }
    Ok(body)
}

/// When a provider wants to be asked again: seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Option<Duration> {
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a header"))]))
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
        assert!(asked(&later).is_some_and(|wait| wait > Duration::from_secs(3000)));
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(asked(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_resolved_for_users() {
        let Err(error) = PublicOnly.resolve("localhost".parse().expect("a name")).await else { panic!("resolved") };
        assert!(error.to_string().contains("no public address"), "{error}");
    }
}
