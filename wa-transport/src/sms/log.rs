//! Notes in the log that a text message would go out. The text holds a code, so it does not show.

use async_trait::async_trait;
use wa_core::phone::Phone;
use wa_core::ports::{SmsSender, Stored};

/// Takes every text message and sends none: for development, where the code is echoed in the answer (`dev.echo_otp`).
#[derive(Debug, Clone, Copy, Default)]
pub struct LogSmsSender;

#[async_trait]
impl SmsSender for LogSmsSender {
    async fn send(&self, to: &Phone, text: &str) -> Stored<()> {
        tracing::info!(to = %to.masked(), characters = text.chars().count(), "a text message was not sent: sms.provider is \"log\"");
        Ok(())
    }
}
