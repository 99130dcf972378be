//! The dispatcher: asks who may get an event, and hands it to their channels.

use std::sync::Arc;

use async_trait::async_trait;
use wa_core::api::FanOutApi;
use wa_core::error::{Error, StoreError};
use wa_core::event::{Audience, Event, Fact};
use wa_core::ports::{EventHandler, Stored};

use super::{BACKEND, Channel, Channels, written};

/// Hands events to the channels of those who may get them. Of all nodes one at a time is at work, on each log of events.
#[derive(Clone)]
pub struct Dispatcher {
    fan_out: Arc<dyn FanOutApi>,
    channels: Arc<Channels>,
}

impl Dispatcher {
    /// Over these channels.
    #[must_use]
    pub fn new(fan_out: Arc<dyn FanOutApi>, channels: Arc<Channels>) -> Self {
        Self { fan_out, channels }
    }

    async fn channels_of(&self, event: &Event) -> Stored<Vec<Channel>> {
        match (event.audience(), &event.fact) {
            (Audience::Watchers(_), _) => Ok(vec![Channel::Presence]),
            (Audience::Devices(_), Fact::SessionsRevoked { user_id, .. }) => Ok(vec![Channel::User(*user_id)]),
            _ => {
                let users = self.fan_out.recipients(event, &[]).await.map_err(|error| match error {
                    Error::Unavailable { .. } => StoreError::unavailable(BACKEND, error),
                    error => StoreError::other(BACKEND, error),
                })?;
                Ok(users.into_iter().map(Channel::User).collect())
            }
        }
    }
}

#[async_trait]
impl EventHandler for Dispatcher {
    async fn handle(&self, events: &[Arc<Event>]) -> Stored<()> {
        let mut messages = Vec::new();
        for event in events {
            let channels = self.channels_of(event).await?;
            if !channels.is_empty() {
                let bytes = written(event)?;
                messages.extend(channels.into_iter().map(|channel| (channel, bytes.clone())));
            }
        }
        self.channels.publish(&messages).await
    }
}
