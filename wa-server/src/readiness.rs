//! What `GET /ready` answers: whether the stores answer, and whether the server still wants work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use wa_storage::{Health, Stores};
use wa_transport::rest::Readiness;

/// A store that takes longer counts as not working.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct ServerReadiness {
    stores: Arc<Stores>,
    shutting_down: AtomicBool,
    #[cfg(feature = "cluster")]
    nats: Option<wa_transport::bus::NatsEventBus>,
}

impl ServerReadiness {
    pub(crate) const fn new(stores: Arc<Stores>) -> Self {
        Self {
            stores,
            shutting_down: AtomicBool::new(false),
            #[cfg(feature = "cluster")]
            nats: None,
        }
    }

    /// Watches NATS as well.
    #[cfg(feature = "cluster")]
    pub(crate) fn with_nats(mut self, nats: Option<wa_transport::bus::NatsEventBus>) -> Self {
        self.nats = nats;
        self
    }

    pub(crate) fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Readiness for ServerReadiness {
    async fn check(&self) -> BTreeMap<String, Result<(), String>> {
        let server = if self.shutting_down.load(Ordering::SeqCst) { Err("shutting down".to_owned()) } else { Ok(()) };
        let mut states = BTreeMap::from([("server".to_owned(), server)]);
        #[cfg(feature = "cluster")]
        if let Some(nats) = &self.nats {
            let is_up = tokio::time::timeout(PATIENCE, nats.is_up()).await.unwrap_or(false);
            states.insert("nats".to_owned(), if is_up { Ok(()) } else { Err("unavailable".to_owned()) });
        }
        for Health { name, state } in self.stores.health(PATIENCE).await {
            // Causes may name paths and hosts; they are for the log.
            let state = state.map_err(|error| {
                tracing::warn!(dependency = name, %error, "a dependency does not work");
                "unavailable".to_owned()
            });
            states.insert(name.to_owned(), state);
        }
        states
    }
}
