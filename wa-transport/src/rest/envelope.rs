//! The envelope of contract section 2 and the only place that writes it. Handlers answer with a [`Reply`] or an
//! `ApiError`, which travel as a note in the response; [`render`] turns the note into a body once the request id is known.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use wa_core::error::FieldError;
use wa_core::time::Timestamp;

use super::error::ApiError;

/// About the answer itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Meta {
    /// The request's id, as in `X-Request-Id`.
    #[schema(value_type = String)]
    pub(super) request_id: Arc<str>,
    /// When it was answered.
    pub(super) timestamp: Timestamp,
}

/// A successful answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Envelope<T> {
    /// Always true.
    success: bool,
    /// The answer.
    data: T,
    /// Always null.
    #[schema(schema_with = null)]
    error: Option<ErrorBody>,
    /// About the answer itself.
    meta: Meta,
}

/// An answer that tells what went wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorEnvelope {
    /// Always false.
    success: bool,
    /// Always null.
    #[schema(schema_with = null)]
    data: Option<()>,
    /// What went wrong.
    error: ErrorBody,
    /// About the answer itself.
    meta: Meta,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// The stable code.
    #[schema(example = "VALIDATION_ERROR")]
    code: &'static str,
    /// A sentence for people.
    message: String,
    /// The invalid fields; empty for every code but VALIDATION_ERROR.
    details: Vec<FieldError>,
}

fn null() -> utoipa::openapi::schema::Object {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null)).build()
}

/// What a handler answers with.
pub(super) struct Reply<T> {
    status: StatusCode,
    data: T,
}

impl<T> Reply<T> {
    /// 200.
    pub(super) const fn ok(data: T) -> Self {
        Self { status: StatusCode::OK, data }
    }

    /// 201 for what is new, 200 for what was there.
    pub(super) const fn created(is_new: bool, data: T) -> Self {
        Self { status: if is_new { StatusCode::CREATED } else { StatusCode::OK }, data }
    }
}

/// What a handler with a body returns.
pub(super) type Answer<T> = Result<Reply<T>, ApiError>;

/// What a handler without a body returns.
pub(super) type Done = Result<StatusCode, ApiError>;

/// What [`render`] is to write.
#[derive(Clone)]
pub(super) enum Note {
    Success(Arc<dyn Fn(Meta) -> serde_json::Result<Vec<u8>> + Send + Sync>),
    Failure(ApiError),
}

impl<T: Serialize + Send + Sync + 'static> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let data = self.data;
        let write = move |meta| serde_json::to_vec(&Envelope { success: true, data: &data, error: None, meta });
        let mut response = self.status.into_response();
        response.extensions_mut().insert(Note::Success(Arc::new(write)));
        response
    }
}

/// The response with something done to the data of its success.
pub(super) fn also(mut response: Response, change: fn(&mut serde_json::Value)) -> Response {
    if let Some(Note::Success(write)) = response.extensions_mut().get_mut::<Note>() {
        let canonical = Arc::clone(write);
        *write = Arc::new(move |meta| {
            let mut body: serde_json::Value = serde_json::from_slice(&canonical(meta)?)?;
            if let Some(data) = body.get_mut("data") {
                change(data);
            }
            serde_json::to_vec(&body)
        });
    }
    response
}

/// Writes the body a response carries a note of; others pass unchanged.
pub(super) fn render(mut response: Response, meta: &Meta) -> Response {
    let body = match response.extensions_mut().remove::<Note>() {
        None => return response,
        Some(Note::Failure(error)) => {
            error.log();
            serde_json::to_vec(&failure(&error, meta))
        }
        Some(Note::Success(write)) => write(meta.clone()).or_else(|cause| {
            let error = ApiError::from(wa_core::Error::internal(cause));
            error.log();
            *response.status_mut() = error.status();
            serde_json::to_vec(&failure(&error, meta))
        }),
    };
    // Tokens and other people's words are nothing for caches.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(body.unwrap_or_default());
    response
}

fn failure(error: &ApiError, meta: &Meta) -> ErrorEnvelope {
    let body = ErrorBody { code: error.code(), message: error.message(), details: error.details().to_vec() };
    ErrorEnvelope { success: false, data: None, error: body, meta: meta.clone() }
}
