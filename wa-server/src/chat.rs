//! The chat backend inside a host's own program: its routers, its apis and its events, without a listener, a signal handler
//! or anything global. [`crate::Server`] is this with a listener around it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use tokio::time::Instant;
use wa_core::api::{AuthApi, Authenticator, ChatApi, MediaApi, MessageApi, PresenceApi, PushApi, StatusApi, UserApi};
use wa_core::event::Event;
use wa_core::id::DeviceId;
use wa_core::ports::{Env, EventBus, EventHandler, FanOut as _, PushSender, SmsSender, Stored, Subscription};
use wa_storage::Stores;
#[cfg(feature = "cluster")]
use wa_transport::gateway::HandedOn;
#[cfg(feature = "cluster")]
use wa_transport::grpc::{GrpcDeps, GrpcServer, GrpcService};
use wa_transport::metrics::Metrics;
use wa_transport::rest::{self, RestOptions};
use wa_transport::ws::{self, WsOptions};

use crate::config::Config;
use crate::env::SystemEnv;
#[cfg(feature = "cluster")]
use crate::gateway;
use crate::role::Role;
use crate::start::StartError;
use crate::wire::{self, Own, Wired};

/// Prepares a [`Chat`].
#[must_use]
pub struct ChatBuilder {
    config: Config,
    own: Own,
    env: Arc<dyn Env>,
    catch_all: bool,
    metrics_route: bool,
}

impl ChatBuilder {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, own: Own::default(), env: Arc::new(SystemEnv), catch_all: false, metrics_route: true }
    }

    /// The host's own login: its tokens are checked by this, and the routes under `/auth` are left out. The host tells
    /// its users to [`UserApi::provision`] before they come.
    pub fn authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.own.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Sends one-time passwords by this rather than as the configuration says.
    pub fn sms_sender(mut self, sender: impl SmsSender + 'static) -> Self {
        self.own.sms = Some(Arc::new(sender));
        self
    }

    /// Carries pushes to devices by this rather than as the configuration says.
    pub fn push_sender(mut self, sender: impl PushSender + 'static) -> Self {
        self.own.push = Some(Arc::new(sender));
        self
    }

    /// Keeps everything in these stores, which the host has opened and closes itself, rather than where the configuration
    /// says. Only one [`Chat`] may have them at a time: it hands out what they announce.
    pub fn stores(mut self, stores: Arc<Stores>) -> Self {
        self.own.stores = Some(stores);
        self
    }

    /// Carries events over this bus rather than over one in memory.
    pub fn event_bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.own.bus = Some(bus);
        self
    }

    /// Takes time and randomness from here.
    pub fn env(mut self, env: Arc<dyn Env>) -> Self {
        self.env = env;
        self
    }

    /// Whether paths that nobody serves are answered by an enveloped 404.
    pub(crate) const fn catch_all(mut self) -> Self {
        self.catch_all = true;
        self
    }

    /// Where the server around it listens.
    pub(crate) const fn listens(mut self, address: SocketAddr) -> Self {
        self.own.listens = Some(address);
        self
    }

    /// Whether `/metrics` is among the routes.
    pub(crate) const fn metrics_route(mut self, shown: bool) -> Self {
        self.metrics_route = shown;
        self
    }

    /// Opens the stores and starts what runs in the background.
    ///
    /// # Errors
    /// [`StartError`] with what happened, where, and what to do.
    pub async fn build(self) -> Result<Chat, StartError> {
        let wired = wire::wire(&self.config, self.own, self.env).await?;
        #[cfg(feature = "cluster")]
        let elsewhere = if self.config.server.roles.is_all() { None } else { Some(gateway::elsewhere(&self.config, &wired.backend)?) };
        Ok(Chat {
            config: self.config,
            catch_all: self.catch_all,
            metrics_route: self.metrics_route,
            #[cfg(feature = "cluster")]
            elsewhere,
            wired,
        })
    }
}

/// A running chat backend. Dropping it ends its background work without ceremony; [`Chat::shutdown`] does so gracefully.
pub struct Chat {
    config: Config,
    catch_all: bool,
    metrics_route: bool,
    /// Answers for the parts of the HTTP interface that are not served here, unless all are.
    #[cfg(feature = "cluster")]
    elsewhere: Option<HandedOn>,
    wired: Wired,
}

impl Chat {
    /// Prepares a chat backend of this configuration.
    ///
    /// ```no_run
    /// # async fn host(mine: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
    /// let chat = wa_server::Chat::builder(wa_server::Config::default()).build().await?;
    /// let app = mine.nest("/chat", chat.router());
    /// # Ok(()) }
    /// ```
    pub fn builder(config: Config) -> ChatBuilder {
        ChatBuilder::new(config)
    }

