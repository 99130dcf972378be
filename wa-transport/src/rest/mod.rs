//! The REST protocol of the contract, sections 1 and 2. This file is the route table; each area has a file of handlers
//! that parse, call the core and wrap the answer. `error` is the only table from errors to HTTP, `envelope` the only
//! writer of bodies, `middleware` what happens around every request, `document` the OpenAPI document made from the table.

mod area;
mod auth;
mod changes;
mod chats;
mod compat;
mod cors;
mod document;
mod envelope;
mod error;
mod extract;
mod files;
mod groups;
mod media;
mod messages;
mod middleware;
mod multipart;
mod push;
mod refused;
mod remote;
mod search;
mod statuses;
mod sync;
mod system;
mod users;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::backend::Backend;

pub use area::{Area, only};
pub use cors::{InvalidOrigin, Origins};
pub(crate) use error::ApiError;
#[cfg(feature = "grpc")]
pub(crate) use error::unknown_route;
pub(crate) use extract::bearer_token;
pub use files::LocalFiles;
pub(crate) use middleware::{Observer, observe};
pub use remote::{InvalidNetwork, Network, TrustedProxies};
#[cfg(feature = "grpc")]
pub(crate) use {middleware::security_headers, remote::RemoteAddr};

/// Where every enveloped route lives (contract, section 1).
pub const BASE_PATH: &str = "/api/v1";

/// Tells whether everything the server depends on works, for `GET /ready`.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// The state of each dependency by name; the error is shown to whoever asks, so it carries no secrets.
    async fn check(&self) -> BTreeMap<String, Result<(), String>>;
}

/// Ready as soon as it runs: for hosts that answer for their dependencies themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysReady;

#[async_trait]
impl Readiness for AlwaysReady {
    async fn check(&self) -> BTreeMap<String, Result<(), String>> {
        BTreeMap::new()
    }
}

/// What the REST protocol needs to know beyond the core.
#[derive(Clone)]
pub struct RestOptions {
    /// What the service is called in the OpenAPI document.
    pub server_name: String,
    /// Where clients reach the server, such as `https://chat.example.org`; named in the OpenAPI document.
    pub public_url: Option<String>,
    /// Web origins whose scripts may call the API.
    pub cors_origins: Origins,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// What `GET /ready` asks.
    pub readiness: Arc<dyn Readiness>,
    /// Whether the router also answers paths outside [`BASE_PATH`] that nobody serves. A host that merges the router into
    /// its own, which has a fallback already, switches it off.
    pub catch_all: bool,
    /// Whether every paged list also carries the keys of contract section 9, and not only for those who ask for them.
    pub mirror_lists: bool,
    /// Whether `GET /metrics` is among the routes. A server that shows its metrics on a port of their own switches it off.
    pub metrics: bool,
    /// Whether a gateway in front has taken tokens from the buckets of users and addresses already.
    pub behind_gateway: bool,
}

impl Default for RestOptions {
    fn default() -> Self {
        Self {
            server_name: "Chat".to_owned(),
            public_url: None,
            cors_origins: Origins::default(),
            trusted_proxies: TrustedProxies::default(),
            readiness: Arc::new(AlwaysReady),
            catch_all: true,
            mirror_lists: false,
            metrics: true,
            behind_gateway: false,
        }
    }
}

/// What every handler shares.
struct Rest {
    backend: Backend,
    readiness: Arc<dyn Readiness>,
    document: Bytes,
    /// Where people reach the server, for links.
    public_url: Option<String>,
    mirror_lists: bool,
    is_behind_gateway: bool,
}

type Shared = Arc<Rest>;

