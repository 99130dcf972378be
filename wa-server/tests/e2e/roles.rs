//! Roles in processes of their own, and what comes in through the gateway.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Digest as _;
use wa_server::{Role, Roles};

use crate::media::try_upload;
use crate::support::{Answer, TestServer, gateway, http, soon};

#[tokio::test]
async fn people_talk_through_the_gateway() {
    let server = TestServer::behind_gateway(|_| {}).await;
    let (alice, bob, chat) = server.couple().await;
    let (mut from_alice, mut to_bob) = (alice.connect().await, bob.connect().await);
    to_bob.settle().await;
    let sent = from_alice.say(&chat, "hello").await;
    let frame = to_bob.until("the message", |frame| frame["event"] == "message.new").await;
    assert_eq!(frame["data"]["message_id"], sent["message_id"]);
    to_bob.ask("message.read", json!({ "chat_id": chat, "up_to_message_id": sent["message_id"] })).await;
    from_alice.until("the receipt", |frame| frame["event"] == "message.status" && frame["data"]["status"] == "read").await;
    let page = bob.get(&format!("/chats/{chat}/messages")).await.ok(200);
    assert_eq!(page["messages"][0]["payload"]["body"], "hello");
    assert_eq!(alice.get("/chats").await.ok(200)["chats"][0]["chat_id"], chat.as_str());
    alice.post("/sync", json!({ "chats": {} })).await.ok(200);
    to_bob.close().await;

    // What the gateway serves of its own, and what it only hands on.
    for (path, status) in [("/health", 200), ("/ready", 200), ("/metrics", 200), ("/", 200), ("/openapi.json", 200), ("/docs/", 200), ("/other", 404)] {
        assert_eq!(http().get(server.url(path)).send().await.unwrap().status().as_u16(), status, "{path}");
    }
    server.call(Method::GET, "/other", None, None).await.refused(404, "NOT_FOUND");
    server.call(Method::PUT, "/sync", None, None).await.refused(405, "METHOD_NOT_ALLOWED");
    server.call(Method::GET, "/users/me", None, None).await.refused(401, "UNAUTHORIZED");
    server.call(Method::GET, "/users/me", Some("x"), None).await.refused(401, "TOKEN_INVALID");
}

#[tokio::test]
async fn files_go_through_the_gateway_piece_by_piece() {
    let server = TestServer::behind_gateway(|_| {}).await;
    let alice = server.somebody().await;
    let mut film = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n".to_vec();
    film.resize(24 << 20, b' ');
    film.extend_from_slice(b"\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n");
    let hash: String = sha2::Sha256::digest(&film).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = try_upload(&alice, "document", "a.pdf", film.clone()).await.ok(201);
    assert_eq!((file["checksum_sha256"].as_str(), file["size_bytes"].as_u64()), (Some(hash.as_str()), Some(film.len() as u64)));
    let id = file["media_id"].as_str().unwrap();
    let leads = http_without_redirects().get(server.url(&format!("/api/v1/media/{id}/download"))).bearer_auth(&alice.access).send().await.unwrap();
    assert_eq!(leads.status().as_u16(), 302);
    // The address is the server's own; its path is served through the gateway as well.
    let location: url::Url = leads.headers()["location"].to_str().unwrap().parse().unwrap();
    let through = server.url(&format!("{}?{}", location.path(), location.query().unwrap()));
    let bytes = http().get(&through).send().await.unwrap().bytes().await.unwrap();
    assert!(*bytes == *film);
    let part = http().get(&through).header("range", "bytes=0-3").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.bytes().await.unwrap().as_ref()), (206, b"%PDF".as_slice()));
}

