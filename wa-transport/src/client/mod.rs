//! A typed client: REST methods, and a live connection that reconnects, resumes and tells each message once, in order.
//!
//! ```no_run
//! use wa_transport::client::{Client, ClientError, ServerEvent};
//!
//! # async fn example() -> Result<(), ClientError> {
//! let client = Client::builder("http://127.0.0.1:8080").build()?;
//! client.request_otp("+15550100001").await?;
//! client.verify_otp("+15550100001", "123456", Some("my laptop")).await?;
//!
//! // Answers every message, over restarts of the server too.
//! let connection = client.connect().await?;
//! loop {
//!     if let ServerEvent::Message(message) = connection.next().await?
//!         && message.sender_id != connection.user_id()
//!     {
//!         connection.mark_read(message.chat_id, message.message_id).await?;
//!         connection.send_text(message.chat_id, "Hello!").await?;
//!     }
//! }
//! # }
//! ```
//!
//! A [`TokenStore`] keeps the session beyond the process; [`Connection::state`] with [`Start::Resume`] keeps the place in every chat.

mod backoff;
mod connection;
mod driver;
mod error;
mod events;
mod http;
mod media;
mod outbox;
mod rest;
mod session;
mod socket;
mod tls;
mod tokens;
mod track;
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use url::Url;

pub use connection::{ConnectOptions, Connection, Start};
pub use error::{ApiError, BoxError, ClientError};
pub use events::{Deleted, Reaction, Receipt, Sent, ServerEvent, Starred, Typing};
pub use media::Progress;
pub use rest::{Invite, Mute, Outgoing};
use tokens::TokenKeeper;
pub use tokens::{TokenStore, Tokens};
pub use track::{Position, State};

/// How calls are repeated while the server is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all; 1 repeats nothing.
    pub attempts: u32,
    /// The wait after the first attempt; it doubles from one to the next and is spread at random.
    pub first_wait: Duration,
    /// The longest wait.
    pub max_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 4, first_wait: Duration::from_millis(200), max_wait: Duration::from_secs(2) }
    }
}

/// A client of one server for one session. Cloning shares it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    /// Without a trailing slash.
    base: String,
    tls: Arc<ClientConfig>,
    tokens: TokenKeeper,
    retry: Retry,
}

impl Client {
    /// A client of the server at this address, as `http://127.0.0.1:8080`.
    pub fn builder(base_url: impl Into<String>) -> Builder {
        Builder { base_url: base_url.into(), tokens: None, store: None, retry: Retry::default(), timeout: Duration::from_secs(10) }
    }

    /// The address of the server, without a trailing slash.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.inner.base
    }

    /// The tokens in use, if any.
    #[must_use]
    pub fn tokens(&self) -> Option<Tokens> {
        self.inner.tokens.peek()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.inner.base).finish_non_exhaustive()
    }
}

/// Makes a [`Client`].
#[must_use]
pub struct Builder {
    base_url: String,
    tokens: Option<Tokens>,
    store: Option<Arc<dyn TokenStore>>,
    retry: Retry,
    timeout: Duration,
}

impl Builder {
    /// Starts with these tokens.
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Keeps tokens here, and starts with those it holds.
    pub fn token_store(mut self, store: Arc<dyn TokenStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Repeats calls like this.
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How long one attempt of a call may take; 10 s unless told.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for an address that is no `http` or `https` URL; [`ClientError::Transport`] if this
    /// machine's trusted roots cannot be read.
    pub fn build(self) -> Result<Client, ClientError> {
        let Self { base_url, tokens, store, retry, timeout } = self;
        let invalid = |why: &str| ClientError::Invalid(format!("{base_url:?} is no server address ({why}); expected one such as http://127.0.0.1:8080"));
        let url = Url::parse(&base_url).map_err(|e| invalid(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(invalid("the scheme must be http or https"));
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err(invalid("only scheme, host, port and path may be given"));
        }
        let tls = tls::config(url.scheme() == "https")?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&tls))
            // A redirect would carry the token to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .user_agent(concat!("wa-transport/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::transport)?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(Client { inner: Arc::new(Inner { http, base, tls, tokens: TokenKeeper::new(tokens, store), retry }) })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}
