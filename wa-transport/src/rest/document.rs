//! The OpenAPI document: what the route table yields, and what holds for every route: the envelope of errors, the
//! security scheme, and the statuses that follow from what a route takes.

use bytes::Bytes;
use utoipa::PartialSchema as _;
use utoipa::ToSchema as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Header, HeaderBuilder, License, OpenApi, Ref, RefOr, Response, ResponseBuilder, Server};

use super::envelope::ErrorEnvelope;
use super::{BASE_PATH, RestOptions};

/// What the whole document says and what every operation may answer.
pub(super) fn complete(options: &RestOptions, mut document: OpenApi) -> OpenApi {
    document.info.title.clone_from(&options.server_name);
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.description = Some(ABOUT.to_owned());
    document.info.license = Some(license());
    document.servers = options.public_url.as_ref().map(|url| vec![Server::new(url.clone())]);
    document.security = Some(vec![SecurityRequirement::new("bearer", [] as [&str; 0])]);
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer()));
    let mut schemas = vec![(ErrorEnvelope::name().into_owned(), ErrorEnvelope::schema())];
    ErrorEnvelope::schemas(&mut schemas);
    components.schemas.extend(schemas);
    for (path, item) in &mut document.paths.paths {
        if path.starts_with(BASE_PATH) {
            operations(item).for_each(|operation| add_common_answers(path, operation));
        }
    }
    document
}

const ABOUT: &str = "Every answer below /api/v1 is an envelope: `success`, `data`, `error`, `meta`. Ids are UUIDs, times RFC 3339 in UTC with \
    milliseconds. Unknown keys in requests are ignored. `X-Request-Id` (1 to 128 of A-Z a-z 0-9 . _ -) is echoed; without one, one is made.";

/// As text that is served again and again.
pub(super) fn to_json(document: &OpenApi) -> Bytes {
    document.to_json().map(Bytes::from).unwrap_or_default()
}

fn license() -> License {
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    license
}

fn bearer() -> Http {
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.bearer_format = Some("JWT".to_owned());
    scheme.description = Some("The access token of a login".to_owned());
    scheme
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().filter_map(Option::as_mut)
}

/// Adds the statuses that follow from the shape of an operation, and the error schema to every status from 400 on.
fn add_common_answers(path: &str, operation: &mut Operation) {
    let has_body = operation.request_body.is_some();
    let has_parameters = operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) || path.contains('{');
    let mut common = vec![("429", "RATE_LIMITED"), ("500", "INTERNAL"), ("503", "UNAVAILABLE")];
    if has_body || has_parameters {
        common.push(("400", "BAD_REQUEST: a body that is no JSON object, or a bad id in the path or query"));
    }
    if has_body {
        common.push(("413", "PAYLOAD_TOO_LARGE"));
        common.push(("422", "VALIDATION_ERROR: `details` names the fields"));
    }
    // Operations that do not say otherwise need a token.
    if operation.security.is_none() {
        common.push(("401", "UNAUTHORIZED, TOKEN_EXPIRED, TOKEN_INVALID"));
    }
    if path.ends_with("/auth/verify-otp") {
        common.retain(|(status, _)| *status != "429");
        common.push(("429", "RATE_LIMITED, OTP_MAX_ATTEMPTS"));
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in common {
        match responses.get_mut(status) {
            Some(RefOr::T(response)) => {
                if !response.description.contains(description) && status == "400" {
                    response.description = format!("{}; {description}", response.description);
                }
            }
            Some(RefOr::Ref(_)) => {}
            None => {
                responses.insert(status.to_owned(), RefOr::T(ResponseBuilder::new().description(description).build()));
            }
        }
    }
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        add_headers(status, response);
        if status.as_str() >= "400" {
            let error = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorEnvelope::name()))).build();
            response.content.insert("application/json".to_owned(), error.into());
        }
    }
}

fn add_headers(status: &str, response: &mut Response) {
    response.headers.insert("X-Request-Id".to_owned(), header::<String>("The request's id").into());
    if matches!(status, "429" | "503") {
        response.headers.insert("Retry-After".to_owned(), header::<u64>("Whole seconds to wait").into());
    }
}

fn header<T: utoipa::PartialSchema>(description: &str) -> Header {
    HeaderBuilder::new().schema(Some(T::schema())).description(Some(description)).build()
}