fn http_without_redirects() -> reqwest::Client {
    http();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

#[tokio::test]
async fn a_role_that_is_down_is_told_as_such_until_it_is_back() {
    let mut server = TestServer::behind_gateway(|_| {}).await;
    let alice = server.somebody().await;
    alice.get("/users/me").await.ok(200);
    let gateway = server.gateway.take().expect("a gateway");
    let through = std::mem::replace(&mut server.address, gateway.behind);
    let grpc = server.grpc;
    let (mut config, data) = server.stop().await;
    alice.get("/users/me").await.refused(503, "UNAVAILABLE");
    let answer = Answer::of(http().get(format!("http://{through}/ready"))).await;
    assert_eq!(answer.status, 200, "the gateway itself is there");
    config.server.grpc_bind = grpc;
    let server = TestServer::run(config, data, |builder| builder).await;
    crate::support::eventually("the role's return", || async {
        let answer = alice.get("/users/me").await;
        if answer.status == 200 { Some(()) } else { None }
    })
    .await;
    gateway.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_session_that_was_ended_is_refused_at_once() {
    let server = TestServer::behind_gateway(|_| {}).await;
    let alice = server.somebody().await;
    let other = server.login(&alice.phone).await;
    other.get("/users/me").await.ok(200);
    let mut socket = other.connect().await;
    socket.settle().await;
    alice.delete(&format!("/auth/devices/{}", other.device)).await.ok(204);
    other.get("/users/me").await.refused(401, "TOKEN_INVALID");
    assert_eq!(socket.close_code().await, 4001);
    let refreshed = server.post("/auth/refresh", json!({ "refresh_token": alice.refresh })).await.ok(200);
    assert!(refreshed["access_token"].is_string());
}

#[tokio::test]
async fn limits_hold_at_the_gateway_and_count_once() {
    let server = TestServer::behind_gateway(|config| {
        config.limits.enabled = true;
        config.limits.api_user = "3/1h".parse().unwrap();
        config.limits.api_ip = "4/1h".parse().unwrap();
    })
    .await;
    let alice = server.somebody().await;
    for _ in 0..3 {
        alice.get("/users/me").await.ok(200);
    }
    alice.get("/users/me").await.refused(429, "RATE_LIMITED");
    for _ in 0..2 {
        server.call(Method::GET, "/users/me", None, None).await.refused(401, "UNAUTHORIZED");
    }
    server.call(Method::GET, "/users/me", None, None).await.refused(429, "RATE_LIMITED");
}

#[tokio::test]
async fn bodies_are_bounded_and_malformed_ones_refused_as_ever() {
    let server = TestServer::behind_gateway(|_| {}).await;
    let alice = server.somebody().await;
    alice.patch("/users/me", json!({ "status_text": "x".repeat(2 << 20) })).await.refused(413, "PAYLOAD_TOO_LARGE");
    let request = http().post(server.url("/api/v1/sync")).bearer_auth(&alice.access).body("{");
    Answer::of(request).await.refused(400, "BAD_REQUEST");
    alice.get("/chats/x").await.refused(400, "BAD_REQUEST");
}

#[tokio::test]
async fn scripts_of_other_origins_are_answered_by_the_gateway_alone() {
    let server = TestServer::behind_gateway(|config| {
        config.server.cors_origins = wa_server::transport::rest::Origins::parse(&["https://app.example"]).unwrap();
    })
    .await;
    let preflight = http()
        .request(Method::OPTIONS, server.url("/api/v1/users/me"))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET")
        .send()
        .await
        .unwrap();
    assert!(preflight.status().is_success());
    let alice = server.somebody().await;
    let answer = http().get(server.url("/api/v1/users/me")).bearer_auth(&alice.access).header("origin", "https://app.example").send().await.unwrap();
    let allowed: Vec<_> = answer.headers().get_all("access-control-allow-origin").iter().collect();
    assert_eq!(allowed, ["https://app.example"]);
}

#[tokio::test]
async fn of_several_processes_with_a_role_those_are_asked_that_are_there() {
    let server = TestServer::behind_gateway(|config| {
        for urls in config.peers.http.values_mut() {
            // Nobody listens there.
            urls.insert(0, "http://127.0.0.1:9".parse().unwrap());
        }
    })
    .await;
    for _ in 0..4 {
        let (alice, bob, chat) = server.couple().await;
        let mut socket = bob.connect().await;
        socket.settle().await;
        alice.say(&chat, "hello").await;
        assert_eq!(socket.expect("message.new").await["payload"]["body"], "hello");
        try_upload(&alice, "document", "a.txt", vec![b'x'; 1 << 20]).await.ok(201);
    }
}

#[tokio::test]
async fn sockets_are_told_when_their_gateway_ends() {
    let mut server = TestServer::behind_gateway(|_| {}).await;
    let alice = server.somebody().await;
    let mut socket = alice.connect().await;
    socket.settle().await;
    let ending = tokio::spawn(server.gateway.take().expect("a gateway").stop());
    assert_eq!(socket.close_code().await, 1001);
    drop(socket);
    soon("the end of the gateway", ending).await.expect("no panic");
}

/// Something in place of a role, that notes the headers of what comes in.
async fn note_taker() -> (SocketAddr, Arc<Mutex<Vec<HeaderMap>>>) {
    let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let router = Router::new().fallback(move |request: Request| {
        let notes = Arc::clone(&notes);
        async move {
            notes.lock().unwrap().push(request.headers().clone());
            ([("connection", "x-hop"), ("x-hop", "1"), ("x-request-id", "not-mine"), ("access-control-allow-origin", "*")], "noted")
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, seen)
}

#[tokio::test]
async fn what_a_request_says_of_its_sender_is_what_the_gateway_found_out() {
    let server = TestServer::behind_gateway(|_| {}).await;
    let alice = server.somebody().await;
    let (role, seen) = note_taker().await;
    let (address, _gateway) = gateway(role, server.grpc.unwrap(), |_| {}).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = http()
        .get(format!("http://{address}/api/v1/users/me?a=b%20c"))
        .bearer_auth(&alice.access)
        .header("x-user-id", "somebody-else")
        .header("x-device-id", "some-device")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-request-id", "mine-1")
        .header("traceparent", trace)
        .header("te", "trailers")
        .send()
        .await
        .unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-request-id"].to_str().unwrap()), (200, "mine-1"));
    assert!(!answer.headers().contains_key("x-hop") && !answer.headers().contains_key("access-control-allow-origin"));
    let anonymous = http().get(format!("http://{address}/api/v1/users/me")).header("x-user-id", "somebody-else").send().await.unwrap();
    assert_eq!(anonymous.text().await.unwrap(), "noted");
    let seen = seen.lock().unwrap();
    let text = |index: usize, name: &str| seen[index].get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!((text(0, "x-user-id"), text(0, "x-device-id")), (Some(alice.id.clone()), Some(alice.device.clone())));
    assert_eq!((text(0, "x-request-id").as_deref(), text(0, "traceparent").as_deref()), (Some("mine-1"), Some(trace)));
    assert_eq!((text(0, "x-forwarded-for").as_deref(), text(0, "host")), (Some("127.0.0.1"), Some(address.to_string())));
    assert_eq!((text(0, "te"), text(1, "x-user-id")), (None, None));
    assert_eq!(text(0, "authorization"), Some(format!("Bearer {}", alice.access)));
}

#[tokio::test]
async fn a_role_serves_its_own_routes_alone() {
    let server = TestServer::with(|config| {
        config.server.roles = Roles::of([Role::Auth, Role::User]).unwrap();
        config.server.grpc_bind = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let alice = server.somebody().await;
    alice.get("/users/me").await.ok(200);
    for path in ["/chats", "/messages/starred", "/media/018f3f6e-7b1c-7c4e-8a57-0242ac120002"] {
        alice.get(path).await.refused(404, "NOT_FOUND");
    }
    for (path, status) in [("/ws", 404), ("/", 404), ("/health", 200), ("/ready", 200), ("/openapi.json", 200)] {
        assert_eq!(http().get(server.url(path)).send().await.unwrap().status().as_u16(), status, "{path}");
    }
    use wa_transport::grpc::proto::{auth, chat};
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", server.grpc.unwrap())).unwrap().connect().await.unwrap();
    let token = auth::ValidateTokenRequest { token: alice.access.clone() };
    assert!(auth::auth_service_client::AuthServiceClient::new(channel.clone()).validate_token(token).await.unwrap().into_inner().valid);
    let list = chat::ListChatIdsRequest { user_id: alice.id.clone() };
    let refused = chat::chat_service_client::ChatServiceClient::new(channel).list_chat_ids(list).await.expect_err("it is not served here");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

/// A message role and a socket role that know each other over gRPC alone: what is asked of one is answered by the other.
#[tokio::test]
async fn a_role_asks_another_for_what_it_does_not_do_itself() {
    let everything = TestServer::with(|config| config.server.grpc_bind = Some(([127, 0, 0, 1], 0).into())).await;
    let (alice, _, chat) = everything.couple().await;
    // It stands on an empty database of its own, so that whatever it knows it was told.
    let sockets = TestServer::with(|config| {
        config.server.roles = Roles::of([Role::Websocket]).unwrap();
        let peer: url::Url = format!("http://{}", everything.grpc.unwrap()).parse().unwrap();
        config.peers.grpc.insert(Role::Auth, vec![peer.clone()]);
        config.peers.grpc.insert(Role::Message, vec![peer]);
    })
    .await;
    let mut socket = crate::support::Socket::connect(&format!("ws://{}/ws?token={}", sockets.address, alice.access)).await;
    let sent: Value = soon("message.sent", socket.say(&chat, "over there")).await;
    assert_eq!(sent["seq"], 1);
    assert_eq!(alice.texts(&chat).await, ["over there"]);
    let error = socket.ask("message.send", json!({ "chat_id": chat, "client_msg_id": "x", "type": "text", "payload": { "body": "" } })).await;
    assert_eq!((error["event"].as_str(), error["data"]["name"].as_str()), (Some("error"), Some("VALIDATION_ERROR")));
    let synced = socket.ask("sync", json!({ "chats": {} })).await;
    assert_eq!(synced["data"]["chats"][0]["messages"][0]["message_id"], sent["message_id"]);
    alice.post("/auth/logout", json!({})).await.ok(200);
    let refused = http().get(format!("http://{}/ws", sockets.address)).bearer_auth(&alice.access).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 401);
}
