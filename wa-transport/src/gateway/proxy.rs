//! Hands one request on to another process and its answer back, piece by piece; where several serve the same, the next one is
//! asked if nothing of the request reached the first. Behind the gateway a request has, beside what its client said:
//!
//! * `X-Forwarded-For`, `X-Forwarded-Host`: who asks, and for which host;
//! * `X-Request-Id`, `traceparent`: the request's id, and its trace if it has one;
//! * `X-User-Id`, `X-Device-Id`: whose token it carries, for programs that want to know for their logs. The same headers from
//!   outside never come this far. Roles of this project do not read them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use axum::http::{HeaderMap, Response, StatusCode};
use futures_util::{Stream, StreamExt as _};
use http_body_util::Limited;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::time::{Instant, timeout_at};
use url::Url;
use wa_core::error::{Error, TooLarge};
use wa_core::session::Caller;

use super::places::Places;
use super::{IDLE, NoProxy, ProxiedSockets};
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
    sockets: ProxiedSockets,
}

impl Proxy {
    pub(super) fn new(needs_tls: bool, sockets: ProxiedSockets) -> Result<Self, NoProxy> {
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

    /// Hands a request on whose body has at most so many bytes, to the first of these peers that is there.
    ///
    /// # Errors
    /// UNAVAILABLE if no peer is there or none answers by then, PAYLOAD_TOO_LARGE.
    pub(super) async fn pass(
        &self,
        mut request: Request,
        places: &Places,
        peers: &[&Url],
        caller: Option<Caller>,
        most: usize,
        until: Instant,
    ) -> Result<axum::response::Response, Error> {
        let upgrade = is_websocket(request.headers());
        let place = if upgrade { Some(self.sockets.place()?) } else { None };
        let upgraded = upgrade.then(|| hyper::upgrade::on(&mut request));
        let remote = request.extensions().get::<RemoteAddr>().copied().unwrap_or_default();
        let (mut parts, body) = request.into_parts();
        strip(&mut parts.headers);
        announce(&mut parts.headers, remote, caller);
        if upgrade {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        let body = (!body.is_end_stream()).then(|| Once::new(Body::new(Limited::new(body, most)).into_data_stream()));
        let mut failure = Error::unavailable("nobody serves this");
        for peer in peers {
            let mut url = (*peer).clone();
            // The path as the client wrote it: it is what the role's routes are compared with.
            url.set_path(&format!("{}{}", peer.path().trim_end_matches('/'), parts.uri.path()));
            url.set_query(parts.uri.query());
            let mut call = self.client.request(parts.method.clone(), url).headers(parts.headers.clone());
            if let Some(body) = &body {
                call = call.body(reqwest::Body::wrap_stream(body.clone()));
            }
            let answer = match timeout_at(until, call.send()).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    let is_harmless = error.is_connect() || (parts.method.is_safe() && !error.is_timeout());
                    let may_repeat = is_harmless && body.as_ref().is_none_or(Once::is_untouched);
                    failure = refusal(error);
                    if matches!(failure, Error::Unavailable { .. }) {
                        places.rest(peer);
                    }
                    if may_repeat { continue } else { break }
                }
                Err(elapsed) => {
                    places.rest(peer);
                    failure = Error::unavailable(elapsed);
                    break;
                }
            };
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                let (Some(upgraded), Some(place)) = (upgraded, place) else { return Err(Error::unavailable("a role upgraded what was no upgrade")) };
                let mut response = answered(&answer);
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
                response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
                self.sockets.join(upgraded, answer, place);
                return Ok(response);
            }
            let mut response = answered(&answer);
            if let Some(length) = answer.headers().get(CONTENT_LENGTH) {
                response.headers_mut().insert(CONTENT_LENGTH, length.clone());
            }
            *response.body_mut() = Body::from_stream(answer.bytes_stream());
            return Ok(response);
        }
        Err(failure)
    }
}

/// The head of an answer, as it is handed on.
fn answered(answer: &reqwest::Response) -> axum::response::Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    strip(response.headers_mut());
    strip_answer(response.headers_mut());
    response
}

/// A body that is sent once, by the first of its clones that is read.
#[derive(Clone)]
struct Once {
    waiting: Arc<Mutex<Option<BodyDataStream>>>,
    /// What this one reads.
    taken: Taken,
}

/// Of a clone that was not read yet there is nothing to clone.
#[derive(Default)]
struct Taken(Option<BodyDataStream>);

impl Clone for Taken {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl Once {
    fn new(body: BodyDataStream) -> Self {
        Self { waiting: Arc::new(Mutex::new(Some(body))), taken: Taken::default() }
    }

    /// Whether nobody has begun to read it.
    fn is_untouched(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Stream for Once {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.taken.0.is_none() {
            let body = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.taken.0 = body;
        }
        self.taken.0.as_mut().map_or(Poll::Ready(None), |body| body.poll_next_unpin(context))
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
