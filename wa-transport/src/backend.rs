//! What a protocol needs of the core: its apis, limits and surroundings. It cannot tell whether a use case runs here.

use std::sync::Arc;

use wa_core::api::{AuthApi, Authenticator, ChatApi, FanOutApi, MediaApi, MessageApi, PresenceApi, PushApi, StatusApi, UserApi};
use wa_core::limits::Limits;
use wa_core::link::Links;
use wa_core::ports::{Env, RateLimiter};

use crate::metrics::Metrics;
use crate::rest::LocalFiles;

/// The core as the protocols see it. Cloning shares it.
#[derive(Clone)]
pub struct Backend {
    /// Checks access tokens.
    pub authenticator: Arc<dyn Authenticator>,
    /// Login by phone and code; `None` where an embedding host brings its own login, and then `/auth` has no routes.
    pub auth: Option<Arc<dyn AuthApi>>,
    /// Profiles, contacts, privacy.
    pub users: Arc<dyn UserApi>,
    /// Chats.
    pub chats: Arc<dyn ChatApi>,
    /// Messages.
    pub messages: Arc<dyn MessageApi>,
    /// Uploaded files.
    pub media: Arc<dyn MediaApi>,
    /// Hands out the files of the local store; `None` where somebody else does.
    pub files: Option<LocalFiles>,
    /// Where people reach the server.
    pub links: Arc<Links>,
    /// Presence and typing.
    pub presence: Arc<dyn PresenceApi>,
    /// What people show for a day.
    pub statuses: Arc<dyn StatusApi>,
    /// Where pushes go.
    pub push: Arc<dyn PushApi>,
    /// Who gets an event.
    pub fan_out: Arc<dyn FanOutApi>,
    /// Token buckets.
    pub rate_limiter: Arc<dyn RateLimiter>,
    /// Every limit.
    pub limits: Arc<Limits>,
    /// Time and randomness.
    pub env: Arc<dyn Env>,
    /// What is counted.
    pub metrics: Metrics,
}
