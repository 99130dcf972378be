//! The whole server: the chat backend behind a listener, with the built-in web client, from binding to a graceful end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use wa_core::api::Authenticator;
use wa_core::ports::{Env, SmsSender};

use crate::chat::{Chat, ChatBuilder, left_until};
use crate::config::Config;
use crate::role::Role;
use crate::start::StartError;
use crate::{demo, listener, web};

/// Prepares a [`Server`].
#[must_use]
pub struct ServerBuilder {
    config: Config,
    chat: ChatBuilder,
}

impl ServerBuilder {
    /// As [`ChatBuilder::authenticator`].
    pub fn authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.chat = self.chat.authenticator(authenticator);
        self
    }

    /// As [`ChatBuilder::sms_sender`].
    pub fn sms_sender(mut self, sender: impl SmsSender + 'static) -> Self {
        self.chat = self.chat.sms_sender(sender);
        self
    }

    /// As [`ChatBuilder::env`].
    pub fn env(mut self, env: Arc<dyn Env>) -> Self {
        self.chat = self.chat.env(env);
        self
    }

    /// Takes the port, opens the stores and starts what runs in the background. Clients that connect from now on are
    /// served once [`Server::run_until`] runs.
    ///
    /// # Errors
    /// [`StartError`] with what happened, where, and what to do.
    pub async fn bind(self) -> Result<Server, StartError> {
        let Self { config, chat } = self;
        // First of all: a second server must not touch the files of the one that has the port.
        let (listener, local_addr) = listen(config.server.bind)?;
        let grpc = config.server.grpc_bind.map(listen).transpose()?;
        if let Some((_, address)) = grpc.as_ref().filter(|(_, address)| !address.ip().is_loopback()) {
            tracing::warn!(%address, "gRPC asks for no credentials: let only the other services of this installation reach its port");
        }
        let metrics = config.telemetry.metrics_bind.map(listen).transpose()?;
        let chat = chat.catch_all().listens(local_addr).metrics_route(metrics.is_none()).build().await?;
        if config.dev.seed_demo {
            demo::seed(&chat).await;
        }
        Ok(Server { config, chat, listener, local_addr, grpc, metrics })
    }
}

pub(crate) fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let refused = |source| StartError::of_bind(address, source);
    let listener = listener::bind(address).map_err(refused)?;
    let local_addr = listener.local_addr().map_err(refused)?;
    Ok((listener, local_addr))
}

/// A server that has its port and its stores.
pub struct Server {
    config: Config,
    chat: Chat,
    listener: TcpListener,
    local_addr: SocketAddr,
    grpc: Option<(TcpListener, SocketAddr)>,
    metrics: Option<(TcpListener, SocketAddr)>,
}

impl Server {
    /// Prepares a server of this configuration.
    ///
    /// ```no_run
    /// # async fn serve(stop: impl Future<Output = ()>) -> Result<(), wa_server::StartError> {
    /// let server = wa_server::Server::builder(wa_server::Config::default()).bind().await?;
    /// println!("http://{}", server.local_addr());
    /// server.run_until(stop).await;
    /// # Ok(()) }
    /// ```
    pub fn builder(config: Config) -> ServerBuilder {
        ServerBuilder { chat: Chat::builder(config.clone()), config }
    }

    /// Where it listens; the real port, if the configuration said 0.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where gRPC is served, if it is.
    #[must_use]
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|(_, address)| *address)
    }

    /// Where the metrics are served, if not with everything else.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(_, address)| *address)
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The chat backend: its apis and events.
    #[must_use]
    pub const fn chat(&self) -> &Chat {
        &self.chat
    }

    /// Serves until `stop` ends, then shuts down gracefully, within `server.shutdown_grace`: readiness off, sockets told
    /// 1001, requests in hand answered, committed events handed out, stores closed.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        let Self { config, chat, listener, grpc, metrics, .. } = self;
        let limits = &config.limits;
        let router = if config.server.web_client && config.server.roles.has(Role::Gateway) { chat.router().merge(web::router()) } else { chat.router() };
        let (stopping, stopped) = watch::channel(());
        let ended = |mut stopped: watch::Receiver<()>| async move {
            // The channel's end is the signal; nothing is ever sent.
            let _ = stopped.changed().await;
        };
        let grace = config.server.shutdown_grace;
        let most = grace.mul_f32(0.7);
        let metrics = async {
            if let Some((listener, _)) = metrics {
                let metrics = chat.metrics().clone();
                let router = Router::new().route("/metrics", get(move || async move { ([("content-type", "text/plain; version=0.0.4")], metrics.render()) }));
                listener::serve(listener, router, limits, ended(stopped.clone()), most).await;
            }
        };
        let calls = async {
            #[cfg(feature = "cluster")]
            if let Some((listener, _)) = grpc
                && let Err(error) = chat.grpc().serve(listener, ended(stopped.clone()), most).await
            {
                tracing::error!(%error, "gRPC is served no more");
            }
            #[cfg(not(feature = "cluster"))]
            drop(grpc);
        };
        let serve = listener::serve(listener, router, limits, ended(stopped.clone()), most);
        let shut_down = async {
            stop.await;
            tracing::info!("shutting down");
            let until = Instant::now() + grace;
            chat.not_ready();
            drop(stopping);
            let sockets = chat.close_sockets(most).await;
            (until, sockets)
        };
        let (connections, (), (), (until, sockets)) = tokio::join!(serve, calls, metrics, shut_down);
        if connections + sockets > 0 {
            tracing::warn!(connections, sockets, "connections were cut: the time for a shutdown was over");
        }
        chat.shutdown_until(until).await;
        tracing::info!(spare_ms = u64::try_from(left_until(until).as_millis()).unwrap_or(u64::MAX), "shut down");
    }
}
