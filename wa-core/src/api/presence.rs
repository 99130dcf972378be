//! Who is there and who is typing.

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{ChatId, ConnectionId, UserId};
use crate::session::Caller;
use crate::user::PresenceView;

/// Presence and typing (contract, sections 3.3, 3.6 and 7). What is said here is transient.
#[async_trait]
pub trait PresenceApi: Send + Sync {
    /// A socket was opened, or still stands; announces the user if they came online by it.
    async fn connected(&self, caller: &Caller, connection: ConnectionId) -> Result<()>;

    /// A socket was closed; notes and announces it if the user went offline by it.
    async fn disconnected(&self, caller: &Caller, connection: ConnectionId) -> Result<()>;

    /// The presence of these users as the caller may see it: one for each id, in their order; unknown users count as
    /// hidden.
    async fn see(&self, caller: &Caller, users: &[UserId]) -> Result<Vec<PresenceView>>;

    /// The caller started or stopped typing; announced to the other participants who may see it.
    async fn typing(&self, caller: &Caller, chat: ChatId, is_typing: bool) -> Result<()>;

    /// Announces the end of typing notices that have run out. The server calls it a few times a second.
    async fn expire_typing(&self) -> Result<()>;

    /// Tells the store that the sockets of this node still stand, and announces who came or went without its being noted.
    /// The server calls it four times a minute.
    async fn renew(&self) -> Result<()>;

    /// Announces those whose node is gone. The server calls it every second.
    async fn expire(&self) -> Result<()>;
}
