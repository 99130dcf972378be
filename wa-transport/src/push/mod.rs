//! Pushes to devices: FCM for phones, Web Push for browsers, and the log where there is no provider.

mod address;
mod breaker;
mod fcm;
mod http;
mod jwt;
mod log;
mod providers;
mod vapid;
mod web_push;

pub use address::is_loopback;
pub use fcm::{FcmConfig, InvalidCredentials};
pub use http::NoTls;
pub use providers::{Providers, ProvidersConfig};
pub use vapid::{InvalidVapidKey, VapidKey};
