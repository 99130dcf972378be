//! What a suite is run against: one store for each port, the clock they share, and what they announced.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use wa_core::event::{Event, Fact};
use wa_core::ports::{
    AnnotationStore, BlobStore, ChangeStore, ChatStore, ContactStore, DeviceTokenStore, Env as _, EnvExt as _, EventBus, EventHandler, GroupStore, MediaStore,
    MediaUses, MessageStore, OtpStore, PresenceStore, PushQueue, RateLimiter, ReceiptStore, SearchStore, SessionStore, Staging, StatusStore, Stored,
    Subscription, TypingStore, UserStore,
};
use wa_core::testing::SimEnv;
use wa_core::time::Timestamp;

use crate::{OpenError, StorageConfig, Stores, open};

/// What stores announced.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Every event announced since the last call, in order.
    async fn drain(&self) -> Vec<Arc<Event>>;

    /// Ends the backend.
    async fn close(&self);
}

/// A backend under test, empty at first. Ports that it does not serve may be any that work.
#[derive(Clone)]
pub struct Subject {
    /// The clock the stores read.
    pub env: Arc<SimEnv>,
    /// What they announced.
    pub outbox: Arc<dyn Outbox>,
    /// The log of every chat.
    pub messages: Arc<dyn MessageStore>,
    /// Changes to messages that stand.
    pub changes: Arc<dyn ChangeStore>,
    /// Reactions and stars.
    pub annotations: Arc<dyn AnnotationStore>,
    /// Receipts.
    pub receipts: Arc<dyn ReceiptStore>,
    /// Chats.
    pub chats: Arc<dyn ChatStore>,
    /// Groups.
    pub groups: Arc<dyn GroupStore>,
    /// What is known of files.
    pub media: Arc<dyn MediaStore>,
    /// What refers to files.
    pub media_uses: Arc<dyn MediaUses>,
    /// Where files lie.
    pub blobs: Arc<dyn BlobStore>,
    /// Where uploads lie.
    pub staging: Arc<dyn Staging>,
    /// Search.
    pub search: Arc<dyn SearchStore>,
    /// Accounts.
    pub users: Arc<dyn UserStore>,
    /// Address books.
    pub contacts: Arc<dyn ContactStore>,
    /// Sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// Statuses.
    pub statuses: Arc<dyn StatusStore>,
    /// Where pushes go.
    pub device_tokens: Arc<dyn DeviceTokenStore>,
    /// Pushes that wait.
    pub push_queue: Arc<dyn PushQueue>,
    /// One-time passwords.
    pub otps: Arc<dyn OtpStore>,
    /// Presence.
    pub presence: Arc<dyn PresenceStore>,
    /// Typing.
    pub typing: Arc<dyn TypingStore>,
    /// Rate limits.
    pub rate_limiter: Arc<dyn RateLimiter>,
    /// A folder that goes with the backend.
    pub remove: Option<PathBuf>,
    /// A database that goes with it.
    #[cfg(feature = "postgres")]
    pub scratch: Option<super::ScratchDatabase>,
}

impl Subject {
    /// What [`open`] gives for this configuration.
    ///
    /// # Errors
    /// As [`open`].
    pub async fn open(config: &StorageConfig) -> Result<Self, OpenError> {
        let env = Arc::new(SimEnv::new(7));
        let stores = open(config, env.clone()).await?;
        Ok(Self {
            env,
            messages: Arc::clone(&stores.messages),
            changes: Arc::clone(&stores.changes),
            annotations: Arc::clone(&stores.annotations),
            receipts: Arc::clone(&stores.receipts),
            chats: Arc::clone(&stores.chats),
            groups: Arc::clone(&stores.groups),
            media: Arc::clone(&stores.media),
            media_uses: Arc::clone(&stores.media_uses),
            blobs: Arc::clone(&stores.blobs),
            staging: Arc::clone(&stores.staging),
            search: Arc::clone(&stores.search),
            users: Arc::clone(&stores.users),
            contacts: Arc::clone(&stores.contacts),
            sessions: Arc::clone(&stores.sessions),
            statuses: Arc::clone(&stores.statuses),
            device_tokens: Arc::clone(&stores.device_tokens),
            push_queue: Arc::clone(&stores.push_queue),
            otps: Arc::clone(&stores.otps),
            presence: Arc::clone(&stores.presence),
            typing: Arc::clone(&stores.typing),
            rate_limiter: Arc::clone(&stores.rate_limiter),
            outbox: Arc::new(Relayed(stores)),
            remove: None,
            #[cfg(feature = "postgres")]
            scratch: None,
        })
    }

    /// Removes this folder when the backend is closed.
    #[must_use]
    pub fn removing(self, folder: PathBuf) -> Self {
        Self { remove: Some(folder), ..self }
    }

    /// Drops this database when the backend is closed.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn dropping(self, scratch: super::ScratchDatabase) -> Self {
        Self { scratch: Some(scratch), ..self }
    }

    /// A new id of any type.
    pub(super) fn id<T: From<uuid::Uuid>>(&self) -> T {
        self.env.new_id()
    }

    /// The present time.
    pub(super) fn now(&self) -> Timestamp {
        self.env.now()
    }

    /// What was announced since the last call.
    pub(super) async fn facts(&self) -> Vec<Fact> {
        self.outbox.drain().await.iter().map(|event| event.fact.clone()).collect()
    }

    /// Ends the backend.
    pub async fn close(&self) {
        self.outbox.close().await;
        if let Some(folder) = &self.remove {
            std::fs::remove_dir_all(folder).expect("the folder of a closed backend is removed");
        }
        #[cfg(feature = "postgres")]
        if let Some(scratch) = &self.scratch {
            Box::pin(scratch.drop()).await;
        }
    }
}

struct Relayed(Stores);

#[async_trait]
impl Outbox for Relayed {
    async fn drain(&self) -> Vec<Arc<Event>> {
        let bus = Arc::new(Recorder::default());
        // A relay that is told to stop at once publishes what is committed and returns.
        self.0.relay.run(bus.clone(), std::future::ready(())).await;
        std::mem::take(&mut *bus.0.lock().await)
    }

    async fn close(&self) {
        self.0.close().await.expect("an open store closes");
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Arc<Event>>>);

#[async_trait]
impl EventBus for Recorder {
    async fn publish(&self, events: &[Arc<Event>]) -> Stored<()> {
        self.0.lock().await.extend_from_slice(events);
        Ok(())
    }

    async fn subscribe(&self, _: &'static str, _: Arc<dyn EventHandler>) -> Stored<Box<dyn Subscription>> {
        struct Nothing;
        impl Subscription for Nothing {}
        Ok(Box::new(Nothing))
    }
}
