//! One REST call: envelope, errors, bounded repetition, and the exchange of tokens that have expired.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, RETRY_AFTER};
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::form_urlencoded;
use wa_core::api::LoggedIn;
use wa_core::error::FieldError;

use super::backoff::Backoff;
use super::error::{ApiError, ClientError};
use super::tokens::Tokens;
use super::{Client, Retry};

/// No answer of this protocol is larger.
const MAX_ANSWER: usize = 64 << 20;

/// A request to be made.
#[derive(Debug)]
pub(super) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<String>,
    authorized: bool,
    repeatable: bool,
    idempotency_key: Option<String>,
}

impl Call {
    /// A request that changes the same thing however often it is made.
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), body: None, authorized: true, repeatable: true, idempotency_key: None }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// Adds a query parameter, if there is a value.
    pub(super) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Sends a JSON body; keys whose value is null are left out.
    pub(super) fn json(mut self, body: impl Serialize) -> Result<Self, ClientError> {
        let mut body = serde_json::to_value(body).map_err(|e| ClientError::Invalid(e.to_string()))?;
        if let Some(object) = body.as_object_mut() {
            object.retain(|_, value| !value.is_null());
        }
        self.body = Some(body.to_string());
        Ok(self)
    }

    /// Sends no token.
    pub(super) const fn public(mut self) -> Self {
        self.authorized = false;
        self
    }

    /// Is not repeated once it may have reached the server.
    pub(super) const fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }

    pub(super) fn idempotency_key(mut self, key: &str) -> Self {
        self.idempotency_key = Some(key.to_owned());
        self
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<WireError>,
    #[serde(default)]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct WireError {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<FieldError>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    request_id: Option<String>,
}

impl Client {
    /// Makes a call and reads the `data` of its answer.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let body = self.answer(&call).await?;
        data_of(&body).map_err(|error| match error {
            ClientError::Protocol(why) => ClientError::Protocol(format!("{} {}: {why}", call.method, call.path)),
            error => error,
        })
    }

    /// Makes a call of whose answer only the success matters.
    pub(super) async fn act(&self, call: Call) -> Result<(), ClientError> {
        self.answer(&call).await.map(drop)
    }

    /// The body of a successful answer.
    async fn answer(&self, call: &Call) -> Result<Vec<u8>, ClientError> {
        let Retry { attempts, first_wait, max_wait } = self.inner.retry;
        let mut backoff = Backoff::new(first_wait, max_wait);
        let mut renewed = false;
        loop {
            let token = if call.authorized { Some(self.inner.tokens.current().await?.access_token) } else { None };
            let (error, unsent) = match self.attempt(call, token.as_deref()).await {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            if error.code() == Some("TOKEN_EXPIRED")
                && !renewed
                && let Some(token) = token
            {
                self.renew(&token).await?;
                renewed = true;
                continue;
            }
            let may_repeat = unsent || (call.repeatable && error.is_unavailable());
            if !may_repeat || backoff.attempts() + 1 >= attempts {
                return Err(error);
            }
            let wait = backoff.next_wait().max(error.retry_after().unwrap_or_default()).min(max_wait);
            tracing::debug!(method = %call.method, path = call.path, attempt = backoff.attempts(), "repeating a call");
            tokio::time::sleep(wait).await;
        }
    }

    /// One attempt. An error comes with whether the request certainly did not reach the server.
    async fn attempt(&self, call: &Call, token: Option<&str>) -> Result<Vec<u8>, (ClientError, bool)> {
        let mut url = format!("{}/api/v1{}", self.inner.base, call.path);
        if !call.query.is_empty() {
            url.push('?');
            url.push_str(&form_urlencoded::Serializer::new(String::new()).extend_pairs(&call.query).finish());
        }
        let mut request = self.inner.http.request(call.method.clone(), url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = &call.body {
            request = request.header("Content-Type", "application/json").body(body.clone());
        }
        let response = request.send().await.map_err(|e| {
            let unsent = e.is_connect();
            (ClientError::transport(e), unsent)
        })?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = read_body(response).await.map_err(|e| (e, false))?;
        if status.is_success() { Ok(body) } else { Err((refusal(status.as_u16(), retry_after, &body), false)) }
    }

    /// Exchanges tokens of which the server refused the access token, unless that was done in the meantime.
    ///
    /// # Errors
    /// [`ClientError::SessionEnded`] if there is nothing to exchange or the server refuses.
    pub(super) async fn renew(&self, refused: &str) -> Result<(), ClientError> {
        let keeper = &self.inner.tokens;
        let _one_at_a_time = keeper.exchanging.lock().await;
        if keeper.peek().is_some_and(|tokens| tokens.access_token != refused) {
            return Ok(());
        }
        let _no_other_process = keeper.lock_store().await?;
        let tokens = match keeper.stored().await? {
            Some(stored) if stored.access_token != refused => {
                keeper.adopt(stored);
                return Ok(());
            }
            Some(stored) => stored,
            None => return Err(ClientError::NotLoggedIn),
        };
        let Some(refresh_token) = &tokens.refresh_token else {
            return Err(ClientError::SessionEnded);
        };
        let call = Call::post("/auth/refresh").public().idempotency_key(&tokens.refresh_key).json(serde_json::json!({"refresh_token": refresh_token}))?;
        // Boxed because it leads back to `answer`, which leads here.
        let login: LoggedIn = match Box::pin(self.call(call)).await {
            Ok(login) => login,
            Err(error) if error.api().is_some_and(|e| e.status == 401) => return Err(ClientError::SessionEnded),
            Err(error) => return Err(error),
        };
        keeper.replace(Tokens::from(&login)).await
    }
}

/// The `data` of an answer.
pub(super) fn data_of<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    let envelope: Envelope<'_> = parse(body)?;
    serde_json::from_str(envelope.data.map_or("null", RawValue::get)).map_err(|e| ClientError::Protocol(e.to_string()))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ClientError> {
    // An answer without a body (204) reads as an envelope of nothing.
    serde_json::from_slice(if body.is_empty() { b"{}" } else { body }).map_err(|e| ClientError::Protocol(e.to_string()))
}

pub(super) fn refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> ClientError {
    let envelope: Option<Envelope<'_>> = serde_json::from_slice(body).ok();
    let request_id = envelope.as_ref().and_then(|e| e.meta.as_ref()?.request_id.clone());
    match envelope.and_then(|e| e.error) {
        Some(WireError { code, message, details }) => ClientError::Api(Box::new(ApiError { status, code, message, details, retry_after, request_id })),
        // A proxy in front of the server speaks for it when it is down.
        None if matches!(status, 502..=504) => ClientError::Api(Box::new(ApiError {
            status,
            code: "UNAVAILABLE".to_owned(),
            message: "The service is temporarily unavailable".to_owned(),
            details: Vec::new(),
            retry_after,
            request_id,
        })),
        None => ClientError::Protocol(format!("HTTP status {status} without an error object")),
    }
}

pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(ClientError::transport)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(ClientError::Protocol(format!("an answer of more than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