    /// The REST and WebSocket routes, to merge into the host's router or to nest under a prefix. Serve it with
    /// `into_make_service_with_connect_info::<SocketAddr>()`, so that rate limits tell addresses apart.
    pub fn router(&self) -> Router {
        let server = &self.config.server;
        let rest = RestOptions {
            public_url: server.public_url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned()),
            cors_origins: server.cors_origins.clone(),
            trusted_proxies: server.trusted_proxies.clone(),
            readiness: self.wired.readiness.clone(),
            catch_all: self.catch_all,
            mirror_lists: self.config.compat.mirror_lists,
            metrics: self.metrics_route,
            behind_gateway: !server.roles.has(Role::Gateway),
            ..RestOptions::default()
        };
        let ws = WsOptions { cors_origins: server.cors_origins.clone(), trusted_proxies: server.trusted_proxies.clone() };
        let router = rest::router(self.wired.backend.clone(), rest).merge(ws::router(Arc::clone(&self.wired.hub), self.wired.backend.clone(), ws));
        #[cfg(feature = "cluster")]
        if let Some(elsewhere) = &self.elsewhere {
            return rest::only(router, &server.roles.areas(), elsewhere.router.clone());
        }
        router
    }

    /// The services of the contract, section 4, of the roles that run here, to serve on a port of their own. Whoever reaches it may act as anybody: it
    /// belongs on a private network.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn grpc(&self) -> GrpcServer {
        let backend = &self.wired.backend;
        let deps = GrpcDeps {
            authenticator: Arc::clone(&backend.authenticator),
            messages: Arc::clone(&backend.messages),
            fan_out: Arc::clone(&backend.fan_out),
            lookup: Arc::clone(&self.wired.lookup),
            readiness: self.wired.readiness.clone(),
            env: Arc::clone(&backend.env),
            metrics: backend.metrics.clone(),
        };
        let service = |role| match role {
            Role::Auth => Some(GrpcService::Auth),
            Role::User => Some(GrpcService::User),
            Role::Chat => Some(GrpcService::Chat),
            Role::Message => Some(GrpcService::Message),
            Role::Media => Some(GrpcService::Media),
            Role::Gateway | Role::Notification | Role::Websocket => None,
        };
        GrpcServer::new(deps, self.config.server.roles.iter().filter_map(service).collect())
    }

    /// Login by phone and code; `None` if the host has its own.
    #[must_use]
    pub fn auth(&self) -> Option<&Arc<dyn AuthApi>> {
        self.wired.backend.auth.as_ref()
    }

    /// Profiles, contacts and privacy; the host's own users come in by [`UserApi::provision`].
    #[must_use]
    pub fn users(&self) -> &Arc<dyn UserApi> {
        &self.wired.backend.users
    }

    /// Chats.
    #[must_use]
    pub fn chats(&self) -> &Arc<dyn ChatApi> {
        &self.wired.backend.chats
    }

    /// Messages.
    #[must_use]
    pub fn messages(&self) -> &Arc<dyn MessageApi> {
        &self.wired.backend.messages
    }

    /// Uploaded files.
    #[must_use]
    pub fn media(&self) -> &Arc<dyn MediaApi> {
        &self.wired.backend.media
    }

    /// Presence and typing.
    #[must_use]
    pub fn presence(&self) -> &Arc<dyn PresenceApi> {
        &self.wired.backend.presence
    }

    /// What people show for a day.
    #[must_use]
    pub fn statuses(&self) -> &Arc<dyn StatusApi> {
        &self.wired.backend.statuses
    }

    /// Where pushes go.
    #[must_use]
    pub fn push(&self) -> &Arc<dyn PushApi> {
        &self.wired.backend.push
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.wired.backend.metrics
    }

    /// Calls the handler with every event from now on, one batch at a time and in order, until the subscription is
    /// dropped. A handler that is slow holds up the others once its queue is full.
    ///
    /// # Errors
    /// UNAVAILABLE if the event bus cannot be reached.
    pub async fn subscribe_handler(&self, handler: Arc<dyn EventHandler>) -> wa_core::Result<Box<dyn Subscription>> {
        Ok(self.wired.bus.subscribe("host", handler).await?)
    }

    /// As [`Self::subscribe_handler`], with a closure that is called for each event.
    ///
    /// # Errors
    /// As [`Self::subscribe_handler`].
    pub async fn subscribe<F, Done>(&self, handler: F) -> wa_core::Result<Box<dyn Subscription>>
    where
        F: Fn(Arc<Event>) -> Done + Send + Sync + 'static,
        Done: Future<Output = ()> + Send + 'static,
    {
        struct Each<F>(F);

        #[async_trait]
        impl<F, Done> EventHandler for Each<F>
        where
            F: Fn(Arc<Event>) -> Done + Send + Sync,
            Done: Future<Output = ()> + Send,
        {
            async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
                for event in events {
                    (self.0)(Arc::clone(event)).await;
                }
                Ok(())
            }
        }

        self.subscribe_handler(Arc::new(Each(handler))).await
    }

    /// Closes the sockets of these devices with 4001: for hosts with their own login, when they end a session.
    pub async fn disconnect(&self, devices: &[DeviceId]) {
        self.wired.hub.cut(devices).await;
    }

    /// Tells `GET /ready` that no new work is wanted.
    pub(crate) fn not_ready(&self) {
        self.wired.readiness.shut_down();
    }

    /// Sends the pushes that wait for more messages, closes all sockets with 1001, and waits until they are gone.
    pub(crate) async fn close_sockets(&self, grace: Duration) -> usize {
        // While it is known who is here: those whose sockets are about to be closed have seen what the pushes tell.
        self.wired.pusher.flush(Instant::now() + grace.mul_f32(0.3)).await;
        let here = self.wired.hub.shutdown(grace);
        #[cfg(feature = "cluster")]
        if let Some(elsewhere) = &self.elsewhere {
            let (here, through) = tokio::join!(here, elsewhere.sockets.close(grace));
            return here + through;
        }
        here.await
    }

    /// Ends it: sockets are told to go away (1001), committed events handed out, stores closed. It takes
    /// `server.shutdown_grace` at the most.
    pub async fn shutdown(self) {
        let until = Instant::now() + self.config.server.shutdown_grace;
        self.shutdown_until(until).await;
    }

    pub(crate) async fn shutdown_until(self, until: Instant) {
        self.not_ready();
        let left = self.close_sockets(left_until(until).mul_f32(0.7)).await;
        if left > 0 {
            tracing::warn!(sockets = left, "sockets were still open when the time for a shutdown was over");
        }
        self.wired.stop(until).await;
    }
}

pub(crate) fn left_until(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
