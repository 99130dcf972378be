//! Devices that want pushes.

use async_trait::async_trait;

use super::{NotificationService, Result};
use crate::api::{PushApi, RegisterDevice, SubscriptionKeys};
use crate::error::{Error, FieldError, Unauthenticated};
use crate::ports::{EnvExt as _, NewDeviceToken};
use crate::push::{DeviceToken, Platform, PushAddress, WebPushKeys};
use crate::session::Caller;

/// Characters of a token, or of the endpoint of a subscription.
const TOKEN_LENGTH: usize = 2048;

fn token(text: &str) -> Result<String, FieldError> {
    let text = text.trim();
    let plain = text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if text.is_empty() || text.len() > TOKEN_LENGTH || !plain {
        return Err(FieldError { field: "token".to_owned(), message: format!("must have 1 to {TOKEN_LENGTH} bytes, without spaces") });
    }
    Ok(text.to_owned())
}

fn keys(platform: Platform, keys: Option<&SubscriptionKeys>) -> Result<Option<WebPushKeys>, FieldError> {
    match (platform, keys) {
        (Platform::Android | Platform::Ios, _) => Ok(None),
        (Platform::Web, None) => Err(FieldError { field: "keys".to_owned(), message: "is required for the platform web".to_owned() }),
        (Platform::Web, Some(keys)) => WebPushKeys::parse(&keys.p256dh, &keys.auth)
            .map(Some)
            .map_err(|key| FieldError { field: format!("keys.{key}"), message: "must be the base64url text of the subscription's key".to_owned() }),
    }
}

#[async_trait]
impl PushApi for NotificationService {
    async fn register(&self, caller: &Caller, device: RegisterDevice) -> Result<DeviceToken> {
        let platform = device.platform.unwrap_or_default();
        let (token, keys) = (token(&device.token), keys(platform, device.keys.as_ref()));
        let address = match (token, keys) {
            (Ok(token), Ok(keys)) => PushAddress { token, keys },
            (token, keys) => return Err(Error::Validation([token.err(), keys.err()].into_iter().flatten().collect())),
        };
        self.deps.sender.check(platform, &address).map_err(|error| Error::Validation(vec![error]))?;
        let deps = &self.deps;
        let new = NewDeviceToken {
            id: deps.env.new_id(),
            user_id: caller.user_id,
            device_id: caller.device_id,
            platform,
            address,
            most: deps.limits.device_tokens,
            at: deps.env.now(),
        };
        let registered = deps.tokens.register(new).await?.ok_or(Error::Unauthenticated(Unauthenticated::Invalid))?;
        // What is stored already is for the other devices.
        self.windows().forget(caller.user_id);
        Ok(registered)
    }

    async fn unregister(&self, caller: &Caller, token: Option<&str>) -> Result<()> {
        match token {
            Some(token) => self.deps.tokens.remove(caller.user_id, token.trim()).await?,
            None => self.deps.tokens.remove_of(caller.user_id, &[caller.device_id]).await?,
        }
        Ok(())
    }

    fn web_push_key(&self) -> Option<&str> {
        self.deps.web_push_key.as_deref()
    }
}
