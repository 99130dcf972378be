//! How events travel from the outbox and the use cases to whoever acts on them.

#[cfg(feature = "nats")]
mod channels;
mod memory;
#[cfg(feature = "nats")]
mod nats;

#[cfg(feature = "nats")]
pub use channels::{Arrived, Channels, ChannelsConfig, Dispatcher, Node};
pub use memory::MemoryEventBus;
#[cfg(feature = "nats")]
pub use nats::{Directory, NatsEventBus, Near};
