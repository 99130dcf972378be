//! The server half: the five services over the core's apis, with health and reflection, on a port of their own. What happens
//! around every call is in `observe`; each service has a file.

mod auth;
mod chat;
mod media;
mod message;
mod observe;
mod user;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use wa_core::api::{Authenticator, FanOutApi, MessageApi};
use wa_core::ports::Env;
use wa_core::service::LookupService;

use self::observe::ObserveLayer;
use super::proto;
use super::proto::auth::auth_service_server::AuthServiceServer;
use super::proto::chat::chat_service_server::ChatServiceServer;
use super::proto::media::media_service_server::MediaServiceServer;
use super::proto::message::message_service_server::MessageServiceServer;
use super::proto::user::user_service_server::UserServiceServer;
use super::{LARGEST_ANSWER, LARGEST_REQUEST, methods};
use crate::metrics::Metrics;
use crate::rest::Readiness;

/// How often health follows readiness.
const HEALTH: Duration = Duration::from_secs(1);

/// A peer that does not answer a ping for so long is gone.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// Calls that one connection has under way.
const CALLS: u32 = 1024;

/// One of the services of the contract, section 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcService {
    /// Access tokens and sessions.
    Auth,
    /// Profiles, privacy, presence.
    User,
    /// Membership.
    Chat,
    /// The log of every chat, and who gets an event.
    Message,
    /// Uploaded files.
    Media,
}

impl GrpcService {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Auth, Self::User, Self::Chat, Self::Message, Self::Media];

    /// Its name in the proto files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth.v1.AuthService",
            Self::User => "user.v1.UserService",
            Self::Chat => "chat.v1.ChatService",
            Self::Message => "message.v1.MessageService",
            Self::Media => "media.v1.MediaService",
        }
    }
}

/// What the services answer by.
#[derive(Clone)]
pub struct GrpcDeps {
    /// Checks access tokens.
    pub authenticator: Arc<dyn Authenticator>,
    /// Messages.
    pub messages: Arc<dyn MessageApi>,
    /// Who gets an event.
    pub fan_out: Arc<dyn FanOutApi>,
    /// What is asked without a person asking.
    pub lookup: Arc<LookupService>,
    /// What health follows.
    pub readiness: Arc<dyn Readiness>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// What is counted.
    pub metrics: Metrics,
}

/// A server of some of the services.
pub struct GrpcServer {
    deps: GrpcDeps,
    services: Vec<GrpcService>,
}

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(result: wa_core::Result<T>) -> Answer<T> {
    result.map(Response::new).map_err(|error| super::status::to_status(&error))
}

impl GrpcServer {
    /// Answers for these services.
    #[must_use]
    pub const fn new(deps: GrpcDeps, services: Vec<GrpcService>) -> Self {
        Self { deps, services }
    }

    fn routes(&self) -> Result<(Routes, HealthReporter), tonic_reflection::server::Error> {
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut routes = RoutesBuilder::default();
        let reflection = || {
            let mut reflection = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health");
            for service in &self.services {
                reflection = reflection.with_service_name(service.name());
            }
            reflection
        };
        // Tools of either age ask.
        routes.add_service(health).add_service(reflection().build_v1()?).add_service(reflection().build_v1alpha()?);
        let deps = &self.deps;
        macro_rules! add {
            ($server:ident, $service:expr) => {
                routes.add_service($server::new($service).max_decoding_message_size(LARGEST_REQUEST).max_encoding_message_size(LARGEST_ANSWER))
            };
        }
        for service in &self.services {
            match service {
                GrpcService::Auth => add!(AuthServiceServer, auth::Auth { authenticator: Arc::clone(&deps.authenticator) }),
                GrpcService::User => add!(UserServiceServer, user::User { lookup: Arc::clone(&deps.lookup) }),
                GrpcService::Chat => add!(ChatServiceServer, chat::Chat { lookup: Arc::clone(&deps.lookup) }),
                GrpcService::Message => add!(
                    MessageServiceServer,
                    message::Message { lookup: Arc::clone(&deps.lookup), messages: Arc::clone(&deps.messages), fan_out: Arc::clone(&deps.fan_out) }
                ),
                GrpcService::Media => add!(MediaServiceServer, media::Media { lookup: Arc::clone(&deps.lookup) }),
            };
        }
        Ok((routes.routes(), reporter))
    }

    /// Serves until `stop` ends; then health says so, and calls in hand are answered, for as long as `grace`.
    ///
    /// # Errors
    /// If the connections cannot be accepted.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>, grace: Duration) -> io::Result<()> {
        let (routes, reporter) = self.routes().map_err(io::Error::other)?;
        for (service, method) in methods() {
            if self.services.iter().any(|served| served.name() == service) {
                self.deps.metrics.grpc_method(&service, &method);
            }
        }
        let names: Vec<&'static str> = std::iter::once("").chain(self.services.iter().map(|service| service.name())).collect();
        report(&reporter, &names, &*self.deps.readiness).await;
        let follow = AbortOnDropHandle::new(tokio::spawn({
            let (reporter, names, readiness) = (reporter.clone(), names.clone(), Arc::clone(&self.deps.readiness));
            async move {
                loop {
                    tokio::time::sleep(HEALTH).await;
                    report(&reporter, &names, &*readiness).await;
                }
            }
        }));
        let (leave, mut leaving) = watch::channel(());
        let serve = Server::builder()
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PONG))
            .max_concurrent_streams(CALLS)
            .layer(ObserveLayer::new(self.deps.metrics.clone(), Arc::clone(&self.deps.env)))
            .add_routes(routes)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async move {
                // The channel's end is the signal; nothing is ever sent.
                let _ = leaving.changed().await;
            });
        let mut serve = std::pin::pin!(serve);
        tokio::select! {
            ended = serve.as_mut() => return ended.map_err(io::Error::other),
            () = stop => {}
        }
        drop(follow);
        for name in names {
            reporter.set_service_status(name, ServingStatus::NotServing).await;
        }
        drop(leave);
        // Whoever still watches health would keep the connection for ever.
        tokio::time::timeout(grace, serve).await.unwrap_or(Ok(())).map_err(io::Error::other)
    }
}

async fn report(reporter: &HealthReporter, names: &[&'static str], readiness: &dyn Readiness) {
    let is_ready = readiness.check().await.values().all(Result::is_ok);
    let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in names {
        reporter.set_service_status(*name, status).await;
    }
}
