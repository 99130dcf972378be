//! Where pushes go: what devices register.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::push::{DeviceToken, Platform};
use crate::session::Caller;

/// A browser's `subscription.getKey(…)`, base64url.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubscriptionKeys {
    /// The public key.
    pub p256dh: String,
    /// The authentication secret.
    pub auth: String,
}

/// A device that wants pushes.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterDevice {
    /// The token that FCM gave the app; of a browser, the endpoint of its subscription.
    #[cfg_attr(feature = "openapi", schema(example = "https://push.example.org/send/abc"))]
    pub token: String,
    /// `android`, `ios` or `web`; without it, `android`.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// For `web` only, and needed there.
    #[serde(default)]
    pub keys: Option<SubscriptionKeys>,
}

/// What devices register for pushes (contract, section 1.2).
#[async_trait]
pub trait PushApi: Send + Sync {
    /// Registers the caller's device. A token that another user registered before is the caller's from now on.
    async fn register(&self, caller: &Caller, device: RegisterDevice) -> Result<DeviceToken>;

    /// Forgets a token of the caller's; without one, those that the caller's device registered. Repeating it changes nothing.
    async fn unregister(&self, caller: &Caller, token: Option<&str>) -> Result<()>;

    /// The key that browsers name when they subscribe (RFC 8292, section 3.2), base64url; `None` if there is no Web Push.
    fn web_push_key(&self) -> Option<&str>;
}
