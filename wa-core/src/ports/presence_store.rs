//! Who is connected.

use async_trait::async_trait;

use super::Stored;
use crate::id::{ConnectionId, UserId};

/// Who is connected, over all devices and nodes.
///
/// * `a_user_is_online_while_any_connection_is`
/// * `connecting_twice_is_connecting_once`
/// * `only_the_first_comes_and_only_the_last_goes`
#[async_trait]
pub trait PresenceStore: Send + Sync {
    /// Notes a connection, or that it still stands. Returns whether the user came online by it.
    async fn connect(&self, user: UserId, connection: ConnectionId) -> Stored<bool>;

    /// Forgets a connection. Returns whether the user went offline by it.
    async fn disconnect(&self, user: UserId, connection: ConnectionId) -> Stored<bool>;

    /// Those of these users who are online.
    async fn online(&self, users: &[UserId]) -> Stored<Vec<UserId>>;
}
