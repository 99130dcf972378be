//! The edge of the REST protocol: what is no request, limits, CORS, ids of requests (contract, sections 2 and 10).

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wa_core::limits::RateLimit;
use wa_transport::rest::Origins;

use crate::support::{Answer, TestServer, http, soon};

#[tokio::test]
async fn unknown_routes_and_methods_are_enveloped() {
    let server = TestServer::start().await;
    for path in ["/api/v1/nope", "/api/v2/users/me", "/nope", "/api/v1/chats/x/y/z", "/api/v1/users/me/"] {
        Answer::of(http().get(server.url(path))).await.refused(404, "NOT_FOUND");
    }
    for (method, path) in [(Method::PUT, "/api/v1/auth/refresh"), (Method::GET, "/api/v1/sync"), (Method::POST, "/health"), (Method::DELETE, "/api/v1/chats")] {
        let answer = Answer::of(http().request(method, server.url(path))).await;
        assert!(answer.headers.contains_key("allow"), "{path}: {:?}", answer.headers);
        answer.refused(405, "METHOD_NOT_ALLOWED");
    }
}

/// Every route that needs a caller: method and path.
const GUARDED: &[(Method, &str)] = &[
    (Method::GET, "/auth/devices"),
    (Method::DELETE, "/auth/devices/{id}"),
    (Method::GET, "/users/me"),
    (Method::PATCH, "/users/me"),
    (Method::DELETE, "/users/me"),
    (Method::GET, "/users/{id}"),
    (Method::POST, "/users/contacts/sync"),
    (Method::GET, "/users/contacts"),
    (Method::POST, "/users/{id}/block"),
    (Method::DELETE, "/users/{id}/block"),
    (Method::GET, "/users/{id}/presence"),
    (Method::GET, "/users/me/privacy"),
    (Method::PUT, "/users/me/privacy"),
    (Method::POST, "/users/statuses"),
    (Method::GET, "/users/statuses"),
    (Method::GET, "/users/statuses/me"),
    (Method::DELETE, "/users/statuses/{id}"),
    (Method::POST, "/users/statuses/{id}/view"),
    (Method::PUT, "/users/me/fcm-token"),
    (Method::DELETE, "/users/me/fcm-token"),
    (Method::GET, "/push/vapid-key"),
    (Method::POST, "/chats"),
    (Method::PUT, "/users/me/avatar"),
    (Method::PUT, "/chats/{id}/avatar"),
    (Method::POST, "/media/upload"),
    (Method::GET, "/media/{id}"),
    (Method::GET, "/media/{id}/download"),
    (Method::GET, "/chats"),
    (Method::GET, "/chats/{id}"),
    (Method::PATCH, "/chats/{id}"),
    (Method::POST, "/chats/{id}/participants"),
    (Method::DELETE, "/chats/{id}/participants/{user_id}"),
    (Method::PATCH, "/chats/{id}/participants/{user_id}/role"),
    (Method::PUT, "/chats/{id}/disappearing"),
    (Method::POST, "/chats/{id}/invite"),
    (Method::DELETE, "/chats/{id}/invite"),
    (Method::POST, "/chats/join"),
    (Method::PATCH, "/chats/{id}/mute"),
    (Method::PUT, "/chats/{id}/pin"),
    (Method::GET, "/chats/{id}/messages"),
    (Method::POST, "/chats/{id}/messages"),
    (Method::PATCH, "/messages/{id}"),
    (Method::DELETE, "/messages/{id}"),
    (Method::POST, "/messages/{id}/forward"),
    (Method::POST, "/messages/{id}/react"),
    (Method::DELETE, "/messages/{id}/react"),
    (Method::POST, "/messages/{id}/star"),
    (Method::DELETE, "/messages/{id}/star"),
    (Method::GET, "/messages/starred"),
    (Method::GET, "/messages/{id}/receipts"),
    (Method::POST, "/chats/{id}/messages/read"),
    (Method::GET, "/chats/{id}/messages/search"),
    (Method::GET, "/messages/search"),
    (Method::POST, "/sync"),
    (Method::POST, "/auth/logout"),
];