/// All REST routes, with everything around them. Serve it with
/// `into_make_service_with_connect_info::<SocketAddr>()`: without the peer's address all requests without a valid token
/// share one bucket of the limit `api_ip`.
pub fn router(backend: Backend, options: RestOptions) -> Router {
    let with_login = backend.auth.is_some();
    let (api, api_document) = api_routes(with_login).split_for_parts();
    let (system, system_document) = system_routes(options.metrics).split_for_parts();
    let document = document::complete(&options, system_document.nest(BASE_PATH, api_document));
    document::announce_routes(&document, &backend.metrics);
    let observer = Observer::new(&backend, options.trusted_proxies);
    let rest = Arc::new(Rest {
        backend,
        readiness: options.readiness,
        document: document.to_string().into(),
        public_url: options.public_url,
        mirror_lists: options.mirror_lists,
        is_behind_gateway: options.behind_gateway,
    });

    let api = api
        .merge(compat::routes(with_login))
        .layer(from_fn_with_state(Arc::clone(&rest), compat::translate))
        .method_not_allowed_fallback(error::method_not_allowed)
        .fallback(error::unknown_route)
        .layer(from_fn_with_state(Arc::clone(&rest), middleware::admit));
    let system = system
        .route("/docs", get(system::docs))
        .route("/docs/", get(system::docs_index))
        .route("/docs/{*file}", get(system::docs_file))
        .route("/media/files/{*path}", get(files::serve))
        .method_not_allowed_fallback(error::method_not_allowed);
    let mut all = system.nest(BASE_PATH, api);
    if options.catch_all {
        all = all.fallback(error::unknown_route);
    }
    // The last layer is the outermost.
    all.layer(from_fn_with_state(Arc::clone(&rest), middleware::deadline))
        .layer(from_fn(refused::drain))
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(options.cors_origins.layer())
        .layer(from_fn(middleware::security_headers))
        .layer(from_fn_with_state(observer, observe))
        .with_state(rest)
}

/// The OpenAPI document of [`router`], for tools; `with_login` tells whether `/auth` has routes.
#[must_use]
pub fn openapi(options: &RestOptions, with_login: bool) -> Value {
    document::complete(options, system_routes(options.metrics).into_openapi().nest(BASE_PATH, api_routes(with_login).into_openapi()))
}

/// The enveloped routes, below [`BASE_PATH`]. Router and OpenAPI document both come from this table.
fn api_routes(with_login: bool) -> OpenApiRouter<Shared> {
    let mut api = OpenApiRouter::new();
    if with_login {
        api = api
            .routes(routes!(auth::request_otp))
            .routes(routes!(auth::verify_otp))
            .routes(routes!(auth::refresh))
            .routes(routes!(auth::logout))
            .routes(routes!(auth::devices))
            .routes(routes!(auth::remove_device));
    }
    api.routes(routes!(users::me, users::update_me, users::delete_me))
        .routes(routes!(users::privacy, users::set_privacy))
        .routes(routes!(users::contacts))
        .routes(routes!(users::sync_contacts))
        .routes(routes!(users::profile))
        .routes(routes!(users::block, users::unblock))
        .routes(routes!(users::presence))
        .routes(routes!(statuses::of_contacts, statuses::post))
        .routes(routes!(statuses::own))
        .routes(routes!(statuses::delete))
        .routes(routes!(statuses::view))
        .routes(routes!(media::set_mine))
        .routes(routes!(media::set_of_chat))
        .routes(routes!(media::upload))
        .routes(routes!(media::get))
        .routes(routes!(media::download))
        .routes(routes!(push::register, push::unregister))
        .routes(routes!(push::web_push_key))
        .routes(routes!(chats::list, chats::create))
        .routes(routes!(chats::get, groups::update))
        .routes(routes!(groups::join))
        .routes(routes!(groups::add))
        .routes(routes!(groups::remove))
        .routes(routes!(groups::set_role))
        .routes(routes!(groups::set_timer))
        .routes(routes!(groups::create_invite, groups::revoke_invite))
        .routes(routes!(chats::mute))
        .routes(routes!(chats::pin))
        .routes(routes!(messages::history, messages::send))
        .routes(routes!(messages::mark_read))
        .routes(routes!(changes::edit, changes::delete))
        .routes(routes!(changes::forward))
        .routes(routes!(changes::react, changes::unreact))
        .routes(routes!(changes::star, changes::unstar))
        .routes(routes!(changes::starred))
        .routes(routes!(search::in_chat))
        .routes(routes!(search::everywhere))
        .routes(routes!(messages::receipts))
        .routes(routes!(sync::sync))
}

/// The routes of contract section 1.6, without an envelope, and the pictures of pages: what anybody may ask for, as often as
/// they like.
fn system_routes(with_metrics: bool) -> OpenApiRouter<Shared> {
    let system =
        OpenApiRouter::new().routes(routes!(system::health)).routes(routes!(system::ready)).routes(routes!(system::openapi)).routes(routes!(media::avatar));
    if with_metrics { system.routes(routes!(system::metrics)) } else { system }
}

/// The panic's own text stays out of the answer and the log: it may quote a body.
pub(crate) fn after_panic(_panic: Box<dyn Any + Send>) -> Response {
    use axum::response::IntoResponse as _;
    error::ApiError::from(wa_core::Error::internal("a handler panicked")).into_response()
}
