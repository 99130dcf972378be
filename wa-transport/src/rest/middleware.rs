//! What happens around every request: its id, log line, metrics, deadline, security headers, and for the API the
//! caller's identity and rate limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::IntGauge;
use tracing::{Instrument as _, Span, field};
use uuid::Uuid;
use wa_core::error::{Error, Unauthenticated};
use wa_core::limits::RateLimit;
use wa_core::ports::{Admission, Env, EnvExt as _};

use super::envelope::{Meta, render};
use super::error::ApiError;
use super::extract::{Identity, bearer_token};
use super::media::UPLOADS;
use super::remote::{RemoteAddr, TrustedProxies};
use super::{BASE_PATH, Rest, Shared};
use crate::backend::Backend;
use crate::context::{self, RequestContext};
use crate::metrics::Metrics;

static REQUEST_ID: HeaderName = HeaderName::from_static(context::REQUEST_ID);

/// Headers by which proxies of other set-ups tell who a user is. Nothing here reads them; they are removed so that nothing
/// behind ever can.
const IDENTITY_HEADERS: [&str; 12] = [
    "x-user-id",
    "x-user-phone",
    "x-user-role",
    "x-user-roles",
    "x-user",
    "x-device-id",
    "x-session-id",
    "x-authenticated-user",
    "x-authenticated-userid",
    "x-auth-request-user",
    "x-forwarded-user",
    "x-remote-user",
];

/// What is needed to look at requests from outside; other protocols on the same port are looked at in the same way.
pub(crate) struct Observer {
    metrics: Metrics,
    env: Arc<dyn Env>,
    trusted_proxies: TrustedProxies,
}

impl Observer {
    pub(crate) fn new(backend: &Backend, trusted_proxies: TrustedProxies) -> Arc<Self> {
        Self::of(backend.metrics.clone(), Arc::clone(&backend.env), trusted_proxies)
    }

    pub(crate) fn of(metrics: Metrics, env: Arc<dyn Env>, trusted_proxies: TrustedProxies) -> Arc<Self> {
        Arc::new(Self { metrics, env, trusted_proxies })
    }
}

/// Gives the request its id, answers it, writes the envelope, counts it and writes the access log. Query strings, tokens
/// and bodies are in none of it.
pub(crate) async fn observe(State(observer): State<Arc<Observer>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    for name in IDENTITY_HEADERS {
        request.headers_mut().remove(name);
    }
    let id = request_id(request.headers(), &*observer.env);
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let remote = RemoteAddr::of(peer, request.headers(), &observer.trusted_proxies);
    let user_agent = user_agent(request.headers());
    let span = tracing::info_span!("request", request_id = %id, user_id = field::Empty, traceparent = field::Empty);
    let traceparent = context::traceparent(request.headers());
    if let Some(parent) = traceparent {
        span.record("traceparent", parent);
    }
    let context = RequestContext { request_id: Arc::clone(&id), traceparent: traceparent.map(Into::into) };
    request.extensions_mut().insert(remote);

    let answered = async move {
        let in_flight = InFlight::enter(observer.metrics.http_in_flight());
        let response = next.run(request).await;
        let meta = Meta { request_id: id, timestamp: observer.env.now() };
        let mut response = render(response, &meta);
        if let Ok(value) = HeaderValue::from_str(&meta.request_id) {
            response.headers_mut().insert(REQUEST_ID.clone(), value);
        }
        drop(in_flight);

        let took = started.elapsed();
        let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
        let status = response.status().as_u16();
        observer.metrics.http_request(method, route, status, took.as_secs_f64());
        let latency_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        // Probes come every few seconds and would bury the rest.
        if matches!(route, "/health" | "/ready" | "/metrics") && status < 400 {
            tracing::debug!(method, route, status, latency_ms, remote_ip = %remote, user_agent, "request");
        } else {
            tracing::info!(method, route, status, latency_ms, remote_ip = %remote, user_agent, "request");
        }
        response
    };
    context.scope(answered.instrument(span)).await
}