#[tokio::test]
async fn every_guarded_route_wants_a_token_whatever_the_body() {
    let server = TestServer::start().await;
    let id = uuid::Uuid::new_v4().to_string();
    for (method, path) in GUARDED {
        let path = path.replace("{id}", &id).replace("{user_id}", &id);
        server.call(method.clone(), &path, None, None).await.refused(401, "UNAUTHORIZED");
        if path != "/auth/logout" {
            server.call(method.clone(), &path, None, Some(json!({ "garbage": true }))).await.refused(401, "UNAUTHORIZED");
        }
        server.call(method.clone(), &path, Some("nonsense"), None).await.refused(401, "TOKEN_INVALID");
    }
}

#[tokio::test]
async fn every_documented_operation_is_tested_for_its_token() {
    let server = TestServer::start().await;
    let document = Answer::of(http().get(server.url("/openapi.json"))).await.body;
    let public = ["/api/v1/auth/request-otp", "/api/v1/auth/verify-otp", "/api/v1/auth/refresh", "/api/v1/media/avatars/{id}"];
    let mut documented: Vec<String> = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/api/v1") || public.contains(&path.as_str()) {
            continue;
        }
        for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            documented.push(format!("{} {}", method.to_uppercase(), path.strip_prefix("/api/v1").unwrap()));
        }
    }
    let mut guarded: Vec<String> = GUARDED.iter().map(|(method, path)| format!("{method} {path}")).collect();
    documented.sort();
    guarded.sort();
    assert_eq!(documented, guarded);
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_told_apart() {
    let server = TestServer::start().await;
    let post = |body: Vec<u8>| Answer::of(http().post(server.url("/api/v1/auth/request-otp")).header("content-type", "application/json").body(body));
    for body in [b"".as_slice(), b"{", b"{\"phone\":}", b"nonsense", b"{\"phone\":\"\xff\xfe\"}", b"[1]", b"null", b"\"x\""] {
        post(body.to_vec()).await.refused(400, "BAD_REQUEST");
    }
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    post(nested.into_bytes()).await.refused(400, "BAD_REQUEST");
    let wrap = |size: usize| {
        let shell = r#"{"phone":"","x":""}"#.len();
        format!(r#"{{"phone":"","x":"{}"}}"#, "y".repeat(size - shell)).into_bytes()
    };
    post(wrap(1 << 20)).await.refused(422, "VALIDATION_ERROR");
    post(wrap((1 << 20) + 1)).await.refused(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn a_request_carries_its_id_if_it_is_sane() {
    let server = TestServer::start().await;
    let ask = |id: &str| Answer::of(http().get(server.url("/api/v1/users/me")).header("X-Request-Id", id));
    let kept = ask("my-id_1.2").await;
    assert_eq!((kept.headers["x-request-id"].to_str().unwrap(), &kept.body["meta"]["request_id"]), ("my-id_1.2", &json!("my-id_1.2")));
    for strange in ["with space", "a\"b", &"x".repeat(300)] {
        let made = ask(strange).await;
        assert_ne!(made.headers["x-request-id"].to_str().unwrap(), strange);
        assert_eq!(made.body["meta"]["request_id"], made.headers["x-request-id"].to_str().unwrap());
    }
}

#[tokio::test]
async fn cors_answers_listed_origins_and_no_others() {
    let server = TestServer::with(|config| config.server.cors_origins = Origins::parse(&["https://app.example.org"]).unwrap()).await;
    let preflight = |origin: &'static str| {
        let request = http().request(Method::OPTIONS, server.url("/api/v1/chats")).header("origin", origin).header("access-control-request-method", "POST");
        Answer::of(request.header("access-control-request-headers", "authorization,content-type,x-request-id,idempotency-key"))
    };
    let allowed = preflight("https://app.example.org").await;
    assert_eq!(allowed.headers["access-control-allow-origin"], "https://app.example.org");
    assert_eq!(allowed.headers["access-control-max-age"], "43200");
    let methods = allowed.headers["access-control-allow-methods"].to_str().unwrap();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert!(methods.contains(method), "{methods}");
    }
    assert!(!preflight("https://evil.example").await.headers.contains_key("access-control-allow-origin"));
    let plain = Answer::of(http().get(server.url("/api/v1/users/me")).header("origin", "https://app.example.org")).await;
    assert_eq!(plain.headers["access-control-expose-headers"].to_str().unwrap().to_ascii_lowercase(), "x-request-id");

    let open = TestServer::with(|config| config.server.cors_origins = Origins::parse(&["*"]).unwrap()).await;
    let any = Answer::of(http().get(open.url("/health")).header("origin", "https://anywhere.example")).await;
    assert_eq!(any.headers["access-control-allow-origin"], "*");
    assert!(!any.headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test]
async fn requests_are_limited_by_user_and_by_address() {
    let server = TestServer::with(|config| {
        config.limits.enabled = true;
        config.limits.api_ip = RateLimit::new(8, Duration::from_secs(3600));
        config.limits.api_user = RateLimit::new(4, Duration::from_secs(3600));
        config.limits.contacts_sync = RateLimit::new(1, Duration::from_secs(3600));
    })
    .await;
    let (alice, bob) = (server.somebody().await, server.somebody().await);
    alice.post("/users/contacts/sync", json!({ "phone_numbers": ["+15550100001"] })).await.ok(200);
    alice.post("/users/contacts/sync", json!({ "phone_numbers": ["+15550100001"] })).await.refused(429, "RATE_LIMITED");
    for _ in 0..2 {
        alice.get("/users/me").await.ok(200);
    }
    alice.get("/users/me").await.refused(429, "RATE_LIMITED");
    bob.get("/users/me").await.ok(200);
    // Four of eight went to the logins.
    for _ in 0..4 {
        server.call(Method::GET, "/users/me", None, None).await.refused(401, "UNAUTHORIZED");
    }
    server.call(Method::GET, "/users/me", None, None).await.refused(429, "RATE_LIMITED");
    server.call(Method::GET, "/users/me", Some("nonsense"), None).await.refused(429, "RATE_LIMITED");
    bob.get("/users/me").await.ok(200);
    assert_eq!(Answer::of(http().get(server.url("/health"))).await.status, 200, "probes are not limited");
}

#[tokio::test]
async fn the_address_behind_a_trusted_proxy_counts() {
    let limits = |config: &mut wa_server::Config| {
        config.limits.enabled = true;
        config.limits.api_ip = RateLimit::new(2, Duration::from_secs(3600));
    };
    let from = |server: &TestServer, address: &'static str| Answer::of(http().get(server.url("/api/v1/users/me")).header("x-forwarded-for", address));
    let trusting = TestServer::with(|config| {
        limits(config);
        config.server.trusted_proxies = wa_transport::rest::TrustedProxies::parse(&["127.0.0.1"]).unwrap();
    })
    .await;
    for address in ["203.0.113.1", "203.0.113.1", "203.0.113.2"] {
        assert_eq!(from(&trusting, address).await.status, 401);
    }
    assert_eq!(from(&trusting, "203.0.113.1").await.status, 429);
    let plain = TestServer::with(limits).await;
    for address in ["203.0.113.1", "203.0.113.2"] {
        assert_eq!(from(&plain, address).await.status, 401);
    }
    assert_eq!(from(&plain, "203.0.113.3").await.status, 429, "a stranger cannot make addresses up");
}

async fn raw(server: &TestServer, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("the end of the connection", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_is_no_http_ends_its_own_connection_only() {
    let server = TestServer::with(|config| config.limits.header_timeout = Duration::from_millis(200)).await;
    for request in [b"nonsense\r\n\r\n".as_slice(), b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let answer = raw(&server, request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4"), "{answer}");
    }
    // A head that never ends is not waited for.
    let _ = raw(&server, b"GET /health HTTP/1.1\r\nhost: a\r\nx: ").await;
    assert_eq!(Answer::of(http().get(server.url("/health"))).await.status, 200);
}

#[tokio::test]
async fn identity_headers_from_outside_mean_nothing() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    let answer = Answer::of(http().get(server.url("/api/v1/users/me")).header("x-user-id", &alice.id).header("x-authenticated-user", &alice.id)).await;
    answer.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn errors_never_tell_internals() {
    let server = TestServer::start().await;
    let alice = server.somebody().await;
    for path in ["/users/%00", "/chats/%ff", "/chats?cursor=%00", "/messages/' OR 1=1 --/receipts", "/chats/..%2f..%2fetc"] {
        let answer = alice.get(path).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.text);
        let error: &Value = &answer.body["error"];
        assert!(!error.to_string().to_lowercase().contains("sql"), "{error}");
    }
}
