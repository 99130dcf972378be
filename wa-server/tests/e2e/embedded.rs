//! The backend inside a host's own program: its own tokens, its own routes, typed events, several in one process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;
use wa_core::api::{Authenticator, Provision};
use wa_core::error::{Error, Unauthenticated};
use wa_core::event::Fact;
use wa_core::id::{DeviceId, UserId};
use wa_core::session::Caller;
use wa_server::Chat;

use crate::support::{Answer, Person, Socket, TestServer, config, http, soon};

/// A host's own tokens: "<name>'s ticket".
#[derive(Clone, Default)]
struct Tickets(Arc<Mutex<HashMap<String, Caller>>>);

impl Tickets {
    fn issue(&self, name: &str) -> (String, Caller) {
        let caller = Caller { user_id: UserId::from_uuid(Uuid::new_v4()), device_id: DeviceId::from_uuid(Uuid::new_v4()) };
        let ticket = format!("{name}'s ticket");
        self.0.lock().unwrap().insert(ticket.clone(), caller);
        (ticket, caller)
    }

    fn revoke(&self, ticket: &str) {
        self.0.lock().unwrap().remove(ticket);
    }
}

#[async_trait]
impl Authenticator for Tickets {
    async fn authenticate(&self, token: &str) -> wa_core::Result<Caller> {
        self.0.lock().unwrap().get(token).copied().ok_or(Error::Unauthenticated(Unauthenticated::Invalid))
    }

    async fn confirm(&self, caller: &Caller) -> wa_core::Result<()> {
        let stands = self.0.lock().unwrap().values().any(|known| known == caller);
        if stands { Ok(()) } else { Err(Error::Unauthenticated(Unauthenticated::Invalid)) }
    }
}

/// Serves a host's router on a free port until the sender is dropped.
async fn host(app: Router) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    tokio::spawn(async move { serving.await.unwrap() });
    (address, stop)
}

/// A person of the host, whose chat routes lie under a prefix.
fn guest(address: SocketAddr, ticket: &str, caller: Caller) -> Person {
    let (id, device) = (caller.user_id.to_string(), caller.device_id.to_string());
    Person { address, phone: String::new(), id, device, access: ticket.to_owned(), refresh: String::new() }
}

#[tokio::test]
async fn a_host_mounts_it_beside_its_own_routes_with_its_own_tokens() {
    let data = tempfile::tempdir().unwrap();
    let tickets = Tickets::default();
    let chat = Chat::builder(config(&data)).authenticator(tickets.clone()).build().await.unwrap();
    let app = Router::new().route("/mine", get(|| async { "mine" })).merge(chat.router()).fallback(|| async { "the host's own page" });
    let (address, _stop) = host(app).await;
    let (ticket, caller) = tickets.issue("Ann");
    let (others_ticket, other) = tickets.issue("Ben");
    for (name, caller) in [("Ann", caller), ("Ben", other)] {
        let profile = chat.users().provision(Provision { id: caller.user_id, phone: None, display_name: name.to_owned() }).await.unwrap();
        assert_eq!(profile.display_name, name);
    }
    let (ann, ben) = (guest(address, &ticket, caller), guest(address, &others_ticket, other));
    let (events, mut seen) = mpsc::channel(100);
    let subscription = chat
        .subscribe(move |event| {
            let events = events.clone();
            async move {
                let _ = events.send(event).await;
            }
        })
        .await
        .unwrap();

    let direct = ann.chat_with(&ben).await;
    let mut socket = Socket::connect(&format!("ws://{address}/ws?token={}", others_ticket.replace(' ', "%20").replace('\'', "%27"))).await;
    socket.settle().await;
    let sent = ann.say(&direct, "hello").await;
    assert_eq!(socket.expect("message.new").await["message_id"], sent["message_id"]);
    assert_eq!(ben.get(&format!("/chats/{direct}")).await.ok(200)["name"], "Ann");
    let message = loop {
        let event = soon("the event", seen.recv()).await.unwrap();
        if let Fact::MessageNew(new) = &event.fact {
            break Arc::clone(&new.message);
        }
    };
    assert_eq!((message.message_id.to_string(), message.sender_id), (sent["message_id"].as_str().unwrap().to_owned(), caller.user_id));
    drop(subscription);

    // The host's own routes are untouched, and there is no other login.
    assert_eq!(Answer::of(http().get(format!("http://{address}/mine"))).await.text, "mine");
    assert_eq!(Answer::of(http().get(format!("http://{address}/anything"))).await.text, "the host's own page");
    Answer::of(http().post(format!("http://{address}/api/v1/auth/request-otp")).json(&json!({ "phone": "+15550100001" }))).await.refused(404, "NOT_FOUND");
    let secrets = std::fs::read_to_string(data.path().join("secrets.toml")).unwrap();
    assert!(!secrets.contains("jwt_secret"), "tokens of its own need no secret of ours");

    tickets.revoke(&others_ticket);
    chat.disconnect(&[other.device_id]).await;
    assert_eq!(socket.close_code().await, 4001);
    ben.get("/users/me").await.refused(401, "TOKEN_INVALID");
    chat.shutdown().await;
}

#[tokio::test]
async fn it_works_under_a_prefix() {
    let data = tempfile::tempdir().unwrap();
    let tickets = Tickets::default();
    let chat = Chat::builder(config(&data)).authenticator(tickets.clone()).build().await.unwrap();
    let (address, _stop) = host(Router::new().nest("/chat", chat.router())).await;
    let (ticket, caller) = tickets.issue("Ann");
    chat.users().provision(Provision { id: caller.user_id, phone: None, display_name: "Ann".to_owned() }).await.unwrap();
    let ask = |path: &str| Answer::of(http().get(format!("http://{address}/chat{path}")).bearer_auth(&ticket));
    assert_eq!(ask("/api/v1/users/me").await.ok(200)["display_name"], "Ann");
    assert_eq!(ask("/health").await.status, 200);
    let mut socket = Socket::connect(&format!("ws://{address}/chat/ws?token={}", ticket.replace(' ', "%20").replace('\'', "%27"))).await;
    socket.settle().await;
    let page = ask("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    chat.shutdown().await;
    assert_eq!(socket.close_code().await, 1001);
}

#[tokio::test]
async fn two_in_one_process_know_nothing_of_each_other() {
    let (one, two) = (TestServer::start().await, TestServer::start().await);
    let (alice, bob, chat) = one.couple().await;
    let elsewhere = two.login(&alice.phone).await;
    assert_ne!(elsewhere.id, alice.id);
    let (mut b, mut e) = (bob.connect().await, elsewhere.connect().await);
    b.settle().await;
    e.settle().await;
    alice.say(&chat, "hello").await;
    b.expect("message.new").await;
    e.settle().await;
    assert!(e.passed_over.is_empty(), "{:?}", e.passed_over);
    elsewhere.get(&format!("/chats/{chat}")).await.refused(404, "CHAT_NOT_FOUND");
    let metrics = Answer::of(http().get(two.url("/metrics"))).await.text;
    assert!(metrics.contains("messages_persisted_total 0"), "each counts its own");
    one.stop().await;
    elsewhere.get("/users/me").await.ok(200);
}
