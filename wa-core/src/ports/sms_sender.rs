//! Text messages to phones.

use async_trait::async_trait;

use super::Stored;
use crate::phone::Phone;

/// Sends one-time passwords to phones.
#[async_trait]
pub trait SmsSender: Send + Sync {
    /// Hands the text over for delivery to the phone. An error means that it was not taken.
    async fn send(&self, to: &Phone, text: &str) -> Stored<()>;
}
