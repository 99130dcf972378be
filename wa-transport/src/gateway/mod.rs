//! The gateway (contract, sections 2, 7 and 8): what comes in for a role that runs elsewhere is admitted here, by token and rate,
//! and handed on to that role, uploads, downloads and sockets included, without ever holding a body whole.
//!
//! No role believes a header about who somebody is: each asks about the token itself, so that a forged header, and a gateway
//! that knows a token longer than it holds, give nothing away. What the gateway adds for other programs behind it is told in
//! `proxy`.

mod places;
mod proxy;
mod sockets;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use url::Url;
use wa_core::api::Authenticator;
use wa_core::error::Error;
use wa_core::limits::{Limits, RateLimit};
use wa_core::ports::{Admission, Env, RateLimiter};
use wa_core::session::Caller;

use self::places::Places;
use self::proxy::Proxy;
pub use self::sockets::ProxiedSockets;
use self::tokens::Tokens;
use crate::metrics::Metrics;
use crate::rest::{ApiError, Area, Observer, Origins, RemoteAddr, TrustedProxies, after_panic, bearer_token, observe, security_headers, unknown_route};

/// What the gateway stands on.
#[derive(Clone)]
pub struct GatewayDeps {
    /// Where each part of the HTTP interface is served that is not served here: by one process, or by any of several.
    pub peers: BTreeMap<Area, Vec<Url>>,
    /// Checks access tokens.
    pub authenticator: Arc<dyn Authenticator>,
    /// Token buckets.
    pub rate_limiter: Arc<dyn RateLimiter>,
    /// Limits.
    pub limits: Arc<Limits>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// What is counted.
    pub metrics: Metrics,
    /// Web origins whose scripts may call the API.
    pub cors_origins: Origins,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
}

/// The gateway cannot call anybody.
#[derive(Debug, thiserror::Error)]
#[error("the gateway cannot call other roles: {0}")]
pub struct NoProxy(String);

/// What hands on.
#[derive(Debug)]
pub struct HandedOn {
    /// Routes for the parts that are served elsewhere, and for nothing else. Serve it with
    /// `into_make_service_with_connect_info::<SocketAddr>()`.
    pub router: Router,
    /// The sockets that go through it, to be closed when it ends.
    pub sockets: ProxiedSockets,
}

struct Gateway {
    places: Places,
    tokens: Tokens,
    rate_limiter: Arc<dyn RateLimiter>,
    limits: Arc<Limits>,
    metrics: Metrics,
    proxy: Proxy,
}

/// Hands on what is served elsewhere.
///
/// # Errors
/// [`NoProxy`] if the system's trusted certificates cannot be had for peers over https.
pub fn hand_on(deps: GatewayDeps) -> Result<HandedOn, NoProxy> {
    let observer = Observer::of(deps.metrics.clone(), deps.env, deps.trusted_proxies);
    let places = Places::new(deps.peers);
    let needs_tls = places.all().any(|url| url.scheme() == "https");
    let sockets = ProxiedSockets::new(deps.limits.ws_connections);
    let gateway = Arc::new(Gateway {
        tokens: Tokens::new(deps.authenticator),
        rate_limiter: deps.rate_limiter,
        proxy: Proxy::new(needs_tls, sockets.clone())?,
        places,
        limits: deps.limits,
        metrics: deps.metrics,
    });
    // The templates are what metrics and the access log show.
    let router = Router::new()
        .route("/ws", any(answer))
        .route("/openapi.json", any(answer))
        .route("/docs", any(answer))
        .route("/docs/", any(answer))
        .route("/docs/{*path}", any(answer))
        .route("/media/files/{*path}", any(answer))
        .route("/api/v1/{area}", any(answer))
        .route("/api/v1/{area}/{*path}", any(answer))
        .fallback(unknown_route)
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(deps.cors_origins.layer())
        .layer(from_fn(security_headers))
        .layer(from_fn_with_state(observer, observe))
        .with_state(gateway);
    Ok(HandedOn { router, sockets })
}

