//! Who gets an event, asked at the moment it is fanned out.

use async_trait::async_trait;

use crate::error::Result;
use crate::event::Event;
use crate::id::UserId;

/// Resolves audiences with permission and privacy as they are now.
#[async_trait]
pub trait FanOutApi: Send + Sync {
    /// The users whose sockets get this event, each once. `watchers` are the users here who subscribed to the presence of
    /// the event's user; of other events it is empty. An event for devices has no users.
    async fn recipients(&self, event: &Event, watchers: &[UserId]) -> Result<Vec<UserId>>;
}