/// Counts a request for as long as it is being answered, even if its client goes away.
struct InFlight(IntGauge);

impl InFlight {
    fn enter(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The caller's id of the request if it is sane, else a new one.
fn request_id(headers: &HeaderMap, env: &dyn Env) -> Arc<str> {
    match context::request_id(headers) {
        Some(id) => id.into(),
        None => env.new_id::<Uuid>().to_string().into(),
    }
}

fn user_agent(headers: &HeaderMap) -> String {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default().chars().take(200).collect()
}

/// A bounded set of labels: HTTP lets clients make methods up.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// Ends a request that takes longer than it may. What it was writing may or may not have happened.
pub(super) async fn deadline(State(rest): State<Shared>, request: Request, next: Next) -> Response {
    let limits = &rest.backend.limits;
    // A file takes as long as the client's line needs; whether it goes on is watched while it comes in.
    let within = if is_upload(&request) { limits.upload_timeout } else { limits.request_timeout };
    match tokio::time::timeout(within, next.run(request)).await {
        Ok(response) => response,
        Err(elapsed) => ApiError::from(Error::unavailable(elapsed)).into_response(),
    }
}

/// Whether it is to one of the routes that take files.
pub(super) fn is_upload(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    UPLOADS.iter().any(|(method, path)| request.method() == method && route.strip_suffix(path).is_some_and(|before| before.ends_with(BASE_PATH)))
}

/// Keeps browsers from guessing types.
pub(crate) async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Finds out who asks, notes it in the request, and takes a token from the bucket of the user or else of the address.
/// Whether a route needs a caller is said by its handler.
pub(super) async fn admit(State(rest): State<Shared>, mut request: Request, next: Next) -> Response {
    let identity = match bearer_token(request.headers()).map(std::str::from_utf8) {
        None => Identity::Anonymous,
        Some(Err(_)) => Identity::Refused(Error::Unauthenticated(Unauthenticated::Invalid).into()),
        Some(Ok(token)) => match rest.backend.authenticator.authenticate(token).await {
            Ok(caller) => Identity::Known(caller),
            Err(error) => Identity::Refused(error.into()),
        },
    };
    let limits = &rest.backend.limits;
    if let Identity::Known(caller) = &identity {
        Span::current().record("user_id", field::display(caller.user_id));
    }
    let admitted = if rest.is_behind_gateway {
        Ok(())
    } else if let Identity::Known(caller) = &identity {
        rest.take("api_user", &caller.user_id, limits.api_user).await
    } else {
        let remote = request.extensions().get::<RemoteAddr>().copied().unwrap_or_default();
        rest.take("api_ip", &remote.bucket(), limits.api_ip).await
    };
    if let Err(error) = admitted {
        return ApiError::from(error).into_response();
    }
    request.extensions_mut().insert(identity);
    next.run(request).await
}

impl Rest {
    /// Takes a token from the bucket of this limit and key.
    ///
    /// # Errors
    /// RATE_LIMITED if there is none. A limiter that fails lets everybody through: it protects the service, and refusing
    /// everybody would do what it is to prevent.
    pub(super) async fn take(&self, limit: &'static str, key: &(dyn std::fmt::Display + Sync), rate: RateLimit) -> Result<(), Error> {
        if !self.backend.limits.enabled {
            return Ok(());
        }
        match self.backend.rate_limiter.take(&format!("{limit}:{key}"), rate).await {
            Ok(Admission::Granted) => Ok(()),
            Ok(Admission::Refused { retry_after }) => {
                self.backend.metrics.rate_limited(limit);
                Err(Error::RateLimited { retry_after })
            }
            Err(error) => {
                tracing::warn!(limit, %error, "rate limiter does not answer; the request is let through");
                Ok(())
            }
        }
    }
}
