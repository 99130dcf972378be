//! Where pushes go.

use async_trait::async_trait;

use super::Stored;
use crate::id::{DeviceId, PushTokenId, UserId};
use crate::push::{DeviceToken, Platform, PushAddress};
use crate::time::Timestamp;

/// A token to be registered.
#[derive(Debug, Clone)]
pub struct NewDeviceToken {
    /// The id it gets if it is new.
    pub id: PushTokenId,
    /// Whose it is.
    pub user_id: UserId,
    /// The login it ends with.
    pub device_id: DeviceId,
    /// What the device runs.
    pub platform: Platform,
    /// How the provider finds it.
    pub address: PushAddress,
    /// Tokens a user may have; past these the one registered longest ago goes.
    pub most: usize,
    /// When.
    pub at: Timestamp,
}

/// Where pushes go.
///
/// * `a_token_is_of_who_registered_it_last`
/// * `a_token_registered_again_is_the_same`
/// * `past_the_limit_the_oldest_token_goes`
/// * `removing_a_token_is_per_user_and_idempotent`
/// * `a_token_ends_with_its_session`
/// * `an_ended_session_registers_no_token`
/// * `a_token_ends_with_its_account`
/// * `a_stale_token_goes_unless_it_was_registered_since`
#[async_trait]
pub trait DeviceTokenStore: Send + Sync {
    /// Registers a token. One that another user had is theirs no more, and what waited for it is gone. `None` if the login it
    /// would end with has ended.
    async fn register(&self, new: NewDeviceToken) -> Stored<Option<DeviceToken>>;

    /// Forgets a token of this user, and what waited for it.
    async fn remove(&self, user: UserId, token: &str) -> Stored<()>;

    /// Forgets the tokens of these devices of the user.
    async fn remove_of(&self, user: UserId, devices: &[DeviceId]) -> Stored<()>;

    /// Forgets a token that its provider knows no more, unless it was registered again since it was read.
    async fn drop_stale(&self, token: &DeviceToken) -> Stored<()>;
}
