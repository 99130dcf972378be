//! Channels over Redis: `user:channel:<user>` (contract, section 5.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use redis::aio::{MultiplexedConnection, PubSubSink};
use redis::{AsyncConnectionConfig, Client};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, timeout};
use wa_core::error::StoreError;
use wa_core::ports::Stored;

use super::node::Arrived;
use super::{BACKEND, Channel, Link};

/// How long connecting and each command may take, and how often it is made sure that Redis answers.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(250);

/// Messages sent in one go.
const BATCH: usize = 512;

pub(super) struct RedisLink {
    client: Client,
    /// What every channel's name begins with.
    prefix: String,
    /// The connection that sends, and until when no other is tried after one failed.
    sending: Mutex<(Option<MultiplexedConnection>, Option<Instant>)>,
    listening: Mutex<Option<PubSubSink>>,
    is_up: watch::Sender<bool>,
    generation: AtomicU64,
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::unavailable(BACKEND, error.to_string())
}

async fn within<T>(what: impl Future<Output = redis::RedisResult<T>>) -> Stored<T> {
    timeout(PATIENCE, what).await.map_err(|_| failed("Redis does not answer"))?.map_err(failed)
}

impl RedisLink {
    pub(super) fn new(url: &str) -> Stored<Arc<Self>> {
        // The URL may hold a password, and the error the URL.
        let wrong = || StoreError::other(BACKEND, "storage.cache is not the URL of a Redis");
        let mut url = redis::parse_redis_url(url).ok_or_else(wrong)?;
        // The rest of the parameters is for those who keep things there.
        let prefix = url.query_pairs().find(|(name, _)| name == "prefix").map(|(_, prefix)| prefix.into_owned()).unwrap_or_default();
        url.set_query(None);
        let client = Client::open(url).map_err(|_| wrong())?;
        Ok(Arc::new(Self {
            client,
            prefix,
            sending: Mutex::new((None, None)),
            listening: Mutex::new(None),
            is_up: watch::Sender::new(false),
            generation: AtomicU64::new(0),
        }))
    }

    /// Takes what arrives, and connects again when the connection breaks, for ever.
    pub(super) async fn run(self: Arc<Self>, inbox: mpsc::Sender<Arrived>) {
        let mut was_up = false;
        loop {
            match timeout(PATIENCE, self.client.get_async_pubsub()).await {
                Ok(Ok(connection)) => {
                    let (sink, mut messages) = connection.split();
                    *self.listening.lock().await = Some(sink);
                    self.generation.fetch_add(1, Ordering::AcqRel);
                    self.is_up.send_replace(true);
                    if was_up {
                        tracing::info!("connected to Redis again");
                    }
                    was_up = true;
                    let ended = self.take(&mut messages, &inbox).await;
                    self.is_up.send_replace(false);
                    *self.listening.lock().await = None;
                    if ended {
                        return;
                    }
                    tracing::warn!("the connection to Redis broke; NATS carries what goes from node to node until it is back");
                }
                Ok(Err(error)) => tracing::debug!(%error, "Redis cannot be reached"),
                Err(_) => tracing::debug!("Redis does not answer"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns when the connection is broken, and whether nobody wants what arrives.
    async fn take(&self, messages: &mut redis::aio::PubSubStream, inbox: &mpsc::Sender<Arrived>) -> bool {
        let mut check = tokio::time::interval(PATIENCE);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => {
                        if inbox.send(Arrived::Event(Bytes::copy_from_slice(message.get_payload_bytes()))).await.is_err() {
                            return true;
                        }
                    }
                    None => return false,
                },
                _ = check.tick() => {
                    let mut listening = self.listening.lock().await;
                    if let Some(sink) = listening.as_mut()
                        && within(sink.ping::<redis::Value>()).await.is_err()
                    {
                        return false;
                    }
                }
            }
        }
    }

    fn name_of(&self, channel: Channel) -> String {
        match channel {
            Channel::User(user) => format!("{}user:channel:{user}", self.prefix),
            Channel::Presence => format!("{}user:presence", self.prefix),
        }
    }

    async fn sender(&self) -> Stored<MultiplexedConnection> {
        let mut sending = self.sending.lock().await;
        if let (Some(connection), _) = &*sending {
            return Ok(connection.clone());
        }
        if sending.1.is_some_and(|until| Instant::now() < until) {
            return Err(failed("Redis did not answer just now"));
        }
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        match within(self.client.get_multiplexed_async_connection_with_config(&config)).await {
            Ok(connection) => {
                *sending = (Some(connection.clone()), None);
                Ok(connection)
            }
            Err(error) => {
                sending.1 = Some(Instant::now() + PATIENCE);
                Err(error)
            }
        }
    }
}

#[async_trait]
impl Link for RedisLink {
    fn is_up(&self) -> bool {
        *self.is_up.borrow()
    }

    async fn publish(&self, messages: &[(Channel, Bytes)]) -> Stored<()> {
        let mut connection = self.sender().await?;
        for batch in messages.chunks(BATCH) {
            let mut pipeline = redis::pipe();
            for (channel, message) in batch {
                pipeline.cmd("PUBLISH").arg(self.name_of(*channel)).arg(&message[..]).ignore();
            }
            if let Err(error) = within(pipeline.query_async::<()>(&mut connection)).await {
                *self.sending.lock().await = (None, Some(Instant::now() + PAUSE));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn subscribe(&self, channels: &[Channel]) -> Stored<()> {
        let names: Vec<_> = channels.iter().map(|channel| self.name_of(*channel)).collect();
        let mut listening = self.listening.lock().await;
        let sink = listening.as_mut().ok_or_else(|| failed("Redis is not connected"))?;
        within(sink.subscribe(names)).await
    }

    async fn unsubscribe(&self, channels: &[Channel]) {
        let names: Vec<_> = channels.iter().map(|channel| self.name_of(*channel)).collect();
        if let Some(sink) = self.listening.lock().await.as_mut()
            && let Err(error) = within(sink.unsubscribe(names)).await
        {
            tracing::debug!(%error, "channels are still listened to");
        }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    async fn changed(&self) {
        let mut is_up = self.is_up.subscribe();
        if is_up.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
