//! What happens around every request.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use wa_transport::rest::{Origins, Readiness, RestOptions, TrustedProxies};

use crate::support::*;

fn from(mut request: Request<Body>, address: &str) -> Request<Body> {
    let address: SocketAddr = address.parse().expect("valid address");
    request.extensions_mut().insert(ConnectInfo(address));
    request
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_others_are_replaced() {
    let long = "x".repeat(129);
    for (sent, kept) in [("abc-123_X.y", true), (&long[..128], true), (&long, false), ("a b", false), ("", false), ("a\"b", false), ("ä", false)] {
        let answer = Fixture::default().ask(request_with("GET", "/users/me", &[("x-request-id", sent)], "")).await;
        let id = answer.header("x-request-id").expect("an id");
        assert_eq!(id == sent, kept, "{sent}");
        assert_eq!(answer.json()["meta"]["request_id"], id);
        if !kept {
            assert_eq!(uuid::Uuid::try_parse(id).expect("a UUID").get_version_num(), 7);
        }
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_enveloped() {
    for path in ["/nothing", "", "/chats/", "!/nothing", "!/api/v2/chats"] {
        let answer = Fixture::default().ask(anonymous("GET", path, "")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "NOT_FOUND"), "{path}");
        assert!(answer.header("x-request-id").is_some());
    }
    for (method, path, allowed) in [
        ("PUT", "/chats", &["GET", "HEAD", "POST"][..]),
        ("GET", "/auth/refresh", &["POST"]),
        ("POST", "!/health", &["GET", "HEAD"]),
        ("POST", "!/docs", &["GET", "HEAD"]),
        ("BREW", "/users/me", &["GET", "HEAD", "PATCH", "DELETE"]),
    ] {
        let answer = Fixture::default().ask(request(method, path, "")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (405, "METHOD_NOT_ALLOWED"), "{method} {path}");
        let allow = answer.header("allow").expect("an Allow header");
        assert!(allowed.iter().all(|method| allow.contains(method)), "{path}: {allow}");
    }
}

#[tokio::test]
async fn a_host_may_keep_its_own_fallback() {
    let options = RestOptions { catch_all: false, ..RestOptions::default() };
    let host = axum::Router::new().fallback(|| async { "the host's" });
    let merged = host.merge(Fixture { options, ..Fixture::default() }.router());
    assert_eq!(ask(merged.clone(), anonymous("GET", "!/nothing", "")).await.text, "the host's");
    assert_eq!(ask(merged, anonymous("GET", "/nothing", "")).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn the_router_also_works_below_a_hosts_path() {
    let mut fixture = Fixture::default();
    fixture.users.expect_me().return_once(|_| Ok(profile()));
    let host = axum::Router::new().nest("/chat", fixture.router());
    assert_eq!(ask(host.clone(), request("GET", "!/chat/api/v1/users/me", "")).await.status.as_u16(), 200);
    assert_eq!(ask(host, anonymous("GET", "!/chat/api/v1/nothing", "")).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let mut fixture = Fixture::default();
    fixture.users.expect_me().return_once(|_| Ok(profile()));
    let answer = fixture.ask(request("HEAD", "/users/me", "")).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
    assert!(answer.header("content-length").is_some_and(|length| length != "0"));
}

fn preflight(origin: &str) -> Request<Body> {
    let headers = [("origin", origin), ("access-control-request-method", "PATCH"), ("access-control-request-headers", "authorization")];
    request_with("OPTIONS", "/users/me", &headers, "")
}

fn with_origins(origins: &[&str]) -> Fixture {
    let cors_origins = Origins::parse(origins).expect("valid origins");
    Fixture { options: RestOptions { cors_origins, ..RestOptions::default() }, ..Fixture::default() }
}

#[tokio::test]
async fn listed_origins_may_call_and_others_may_not() {
    let answer = with_origins(&["https://app.example.org"]).ask(preflight("https://app.example.org")).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.org"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("access-control-max-age"), Some("43200"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET,POST,PUT,PATCH,DELETE,OPTIONS"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization,content-type,x-request-id,idempotency-key"));

    let refused = with_origins(&["https://app.example.org"]).ask(preflight("https://evil.example")).await;
    assert_eq!(refused.header("access-control-allow-origin"), None);
    let none = Fixture::default().ask(preflight("https://app.example.org")).await;
    assert_eq!((none.header("access-control-allow-origin"), none.header("access-control-allow-credentials")), (None, None));
}

#[tokio::test]
async fn all_origins_may_call_without_credentials_and_read_the_request_id() {
    let headers = [("origin", "https://anywhere.example")];
    let answer = with_origins(&["*"]).ask(request_with("GET", "/users/me", &headers, "")).await;
    assert_eq!(answer.status.as_u16(), 401, "errors are readable across origins too");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("access-control-expose-headers"), Some("x-request-id"));
}

#[tokio::test]
async fn a_caller_without_tokens_left_is_told_when_to_come_back() {
    for (headers, limit) in [(vec![("authorization", "Bearer alice")], "api_user"), (vec![], "api_ip"), (vec![("authorization", "Bearer forged")], "api_ip")] {
        let fixture = Fixture::default();
        fixture.limiter.refuse.store(true, Ordering::SeqCst);
        let metrics = fixture.metrics.clone();
        let answer = fixture.ask(request_with("GET", "/users/me", &headers, "")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "RATE_LIMITED"));
        assert_eq!(answer.header("retry-after"), Some("2"), "1.2 seconds, rounded up");
        assert!(metrics.render().contains(&format!("rate_limit_exceeded_total{{limit=\"{limit}\"}} 1")));
    }
}

#[tokio::test]
async fn limits_are_kept_per_user_or_else_per_address() {
    let trusted_proxies = TrustedProxies::parse(&["10.0.0.0/8"]).expect("valid ranges");
    let mut fixture = Fixture { options: RestOptions { trusted_proxies, ..RestOptions::default() }, ..Fixture::default() };
    fixture.users.expect_sync_contacts().return_once(|_, _| Ok(vec![]));
    let limiter = Arc::clone(&fixture.limiter);
    let router = fixture.router();
    let forwarded = [("x-forwarded-for", "1.1.1.1, 203.0.113.9")];
    ask(router.clone(), from(request_with("GET", "/chats", &forwarded, ""), "10.0.0.1:5000")).await;
    ask(router.clone(), from(request_with("GET", "/nothing", &forwarded, ""), "198.51.100.7:5000")).await;
    ask(router.clone(), anonymous("POST", "/auth/request-otp", "")).await;
    ask(router.clone(), from(anonymous("GET", "!/health", ""), "198.51.100.7:5000")).await;
    ask(router, request("POST", "/users/contacts/sync", r#"{"phone_numbers":[]}"#)).await;
    let asked = limiter.asked.lock().expect("not poisoned").clone();
    let expected = ["api_ip:203.0.113.9", "api_ip:198.51.100.7", "api_ip:unknown", &format!("api_user:{ID}"), &format!("contacts_sync:{ID}")];
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn switched_off_limits_are_not_asked() {
    let mut fixture = Fixture::default();
    fixture.limits.enabled = false;
    fixture.users.expect_sync_contacts().return_once(|_, _| Ok(vec![]));
    let limiter = Arc::clone(&fixture.limiter);
    limiter.refuse.store(true, Ordering::SeqCst);
    let answer = fixture.ask(request("POST", "/users/contacts/sync", r#"{"phone_numbers":[]}"#)).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert!(limiter.asked.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn a_limiter_that_fails_lets_requests_through() {
    let mut fixture = Fixture::default();
    fixture.limiter.fail.store(true, Ordering::SeqCst);
    fixture.users.expect_me().return_once(|_| Ok(profile()));
    assert_eq!(fixture.ask(request("GET", "/users/me", "")).await.status.as_u16(), 200);
}

#[tokio::test]
async fn health_says_alive_without_an_envelope() {
    let answer = Fixture::default().ask(anonymous("GET", "!/health", "")).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, r#"{"status":"alive"}"#));
}

struct Dependencies(Option<BTreeMap<String, Result<(), String>>>);

#[async_trait]
impl Readiness for Dependencies {
    async fn check(&self) -> BTreeMap<String, Result<(), String>> {
        match &self.0 {
            Some(states) => states.clone(),
            None => std::future::pending().await,
        }
    }
}

async fn ready(states: Option<BTreeMap<String, Result<(), String>>>) -> (u16, String) {
    let mut fixture = Fixture::default();
    fixture.options.readiness = Arc::new(Dependencies(states));
    fixture.limits.request_timeout = Duration::from_millis(20);
    let answer = fixture.ask(anonymous("GET", "!/ready", "")).await;
    (answer.status.as_u16(), answer.text)
}

#[tokio::test]
async fn readiness_names_what_does_not_work() {
    let good = BTreeMap::from([("database".to_owned(), Ok(()))]);
    assert_eq!(ready(Some(good)).await, (200, r#"{"status":{"database":"ok"}}"#.to_owned()));
    let bad = BTreeMap::from([("database".to_owned(), Err("disk full".to_owned())), ("events".to_owned(), Ok(()))]);
    assert_eq!(ready(Some(bad)).await, (503, r#"{"status":{"database":"disk full","events":"ok"}}"#.to_owned()));
    assert_eq!(ready(None).await, (503, r#"{"status":{"check":"timed out"}}"#.to_owned()));
}

#[tokio::test]
async fn metrics_count_by_route_template_and_exist_before_the_first_request() {
    let router = Fixture::default().router();
    ask(router.clone(), anonymous("GET", &format!("/chats/{ID}?secret=1"), "")).await;
    ask(router.clone(), anonymous("GET", "/nothing", "")).await;
    ask(router.clone(), anonymous("BREW", "!/nothing", "")).await;
    let answer = ask(router, anonymous("GET", "!/metrics", "")).await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        r#"http_requests_total{method="GET",path="/api/v1/chats/{id}",status="401"} 1"#,
        r#"http_requests_total{method="GET",path="unmatched",status="404"} 1"#,
        r#"http_requests_total{method="OTHER",path="unmatched",status="404"} 1"#,
        r#"http_requests_total{method="POST",path="/api/v1/chats/{id}/messages",status="201"} 0"#,
        r#"http_request_duration_seconds_count{method="GET",path="/api/v1/chats/{id}"} 1"#,
        "http_requests_in_flight 1",
    ] {
        assert!(answer.text.contains(line), "{line} is missing in\n{}", answer.text);
    }
    assert!(!answer.text.contains("secret") && !answer.text.contains(ID));
}

thread_local! {
    /// What this thread logged. A test runs on one thread; a subscriber of its own would miss what other threads'
    /// first use of a line decided about it.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_access_log_tells_the_request_and_no_secret() {
    let subscriber = tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_writer(|| Log).finish();
    tracing::subscriber::set_global_default(subscriber).expect("no other test sets one");

    let mut fixture = Fixture::default();
    fixture.chats.expect_list().return_once(|_, _, _| Err(wa_core::Error::internal("the cause")));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("authorization", "Bearer alice"), ("x-request-id", "r-1"), ("user-agent", "probe/1"), ("traceparent", trace), ("x-user-id", "secret-user")];
    let asked = from(request_with("GET", "/chats?cursor=secret-cursor", &headers, "secret-body"), "203.0.113.9:5000");
    fixture.ask(asked).await;

    let text = String::from_utf8(LOG.take()).expect("UTF-8");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let access = lines.iter().find(|line| line["fields"]["message"] == "request").expect("an access line");
    let fields = &access["fields"];
    assert_eq!(fields["method"], "GET");
    assert_eq!(fields["route"], "/api/v1/chats");
    assert_eq!(fields["status"], 500);
    assert_eq!(fields["remote_ip"], "203.0.113.9");
    assert_eq!(fields["user_agent"], "probe/1");
    assert!(fields["latency_ms"].is_u64());
    assert_eq!(access["span"]["request_id"], "r-1");
    assert_eq!(access["span"]["user_id"], ID);
    assert_eq!(access["span"]["traceparent"], trace);
    let cause = lines.iter().find(|line| line["level"] == "ERROR").expect("the cause is logged");
    assert_eq!((&cause["fields"]["cause"], &cause["span"]["request_id"]), (&"the cause".into(), &"r-1".into()));
    assert!(!text.contains("secret") && !text.contains("alice"), "{text}");
}
