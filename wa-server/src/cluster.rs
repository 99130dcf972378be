//! One node among several: the event bus over NATS, and the channels that carry events from node to node.

use std::sync::Arc;
use std::time::Duration;

use wa_core::ports::{ChatStore, EventBus, EventHandler, Subscription};
use wa_transport::Backend;
use wa_transport::bus::{Channels, ChannelsConfig, Directory, Dispatcher, NatsEventBus, Near, Node};
use wa_transport::metrics::Metrics;
use wa_transport::nats::{Connected, NatsError, NatsUrl, connect};
use wa_transport::ws::{Delivery, Hub, UserChannels};

use crate::pusher::Pusher;
use crate::role::{Role, Roles};
use crate::start::StartError;

/// How often NATS is tried, and the first pause, which doubles.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The connection of this node to the others.
pub(crate) struct Cluster {
    nats: Connected,
    bus: NatsEventBus,
}

/// The parts of this node that the others reach.
pub(crate) struct Parts<'a> {
    /// What it does.
    pub(crate) roles: &'a Roles,
    pub(crate) hub: &'a Arc<Hub>,
    pub(crate) backend: &'a Backend,
    pub(crate) chats: &'a Arc<dyn ChatStore>,
    pub(crate) delivery: &'a Arc<Delivery>,
    pub(crate) pusher: &'a Pusher,
    /// Where Redis is, if there is one.
    pub(crate) redis: Option<String>,
}

impl Cluster {
    /// Connects to NATS; what may come up late is tried again.
    pub(crate) async fn connect(url: &NatsUrl, metrics: Metrics) -> Result<Self, StartError> {
        let mut attempt = 1;
        loop {
            match Self::try_connect(url, metrics.clone()).await {
                Ok(cluster) => return Ok(cluster),
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                    tracing::warn!(%error, attempt, "NATS cannot be used; trying again");
                    tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt - 1)).await;
                    attempt += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn try_connect(url: &NatsUrl, metrics: Metrics) -> Result<Self, NatsError> {
        let nats = connect(url).await?;
        let bus = NatsEventBus::new(nats.clone(), url, metrics).await?;
        Ok(Self { nats, bus })
    }

    pub(crate) fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.bus.clone())
    }

    pub(crate) fn into_bus(self) -> NatsEventBus {
        self.bus
    }

    /// Takes part: events reach the sockets here, whichever node they come from, and this node works for the shared
    /// consumers when it is its turn.
    pub(crate) async fn join(&self, parts: Parts<'_>) -> Result<Vec<Box<dyn Subscription>>, StartError> {
        let Parts { roles, hub, backend, chats, delivery, pusher, redis } = parts;
        let (channels, arrived) = Channels::new(&ChannelsConfig { redis, nats: self.nats.clone() }).map_err(StartError::Bus)?;
        hub.connect(Arc::clone(&channels) as Arc<dyn UserChannels>);
        let dispatcher = Dispatcher::new(Arc::clone(&backend.fan_out), channels);
        self.bus.serve_near(Node::new(self.nats.clone(), Arc::clone(delivery), dispatcher.clone(), arrived) as Arc<dyn Near>);
        self.bus.describe_by(Directory::new(Arc::clone(chats)));
        let (dispatcher, pusher): (Arc<dyn EventHandler>, Arc<dyn EventHandler>) = (Arc::new(dispatcher), Arc::new(pusher.clone()));
        let mut subscriptions = Vec::new();
        for (role, consumer, handler) in [
            (Role::Websocket, "ws-msg-consumer", &dispatcher),
            (Role::Websocket, "ws-chat-consumer", &dispatcher),
            (Role::Notification, "notif-msg-consumer", &pusher),
            (Role::Notification, "notif-group-consumer", &pusher),
        ] {
            if roles.has(role) {
                subscriptions.push(self.bus.subscribe(consumer, Arc::clone(handler)).await.map_err(StartError::Bus)?);
            }
        }
        Ok(subscriptions)
    }
}
