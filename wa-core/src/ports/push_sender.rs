//! Hands pushes to whoever carries them to devices.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::FieldError;
use crate::push::{DeviceToken, Notice, Platform, PushAddress};

/// What a provider said to a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushOutcome {
    /// It took it.
    Sent,
    /// There is no provider for this platform; that it would have been sent is in the log.
    Logged,
    /// It knows the device no more, and never will again.
    Gone,
    /// It will not take this push, whenever it is asked.
    Refused,
    /// It could not take it now.
    Failed {
        /// When it wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// It was not asked, as it has failed too often just now.
    Resting {
        /// For how long it is left alone.
        wait: Duration,
    },
}

/// Hands pushes to whoever carries them to devices.
#[async_trait]
pub trait PushSender: Send + Sync {
    /// Checks an address before it is registered.
    ///
    /// # Errors
    /// Which field of a registration is wrong, and what it must be.
    fn check(&self, platform: Platform, address: &PushAddress) -> Result<(), FieldError>;

    /// Hands a push over. Every call ends within bounded time, about a minute at the most, however many there are at once.
    async fn send(&self, to: &DeviceToken, notice: &Notice) -> PushOutcome;
}
