//! Health, metrics, the reference and the built-in web client (contract, sections 1.6 and 8).

use std::net::SocketAddr;

use serde_json::json;

use crate::support::{Answer, TestServer, eventually, http};

async fn get(server: &TestServer, path: &str) -> Answer {
    Answer::of(http().get(server.url(path))).await
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let server = TestServer::start().await;
    assert_eq!(get(&server, "/health").await.body, json!({ "status": "alive" }));
    let ready = get(&server, "/ready").await;
    assert_eq!((ready.status, &ready.body["status"]["database"]), (200, &json!("ok")));
}

#[tokio::test]
async fn metrics_exist_before_their_first_event_and_count() {
    let server = TestServer::start().await;
    let before = get(&server, "/metrics").await;
    assert!(before.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    let names = [
        "http_requests_total",
        "http_request_duration_seconds",
        "http_requests_in_flight",
        "ws_connections_active",
        "ws_messages_sent_total",
        "ws_messages_received_total",
        "messages_persisted_total",
        "message_delivery_seconds",
        "rate_limit_exceeded_total",
        "outbox_depth",
        "pool_connections",
        "runtime_tasks",
    ];
    for name in names {
        assert!(before.text.contains(&format!("# TYPE {name} ")), "{name} is missing");
    }
    let (alice, bob, chat) = server.couple().await;
    let (mut a, mut b) = (alice.connect().await, bob.connect().await);
    b.settle().await;
    a.say(&chat, "one").await;
    b.expect("message.new").await;
    alice.say(&chat, "two").await;
    b.expect("message.new").await;
    let lines =
        ["messages_persisted_total 2", "message_delivery_seconds_count 3", "ws_connections_active 2", r#"path="/api/v1/chats/{id}/messages",status="201""#];
    for line in lines {
        eventually(line, || async { get(&server, "/metrics").await.text.contains(line).then_some(()) }).await;
    }
    assert!(!get(&server, "/metrics").await.text.contains(&chat), "paths are route templates");
}

#[tokio::test]
async fn metrics_can_have_a_port_of_their_own() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = TestServer::with(|config| config.telemetry.metrics_bind = Some(address)).await;
    assert_eq!(get(&server, "/metrics").await.status, 404);
    assert!(Answer::of(http().get(format!("http://{address}/metrics"))).await.text.contains("ws_connections_active"));
    assert_eq!(Answer::of(http().get(format!("http://{address}/api/v1/users/me"))).await.status, 404);
}

#[tokio::test]
async fn the_openapi_document_is_whole_and_its_references_lead_somewhere() {
    let server = TestServer::start().await;
    let answer = get(&server, "/openapi.json").await;
    assert_eq!(answer.status, 200);
    let document = answer.body;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{}", document["openapi"]);
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    for path in
        ["/health", "/ready", "/metrics", "/openapi.json", "/api/v1/auth/request-otp", "/api/v1/users/{id}", "/api/v1/chats/{id}/messages", "/api/v1/sync"]
    {
        assert!(document["paths"].get(path).is_some(), "{path} is missing");
    }
    let mut ids = std::collections::HashSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["responses"].as_object().is_some_and(|responses| !responses.is_empty()), "{method} {path}");
            assert!(ids.insert(operation["operationId"].clone()), "{method} {path} repeats an operationId");
            for parameter in path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name) {
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                assert!(
                    parameters.iter().any(|known| known["name"] == parameter && known["in"] == "path" && known["required"] == true),
                    "{method} {path}: {parameter}"
                );
            }
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
    }
}

#[tokio::test]
async fn the_reference_page_needs_nothing_from_elsewhere() {
    let server = TestServer::start().await;
    let page = get(&server, "/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    let assets: Vec<&str> = page.text.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css")).collect();
    assert!(!assets.is_empty(), "{}", page.text);
    for asset in assets {
        assert!(!asset.contains("//"), "{asset} comes from elsewhere");
        let answer = get(&server, &format!("/docs/{}", asset.trim_start_matches("./"))).await;
        assert_eq!(answer.status, 200, "{asset}");
    }
    assert_eq!(get(&server, "/docs").await.status, 200, "with and without the slash");
}

#[tokio::test]
async fn the_web_client_is_served_strictly_and_can_be_switched_off() {
    let server = TestServer::start().await;
    let page = get(&server, "/").await;
    assert_eq!(page.status, 200);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    // Everything the page names is there, under a type that browsers run.
    let named: Vec<&str> = page.text.split('"').filter(|text| [".js", ".css", ".svg"].iter().any(|ending| text.ends_with(ending))).collect();
    assert!(named.len() >= 2, "{}", page.text);
    for name in named {
        let file = get(&server, &format!("/{name}")).await;
        assert_eq!(file.status, 200, "{name}");
        let tag = file.headers["etag"].to_str().unwrap().to_owned();
        let again = Answer::of(http().get(server.url(&format!("/{name}"))).header("if-none-match", tag)).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""));
    }
    get(&server, "/../Cargo.toml").await.refused(404, "NOT_FOUND");
    get(&server, "/index.html/x").await.refused(404, "NOT_FOUND");

    let without = TestServer::with(|config| config.server.web_client = false).await;
    get(&without, "/").await.refused(404, "NOT_FOUND");
    assert_eq!(get(&without, "/health").await.status, 200);
}

#[tokio::test]
async fn the_demo_is_made_once_and_again_changes_nothing() {
    let server = TestServer::with(|config| config.dev.seed_demo = true).await;
    let alice = server.login("+15550100001").await;
    let chats = alice.get("/chats").await.ok(200);
    assert_eq!((chats["chats"].as_array().unwrap().len(), &chats["chats"][0]["name"]), (1, &json!("Bob")));
    let chat = chats["chats"][0]["chat_id"].as_str().unwrap().to_owned();
    let said = alice.texts(&chat).await;
    assert!(said.len() >= 3, "{said:?}");
    alice.say(&chat, "new").await;
    let bob = server.login("+15550100002").await;
    assert_eq!(bob.get(&format!("/chats/{chat}")).await.ok(200)["unread_count"], 1);
    let server = server.restart().await;
    assert_eq!(alice.texts(&chat).await.len(), said.len() + 1);
    assert_eq!(bob.get(&format!("/chats/{chat}")).await.ok(200)["unread_count"], 1, "what nobody read stays unread");
    assert_eq!(server.address, SocketAddr::from(([127, 0, 0, 1], server.address.port())));
}
