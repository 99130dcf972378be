//! How events travel from the outbox and the use cases to whoever acts on them.

mod memory;

pub use memory::MemoryEventBus;
