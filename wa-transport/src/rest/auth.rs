//! Login by phone and code, refresh, logout and devices (contract, section 1.1).

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wa_core::api::{AuthApi, LoggedIn, OtpRequested, VerifyOtp};
use wa_core::error::{Error, Missing, Unauthenticated};
use wa_core::id::DeviceId;
use wa_core::session::DeviceView;

use super::envelope::{Answer, Done, Envelope, Reply};
use super::error::ApiError;
use super::extract::{Auth, Identity, Json, OptionalJson, Path, idempotency_key};
use super::{Rest, Shared};

impl Rest {
    /// The login. Its routes exist only where there is one.
    fn auth(&self) -> Result<&dyn AuthApi, Error> {
        self.backend.auth.as_deref().ok_or(Error::not_found(Missing::Resource))
    }

    /// Counts a refusal by a limit that the core keeps.
    fn counted(&self, limit: &'static str) -> impl Fn(Error) -> ApiError + use<'_> {
        move |error| {
            if matches!(error, Error::RateLimited { .. }) {
                self.backend.metrics.rate_limited(limit);
            }
            error.into()
        }
    }
}

/// Where a code is to be sent.
#[derive(Deserialize, ToSchema)]
pub(super) struct OtpRequest {
    /// E.164.
    #[schema(example = "+15550100001")]
    phone: String,
    /// Accepted and not needed: the phone begins with it.
    #[serde(rename = "country_code")]
    _country_code: Option<String>,
}

/// Sends a one-time code to a phone.
#[utoipa::path(post, path = "/auth/request-otp", tag = "auth", security(()), request_body = OtpRequest,
    responses((status = 200, description = "The code is on its way", body = Envelope<OtpRequested>)))]
pub(super) async fn request_otp(State(rest): State<Shared>, Json(request): Json<OtpRequest>) -> Answer<OtpRequested> {
    rest.auth()?.request_otp(&request.phone).await.map(Reply::ok).map_err(rest.counted("otp_send"))
}

/// A code to be checked.
#[derive(Deserialize, ToSchema)]
pub(super) struct OtpVerification {
    /// The phone the code was sent to.
    #[schema(example = "+15550100001")]
    phone: String,
    /// Six digits.
    #[schema(example = "123456")]
    otp: String,
    /// What the device is called in the list of devices.
    device_name: Option<String>,
    /// `android`, `ios` or `web`; anything else, or nothing, and it is guessed from the `User-Agent`.
    platform: Option<String>,
}

/// Logs in with a code; the first login of a phone makes the account.
#[utoipa::path(post, path = "/auth/verify-otp", tag = "auth", security(()), request_body = OtpVerification,
    responses((status = 200, description = "Logged in", body = Envelope<LoggedIn>), (status = 400, description = "OTP_INVALID, OTP_EXPIRED"), (status = 429, description = "OTP_MAX_ATTEMPTS")))]
pub(super) async fn verify_otp(State(rest): State<Shared>, headers: HeaderMap, Json(request): Json<OtpVerification>) -> Answer<LoggedIn> {
    let OtpVerification { phone, otp, device_name, platform } = request;
    let platform = platform.as_deref().and_then(known_platform).or_else(|| platform_of(&headers)).map(str::to_owned);
    rest.auth()?.verify_otp(VerifyOtp { phone, otp, device_name, platform }).await.map(Reply::ok).map_err(rest.counted("otp_verify"))
}

fn known_platform(name: &str) -> Option<&'static str> {
    ["android", "ios", "web"].into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

/// A guess from the `User-Agent`: browsers begin with "Mozilla/", the rest are the HTTP stacks of the two systems.
fn platform_of(headers: &HeaderMap) -> Option<&'static str> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?.to_ascii_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| agent.contains(word));
    if agent.starts_with("mozilla/") {
        Some("web")
    } else if names(&["android", "okhttp"]) {
        Some("android")
    } else if names(&["iphone", "ipad", "ios", "cfnetwork"]) {
        Some("ios")
    } else {
        None
    }
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
pub(super) struct RefreshRequest {
    /// From the last login or refresh.
    refresh_token: String,
}

