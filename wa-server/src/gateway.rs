//! The role gateway: beside other roles it hands on what they do not serve; alone in a process it needs no stores.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::watch;
use wa_core::ports::Env;
use wa_transport::Backend;
use wa_transport::gateway::{self, GatewayDeps, HandedOn, NoProxy, ProxiedSockets};
use wa_transport::metrics::Metrics;
use wa_transport::rest::Area;

use crate::config::Config;
use crate::env::SystemEnv;
use crate::peers::Peers;
use crate::role::Role;
use crate::server::listen;
use crate::start::StartError;
use crate::{listener, web};

/// Where the parts of the HTTP interface are that are served elsewhere, if this process hands them on.
fn peers(config: &Config) -> BTreeMap<Area, Vec<url::Url>> {
    let roles = &config.server.roles;
    if !roles.has(Role::Gateway) {
        return BTreeMap::new();
    }
    config.peers.http.iter().filter(|(role, _)| !roles.has(**role)).filter_map(|(role, urls)| Some((role.area()?, urls.clone()))).collect()
}

/// Answers for what is not served in this process.
pub(crate) fn elsewhere(config: &Config, backend: &Backend) -> Result<HandedOn, NoProxy> {
    gateway::hand_on(GatewayDeps {
        peers: peers(config),
        authenticator: Arc::clone(&backend.authenticator),
        rate_limiter: Arc::clone(&backend.rate_limiter),
        limits: Arc::clone(&backend.limits),
        env: Arc::clone(&backend.env),
        metrics: backend.metrics.clone(),
        cors_origins: config.server.cors_origins.clone(),
        trusted_proxies: config.server.trusted_proxies.clone(),
    })
}

/// A gateway that runs alone, before roles in other processes.
pub struct GatewayServer {
    config: Config,
    router: Router,
    sockets: ProxiedSockets,
    is_leaving: Arc<AtomicBool>,
    metrics: Metrics,
    listener: TcpListener,
    local_addr: SocketAddr,
    metrics_listener: Option<TcpListener>,
}

impl GatewayServer {
    /// Takes the port. Clients that connect from now on are served once [`Self::run_until`] runs.
    ///
    /// # Errors
    /// [`StartError`] with what happened, where, and what to do.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let (listener, local_addr) = listen(config.server.bind)?;
        let metrics_listener = config.telemetry.metrics_bind.map(listen).transpose()?.map(|(listener, _)| listener);
        let env: Arc<dyn Env> = Arc::new(SystemEnv);
        let metrics = Metrics::new();
        let rate_limiter = wa_storage::open_rate_limiter(&config.cache_url(), Arc::clone(&env)).await?;
        let peers_of_calls = Peers::of(&config, &env, &metrics)?;
        let authenticator = peers_of_calls.authenticator().ok_or(StartError::NoAuth)?;
        let HandedOn { router, sockets } = gateway::hand_on(GatewayDeps {
            peers: peers(&config),
            authenticator,
            rate_limiter,
            limits: Arc::new(config.limits.clone()),
            env,
            metrics: metrics.clone(),
            cors_origins: config.server.cors_origins.clone(),
            trusted_proxies: config.server.trusted_proxies.clone(),
        })?;
        let is_leaving = Arc::new(AtomicBool::new(false));
        let ready = {
            let is_leaving = Arc::clone(&is_leaving);
            move || async move {
                let (status, server) =
                    if is_leaving.load(Ordering::SeqCst) { (StatusCode::SERVICE_UNAVAILABLE, "shutting down") } else { (StatusCode::OK, "ok") };
                (status, Json(serde_json::json!({ "status": { "server": server } })))
            }
        };
        let mut router = router.route("/health", get(|| async { Json(serde_json::json!({ "status": "alive" })) })).route("/ready", get(ready));
        if metrics_listener.is_none() {
            router = router.merge(shown(&metrics));
        }
        if config.server.web_client {
            router = router.merge(web::router());
        }
        Ok(Self { config, router, sockets, is_leaving, metrics, listener, local_addr, metrics_listener })
    }

    /// Where it listens; the real port, if the configuration said 0.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `stop` ends; then readiness goes off, sockets are told 1001, and requests in hand are answered, within
    /// `server.shutdown_grace`.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        let Self { config, router, sockets, is_leaving, metrics, listener, local_addr, metrics_listener } = self;
        tracing::info!(address = %local_addr, "serving as a gateway");
        let grace = config.server.shutdown_grace;
        let (leave, leaving) = watch::channel(());
        let ended = |mut leaving: watch::Receiver<()>| async move {
            // The channel's end is the signal; nothing is ever sent.
            let _ = leaving.changed().await;
        };
        let serve = listener::serve(listener, router, &config.limits, ended(leaving.clone()), grace);
        let watch = async {
            if let Some(listener) = metrics_listener {
                listener::serve(listener, shown(&metrics), &config.limits, ended(leaving.clone()), grace).await;
            }
        };
        let shut_down = async {
            stop.await;
            tracing::info!("shutting down");
            is_leaving.store(true, Ordering::SeqCst);
            drop(leave);
            sockets.close(grace).await
        };
        let (connections, (), sockets) = tokio::join!(serve, watch, shut_down);
        if connections + sockets > 0 {
            tracing::warn!(connections, sockets, "connections were cut: the time for a shutdown was over");
        }
    }
}

fn shown(metrics: &Metrics) -> Router {
    let metrics = metrics.clone();
    Router::new().route("/metrics", get(move || async move { ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], metrics.render()) }))
}
