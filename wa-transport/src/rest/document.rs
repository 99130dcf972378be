//! The OpenAPI document: what the route table yields, and what holds for every route: the envelope of errors, the
//! security scheme, the statuses that follow from what a route takes, and that documented keys are always present.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Header, HeaderBuilder, License, OpenApi, Ref, RefOr, Response, ResponseBuilder, Server};
use utoipa::{PartialSchema, ToSchema as _};

use super::envelope::ErrorEnvelope;
use super::{BASE_PATH, RestOptions};
use crate::metrics::Metrics;

const ABOUT: &str = "Every answer below /api/v1 is an envelope: `success`, `data`, `error`, `meta`. Ids are UUIDs, times RFC 3339 in UTC with \
    milliseconds. Unknown keys in requests are ignored. `X-Request-Id` (1 to 128 of A-Z a-z 0-9 . _ -) is echoed; without one, one is made.";

/// Adds to the routes' own words what the whole document says and what every operation may answer.
pub(super) fn complete(options: &RestOptions, mut document: OpenApi) -> Value {
    document.info.title.clone_from(&options.server_name);
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.description = Some(ABOUT.to_owned());
    document.info.license = Some(license());
    document.info.contact = None;
    document.servers = options.public_url.as_ref().map(|url| vec![Server::new(url.clone())]);
    document.security = Some(vec![SecurityRequirement::new("bearer", [] as [&str; 0])]);
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer()));
    let mut schemas = vec![(ErrorEnvelope::name().into_owned(), ErrorEnvelope::schema())];
    ErrorEnvelope::schemas(&mut schemas);
    components.schemas.extend(schemas);
    for (path, item) in &mut document.paths.paths {
        if path.starts_with(BASE_PATH) {
            operations(item).for_each(add_common_answers);
        }
    }
    let mut document = serde_json::to_value(&document).expect("a document of strings and numbers is always JSON");
    require_answered_keys(&mut document);
    document
}

/// Makes every route's metrics exist before its first request.
pub(super) fn announce_routes(document: &Value, metrics: &Metrics) {
    let Some(paths) = document["paths"].as_object() else { return };
    for (path, item) in paths {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let statuses = operation["responses"].as_object().into_iter().flat_map(Map::keys);
            for status in statuses.filter_map(|status| status.parse().ok()).filter(|status| (200..400).contains(status)) {
                metrics.http_route(&method.to_ascii_uppercase(), path, status);
            }
        }
    }
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
fn add_common_answers(operation: &mut Operation) {
    const UNREADABLE: &str = "BAD_REQUEST: a body that is no JSON object, or a bad id in the path or query";
    let has_body = operation.request_body.is_some();
    let has_parameters = operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty());
    let mut common = vec![("500", "INTERNAL"), ("503", "UNAVAILABLE"), ("429", "RATE_LIMITED")];
    if has_body || has_parameters {
        common.push(("400", UNREADABLE));
    }
    if has_body {
        common.push(("413", "PAYLOAD_TOO_LARGE"));
        common.push(("422", "VALIDATION_ERROR: `details` names the fields"));
    }
    // Operations that do not say otherwise need a token.
    if operation.security.is_none() {
        common.push(("401", "UNAUTHORIZED, TOKEN_EXPIRED, TOKEN_INVALID"));
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in common {
        let own = responses.get_mut(status);
        if own.is_none() {
            responses.insert(status.to_owned(), RefOr::T(ResponseBuilder::new().description(description).build()));
        } else if let (Some(RefOr::T(response)), "400" | "429") = (own, status) {
            // These an operation has beside its own.
            response.description = format!("{}; {description}", response.description);
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

fn header<T: PartialSchema>(description: &str) -> Header {
    HeaderBuilder::new().schema(Some(T::schema())).description(Some(description)).build()
}

/// In answers every documented key is present, null where nothing is known (contract, section 10). The schemas know
/// optional values only as optional keys, as they are in requests, so that the answers' are corrected here.
fn require_answered_keys(document: &mut Value) {
    let mut answered = BTreeSet::new();
    let mut waiting = Vec::new();
    for operation in document["paths"].as_object().into_iter().flat_map(Map::values).flat_map(|item| item.as_object().into_iter().flat_map(Map::values)) {
        references(&operation["responses"], &mut waiting);
    }
    while let Some(name) = waiting.pop() {
        if answered.insert(name.clone()) {
            references(&document["components"]["schemas"][&name], &mut waiting);
        }
    }
    for name in answered {
        require_keys(&mut document["components"]["schemas"][&name]);
    }
}

/// The names of all schemas that a part of the document refers to.
fn references(part: &Value, names: &mut Vec<String>) {
    match part {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/components/schemas/")) {
                names.push(name.to_owned());
            }
            map.values().for_each(|value| references(value, names));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, names)),
        _ => {}
    }
}

/// The one key that is absent from answers unless a development setting asks for it.
const ONLY_IN_DEVELOPMENT: &str = "otp";

fn require_keys(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                let keys = properties.keys().filter(|key| *key != ONLY_IN_DEVELOPMENT).cloned().map(Value::String).collect();
                map.insert("required".to_owned(), Value::Array(keys));
            }
            map.values_mut().for_each(require_keys);
        }
        Value::Array(list) => list.iter_mut().for_each(require_keys),
        _ => {}
    }
}
