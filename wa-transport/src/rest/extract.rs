//! What handlers take from a request, with the contract's statuses: a body that is no JSON object is 400, a missing or
//! mistyped field of it 422 with its path, a bad id in a path or query 400, too large a body 413.
//! The `Content-Type` of a JSON body is not asked for: some clients leave it out.

use std::convert::Infallible;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use wa_core::error::{Error, FieldError, TooLarge, Unauthenticated};
use wa_core::session::Caller;

use super::Shared;
use super::error::ApiError;

/// Who asks, as `middleware::admit` found out and noted in the request.
#[derive(Debug, Clone)]
pub(super) enum Identity {
    /// No token.
    Anonymous,
    /// A valid token.
    Known(Caller),
    /// A token that could not be accepted, and why.
    Refused(ApiError),
}

/// The caller of a route that needs one. As an `Option`, `None` for callers without a valid token.
pub(super) struct Auth(pub(super) Caller);

impl FromRequestParts<Shared> for Auth {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        match parts.extensions.get::<Identity>() {
            Some(Identity::Known(caller)) => Ok(Self(*caller)),
            Some(Identity::Refused(error)) => Err(error.clone()),
            Some(Identity::Anonymous) | None => Err(Error::Unauthenticated(Unauthenticated::Missing).into()),
        }
    }
}

impl OptionalFromRequestParts<Shared> for Auth {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Option<Self>, Infallible> {
        Ok(match parts.extensions.get::<Identity>() {
            Some(Identity::Known(caller)) => Some(Self(*caller)),
            _ => None,
        })
    }
}

/// The token of an `Authorization` header. Another scheme counts as no token (contract, section 10).
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at(value.iter().position(|byte| *byte == b' ')?);
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()).then_some(token)
}

/// A JSON object read as `T`.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, rest: &Shared) -> Result<Self, ApiError> {
        let body = read_body(request, rest.backend.limits.json_body).await?;
        parse_json(&body).map(Self).map_err(ApiError::from)
    }
}

/// A JSON object read as `T`, or no body at all.
pub(super) struct OptionalJson<T>(pub(super) Option<T>);

impl<T: DeserializeOwned> FromRequest<Shared> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, rest: &Shared) -> Result<Self, ApiError> {
        let body = read_body(request, rest.backend.limits.json_body).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(None));
        }
        parse_json(&body).map(|value| Self(Some(value))).map_err(ApiError::from)
    }
}

/// How many times the limit of a body is still read, and thrown away, so that the client gets to see the 413: a server
/// that answers and closes while data is under way makes the client's stack drop the answer.
const DRAINED: usize = 8;

pub(super) async fn read_body(request: Request, limit: usize) -> Result<BytesMut, Error> {
    let mut body = request.into_body();
    let mut read = BytesMut::new();
    let mut length = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::BadRequest("The request body could not be read".to_owned()))?;
        let Some(data) = frame.data_ref() else { continue };
        length = length.saturating_add(data.len());
        if length <= limit {
            read.extend_from_slice(data);
        } else if length > limit.saturating_mul(DRAINED) {
            break;
        }
    }
    if length > limit { Err(Error::TooLarge(TooLarge::Payload)) } else { Ok(read) }
}

fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        // Only the place is told: the error's own text may quote the body, and this text may be logged by a proxy.
        Error::BadRequest(format!("The body is not valid JSON (line {}, column {})", error.line(), error.column()))
    })?;
    if !value.is_object() {
        return Err(Error::BadRequest("The body must be a JSON object".to_owned()));
    }
    read_as(value)
}

/// Reads a JSON object, naming the field that is missing or mistyped.
pub(super) fn read_as<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(|error| Error::Validation(vec![field_error(&error)]))
}

/// Turns serde's words into the field's path and a rule.
fn field_error(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    let path = match error.path().to_string() {
        root if root == "." => String::new(),
        path => path.trim_end_matches(".?").to_owned(),
    };
    let text = error.inner().to_string();
    if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        return FieldError { field, message: "is required".to_owned() };
    }
    let message = match text.rsplit_once(", expected ") {
        Some((_, "i64" | "u64" | "i32" | "u32")) => "must be a whole number".to_owned(),
        Some((_, "a map")) => "must be an object".to_owned(),
        Some((_, "a sequence")) => "must be a list".to_owned(),
        Some((_, expected)) => format!("must be {}", expected.replace('`', "")),
        None => text.strip_prefix("not ").map_or_else(|| text.clone(), |what| format!("must be {what}")),
    };
    FieldError { field: path, message }
}

/// An id in the path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, rest: &Shared) -> Result<Self, ApiError> {
        let path: Result<_, PathRejection> = <axum::extract::Path<T> as FromRequestParts<Shared>>::from_request_parts(parts, rest).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|_| Error::BadRequest("The id in the path must be a UUID".to_owned()).into())
    }
}

/// The parameters of the query. An empty parameter counts as absent.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, rest: &Shared) -> Result<Self, ApiError> {
        let query: Result<_, QueryRejection> = <axum::extract::Query<T> as FromRequestParts<Shared>>::from_request_parts(parts, rest).await;
        query.map(|axum::extract::Query(value)| Self(value)).map_err(|rejection| {
            // axum's text repeats what was sent; the innermost cause names the parameter and the rule.
            let cause = std::error::Error::source(&rejection).map_or_else(String::new, |cause| format!(": {cause}"));
            Error::BadRequest(format!("The query could not be read{cause}")).into()
        })
    }
}

/// Reads a query parameter whose empty value counts as absent.
pub(super) fn filled<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    match String::deserialize(deserializer)? {
        text if text.is_empty() => Ok(None),
        text => T::deserialize(IntoDeserializer::<serde::de::value::Error>::into_deserializer(text)).map(Some).map_err(D::Error::custom),
    }
}

/// Reads a whole number in a query parameter; those too large for the machine are held at its ends, where every limit
/// clamps them anyway.
pub(super) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.strip_prefix('-').unwrap_or(&text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(D::Error::custom("must be a whole number"));
    }
    Ok(Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX })))
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=128).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Error::BadRequest("Idempotency-Key must have 1 to 128 visible characters".to_owned())),
    }
}
