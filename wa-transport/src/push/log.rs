//! Notes in the log that a push would go out. What it says does not show.

use wa_core::ports::PushOutcome;
use wa_core::push::{DeviceToken, Notice};

pub(super) fn send(to: &DeviceToken, notice: &Notice) -> PushOutcome {
    tracing::info!(user_id = %to.user_id, chat_id = %notice.chat_id, event = notice.event, platform = to.platform.as_str(), "a push was not sent: no provider is configured");
    PushOutcome::Logged
}
