//! How the outside reaches the core and how events travel: REST, WebSocket, event bus, pushes, SMS, and a typed client.

#[cfg(feature = "server")]
pub mod backend;
#[cfg(feature = "server")]
pub mod bus;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod context;
#[cfg(feature = "grpc")]
pub mod gateway;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod push;
#[cfg(feature = "server")]
pub mod rest;
#[cfg(feature = "server")]
pub mod sms;
#[cfg(feature = "server")]
pub mod ws;

#[cfg(feature = "server")]
pub use backend::Backend;
