//! Logins: devices and their sessions, refresh tokens and one-time passwords. Tokens themselves are never stored.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{DeviceId, UserId};
use crate::phone::Phone;
use crate::time::Timestamp;

/// Who makes a request, once their token was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// The device whose session the token belongs to.
    pub device_id: DeviceId,
}

/// A login of a user on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The device.
    pub device_id: DeviceId,
    /// Whose it is.
    pub user_id: UserId,
    /// The user's phone, for the token's claim.
    pub phone: Option<Phone>,
    /// What the device is called; may be empty.
    pub name: String,
    /// What it runs on, where it said so.
    pub platform: Option<String>,
    /// When it logged in.
    pub created_at: Timestamp,
    /// When it last refreshed or connected.
    pub last_active_at: Timestamp,
    /// Whether it was ended.
    pub revoked: bool,
}

/// A row of `GET /auth/devices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Device))]
pub struct DeviceView {
    /// The device.
    pub device_id: DeviceId,
    /// What it is called.
    pub name: String,
    /// What it runs on.
    pub platform: Option<String>,
    /// When it logged in.
    pub created_at: Timestamp,
    /// When it was last active.
    pub last_active_at: Timestamp,
    /// Whether it is the caller's own.
    pub current: bool,
}

/// A refresh token: 32 random bytes, shown once.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken([u8; 32]);

impl RefreshToken {
    /// From random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As the client holds it: base64url without padding.
    #[must_use]
    pub fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads what a client sent; `None` if it cannot be a token of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // Longer texts are not even decoded.
        if text.len() != 43 {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken(…)")
    }
}

/// A SHA-256 in hex, the form in which tokens and keys are stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenHash(String);

impl TokenHash {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use fmt::Write as _;
        Self(Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
    }

    /// For storage.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What came of presenting a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The old token is spent and the new one stored.
    Rotated(Session),
    /// The same key presented the same token again within the window: the answer of then holds, made at this time.
    Repeated(Session, Timestamp),
    /// A spent token came back: the session was ended, in the same transaction.
    Reused(Session),
    /// Unknown, expired, or of an ended session.
    Refused,
}

/// The state of a phone's one-time password after one more attempt was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtpAttempt {
    /// Never requested, too old, or already used.
    Absent,
    /// Its attempts are used up.
    Exhausted {
        /// When it would have expired.
        expires_at: Timestamp,
    },
    /// It may be compared.
    Allowed {
        /// The bcrypt hash of the code.
        hash: String,
        /// The number of this attempt, from 1.
        attempt: u32,
        /// When it expires.
        expires_at: Timestamp,
    },
}
