//! The use cases behind each trait of [`crate::api`], over the traits of [`crate::ports`]. Each service takes a struct of
//! the ports it stands on; none keeps anything that could not be lost.

mod access;
mod auth;
mod chat;
mod fan_out;
mod inbox;
mod message;
mod names;
mod otp;
mod people;
mod presence;
mod rate;
pub mod token;
mod user;

pub use auth::{AuthConfig, AuthDeps, AuthService};
pub use chat::{ChatDeps, ChatService};
pub use fan_out::{FanOutDeps, FanOutService};
pub use message::{MessageDeps, MessageService};
pub use names::Names;
pub use presence::{PresenceDeps, PresenceService};
pub use token::TokenSigner;
pub use user::{UserDeps, UserService};

/// A page size as asked for, held within 1 and `max`.
fn page_size(asked: Option<i64>, default: usize, max: usize) -> usize {
    asked.map_or(default, |asked| usize::try_from(asked.max(1)).unwrap_or(usize::MAX)).clamp(1, max.max(1))
}

#[cfg(test)]
mod tests {
    use super::page_size;

    #[test]
    fn a_page_size_is_held_within_its_bounds() {
        let cases = [(None, 20), (Some(1), 1), (Some(100), 100), (Some(0), 1), (Some(-5), 1), (Some(101), 100), (Some(i64::MAX), 100), (Some(i64::MIN), 1)];
        for (asked, expected) in cases {
            assert_eq!(page_size(asked, 20, 100), expected, "{asked:?}");
        }
    }
}
