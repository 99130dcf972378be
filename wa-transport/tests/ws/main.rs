//! The WebSocket protocol on real sockets, over a core that does what the test tells it.

#[expect(unreachable_pub, reason = "the mock macro writes public types")]
mod support;

mod answers;
mod closing;
mod events;
mod upgrade;
