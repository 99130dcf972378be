//! Firebase Cloud Messaging, HTTP v1: data messages of high priority, with an access token that a service account's signed
//! claim is exchanged for (RFC 7523).

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;
use wa_core::ports::{Env, PushOutcome};
use wa_core::push::{DeviceToken, Notice, Platform, TTL};

use super::address::{Place, place};
use super::breaker::Breaker;
use super::http::{NoTls, Reach, beginning, client, retry_after};
use super::jwt;

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Where Google gives access tokens, unless the credentials say otherwise.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// How long a claim holds, in seconds.
const CLAIM: i64 = 3600;

/// How long before its end an access token is renewed.
const EARLY: Duration = Duration::from_secs(60);

/// How long a push waits at least whose provider waits for the operator.
const MENDING: Duration = Duration::from_secs(60);

/// What the breaker calls the place.
const SENDING: &str = "fcm";

/// The credentials cannot be used. What is secret of them is not in it.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCredentials {
    /// They are no service account.
    #[error("is not the JSON of a Google service account: {0}")]
    Form(String),
    /// The key is none.
    #[error("has a private_key that is no RSA key in PEM of 2048 bits or more")]
    Key,
    /// Access tokens would be asked for in the open.
    #[error("has a token_uri that is neither https nor on this machine")]
    TokenUri,
}

/// A service account, and where its pushes go.
pub struct FcmConfig {
    project: String,
    email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    token_uri: Url,
    endpoint: Url,
}

impl std::fmt::Debug for FcmConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FcmConfig").field("project", &self.project).finish_non_exhaustive()
    }
}

impl FcmConfig {
    /// Reads the service account's JSON. `endpoint` is FCM's base URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(json: &str, endpoint: Url) -> Result<Self, InvalidCredentials> {
        #[derive(Deserialize)]
        struct Account {
            project_id: String,
            client_email: String,
            private_key: String,
            private_key_id: Option<String>,
            token_uri: Option<String>,
        }
        // The parser tells of names and places, not of values but for one case, in which it would quote a text.
        let account: Account =
            serde_json::from_str(json).map_err(|error| InvalidCredentials::Form(format!("line {}, column {}", error.line(), error.column())))?;
        let key = match PrivateKeyDer::from_pem_slice(account.private_key.as_bytes()).map_err(|_| InvalidCredentials::Key)? {
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err(InvalidCredentials::Key),
        };
        let token_uri = Url::parse(account.token_uri.as_deref().unwrap_or(TOKEN_URI)).map_err(|_| InvalidCredentials::TokenUri)?;
        if token_uri.scheme() != "https" && place(&token_uri) != Some(Place::Loopback) {
            return Err(InvalidCredentials::TokenUri);
        }
        if account.project_id.is_empty() || !account.project_id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.' | '_')) {
            return Err(InvalidCredentials::Form("project_id is none".to_owned()));
        }
        let key = key.map_err(|_| InvalidCredentials::Key)?;
        Ok(Self { project: account.project_id, email: account.client_email, key_id: account.private_key_id, key, token_uri, endpoint })
    }
}

/// An access token and until when it is used.
struct Access {
    token: Arc<str>,
    until: Instant,
}

/// Sends to phones.
pub(super) struct FcmSender {
    sending: reqwest::Client,
    asking: reqwest::Client,
    url: String,
    config: FcmConfig,
    /// Held while a new one is asked for, so that it is asked for once.
    access: Mutex<Asked>,
    breaker: Breaker,
    env: Arc<dyn Env>,
}

/// Why no access token was had.
#[derive(Clone, Copy)]
struct NoAccess {
    retry_after: Option<Duration>,
}

/// What came of asking for access tokens.
#[derive(Default)]
struct Asked {
    access: Option<Access>,
    /// When none was had the last time.
    failed: Option<(Instant, NoAccess)>,
}

fn reach(url: &Url) -> Reach {
    if place(url) == Some(Place::Loopback) { Reach::Loopback } else { Reach::Configured }
}

