//! End to end: a real server, real sockets, and what the contract says.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod auth;
mod chats;
mod client;
mod compat;
mod corpus;
mod edge;
mod embedded;
mod groups;
#[cfg(feature = "cluster")]
mod grpc;
mod hostile_media;
mod lifecycle;
mod matrix;
mod media;
mod message_life;
mod messages;
mod mongo;
mod nats;
mod nats_nodes;
mod object_store;
mod postgres;
mod presence;
mod push;
mod redis;
#[cfg(feature = "cluster")]
mod roles;
mod search;
mod secrecy;
#[cfg(all(feature = "cluster", feature = "binary"))]
mod shapes;
mod socket;
mod statuses;
#[expect(dead_code, reason = "the checks of tests/chaos use the rest")]
mod support;
mod sync;
mod system;
mod tokens;
#[cfg(feature = "cluster")]
mod transfer;
mod users;
