//! Channels over NATS, without JetStream: `user.channel.<user>`, for as long as Redis does not carry them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::RequestErrorKind;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use wa_core::error::StoreError;
use wa_core::ports::Stored;

use super::node::Arrived;
use super::redis::RedisLink;
use super::{BACKEND, Channel, Link};
use crate::nats::Connected;

/// How long sending may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Nobody listens there: NATS says so at once, and has then taken everything sent before.
const NOBODY: &str = "user.channel.nobody";

pub(super) struct NatsLink {
    nats: Connected,
    inbox: mpsc::Sender<Arrived>,
    listening: Mutex<HashMap<Channel, AbortOnDropHandle<()>>>,
}

fn subject(channel: Channel) -> String {
    match channel {
        Channel::User(user) => format!("user.channel.{user}"),
        Channel::Presence => "user.presence".to_owned(),
    }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::unavailable(BACKEND, error.to_string())
}

impl NatsLink {
    pub(super) fn new(nats: Connected, inbox: mpsc::Sender<Arrived>) -> Arc<Self> {
        Arc::new(Self { nats, inbox, listening: Mutex::default() })
    }

    /// Reports gaps, for ever. NATS' client listens again by itself after its connection broke, but what came meanwhile is
    /// lost; unless Redis carried the channels.
    pub(super) async fn watch(self: Arc<Self>, redis: Option<Arc<RedisLink>>, inbox: mpsc::Sender<Arrived>) {
        let mut interruptions = self.nats.interruptions.clone();
        interruptions.mark_unchanged();
        while interruptions.changed().await.is_ok() {
            if self.nats.stands() && redis.as_ref().is_none_or(|redis| !redis.is_up()) && inbox.send(Arrived::Gap).await.is_err() {
                return;
            }
        }
    }

    /// Waits until NATS has taken what was sent to it.
    async fn round_trip(&self) -> Stored<()> {
        match tokio::time::timeout(PATIENCE, self.nats.client.request(NOBODY, Bytes::new())).await {
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(failed("NATS does not answer")),
        }
    }
}

#[async_trait]
impl Link for NatsLink {
    fn is_up(&self) -> bool {
        self.nats.stands()
    }

    async fn publish(&self, messages: &[(Channel, Bytes)]) -> Stored<()> {
        for (channel, message) in messages {
            self.nats.client.publish(subject(*channel), message.clone()).await.map_err(failed)?;
        }
        self.round_trip().await
    }

    async fn subscribe(&self, channels: &[Channel]) -> Stored<()> {
        for channel in channels {
            let mut messages = self.nats.client.subscribe(subject(*channel)).await.map_err(failed)?;
            let inbox = self.inbox.clone();
            let listening = tokio::spawn(async move {
                while let Some(message) = messages.next().await {
                    if inbox.send(Arrived::Event(message.payload)).await.is_err() {
                        return;
                    }
                }
            });
            self.listening.lock().unwrap_or_else(PoisonError::into_inner).insert(*channel, AbortOnDropHandle::new(listening));
        }
        self.round_trip().await
    }

    async fn unsubscribe(&self, channels: &[Channel]) {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        for channel in channels {
            listening.remove(channel);
        }
    }

    /// Its client listens again by itself.
    fn generation(&self) -> u64 {
        0
    }

    async fn changed(&self) {
        let mut interruptions = self.nats.interruptions.clone();
        interruptions.mark_unchanged();
        if interruptions.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
