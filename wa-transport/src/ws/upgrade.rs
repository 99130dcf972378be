//! `GET /ws`: who may connect, and the HTTP upgrade itself (contract, section 3.1).

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONNECTION, HOST, HeaderName, HeaderValue, ORIGIN, UPGRADE};
use axum::http::{HeaderMap, Method, StatusCode, Uri, Version};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use tower_http::catch_panic::CatchPanicLayer;
use wa_core::error::{Denied, Error, Result, Unauthenticated};
use wa_core::ports::EnvExt as _;
use wa_core::session::Caller;

use super::answer::Context;
use super::close::Close;
use super::hub::Hub;
use super::session;
use super::socket::Socket;
use super::wire::Wire;
use crate::backend::Backend;
use crate::context::RequestContext;
use crate::rest::{ApiError, Observer, Origins, TrustedProxies, after_panic, bearer_token, observe};

const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const SEC_WEBSOCKET_VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// What an operator decides about sockets.
#[derive(Debug, Clone, Default)]
pub struct WsOptions {
    /// The origins whose pages may connect; if there are none, all may: a token is needed in any case, and browsers send it
    /// with no request by themselves. Pages of the server's own host always may, and so may clients that are no browsers.
    pub cors_origins: Origins,
    /// Proxies whose `X-Forwarded-For` is believed, for the access log.
    pub trusted_proxies: TrustedProxies,
}

struct Entrance {
    context: Arc<Context>,
    cors_origins: Origins,
}

/// The route `GET /ws`, whose sockets are those of this hub.
pub fn router(hub: Arc<Hub>, backend: Backend, options: WsOptions) -> Router {
    let observer = Observer::new(&backend, options.trusted_proxies);
    let entrance = Arc::new(Entrance { context: Arc::new(Context::new(hub, backend)), cors_origins: options.cors_origins });
    let route = get(enter).fallback(wrong_method).layer(CatchPanicLayer::custom(after_panic)).layer(from_fn_with_state(observer, observe));
    Router::new().route("/ws", route).with_state(entrance)
}

async fn enter(State(entrance): State<Arc<Entrance>>, mut request: Request) -> Response {
    let context = &entrance.context;
    let admitted = match admit(&entrance, request.headers(), request.uri()).await {
        Ok(visitor) => handshake(&request).map(|accept| (visitor, accept)),
        Err(error) => Err(error.into()),
    };
    match admitted {
        Ok((visitor, accept)) => {
            let Some(place) = context.hub.admit() else {
                return ApiError::from(Error::unavailable("no place for another socket")).into_response();
            };
            let upgrade = hyper::upgrade::on(&mut request);
            let context = context.clone();
            let request = RequestContext::current();
            context.hub.tasks.spawn({
                let context = context.clone();
                let serving = async move {
                    let _place = place;
                    let upgraded = match upgrade.await {
                        Ok(upgraded) => upgraded,
                        Err(error) => return tracing::debug!(%error, "a client left during the upgrade"),
                    };
                    let wire = Wire::new(TokioIo::new(upgraded), context.backend.limits.ws_frame);
                    match visitor {
                        Ok(caller) => {
                            let id = context.backend.env.new_id();
                            let socket = Arc::new(Socket::new(id, caller, context.backend.limits.ws_queue_bytes));
                            context.hub.register(&socket);
                            session::serve(wire, context, socket).await;
                        }
                        Err(why) => session::turn_away(wire, Close::Unauthorized(why), &context.backend.limits).await,
                    }
                };
                // What comes over the socket is done for the request that opened it.
                async move {
                    match request {
                        Some(request) => request.scope(serving).await,
                        None => serving.await,
                    }
                }
            });
            let headers = [(CONNECTION, HeaderValue::from_static("upgrade")), (UPGRADE, HeaderValue::from_static("websocket")), (SEC_WEBSOCKET_ACCEPT, accept)];
            (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
        }
        Err(Refusal::Error(error)) => ApiError::from(error).into_response(),
        Err(Refusal::Version) => {
            let mut response = ApiError::from(Error::BadRequest("WebSocket version 13 is needed".to_owned())).into_response();
            *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            response
        }
    }
}

async fn wrong_method() -> Response {
    let mut response = ApiError::MethodNotAllowed.into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

enum Refusal {
    Error(Error),
    Version,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Who connects, or why a bad token of the query is turned away after the upgrade.
async fn admit(entrance: &Entrance, headers: &HeaderMap, uri: &Uri) -> Result<Result<Caller, Unauthenticated>> {
    if !origin_allowed(headers, &entrance.cors_origins) {
        return Err(Error::Denied(Denied::Forbidden("This origin may not connect")));
    }
    let authenticator = &entrance.context.backend.authenticator;
    if let Some(token) = bearer_token(headers) {
        let token = std::str::from_utf8(token).map_err(|_| Error::Unauthenticated(Unauthenticated::Invalid))?;
        authenticator.authenticate(token).await.map(Ok)
    } else if let Some(token) = query_token(uri.query()) {
        match authenticator.authenticate(&token).await {
            Err(Error::Unauthenticated(why)) => Ok(Err(why)),
            answer => answer.map(Ok),
        }
    } else {
        Err(Error::Unauthenticated(Unauthenticated::Missing))
    }
}

fn query_token(query: Option<&str>) -> Option<String> {
    let (_, token) = url::form_urlencoded::parse(query?.as_bytes()).find(|(name, _)| name == "token")?;
    (!token.is_empty()).then(|| token.into_owned())
}

fn origin_allowed(headers: &HeaderMap, allowed: &Origins) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    if allowed.is_empty() || allowed.allows(origin) {
        return true;
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// Checks the opening handshake and makes its answer (RFC 6455, section 4.2).
fn handshake(request: &Request) -> Result<HeaderValue, Refusal> {
    let headers = request.headers();
    let has = |name: HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let is_handshake = request.method() == Method::GET && request.version() == Version::HTTP_11 && has(CONNECTION, "upgrade") && has(UPGRADE, "websocket");
    let Some(key) = key.filter(|_| is_handshake) else {
        return Err(Error::BadRequest("A WebSocket upgrade is needed here".to_owned()).into());
    };
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::Version);
    }
    if STANDARD.decode(key).ok().is_none_or(|nonce| nonce.len() != 16) {
        return Err(Error::BadRequest("Sec-WebSocket-Key must be 16 bytes as base64".to_owned()).into());
    }
    let mut hash = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(hash.finish());
    HeaderValue::try_from(accept).map_err(|error| Error::internal(error).into())
}