impl FcmSender {
    pub(super) fn new(config: FcmConfig, env: Arc<dyn Env>) -> Result<Self, NoTls> {
        let url = format!("{}/v1/projects/{}/messages:send", config.endpoint.as_str().trim_end_matches('/'), config.project);
        let (sending, asking) = (client(reach(&config.endpoint))?, client(reach(&config.token_uri))?);
        Ok(Self { sending, asking, url, config, access: Mutex::default(), breaker: Breaker::default(), env })
    }

    pub(super) async fn send(&self, to: &DeviceToken, notice: &Notice) -> PushOutcome {
        if let Err(wait) = self.breaker.ask(SENDING) {
            return PushOutcome::Resting { wait };
        }
        let outcome = self.try_send(to, notice).await;
        match outcome {
            // Being told to wait is an answer as well; only a provider that does not serve anybody rests.
            PushOutcome::Failed { retry_after: None } => self.breaker.failed(SENDING),
            _ => self.breaker.answered(SENDING),
        }
        outcome
    }

    async fn try_send(&self, to: &DeviceToken, notice: &Notice) -> PushOutcome {
        let body = message(to, notice);
        // An access token may be taken back before its end: then a new one is asked for, once.
        for is_last in [false, true] {
            let access = match self.access().await {
                Ok(access) => access,
                Err(NoAccess { retry_after }) => return PushOutcome::Failed { retry_after },
            };
            match self.sending.post(&self.url).bearer_auth(&access).json(&body).send().await {
                Ok(response) => match outcome(response).await {
                    Answer::Outcome(outcome) => return outcome,
                    Answer::Unauthorized => {
                        self.forget(&access).await;
                        if is_last {
                            tracing::warn!("FCM does not accept the credentials of push.fcm_credentials; pushes wait");
                        }
                    }
                },
                Err(error) => {
                    tracing::warn!(error = %error.without_url(), "FCM could not be reached");
                    return PushOutcome::Failed { retry_after: None };
                }
            }
        }
        PushOutcome::Failed { retry_after: None }
    }

    async fn access(&self) -> Result<Arc<str>, NoAccess> {
        let since = Instant::now();
        let mut asked = self.access.lock().await;
        if let Some(access) = asked.access.as_ref().filter(|access| Instant::now() < access.until) {
            return Ok(Arc::clone(&access.token));
        }
        // Those who waited while none was had do not ask one after the other, each for as long as that may take.
        if let Some((_, none)) = asked.failed.filter(|(at, _)| since <= *at) {
            return Err(none);
        }
        let answer = self.ask_for_access().await;
        asked.failed = answer.as_ref().err().map(|none| (Instant::now(), *none));
        let fresh = answer?;
        let token = Arc::clone(&fresh.token);
        asked.access = Some(fresh);
        Ok(token)
    }

    /// Unless another was had since.
    async fn forget(&self, token: &Arc<str>) {
        let mut asked = self.access.lock().await;
        asked.access.take_if(|access| access.token == *token);
    }

    async fn ask_for_access(&self) -> Result<Access, NoAccess> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
            #[serde(default)]
            expires_in: u64,
        }
        let none = |retry_after| NoAccess { retry_after };
        let assertion = self.assertion().map_err(|error| {
            tracing::error!(%error, "the claim for FCM could not be signed");
            none(None)
        })?;
        let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("grant_type", GRANT).append_pair("assertion", &assertion).finish();
        let request = self.asking.post(self.config.token_uri.clone()).header("content-type", "application/x-www-form-urlencoded").body(form);
        let response = request.send().await.map_err(|error| {
            tracing::warn!(error = %error.without_url(), "access tokens for FCM cannot be asked for");
            none(None)
        })?;
        let (status, asked) = (response.status(), retry_after(response.headers()));
        let body = beginning(response).await.unwrap_or_default();
        match serde_json::from_slice::<Granted>(&body) {
            Ok(granted) if status.is_success() && !granted.access_token.is_empty() && granted.access_token.is_ascii() => {
                let lifetime = Duration::from_secs(granted.expires_in.clamp(1, 24 * 3600));
                Ok(Access { token: granted.access_token.into(), until: Instant::now() + lifetime.saturating_sub(EARLY.min(lifetime / 2)) })
            }
            _ => {
                tracing::warn!(status = status.as_u16(), "no access token for FCM was given; check push.fcm_credentials if this goes on");
                Err(none(asked))
            }
        }
    }

    fn assertion(&self) -> Result<String, ring::error::Unspecified> {
        let config = &self.config;
        let now = self.env.now().as_secs();
        let header = match &config.key_id {
            Some(id) => json!({ "alg": "RS256", "typ": "JWT", "kid": id }),
            None => json!({ "alg": "RS256", "typ": "JWT" }),
        };
        let claims = json!({ "iss": config.email, "scope": SCOPE, "aud": config.token_uri.as_str(), "iat": now, "exp": now + CLAIM });
        jwt::compact(&header, &claims, |text| {
            let mut signature = vec![0; config.key.public().modulus_len()];
            config.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature)?;
            Ok(signature)
        })
    }
}

