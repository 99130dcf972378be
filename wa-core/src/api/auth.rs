//! Login by phone and one-time password, token refresh, devices.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::{DeviceId, UserId};
use crate::session::{Caller, DeviceView};

/// The answer to a request for a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OtpRequested {
    /// Names the request in logs and support talks.
    pub request_id: uuid::Uuid,
    /// A sentence for people.
    pub message: String,
    /// How long the code holds, in seconds.
    pub expires_in_seconds: u64,
    /// The code itself, where the configuration echoes it for development.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otp: Option<String>,
}

/// A code to be checked.
#[derive(Debug, Clone)]
pub struct VerifyOtp {
    /// The phone, E.164.
    pub phone: String,
    /// Six digits.
    pub otp: String,
    /// What the device is called.
    pub device_name: Option<String>,
    /// What it runs on.
    pub platform: Option<String>,
}

/// Who logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoggedInUser {
    /// The user.
    pub id: UserId,
    /// Their phone; empty for a host's own users.
    pub phone: String,
    /// Their name.
    pub display_name: String,
    /// Whether the account was made by this login.
    pub is_new_user: bool,
}

/// A pair of tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoggedIn {
    /// A JWT for the `Authorization` header.
    pub access_token: String,
    /// Exchanges for the next pair, once.
    pub refresh_token: String,
    /// How long the access token holds, in seconds.
    pub expires_in: u64,
    /// The same as `expires_in`.
    pub expires_in_seconds: u64,
    /// Who logged in.
    pub user: LoggedInUser,
    /// Whether the account was made by this login.
    pub is_new_user: bool,
    /// The device this session belongs to.
    pub device_id: DeviceId,
}

impl std::fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoggedIn").field("user", &self.user.id).field("device_id", &self.device_id).finish_non_exhaustive()
    }
}

/// Tells who a token belongs to. A host with its own login brings its own.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Checks an access token.
    ///
    /// # Errors
    /// TOKEN_EXPIRED if its time has passed, TOKEN_INVALID for anything else that is wrong with it or if its session
    /// was ended, UNAVAILABLE if that cannot be told now.
    async fn authenticate(&self, token: &str) -> Result<Caller>;

    /// Whether the session of an open socket still stands. Asked after the socket was made known, so that an end
    /// in between is not missed.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    async fn confirm(&self, caller: &Caller) -> Result<()>;
}

/// Login, refresh, logout and devices (contract, sections 1.1 and 7).
#[async_trait]
pub trait AuthApi: Send + Sync {
    /// Sends a code to a phone, in place of any earlier one.
    async fn request_otp(&self, phone: &str) -> Result<OtpRequested>;

    /// Checks a code and starts a session on a new device; the first login makes the account.
    async fn verify_otp(&self, request: VerifyOtp) -> Result<LoggedIn>;

    /// Exchanges a refresh token. With the same `idempotency_key` within 30 s the answer is the same again.
    async fn refresh(&self, refresh_token: &str, idempotency_key: Option<&str>) -> Result<LoggedIn>;

    /// Ends a session: that of the refresh token if there is one, else the caller's own. With both, the token must be
    /// of one of the caller's devices.
    async fn logout(&self, caller: Option<Caller>, refresh_token: Option<&str>) -> Result<()>;

    /// The caller's devices, the newest login first.
    async fn devices(&self, caller: &Caller) -> Result<Vec<DeviceView>>;

    /// Ends the session of one of the caller's devices.
    async fn remove_device(&self, caller: &Caller, device: DeviceId) -> Result<()>;
}
