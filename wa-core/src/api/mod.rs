//! What the core offers, as traits. Each is implemented by the use case itself ([`crate::service`]) and, where a role
//! runs elsewhere, by a client that calls it over the network; transports cannot tell which.

mod auth;
mod chat;
mod fan_out;
mod media;
mod message;
mod presence;
mod push;
mod status;
mod user;

pub use auth::{AuthApi, Authenticator, LoggedIn, LoggedInUser, OtpRequested, VerifyOtp};
pub use chat::{ChatApi, ChatPage, CreateGroup};
pub use fan_out::{FanOutApi, Share};
pub use media::{AvatarOf, MediaApi, Purpose, Swept};
pub use message::{
    ForwardMessage, ForwardedMessage, HistoryQuery, MessageApi, MessagePage, Pending, SearchHit, SearchPage, SearchRequest, SendMessage, Sent, SyncAnswer,
    SyncChat, SyncRequest,
};
pub use presence::PresenceApi;
pub use push::{PushApi, RegisterDevice, SubscriptionKeys};
pub use status::{NewStatus, StatusApi};
pub use user::{PrivacyUpdate, Provision, UserApi};
