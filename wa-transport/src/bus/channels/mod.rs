//! Fan-out across nodes: a channel for each user, to which every node with a socket of theirs listens (contract, section
//! 5.2). Channels run over Redis, and over NATS where there is no Redis or it is down; nodes listen to both. What arrives is
//! handed to the sockets here once, by the event's id, and with permission asked anew.

mod core_nats;
mod dispatch;
mod node;
mod redis;
mod registry;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use wa_core::error::StoreError;
use wa_core::event::Event;
use wa_core::id::UserId;
use wa_core::ports::Stored;

use crate::nats::Connected;
use crate::ws::UserChannels;
use core_nats::NatsLink;
pub use dispatch::Dispatcher;
pub use node::{Arrived, Node};
use redis::RedisLink;
use registry::Registry;

/// How errors name them.
const BACKEND: &str = "channels";

/// Events that wait to be handed to the sockets here.
const INBOX: usize = 8192;

/// How long a new socket waits until its user's channel is listened to.
const JOINING: Duration = Duration::from_secs(2);

/// Where an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Channel {
    /// The nodes with sockets of this user.
    User(UserId),
    /// All nodes: changes of presence, which only they know the watchers of.
    Presence,
}

/// What carries channels.
#[async_trait]
trait Link: Send + Sync {
    /// Whether it works, as far as is known.
    fn is_up(&self) -> bool;

    /// Sends each of these, in order. On an error some may have been.
    async fn publish(&self, messages: &[(Channel, Bytes)]) -> Stored<()>;

    /// Listens; returns once nothing is missed any more.
    async fn subscribe(&self, channels: &[Channel]) -> Stored<()>;

    /// Listens no longer.
    async fn unsubscribe(&self, channels: &[Channel]);

    /// Counts how often it began anew, listening to nothing.
    fn generation(&self) -> u64;

    /// Waits until it is up, goes down or begins anew.
    async fn changed(&self);
}

/// What channels run over.
#[derive(Debug)]
pub struct ChannelsConfig {
    /// The URL of Redis, if there is one.
    pub redis: Option<String>,
    /// NATS.
    pub nats: Connected,
}

/// The channels of all users, as this node has them.
pub struct Channels {
    registry: Arc<Registry>,
    /// In the order in which they are tried.
    links: Vec<Arc<dyn Link>>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Channels {
    /// Listens for this node.
    ///
    /// # Errors
    /// The URL of Redis is none. Whether Redis answers is not asked: until it does, NATS carries the channels.
    pub fn new(config: &ChannelsConfig) -> Stored<(Arc<Self>, mpsc::Receiver<Arrived>)> {
        let (inbox, arrived) = mpsc::channel(INBOX);
        let mut links: Vec<Arc<dyn Link>> = Vec::new();
        let mut tasks = Vec::new();
        let redis = config.redis.as_deref().map(RedisLink::new).transpose()?;
        if let Some(redis) = &redis {
            links.push(Arc::clone(redis) as _);
            tasks.push(AbortOnDropHandle::new(tokio::spawn(Arc::clone(redis).run(inbox.clone()))));
        }
        let nats = NatsLink::new(config.nats.clone(), inbox.clone());
        tasks.push(AbortOnDropHandle::new(tokio::spawn(Arc::clone(&nats).watch(redis, inbox.clone()))));
        links.push(nats);
        let registry = Arc::new(Registry::new(links.len()));
        for (number, link) in links.iter().enumerate() {
            tasks.push(AbortOnDropHandle::new(tokio::spawn(registry::keep_up(Arc::clone(&registry), number, Arc::clone(link), inbox.clone()))));
        }
        Ok((Arc::new(Self { registry, links, _tasks: tasks }), arrived))
    }

    /// Sends events to channels, in order.
    async fn publish(&self, messages: &[(Channel, Bytes)]) -> Stored<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut failure = None;
        for link in self.links.iter().filter(|link| link.is_up()) {
            match link.publish(messages).await {
                Ok(()) => return Ok(()),
                // What was sent already is known by its id where it arrives.
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| StoreError::unavailable(BACKEND, "neither Redis nor NATS answers")))
    }
}

/// An event as it travels on channels.
fn written(event: &Event) -> Stored<Bytes> {
    serde_json::to_vec(event).map(Bytes::from).map_err(|error| StoreError::other(BACKEND, error))
}

#[async_trait]
impl UserChannels for Channels {
    fn join(&self, user: UserId) {
        self.registry.join(user);
    }

    async fn joined(&self, user: UserId) {
        let listens = self.registry.listens(user, || self.links.iter().map(|link| link.is_up()).collect());
        if tokio::time::timeout(JOINING, listens).await.is_err() {
            tracing::warn!(user_id = %user, "the channel of a user is not listened to yet; they are told to sync once it is");
        }
    }

    fn leave(&self, user: UserId) {
        self.registry.leave(user);
    }
}
