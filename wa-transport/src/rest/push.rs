//! Where pushes go (contract, section 1.2), and the key that browsers subscribe with.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wa_core::api::RegisterDevice;
use wa_core::error::{Error, Missing};

use super::Shared;
use super::envelope::{Answer, Done, Envelope, Reply};
use super::extract::{Auth, Json, OptionalJson};

/// Registers the device for pushes. A token that another user registered before is the caller's from now on.
#[utoipa::path(put, path = "/users/me/fcm-token", operation_id = "register_push_token", tag = "users", request_body = RegisterDevice,
    responses((status = 204, description = "Registered")))]
pub(super) async fn register(State(rest): State<Shared>, Auth(caller): Auth, Json(device): Json<RegisterDevice>) -> Done {
    rest.backend.push.register(&caller, device).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which token is to be forgotten.
#[derive(Deserialize, ToSchema)]
pub(super) struct ForgetDevice {
    /// Without it, those that this device registered.
    token: Option<String>,
}

/// Ends pushes to a token of the caller's, or without a body to those that this device registered. Repeating it changes nothing.
#[utoipa::path(delete, path = "/users/me/fcm-token", operation_id = "forget_push_token", tag = "users",
    request_body(content = Option<ForgetDevice>), responses((status = 204, description = "Forgotten")))]
pub(super) async fn unregister(State(rest): State<Shared>, Auth(caller): Auth, OptionalJson(request): OptionalJson<ForgetDevice>) -> Done {
    let token = request.and_then(|request| request.token);
    rest.backend.push.unregister(&caller, token.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The server's public key for Web Push.
#[derive(Serialize, ToSchema)]
pub(super) struct WebPushKey {
    /// An uncompressed point of P-256 as base64url: `applicationServerKey` of `pushManager.subscribe`.
    public_key: String,
}

/// The key that a browser names when it subscribes to pushes of this server.
#[utoipa::path(get, path = "/push/vapid-key", operation_id = "get_vapid_key", tag = "users",
    responses((status = 200, description = "The key", body = Envelope<WebPushKey>), (status = 404, description = "NOT_FOUND: no Web Push here")))]
pub(super) async fn web_push_key(State(rest): State<Shared>, Auth(_): Auth) -> Answer<WebPushKey> {
    let public_key = rest.backend.push.web_push_key().ok_or(Error::not_found(Missing::Resource))?.to_owned();
    Ok(Reply::ok(WebPushKey { public_key }))
}
