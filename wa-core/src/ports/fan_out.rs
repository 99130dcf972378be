//! What open sockets must know before the request that caused it is answered.

use async_trait::async_trait;

use crate::id::DeviceId;

/// Reaches the open sockets of this process without the way over the bus.
#[async_trait]
pub trait FanOut: Send + Sync {
    /// Ends the sockets of these devices: when it returns, they accept nothing and emit nothing but their close.
    /// Sockets on other nodes end when the event of the same commit reaches them.
    async fn cut(&self, devices: &[DeviceId]);
}
