//! Profiles, contacts, blocks and privacy.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::UserId;
use crate::privacy::{PrivacySettings, ShownTo};
use crate::session::Caller;
use crate::user::{ContactView, Profile, ProfileUpdate, RegisteredUser};

/// What a change of privacy settings sets; `None` leaves as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrivacyUpdate {
    /// Who sees `online` and `last_seen`.
    pub last_seen: Option<ShownTo>,
    /// Who sees the picture.
    pub profile_photo: Option<ShownTo>,
    /// Who sees the status text.
    pub about: Option<ShownTo>,
    /// Whether read receipts are given and taken.
    pub read_receipts: Option<bool>,
}

/// A user of a host with its own login.
#[derive(Debug, Clone)]
pub struct Provision {
    /// The id the host gives them.
    pub id: UserId,
    /// Their phone in E.164, if the host knows it; contact sync finds users by it.
    pub phone: Option<String>,
    /// Their name.
    pub display_name: String,
}

/// Profiles, contacts, blocks and privacy (contract, section 1.2).
#[async_trait]
pub trait UserApi: Send + Sync {
    /// Makes the account of a host's user, or finds it. For embedding hosts; no route leads here.
    async fn provision(&self, user: Provision) -> Result<Profile>;

    /// The caller's own profile.
    async fn me(&self, caller: &Caller) -> Result<Profile>;

    /// Changes the caller's profile.
    async fn update_me(&self, caller: &Caller, update: ProfileUpdate) -> Result<Profile>;

    /// Erases the caller's account; `confirm` must be their own phone.
    async fn delete_me(&self, caller: &Caller, confirm: &str) -> Result<()>;

    /// Another user's profile, filtered by their privacy.
    async fn profile(&self, caller: &Caller, id: UserId) -> Result<Profile>;

    /// Finds users by phone and puts them into the caller's contacts. Invalid numbers are skipped.
    async fn sync_contacts(&self, caller: &Caller, phone_numbers: &[String]) -> Result<Vec<RegisteredUser>>;

    /// The caller's contacts and blocked users.
    async fn contacts(&self, caller: &Caller) -> Result<Vec<ContactView>>;

    /// Blocks or unblocks a user; repeating it changes nothing.
    async fn set_blocked(&self, caller: &Caller, target: UserId, blocked: bool) -> Result<()>;

    /// The caller's privacy settings.
    async fn privacy(&self, caller: &Caller) -> Result<PrivacySettings>;

    /// Changes the caller's privacy settings.
    async fn set_privacy(&self, caller: &Caller, update: PrivacyUpdate) -> Result<PrivacySettings>;
}
