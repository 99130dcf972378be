//! Hands one request on to another process and its answer back, piece by piece, and joins the two ends of an upgraded
//! connection. Behind the gateway a request has, beside what its client said:
//!
//! * `X-Forwarded-For`, `X-Forwarded-Host`: who asks, and for which host;
//! * `X-Request-Id`, `traceparent`: the request's id, and its trace if it has one;
//! * `X-User-Id`, `X-Device-Id`: whose token it carries, for programs that want to know for their logs. The same headers from
//!   outside never come this far. Roles of this project do not read them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use axum::http::{HeaderMap, Response, StatusCode};
use http_body_util::Limited;
use hyper_util::rt::TokioIo;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::sync::Semaphore;
use url::Url;
use wa_core::error::{Error, TooLarge};
use wa_core::session::Caller;

use super::{IDLE, NoProxy};
use crate::context::{REQUEST_ID, RequestContext, TRACEPARENT};
use crate::rest::RemoteAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
const DEVICE_ID: HeaderName = HeaderName::from_static("x-device-id");

/// Headers that concern one connection and not what goes over it (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("te"),
    HeaderName::from_static("trailer"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// How long a connection to a peer may take to come about.
const CONNECT: Duration = Duration::from_secs(1);

/// Connections to one peer that are kept for the next request.
const KEPT: usize = 256;

/// Calls other processes.
pub(super) struct Proxy {
    client: reqwest::Client,
    sockets: Arc<Semaphore>,
}

impl Proxy {
    pub(super) fn new(needs_tls: bool, sockets: Arc<Semaphore>) -> Result<Self, NoProxy> {
        let fail = |error: &dyn std::fmt::Display| NoProxy(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| fail(&error))?;
        let tls =
            if needs_tls { tls.with_platform_verifier().map_err(|error| fail(&error))? } else { tls.with_root_certificates(rustls::RootCertStore::empty()) };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.with_no_client_auth())
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .no_proxy()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(KEPT)
            .build()
            .map_err(|error| fail(&error))?;
        Ok(Self { client, sockets })
    }

    /// Hands a request on whose body has at most so many bytes.
    ///
    /// # Errors
    /// UNAVAILABLE if the peer is not there, PAYLOAD_TOO_LARGE.
    pub(super) async fn pass(&self, mut request: Request, peer: &Url, caller: Option<Caller>, most: usize) -> Result<axum::response::Response, Error> {
        let mut url = peer.clone();
        // The path as the client wrote it: it is what the role's routes are compared with.
        url.set_path(&format!("{}{}", peer.path().trim_end_matches('/'), request.uri().path()));
        url.set_query(request.uri().query());
        let upgrade = is_websocket(request.headers());
        let place = match upgrade {
            true => Some(Arc::clone(&self.sockets).try_acquire_owned().map_err(|_| Error::unavailable("no place for another socket"))?),
            false => None,
        };
        let upgraded = upgrade.then(|| hyper::upgrade::on(&mut request));
        let remote = request.extensions().get::<RemoteAddr>().copied().unwrap_or_default();
        let (mut parts, body) = request.into_parts();
        strip(&mut parts.headers);
        announce(&mut parts.headers, remote, caller);
        if upgrade {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        let mut call = self.client.request(parts.method, url).headers(parts.headers);
        if !body.is_end_stream() {
            call = call.body(reqwest::Body::wrap_stream(Body::new(Limited::new(body, most)).into_data_stream()));
        }
        let answer = call.send().await.map_err(refusal)?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        let length = response.headers().get(CONTENT_LENGTH).cloned();
        strip(response.headers_mut());
        strip_answer(response.headers_mut());
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgraded) = upgraded else { return Err(Error::unavailable("a role upgraded what was no upgrade")) };
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
            tokio::spawn(async move {
                let _place = place;
                join(upgraded, answer).await;
            });
            return Ok(response);
        }
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, length);
        }
        *response.body_mut() = Body::from_stream(answer.bytes_stream());
        Ok(response)
    }
}

/// Carries bytes both ways until one side ends.
async fn join(client: hyper::upgrade::OnUpgrade, role: reqwest::Response) {
    let (client, mut role) = match tokio::join!(client, role.upgrade()) {
        (Ok(client), Ok(role)) => (client, role),
        (Err(error), _) => return tracing::debug!(%error, "a client left during the upgrade"),
        (_, Err(error)) => return tracing::debug!(error = %error.without_url(), "a role left during the upgrade"),
    };
    let mut client = TokioIo::new(client);
    // An idle socket needs little: frames are small, and a role ends slow readers.
    if let Err(error) = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut role, 4096, 4096).await {
        tracing::debug!(%error, "a socket ended with an error");
    }
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Removes what concerns the connection it came over.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Removes what the gateway says itself.
fn strip_answer(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("access-control-") || *name == REQUEST_ID).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Tells the role who asks, and for what request.
fn announce(headers: &mut HeaderMap, remote: RemoteAddr, caller: Option<Caller>) {
    let mut set = |name: HeaderName, text: &str| match HeaderValue::from_str(text) {
        Ok(value) => _ = headers.insert(name, value),
        Err(_) => _ = headers.remove(name),
    };
    set(FORWARDED_FOR, &remote.to_string());
    if let Some(caller) = caller {
        set(USER_ID, &caller.user_id.to_string());
        set(DEVICE_ID, &caller.device_id.to_string());
    }
    if let Some(context) = RequestContext::current() {
        set(HeaderName::from_static(REQUEST_ID), &context.request_id);
        if let Some(parent) = &context.traceparent {
            set(HeaderName::from_static(TRACEPARENT), parent);
        }
    }
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(FORWARDED_HOST, host);
    }
}

/// What it means that a request could not be handed on, or was not answered.
fn refusal(error: reqwest::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return Error::TooLarge(TooLarge::Payload);
        }
        cause = error.source();
    }
    // The URL may hold a token.
    Error::unavailable(error.without_url())
}
