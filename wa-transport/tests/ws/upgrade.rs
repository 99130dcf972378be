//! Who may connect (contract, section 3.1).

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use wa_core::error::{Error, Unauthenticated};
use wa_core::limits::Limits;

use crate::support::{World, soon};

/// Asks without a socket, for the answer's body.
async fn ask(world: &World, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Value, axum::http::HeaderMap) {
    let mut request = Request::get(path).body(Body::empty()).expect("a request");
    for (name, value) in headers {
        let name: axum::http::HeaderName = name.parse().expect("a name");
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let response = world.router.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status, serde_json::from_slice(&body).unwrap_or_default(), parts.headers)
}

const UPGRADE: [(&str, &str); 4] =
    [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13")];

#[tokio::test]
async fn no_token_is_401_before_the_upgrade() {
    let world = World::new().await;
    for path in ["/ws", "/ws?token=", "/ws?other=1:1"] {
        let (status, body, _) = ask(&world, path, &UPGRADE).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::UNAUTHORIZED, &"UNAUTHORIZED".into()), "{path}");
        assert_eq!((&body["success"], &body["data"]), (&false.into(), &Value::Null));
        assert!(body["meta"]["request_id"].is_string() && body["meta"]["timestamp"].is_string());
    }
    for authorization in ["Basic 1:1", "Bearer", "Bearer ", "1:1"] {
        assert_eq!(world.dial_with_header("authorization", authorization, "").await.err(), Some(401), "{authorization}");
    }
}

#[tokio::test]
async fn a_token_is_taken_from_the_header_or_the_query() {
    let world = World::new().await;
    assert!(world.dial_with_header("authorization", "bearer 1:1", "").await.is_ok());
    assert!(world.dial_with_header("x-other", "1", "?token=1:1").await.is_ok());
    assert!(world.dial_with_header("authorization", "Basic 1:1", "?token=1%3A1").await.is_ok());
}

#[tokio::test]
async fn a_bad_token_in_the_header_is_401_before_the_upgrade() {
    let world = World::new().await;
    for (token, code) in [("expired", "TOKEN_EXPIRED"), ("forged", "TOKEN_INVALID")] {
        let (status, body, _) = ask(&world, "/ws", &[("authorization", &format!("Bearer {token}"))]).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::UNAUTHORIZED, &code.into()));
        assert_eq!(world.dial_with_header("authorization", &format!("Bearer {token}"), "").await.err(), Some(401));
    }
}

#[tokio::test]
async fn a_bad_token_in_the_query_is_closed_after_the_upgrade() {
    let world = World::new().await;
    assert_eq!(world.dial("expired").await.closed().await, (4001, "TOKEN_EXPIRED".to_owned()));
    assert_eq!(world.dial("forged").await.closed().await, (4001, "TOKEN_INVALID".to_owned()));
}

#[tokio::test]
async fn a_session_store_that_is_down_is_503() {
    let world = World::new().await;
    let (status, body, headers) = ask(&world, "/ws?token=down", &UPGRADE).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &"UNAVAILABLE".into()));
    assert_eq!(headers["retry-after"], "1");
}

#[tokio::test]
async fn a_session_that_ended_during_the_upgrade_is_closed() {
    let world = World::new().await;
    let confirm = world.core.hold_confirm();
    let mut client = world.dial("1:1").await;
    confirm.send(Err(Error::Unauthenticated(Unauthenticated::Invalid))).expect("it is asked");
    assert_eq!(client.closed().await, (4001, "TOKEN_INVALID".to_owned()));
}

#[tokio::test]
async fn what_is_no_upgrade_is_told_so() {
    let world = World::new().await;
    let (status, body, _) = ask(&world, "/ws?token=1:1", &[]).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &"BAD_REQUEST".into()));
    let mut old = UPGRADE;
    old[3] = ("sec-websocket-version", "8");
    let (status, _, headers) = ask(&world, "/ws?token=1:1", &old).await;
    assert_eq!(status, StatusCode::UPGRADE_REQUIRED);
    assert_eq!(headers["sec-websocket-version"], "13");
    // 15 bytes, 17 bytes, and what is no base64.
    for key in ["", "c2hvcnQ=", "AAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA=", "dGhlIHNhbXBsZSBub25jZQ", "?!?!?!?!?!?!?!?!?!?!?!=="] {
        let mut wrong = UPGRADE;
        wrong[2] = ("sec-websocket-key", key);
        let (status, body, _) = ask(&world, "/ws?token=1:1", &wrong).await;
        assert_eq!((status, &body["error"]["code"]), (StatusCode::BAD_REQUEST, &"BAD_REQUEST".into()), "{key}");
    }
    // The example of RFC 6455, section 1.3.
    let (status, _, headers) = ask(&world, "/ws?token=1:1", &UPGRADE).await;
    assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let world = World::new().await;
    let request = Request::post("/ws?token=1:1").body(Body::empty()).expect("a request");
    let response = world.router.clone().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "GET");
    assert!(response.headers().contains_key("x-request-id"));
    assert!(world.metrics.render().contains(r#"http_requests_total{method="POST",path="/ws",status="405"} 1"#));
}

#[tokio::test]
async fn a_foreign_origin_is_refused_before_the_upgrade() {
    let world = World::with(Limits::default(), &["https://chat.example.org"]).await;
    let own = format!("http://{}", world.address);
    for allowed in ["https://chat.example.org", own.as_str()] {
        assert!(world.dial_with_header("origin", allowed, "?token=1:1").await.is_ok(), "{allowed}");
    }
    for refused in ["https://evil.example.org", "http://chat.example.org", "null"] {
        assert_eq!(world.dial_with_header("origin", refused, "?token=1:1").await.err(), Some(403), "{refused}");
    }
    let open = World::with(Limits::default(), &["*"]).await;
    assert!(open.dial_with_header("origin", "https://evil.example.org", "?token=1:1").await.is_ok());
}

#[tokio::test]
async fn one_socket_more_than_allowed_is_503() {
    let mut world = World::with(Limits { ws_connections: 2, ..Limits::default() }, &[]).await;
    let first = world.connect("1:1").await;
    let _second = world.connect("1:2").await;
    assert_eq!(world.dial_with_header("x-other", "1", "?token=1:3").await.err(), Some(503));
    assert_eq!(world.metrics.ws_connections().get(), 2);
    let mut first = first.ws;
    soon(futures_util::SinkExt::close(&mut first)).await.expect("closed");
    while soon(first.next()).await.is_some() {}
    // The place is free once the server's side is done, too.
    while world.hub.connections() == 2 {
        tokio::task::yield_now().await;
    }
    assert!(world.dial_with_header("x-other", "1", "?token=1:3").await.is_ok());
}
