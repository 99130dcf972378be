//! The WebSocket protocol on real sockets, over a core that does what the test tells it.

mod support;

mod answers;
mod closing;
mod events;
mod upgrade;