async fn answer(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    match gateway.answer(request).await {
        Ok(response) => response,
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// The part that a path belongs to; the reference page is the same in every role.
fn area_of(path: &str) -> Option<Area> {
    Area::of(path).or_else(|| (path == "/openapi.json" || path.starts_with("/docs")).then_some(Area::Users))
}

impl Gateway {
    async fn answer(&self, request: Request) -> Result<Response, Error> {
        let path = request.uri().path();
        let Some(area) = area_of(path).filter(|area| self.places.serve(*area)) else {
            return Ok(unknown_route().await.into_response());
        };
        let token = bearer_token(request.headers()).and_then(|token| std::str::from_utf8(token).ok()).map(ToOwned::to_owned);
        // Pages and files anybody may ask for, as often as they like, and sockets, are admitted where they are served.
        let is_upload = area == Area::Media && !request.method().is_safe();
        let remote = request.extensions().get::<RemoteAddr>().copied().unwrap_or_default();
        let is_api = path.starts_with(crate::rest::BASE_PATH) && !path.starts_with("/api/v1/media/avatars/");
        let caller = if is_api { self.admit(area, token.as_deref(), remote).await? } else { None };
        let within = if is_upload { self.limits.upload_timeout } else { self.limits.request_timeout };
        let most = if is_upload { self.limits.document_bytes.max(self.limits.video_bytes) + AROUND } else { self.limits.json_body * DRAINED };
        // Somebody's requests go to one process, so that it knows what they did just before; sockets are dealt out.
        let key = caller.map(|caller| caller.user_id.as_uuid().as_u64_pair().1);
        let peers = self.places.of(area, key);
        let response = self.proxy.pass(request, &self.places, &peers, caller, most, Instant::now() + within).await?;
        if let (axum::http::StatusCode::UNAUTHORIZED, Some(token)) = (response.status(), &token) {
            self.tokens.forget(token);
        }
        Ok(response)
    }

    /// Finds out who asks, and takes a token from their bucket, or from that of their address.
    async fn admit(&self, area: Area, token: Option<&str>, remote: RemoteAddr) -> Result<Option<Caller>, Error> {
        let caller = match token {
            None => Ok(None),
            Some(token) => self.tokens.caller(token).await.map(Some),
        };
        match &caller {
            Ok(Some(caller)) => {
                tracing::Span::current().record("user_id", tracing::field::display(caller.user_id));
                self.take("api_user", &caller.user_id, self.limits.api_user).await?;
            }
            Ok(None) | Err(_) => self.take("api_ip", &remote.bucket(), self.limits.api_ip).await?,
        }
        match caller {
            // Whoever's access token has ended may still use their refresh token.
            Err(Error::Unauthenticated(_)) if area == Area::Auth => Ok(None),
            caller => caller,
        }
    }

    /// # Errors
    /// RATE_LIMITED. A limiter that fails lets everybody through, as everywhere.
    async fn take(&self, limit: &'static str, key: &(dyn std::fmt::Display + Sync), rate: RateLimit) -> Result<(), Error> {
        if !self.limits.enabled {
            return Ok(());
        }
        match self.rate_limiter.take(&format!("{limit}:{key}"), rate).await {
            Ok(Admission::Granted) => Ok(()),
            Ok(Admission::Refused { retry_after }) => {
                self.metrics.rate_limited(limit);
                Err(Error::RateLimited { retry_after })
            }
            Err(error) => {
                tracing::warn!(limit, %error, "rate limiter does not answer; the request is let through");
                Ok(())
            }
        }
    }
}

/// How many times the limit of a body is handed on: the role reads that much, and throws it away, so that the client gets to
/// see that it was refused.
const DRAINED: usize = 8;

/// What may stand around a file in the body of an upload, and what is handed on past it.
const AROUND: usize = 10 << 20;

/// A connection that was idle for longer is not used again: the other side may be closing it.
const IDLE: Duration = Duration::from_secs(4);
