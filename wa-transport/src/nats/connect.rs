//! Connecting to NATS, and what can be wrong with it, told to the person who starts the server.

use std::time::Duration;

use async_nats::jetstream::{self, context::AccountErrorKind, context::ContextBuilder};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use tokio::sync::watch;

use super::address::{Credentials, NatsUrl};

/// How long one attempt at a server may take, and an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server that does not answer for two or three of these is given up, and another connection made.
const PING: Duration = Duration::from_secs(1);

/// The pauses between attempts to connect again.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The oldest server that knows pinned clients.
const OLDEST: (i64, i64, i64) = (2, 11, 0);

/// NATS cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// No server answers.
    #[error("cannot reach NATS at {servers}: {source}; start it, or correct the URL")]
    Unreachable {
        /// Where.
        servers: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It does not let us in.
    #[error("NATS at {servers} refuses the credentials of the URL (nats://user:secret@host:port, or nats://token@host:port)")]
    Refused {
        /// Where.
        servers: String,
    },
    /// It carries messages but keeps none.
    #[error("NATS at {servers} has JetStream switched off; start it with -js, or with `jetstream {{ store_dir: … }}` in its configuration")]
    NoJetStream {
        /// Where.
        servers: String,
    },
    /// It is too old.
    #[error("NATS at {servers} is version {version}; 2.11 or later is needed")]
    TooOld {
        /// Where.
        servers: String,
        /// What it says it is.
        version: String,
    },
    /// A stream is there that cannot be used.
    #[error(
        "the stream {name} of NATS exists with another configuration ({difference}); change it with `nats stream edit {name}`, or use another account. It was not touched"
    )]
    Stream {
        /// Its name.
        name: &'static str,
        /// In what it differs.
        difference: String,
    },
    /// A stream or consumer cannot be made.
    #[error("{what} cannot be set up in NATS: {source}")]
    SetUp {
        /// Which.
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl NatsError {
    /// Whether it may work later without anybody changing anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::SetUp { .. })
    }
}

/// A connection, which makes itself anew when it breaks.
#[derive(Clone)]
pub struct Connected {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    /// Counts what may have made messages go astray: connections that broke, and messages dropped because we were slow.
    pub(crate) interruptions: watch::Receiver<u64>,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connected")
    }
}

impl Connected {
    /// Whether the connection stands, as far as is known.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }
}

/// Connects once, and makes sure that the server is one we can use.
///
/// # Errors
/// What is wrong, and what to do.
pub async fn connect(url: &NatsUrl) -> Result<Connected, NatsError> {
    let servers = url.to_string();
    let (interrupted, interruptions) = watch::channel(0_u64);
    let options = ConnectOptions::new()
        .name("wa")
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .ping_interval(PING)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| PAUSE.saturating_mul(u32::try_from(attempts).unwrap_or(u32::MAX)).min(LONGEST_PAUSE))
        .event_callback(move |event| {
            match &event {
                Event::Disconnected => tracing::warn!("the connection to NATS broke; trying to connect again"),
                Event::Connected => tracing::info!("connected to NATS"),
                Event::SlowConsumer(_) => tracing::warn!("NATS dropped messages for us: we were too slow to take them"),
                other => tracing::debug!(event = %other, "NATS"),
            }
            if matches!(event, Event::Disconnected | Event::Connected | Event::SlowConsumer(_)) {
                interrupted.send_modify(|count| *count += 1);
            }
            std::future::ready(())
        });
    let options = match &url.credentials {
        Credentials::None => options,
        Credentials::Password { user, password } => options.user_and_password(user.clone(), password.clone()),
        Credentials::Token(token) => options.token(token.clone()),
    };
    let client = options.connect(&url.servers[..]).await.map_err(|error| match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => NatsError::Refused { servers: servers.clone() },
        _ => NatsError::Unreachable { servers: servers.clone(), source: Box::new(error) },
    })?;
    if !client.is_server_compatible(OLDEST.0, OLDEST.1, OLDEST.2) {
        return Err(NatsError::TooOld { servers, version: client.server_info().version });
    }
    let jetstream = ContextBuilder::new().timeout(PATIENCE).ack_timeout(PATIENCE).build(client.clone());
    match jetstream.query_account().await {
        Ok(_) => Ok(Connected { client, jetstream, interruptions }),
        Err(error) if matches!(error.kind(), AccountErrorKind::TimedOut | AccountErrorKind::Other) => {
            Err(NatsError::Unreachable { servers, source: Box::new(error) })
        }
        Err(_) => Err(NatsError::NoJetStream { servers }),
    }
}