fn message(to: &DeviceToken, notice: &Notice) -> Value {
    let mut message = json!({
        "token": to.address.token,
        "data": notice.data(),
        "android": { "priority": "high", "ttl": format!("{}s", TTL.as_secs()) },
    });
    if to.platform == Platform::Ios {
        // Apple wakes an app for data alone at this priority only.
        message["apns"] = json!({
            "headers": { "apns-priority": "5", "apns-push-type": "background" },
            "payload": { "aps": { "content-available": 1 } },
        });
    }
    json!({ "message": message })
}

enum Answer {
    Outcome(PushOutcome),
    /// The access token is not accepted.
    Unauthorized,
}

/// https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
async fn outcome(response: reqwest::Response) -> Answer {
    let (status, asked) = (response.status(), retry_after(response.headers()));
    if status.is_success() {
        return Answer::Outcome(PushOutcome::Sent);
    }
    let body = beginning(response).await.unwrap_or_default();
    let error = serde_json::from_slice::<Value>(&body).unwrap_or_default()["error"].take();
    let has_code =
        |code: &str| error["status"] == code || error["details"].as_array().is_some_and(|details| details.iter().any(|detail| detail["errorCode"] == code));
    // A 404 without these is none of FCM's: whoever answers at a wrong push.fcm_endpoint knows nothing of tokens.
    if has_code("UNREGISTERED") || has_code("SENDER_ID_MISMATCH") || status == StatusCode::NOT_FOUND && error["status"] == "NOT_FOUND" {
        return Answer::Outcome(PushOutcome::Gone);
    }
    if status == StatusCode::BAD_REQUEST {
        let is_gone = has_code("INVALID_ARGUMENT") && is_about_token(&error);
        return Answer::Outcome(if is_gone { PushOutcome::Gone } else { refused(status, &error) });
    }
    if has_code("THIRD_PARTY_AUTH_ERROR") {
        tracing::error!("FCM cannot push to Apple's phones: the project's APNs key is missing or wrong, see the Firebase console");
        return Answer::Outcome(PushOutcome::Failed { retry_after: asked.or(Some(MENDING)) });
    }
    if status == StatusCode::UNAUTHORIZED {
        return Answer::Unauthorized;
    }
    tracing::warn!(status = status.as_u16(), code = error["status"].as_str().unwrap_or_default(), "FCM did not take a push");
    // A place that wants to be left alone says for how long; a minute, where it does not (the same page).
    let minute = (status == StatusCode::TOO_MANY_REQUESTS).then_some(Duration::from_secs(60));
    Answer::Outcome(PushOutcome::Failed { retry_after: asked.or(minute) })
}

/// An invalid argument is the token, unless it is said to be another.
fn is_about_token(error: &Value) -> bool {
    let fields: Vec<&str> = error["details"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|detail| detail["fieldViolations"].as_array().into_iter().flatten())
        .filter_map(|violation| violation["field"].as_str())
        .collect();
    let text = error["message"].as_str().unwrap_or_default();
    if fields.is_empty() { !text.contains("too big") } else { fields.contains(&"message.token") }
}

fn refused(status: StatusCode, error: &Value) -> PushOutcome {
    tracing::error!(status = status.as_u16(), code = error["status"].as_str().unwrap_or_default(), "FCM refused a push");
    PushOutcome::Refused
}
