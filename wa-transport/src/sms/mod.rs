//! Text messages to phones: into the log, or to a webhook of the operator.

mod log;
mod webhook;

pub use log::LogSmsSender;
pub use webhook::{InvalidWebhook, WebhookSmsSender};
