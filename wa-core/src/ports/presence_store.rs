//! Who is connected.

use async_trait::async_trait;

use super::Stored;
use crate::id::{ConnectionId, UserId};

/// Who came online and who went offline, of themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CameAndWent {
    /// Those who are online, and of whom it may be that nobody was told.
    pub came: Vec<UserId>,
    /// Those who are offline.
    pub went: Vec<UserId>,
}

/// Who is connected, over all devices and nodes. A connection that its node does not renew for a minute ends: the node is
/// gone. While the store is away, coming and going is not known, and is told by [`PresenceStore::renew`] afterwards.
///
/// * `a_user_is_online_while_any_connection_is`
/// * `connecting_twice_is_connecting_once`
/// * `only_the_first_comes_and_only_the_last_goes`
/// * `connections_that_are_renewed_stand`
#[async_trait]
pub trait PresenceStore: Send + Sync {
    /// Notes a connection, or that it still stands. Returns whether the user came online by it.
    async fn connect(&self, user: UserId, connection: ConnectionId) -> Stored<bool>;

    /// Forgets a connection. Returns whether the user went offline by it.
    async fn disconnect(&self, user: UserId, connection: ConnectionId) -> Stored<bool>;

    /// Those of these users who are online.
    async fn online(&self, users: &[UserId]) -> Stored<Vec<UserId>>;

    /// Renews all connections of this node: to be called four times a minute or more often. Returns who came or went by it.
    async fn renew(&self) -> Stored<CameAndWent>;

    /// Ends connections that were not renewed, of whichever node: to be called every second. Each user who goes by it is
    /// returned once, over all nodes.
    async fn expire(&self) -> Stored<CameAndWent>;
}
