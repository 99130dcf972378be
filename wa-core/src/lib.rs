//! The domain of a chat backend: values, rules, ports and use cases.
//!
//! Nothing here does I/O, starts a task or reads a clock: whatever the core needs from outside is a trait in
//! [`ports`], whatever it offers is a trait in [`api`], and [`service`] holds the use cases between the two.

pub mod api;
pub mod batch;
pub mod chat;
mod cursor;
pub mod emoji;
pub mod error;
pub mod event;
#[doc(hidden)]
pub mod faults;
pub mod group;
pub mod id;
pub mod limits;
pub mod link;
pub mod media;
pub mod message;
pub mod phone;
pub mod ports;
pub mod privacy;
pub mod push;
pub mod receipt;
pub mod search;
pub mod service;
pub mod session;
pub mod star;
pub mod status_post;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod upload;
pub mod user;

pub use error::{Error, Result};
