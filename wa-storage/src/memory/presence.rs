//! Who is connected to this process. Bounded by the number of its sockets, each of which is one entry.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use async_trait::async_trait;
use wa_core::id::{ConnectionId, UserId};
use wa_core::ports::{CameAndWent, PresenceStore, Stored};

use super::locked;

/// Presence in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryPresenceStore {
    connections: Mutex<HashMap<UserId, HashSet<ConnectionId>>>,
}

#[async_trait]
impl PresenceStore for MemoryPresenceStore {
    async fn connect(&self, user: UserId, connection: ConnectionId) -> Stored<bool> {
        let mut connections = locked(&self.connections);
        let of_user = connections.entry(user).or_default();
        let came = of_user.is_empty();
        of_user.insert(connection);
        Ok(came)
    }

    async fn disconnect(&self, user: UserId, connection: ConnectionId) -> Stored<bool> {
        let mut connections = locked(&self.connections);
        let Some(of_user) = connections.get_mut(&user) else {
            return Ok(false);
        };
        of_user.remove(&connection);
        let went = of_user.is_empty();
        if went {
            connections.remove(&user);
        }
        Ok(went)
    }

    async fn online(&self, users: &[UserId]) -> Stored<Vec<UserId>> {
        let connections = locked(&self.connections);
        Ok(users.iter().filter(|user| connections.contains_key(user)).copied().collect())
    }

    /// The connections go with the process that knows them.
    async fn renew(&self) -> Stored<CameAndWent> {
        Ok(CameAndWent::default())
    }

    async fn expire(&self) -> Stored<CameAndWent> {
        Ok(CameAndWent::default())
    }
}
