//! The tokens of a session: where they live, and their exchange, of which one runs at a time and which is stored before use.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wa_core::api::LoggedIn;

use super::error::{BoxError, ClientError};

/// The tokens of one session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// What requests carry.
    pub access_token: String,
    /// Exchanges for the next tokens, once; `None` where a host brings its own tokens.
    pub refresh_token: Option<String>,
    /// The `Idempotency-Key` of that exchange. It is kept with the tokens, so that an exchange cut short by a crash can be repeated.
    pub refresh_key: String,
}

impl Tokens {
    /// An access token alone, as a host with its own login issues it.
    #[must_use]
    pub fn access_only(access_token: impl Into<String>) -> Self {
        Self { access_token: access_token.into(), refresh_token: None, refresh_key: String::new() }
    }
}

impl From<&LoggedIn> for Tokens {
    fn from(login: &LoggedIn) -> Self {
        Self { access_token: login.access_token.clone(), refresh_token: Some(login.refresh_token.clone()), refresh_key: Uuid::now_v7().to_string() }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

/// Keeps the tokens of one session beyond the life of the client.
///
/// Several processes may share a store: [`Self::lock`] then keeps them from exchanging the same refresh token twice,
/// which would end the session.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// The stored tokens. Asked before every exchange, so that one made elsewhere is noticed; a store that can make
    /// tokens of its own (a host's login) may return a fresh one.
    async fn load(&self) -> Result<Option<Tokens>, BoxError>;

    /// Stores tokens durably. They are used only after this returned.
    async fn save(&self, tokens: &Tokens) -> Result<(), BoxError>;

    /// Forgets the tokens, after a logout.
    async fn clear(&self) -> Result<(), BoxError>;

    /// Excludes every other holder of the same store until the guard is dropped.
    async fn lock(&self) -> Result<Box<dyn Send + Sync>, BoxError> {
        Ok(Box::new(()))
    }
}

/// The tokens in use.
pub(super) struct TokenKeeper {
    current: RwLock<Option<Tokens>>,
    store: Option<Arc<dyn TokenStore>>,
    /// Held during an exchange: whoever waits for it finds the new tokens.
    pub(super) exchanging: tokio::sync::Mutex<()>,
}

impl TokenKeeper {
    pub(super) fn new(tokens: Option<Tokens>, store: Option<Arc<dyn TokenStore>>) -> Self {
        Self { current: RwLock::new(tokens), store, exchanging: tokio::sync::Mutex::new(()) }
    }

    /// The tokens in use; the stored ones if none are yet.
    pub(super) async fn current(&self) -> Result<Tokens, ClientError> {
        if let Some(tokens) = self.peek() {
            return Ok(tokens);
        }
        let tokens = self.stored().await?.ok_or(ClientError::NotLoggedIn)?;
        self.put(Some(tokens.clone()));
        Ok(tokens)
    }

    pub(super) fn peek(&self) -> Option<Tokens> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) async fn stored(&self) -> Result<Option<Tokens>, ClientError> {
        match &self.store {
            Some(store) => store.load().await.map_err(ClientError::TokenStore),
            None => Ok(self.peek()),
        }
    }

    /// Stores tokens, then uses them.
    pub(super) async fn replace(&self, tokens: Tokens) -> Result<(), ClientError> {
        if let Some(store) = &self.store {
            store.save(&tokens).await.map_err(ClientError::TokenStore)?;
        }
        self.put(Some(tokens));
        Ok(())
    }

    /// Uses tokens that are stored already.
    pub(super) fn adopt(&self, tokens: Tokens) {
        self.put(Some(tokens));
    }

    pub(super) async fn clear(&self) -> Result<(), ClientError> {
        self.put(None);
        match &self.store {
            Some(store) => store.clear().await.map_err(ClientError::TokenStore),
            None => Ok(()),
        }
    }

    pub(super) async fn lock_store(&self) -> Result<Box<dyn Send + Sync>, ClientError> {
        match &self.store {
            Some(store) => store.lock().await.map_err(ClientError::TokenStore),
            None => Ok(Box::new(())),
        }
    }

    fn put(&self, tokens: Option<Tokens>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }
}
