//! Whose tokens are: what the auth role said is kept for a minute at most, and until a role refuses the token. Nothing rests on
//! it but rate limits, as every role asks about the token itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wa_core::api::Authenticator;
use wa_core::error::Result;
use wa_core::session::{Caller, TokenHash};

/// For how long a token is known.
const KEPT: Duration = Duration::from_secs(60);

/// Tokens that are known at a time.
const TOKENS: usize = 65_536;

/// Tokens and whose they are.
pub(super) struct Tokens {
    authenticator: Arc<dyn Authenticator>,
    known: Mutex<HashMap<TokenHash, (Caller, Instant)>>,
}

impl Tokens {
    pub(super) fn new(authenticator: Arc<dyn Authenticator>) -> Self {
        Self { authenticator, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TokenHash, (Caller, Instant)>> {
        // A token or none: whatever a panicking thread left is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose a token is.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub(super) async fn caller(&self, token: &str) -> Result<Caller> {
        let hash = TokenHash::of(token.as_bytes());
        if let Some((caller, since)) = self.known().get(&hash)
            && since.elapsed() < KEPT
        {
            return Ok(*caller);
        }
        let caller = match self.authenticator.authenticate(token).await {
            Ok(caller) => caller,
            Err(error) => {
                self.known().remove(&hash);
                return Err(error);
            }
        };
        let mut known = self.known();
        // Starting over is rare, and costs one question for each.
        if known.len() >= TOKENS {
            known.clear();
        }
        known.insert(hash, (caller, Instant::now()));
        Ok(caller)
    }

    /// A role refused this token.
    pub(super) fn forget(&self, token: &str) {
        self.known().remove(&TokenHash::of(token.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use uuid::Uuid;
    use wa_core::id::{DeviceId, UserId};

    use super::*;

    #[derive(Default)]
    struct Asked(AtomicU32);

    #[async_trait]
    impl Authenticator for Asked {
        async fn authenticate(&self, _: &str) -> Result<Caller> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Caller { user_id: UserId::from_uuid(Uuid::nil()), device_id: DeviceId::from_uuid(Uuid::nil()) })
        }

        async fn confirm(&self, _: &Caller) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_asked_about_once_a_minute_and_again_once_it_was_refused() {
        let asked = Arc::new(Asked::default());
        let tokens = Tokens::new(Arc::clone(&asked) as _);
        let ask = async || tokens.caller("a").await.map(|_| asked.0.load(Ordering::SeqCst)).expect("it is good");
        assert_eq!((ask().await, ask().await), (1, 1));
        tokens.forget("a");
        assert_eq!((ask().await, ask().await), (2, 2));
        tokio::time::advance(KEPT).await;
        assert_eq!((ask().await, ask().await), (3, 3));
    }

    #[tokio::test]
    async fn no_more_tokens_are_known_than_may_be() {
        let tokens = Tokens::new(Arc::new(Asked::default()));
        for number in 0..=TOKENS {
            tokens.caller(&number.to_string()).await.expect("it is good");
        }
        assert_eq!(tokens.known().len(), 1);
    }
}
