//! All providers behind the one port: which of them a push goes to is told by its platform.

use std::sync::Arc;

use async_trait::async_trait;
use wa_core::error::FieldError;
use wa_core::ports::{Env, PushOutcome, PushSender};
use wa_core::push::{DeviceToken, Notice, Platform, PushAddress};

use super::fcm::{FcmConfig, FcmSender};
use super::http::NoTls;
use super::log;
use super::vapid::VapidKey;
use super::web_push::WebPushSender;

/// What the providers need.
#[derive(Debug)]
pub struct ProvidersConfig {
    /// FCM's credentials; without them pushes to phones are noted in the log.
    pub fcm: Option<FcmConfig>,
    /// The key of Web Push; without it there is none.
    pub vapid: Option<VapidKey>,
    /// Whom push services turn to: a `mailto:` or `https:` URL.
    pub subject: String,
    /// Whether users may name push services on this machine: they could have any service there called.
    pub loopback: bool,
}

/// Hands pushes to FCM, to the push services of browsers, or to the log.
pub struct Providers {
    fcm: Option<FcmSender>,
    web: Option<WebPushSender>,
}

impl Providers {
    /// Sends as configured.
    ///
    /// # Errors
    /// If the system's trusted certificates cannot be had.
    pub fn new(config: ProvidersConfig, env: Arc<dyn Env>) -> Result<Self, NoTls> {
        let fcm = config.fcm.map(|fcm| FcmSender::new(fcm, Arc::clone(&env))).transpose()?;
        let web = config.vapid.map(|key| WebPushSender::new(key, config.subject, config.loopback, env)).transpose()?;
        Ok(Self { fcm, web })
    }
}

#[async_trait]
impl PushSender for Providers {
    fn check(&self, platform: Platform, address: &PushAddress) -> Result<(), FieldError> {
        match platform {
            Platform::Web => match &self.web {
                Some(web) => web.check(address),
                None => Err(FieldError { field: "platform".to_owned(), message: "web is not served: there is no key for it".to_owned() }),
            },
            Platform::Android | Platform::Ios => Ok(()),
        }
    }

    async fn send(&self, to: &DeviceToken, notice: &Notice) -> PushOutcome {
        match (to.platform, &self.fcm, &self.web) {
            (Platform::Web, _, Some(web)) => web.send(to, notice).await,
            (Platform::Android | Platform::Ios, Some(fcm), _) => fcm.send(to, notice).await,
            _ => log::send(to, notice),
        }
    }
}
