//! The use cases behind each trait of [`crate::api`], over the traits of [`crate::ports`]. Each service takes a struct of
//! the ports it stands on; none keeps anything that could not be lost.

mod access;
mod attachments;
mod auth;
mod chat;
mod fan_out;
mod fields;
mod inbox;
mod lookup;
mod media;
mod message;
mod names;
mod notification;
mod otp;
mod people;
mod presence;
mod rate;
mod status;
#[cfg(test)]
mod tests;
pub mod token;
mod user;

pub use attachments::{AttachmentDeps, Attachments};
pub use auth::{AuthConfig, AuthDeps, AuthService};
pub use chat::{ChatDeps, ChatService};
pub use fan_out::{FanOutDeps, FanOutService};
pub use lookup::{LookupDeps, LookupService};
pub use media::{MediaDeps, MediaService};
pub use message::{MessageDeps, MessageService};
pub use names::Names;
pub use notification::{Delivered, Handed, NotificationDeps, NotificationService, Unsettled};
pub use presence::{PresenceDeps, PresenceService};
pub use status::{StatusDeps, StatusService};
pub use token::TokenSigner;
pub use user::{UserDeps, UserService};

/// A page size as asked for, held within 1 and `max`.
fn page_size(asked: Option<i64>, default: usize, max: usize) -> usize {
    asked.map_or(default, |asked| usize::try_from(asked.max(1)).unwrap_or(usize::MAX)).clamp(1, max.max(1))
}
