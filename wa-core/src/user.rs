//! Accounts, profiles and contacts, and the objects the outside sees of them.

use serde::{Deserialize, Serialize};

use crate::id::UserId;
use crate::phone::Phone;
use crate::privacy::{Field, PrivacySettings, Relation, may_see};
use crate::time::Timestamp;

/// The status text of an account that never set one (contract, section 6).
pub const DEFAULT_STATUS_TEXT: &str = "Hey there! I am using WhatsApp.";

/// What messages show in place of the name of an erased account.
pub const DELETED_ACCOUNT: &str = "Deleted account";

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its phone number; `None` for users of an embedding host with its own login, and for erased accounts.
    pub phone: Option<Phone>,
    /// Its name; may be empty.
    pub display_name: String,
    /// Its picture; may be empty.
    pub avatar_url: String,
    /// Its status text; may be empty.
    pub status_text: String,
    /// When its last device went, if it ever did.
    pub last_seen: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Whether it was erased; what is left is its id, for the messages it sent.
    pub is_deleted: bool,
}

impl User {
    /// The name others see.
    #[must_use]
    pub fn shown_name(&self) -> &str {
        if self.is_deleted { DELETED_ACCOUNT } else { &self.display_name }
    }

    /// The picture this viewer sees; `None` when hidden.
    #[must_use]
    pub fn avatar_for(&self, settings: &PrivacySettings, relation: Option<&Relation>) -> Option<String> {
        may_see(Field::ProfilePhoto, settings, relation).then(|| self.avatar_url.clone())
    }

    /// The profile this viewer sees.
    #[must_use]
    pub fn profile_for(&self, settings: &PrivacySettings, relation: Option<&Relation>) -> Profile {
        let phone = self.phone.as_ref().filter(|_| may_see(Field::Phone, settings, relation));
        Profile {
            id: self.id,
            phone: phone.map_or_else(String::new, ToString::to_string),
            display_name: self.shown_name().to_owned(),
            avatar_url: self.avatar_for(settings, relation),
            status_text: may_see(Field::About, settings, relation).then(|| self.status_text.clone()),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// What a profile update sets; `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileUpdate {
    /// A new name.
    pub display_name: Option<String>,
    /// A new status text.
    pub status_text: Option<String>,
    /// A new picture.
    pub avatar_url: Option<String>,
}

/// A user profile (contract, section 1.2). Hidden fields are null, a hidden phone is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Profile {
    /// Who.
    pub id: UserId,
    /// Their phone number, empty unless the viewer has it in their contacts.
    pub phone: String,
    /// Their name.
    pub display_name: String,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// Their status text.
    pub status_text: Option<String>,
    /// When the account was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A user found by contact sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisteredUser {
    /// The number that was asked for.
    pub phone: String,
    /// Whose it is.
    pub user_id: UserId,
    /// Their name.
    pub display_name: String,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// Their status text.
    pub status_text: Option<String>,
}

/// A stored contact, or a blocked user who is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Who.
    pub user_id: UserId,
    /// What the owner calls them; may be empty.
    pub nickname: String,
    /// Whether the owner has blocked them.
    pub is_blocked: bool,
    /// Since when.
    pub created_at: Timestamp,
}

/// A row of `GET /users/contacts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Contact))]
pub struct ContactView {
    /// Who.
    pub user_id: UserId,
    /// Their phone number.
    pub phone: String,
    /// What the caller calls them.
    pub nickname: String,
    /// Their name.
    pub display_name: String,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// Whether the caller has blocked them.
    pub is_blocked: bool,
    /// Since when.
    pub created_at: Timestamp,
}

/// Whether a user is there, as one viewer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Presence))]
pub struct PresenceView {
    /// Who.
    pub user_id: UserId,
    /// Whether any device is connected; false when hidden.
    pub online: bool,
    /// When the last device went; null when hidden, unknown or never.
    pub last_seen: Option<Timestamp>,
}

impl PresenceView {
    /// What somebody sees who may not see it.
    #[must_use]
    pub const fn hidden(user_id: UserId) -> Self {
        Self { user_id, online: false, last_seen: None }
    }
}