/// Exchanges a refresh token for a new pair of tokens.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", security(()), request_body = RefreshRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeated within 30 s, the same request gets the same answer; 1 to 128 visible characters")),
    responses((status = 200, description = "A new pair", body = Envelope<LoggedIn>), (status = 401, description = "UNAUTHORIZED: unknown, revoked, expired or already used")))]
pub(super) async fn refresh(State(rest): State<Shared>, headers: HeaderMap, Json(request): Json<RefreshRequest>) -> Answer<LoggedIn> {
    let key = idempotency_key(&headers)?;
    if request.refresh_token.is_empty() {
        return Err(Error::invalid("refresh_token", "must not be empty").into());
    }
    Ok(Reply::ok(rest.auth()?.refresh(&request.refresh_token, key).await?))
}

/// Which session to end.
#[derive(Deserialize, ToSchema)]
pub(super) struct LogoutRequest {
    /// Of the device to log out; without it, the caller's own.
    refresh_token: Option<String>,
}

/// A sentence for people.
#[derive(Serialize, ToSchema)]
pub(super) struct Said {
    message: &'static str,
}

/// Ends a session: the caller's own, or that of the refresh token, which then needs no bearer.
///
/// A bearer that is expired or invalid counts as none where there is a refresh token, so that a device that slept can
/// still log out.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", security((), ("bearer" = [])), request_body = Option<LogoutRequest>,
    responses((status = 200, description = "Logged out", body = Envelope<Said>), (status = 401, description = "UNAUTHORIZED, TOKEN_EXPIRED, TOKEN_INVALID")))]
pub(super) async fn logout(
    State(rest): State<Shared>,
    caller: Option<Auth>,
    identity: axum::Extension<Identity>,
    OptionalJson(request): OptionalJson<LogoutRequest>,
) -> Answer<Said> {
    let token = request.and_then(|request| request.refresh_token);
    if token.as_deref() == Some("") {
        return Err(Error::invalid("refresh_token", "must not be empty").into());
    }
    let caller = caller.map(|Auth(caller)| caller);
    if caller.is_none() && token.is_none() {
        return Err(match identity.0 {
            Identity::Refused(error) => error,
            _ => Error::Unauthenticated(Unauthenticated::Missing).into(),
        });
    }
    rest.auth()?.logout(caller, token.as_deref()).await?;
    Ok(Reply::ok(Said { message: "Logged out" }))
}

/// The caller's devices, the newest login first.
#[utoipa::path(get, path = "/auth/devices", operation_id = "list_devices", tag = "auth", responses((status = 200, description = "The devices", body = Envelope<Vec<DeviceView>>)))]
pub(super) async fn devices(State(rest): State<Shared>, Auth(caller): Auth) -> Answer<Vec<DeviceView>> {
    Ok(Reply::ok(rest.auth()?.devices(&caller).await?))
}

/// Logs one of the caller's devices out; its tokens and sockets die at once.
#[utoipa::path(delete, path = "/auth/devices/{id}", tag = "auth", params(("id" = DeviceId, Path, description = "The device")),
    responses((status = 204, description = "Logged out"), (status = 404, description = "DEVICE_NOT_FOUND")))]
pub(super) async fn remove_device(State(rest): State<Shared>, Auth(caller): Auth, Path(id): Path<DeviceId>) -> Done {
    rest.auth()?.remove_device(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_is_guessed_from_the_user_agent() {
        let of = |agent: &'static str| platform_of(&HeaderMap::from_iter([(header::USER_AGENT, axum::http::HeaderValue::from_static(agent))]));
        assert_eq!(of("Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36"), Some("web"));
        assert_eq!(of("okhttp/4.12.0"), Some("android"));
        assert_eq!(of("Chat/1.2 CFNetwork/1494 Darwin/23.4.0"), Some("ios"));
        assert_eq!(of("curl/8.5.0"), None);
        assert_eq!(platform_of(&HeaderMap::new()), None);
    }
}
