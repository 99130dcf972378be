//! The routes of contract section 1.6. They have no envelope, need no token and are not rate limited.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_swagger_ui::Config;

use super::Shared;
use super::error::{ApiError, no_such_route};

/// That the process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// Always "alive".
    #[schema(example = "alive")]
    status: &'static str,
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/health", tag = "system", security(()), responses((status = 200, description = "It does", body = Health)))]
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// Each dependency with "ok" or what is wrong with it.
#[derive(Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(super) struct Ready {
    status: BTreeMap<String, String>,
}

/// Whether the server can do its work now.
#[utoipa::path(get, path = "/ready", tag = "system", security(()), responses(
    (status = 200, description = "It can", body = Ready),
    (status = 503, description = "It cannot: a dependency does not work, or it shuts down", body = Ready),
))]
pub(super) async fn ready(State(rest): State<Shared>) -> (StatusCode, Json<Ready>) {
    // Half of what a request may take, so that a hanging dependency is reported here and not as a timeout.
    let status = match tokio::time::timeout(rest.backend.limits.request_timeout / 2, rest.readiness.check()).await {
        Ok(status) => status,
        Err(_) => BTreeMap::from([("check".to_owned(), Err("timed out".to_owned()))]),
    };
    let code = if status.values().all(Result::is_ok) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let status = status.into_iter().map(|(name, state)| (name, state.err().unwrap_or_else(|| "ok".to_owned()))).collect();
    (code, Json(Ready { status }))
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "system", security(()), responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(rest): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], rest.backend.metrics.render())
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "system", security(()), responses((status = 200, description = "An OpenAPI 3.1 document", body = serde_json::Value)))]
pub(super) async fn openapi(State(rest): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], rest.document.clone())
}

/// The document's address is relative, so that the page also works below a host's own path. The online validator would
/// be asked over the network.
static PAGE: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from("../openapi.json").validator_url("none").display_request_duration(true)));

/// Scripts, styles and calls of this server only. The page styles itself inline.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
     connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// The reference page at `/docs`. Its files lie below `/docs/`, which its links are told.
pub(super) async fn docs() -> Result<Response, ApiError> {
    file("index.html", |html| html.replacen("<head>", "<head><base href=\"docs/\">", 1))
}

/// The same page at `/docs/`.
pub(super) async fn docs_index() -> Result<Response, ApiError> {
    file("index.html", |html| html)
}

/// A file of the page.
pub(super) async fn docs_file(Path(name): Path<String>) -> Result<Response, ApiError> {
    file(&name, |text| text)
}

fn file(name: &str, change: impl Fn(String) -> String) -> Result<Response, ApiError> {
    let file = match utoipa_swagger_ui::serve(name, Arc::clone(&PAGE)) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(no_such_route()),
        Err(error) => return Err(wa_core::Error::internal(error.to_string()).into()),
    };
    let is_page = name.ends_with(".html");
    let body = if is_page { Body::from(change(String::from_utf8_lossy(&file.bytes).into_owned())) } else { Body::from(file.bytes.into_owned()) };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&file.content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if file.gzpipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}
