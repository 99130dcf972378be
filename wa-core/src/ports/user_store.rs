//! Accounts and their privacy settings.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Stored;
use crate::id::{ChatId, DeviceId, EventId, UserId};
use crate::phone::Phone;
use crate::privacy::PrivacySettings;
use crate::time::Timestamp;
use crate::user::{ProfileUpdate, User};

/// An account to be made, unless it exists.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The id it gets if it is new.
    pub id: UserId,
    /// Its phone number; `None` for users of a host with its own login.
    pub phone: Option<Phone>,
    /// Its name; may be empty.
    pub display_name: String,
    /// When.
    pub at: Timestamp,
}

/// What came of erasing an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erased {
    /// It is erased; these devices were ended. None are left of an account that was erased before.
    Done(Vec<DeviceId>),
    /// Nothing was written: the user must leave these groups first, or a group would have a member without an account.
    InGroups(Vec<ChatId>),
}

/// Accounts and their privacy settings.
///
/// * `a_phone_has_one_account_also_under_concurrency`
/// * `an_account_without_a_phone_is_found_by_its_id`
/// * `unknown_users_are_left_out`
/// * `an_update_leaves_other_fields_alone`
/// * `last_seen_only_rises`
/// * `erasing_removes_every_personal_field`
/// * `erasing_frees_the_phone`
/// * `erasing_ends_every_session_and_leaves_their_event`
/// * `an_account_in_a_group_is_not_erased`
/// * `privacy_has_defaults_until_set`
#[async_trait]
pub trait UserStore: Send + Sync {
    /// Makes the account, or finds the one with this phone (without a phone: with this id). Returns whether it is new.
    async fn register(&self, new: NewUser) -> Stored<(User, bool)>;

    /// These users, erased ones included, in no order; unknown ones are left out.
    async fn get(&self, ids: &[UserId]) -> Stored<Vec<User>>;

    /// The users with these phones, in no order.
    async fn by_phones(&self, phones: &[Phone]) -> Stored<Vec<User>>;

    /// Changes a profile. `None` if the user does not exist or was erased.
    async fn update(&self, id: UserId, update: ProfileUpdate, at: Timestamp) -> Stored<Option<User>>;

    /// Notes when users were last there; an older time than the one noted changes nothing.
    async fn set_last_seen(&self, seen: &[(UserId, Timestamp)]) -> Stored<()>;

    /// Erases an account: personal fields, contacts, blocks, settings and sessions go, the id stays. Writes the event
    /// that ends the sessions' sockets, and returns the devices. Whoever is in a group is not erased.
    async fn erase(&self, id: UserId, event_id: EventId, at: Timestamp) -> Stored<Erased>;

    /// The privacy settings of these users; the defaults for whoever never set any.
    async fn privacy(&self, ids: &[UserId]) -> Stored<BTreeMap<UserId, PrivacySettings>>;

    /// Sets the privacy settings of a user.
    async fn set_privacy(&self, id: UserId, settings: PrivacySettings, at: Timestamp) -> Stored<()>;
}
