//! Who gets an event, asked at the moment it is fanned out.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::event::Event;
use crate::id::{ChatId, UserId};
use crate::message::MessageView;

/// A message object, and those who see it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The object.
    pub message: Arc<MessageView>,
    /// For whom.
    pub users: Vec<UserId>,
}

/// Resolves audiences with permission and privacy as they are now.
#[async_trait]
pub trait FanOutApi: Send + Sync {
    /// The users whose sockets get this event, each once. `watchers` are the users here who subscribed to the presence of
    /// the event's user; of other events it is empty. An event for devices has no users.
    async fn recipients(&self, event: &Event, watchers: &[UserId]) -> Result<Vec<UserId>>;

    /// The message object of an event as each of these recipients may see it: what it tells of other messages, and of stars
    /// and reactions, is not the same for everybody. Most often all share one. Events without a message object have none.
    async fn shares(&self, event: &Event, recipients: &[UserId]) -> Result<Vec<Share>>;

    /// The chats of a user, who may have missed events of any of them. Where they are not known, none is named.
    async fn chats_of(&self, _user: UserId) -> Result<Vec<ChatId>> {
        Ok(Vec::new())
    }
}
