//! The chat backend as one binary and as an embeddable library.
//!
//! * [`Server`] is the whole: `Server::builder(config).bind().await?.run_until(stop).await`.
//! * [`Chat`] is the same without a listener, to be mounted in a host's own axum application, with the host's own tokens
//!   if it likes.
//!
//! Neither takes anything over: there are no globals, no signal handlers and no log output but what the host sets up, and
//! two of them live side by side in one process.

#[cfg(feature = "binary")]
pub mod binary;
mod chat;
#[cfg(feature = "cluster")]
mod cluster;
pub mod config;
mod demo;
mod env;
#[cfg(feature = "cluster")]
mod gateway;
mod housekeeping;
mod listener;
mod peers;
mod pusher;
mod readiness;
mod role;
mod secrets;
mod server;
mod stall;
mod start;
mod web;
mod wire;

pub use chat::{Chat, ChatBuilder};
pub use config::{Config, ConfigErrors, Secret};
pub use demo::{ALICE, BOB, DemoUser};
pub use env::SystemEnv;
#[cfg(feature = "cluster")]
pub use gateway::GatewayServer;
pub use role::{Role, Roles};
pub use secrets::SecretsError;
pub use server::{Server, ServerBuilder};
pub use start::StartError;
pub use {wa_core as core, wa_storage as storage, wa_transport as transport};
