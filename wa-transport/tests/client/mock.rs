//! A small server that speaks just enough of the protocol, and does to a client what the test says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_websockets::{CloseCode, Message, ServerBuilder, WebSocketStream};
use uuid::Uuid;

pub(crate) const ME: &str = "01900000-0000-7000-8000-000000000001";
pub(crate) const BOB: &str = "01900000-0000-7000-8000-000000000002";
pub(crate) const CHAT: &str = "01900000-0000-7000-8000-000000000003";
const AT: &str = "2026-01-01T00:00:00.000Z";

/// Awaits something that must come; the limit only fails the test.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// The server: one user, one chat.
#[derive(Clone)]
pub(crate) struct Mock {
    pub(crate) address: SocketAddr,
    world: Arc<Mutex<World>>,
    sockets: Arc<tokio::sync::Mutex<mpsc::Receiver<Socket>>>,
}

#[derive(Default)]
struct World {
    messages: Vec<Value>,
    /// The access token that is good, and the refresh token that gives the next one.
    generation: u32,
    session_ended: bool,
    /// Statuses that the next calls are answered with instead.
    failures: VecDeque<StatusCode>,
    /// The status that the next exchange of tokens is answered with instead.
    refresh_failure: Option<StatusCode>,
    /// Method, path and `Idempotency-Key` of every call.
    calls: Vec<(String, Option<String>)>,
}

/// The server's end of a socket.
pub(crate) struct Socket {
    ws: WebSocketStream<TcpStream>,
}

impl Mock {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (opened, sockets) = mpsc::channel(16);
        let world = Arc::<Mutex<World>>::default();
        let mock = Self { address, world, sockets: Arc::new(tokio::sync::Mutex::new(sockets)) };
        let server = mock.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream, opened.clone()));
            }
        });
        mock
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket that a client opens next.
    pub(crate) async fn socket(&self) -> Socket {
        let mut socket = self.socket_raw().await;
        socket.expect("ping").await;
        socket.say("pong", &json!({}), None).await;
        socket
    }

    /// The same before a word was said.
    pub(crate) async fn socket_raw(&self) -> Socket {
        soon("a socket", async { self.sockets.lock().await.recv().await }).await.expect("the mock lives")
    }

    /// Stores a message and gives its object.
    pub(crate) fn append(&self, sender: &str, key: &str, body: &str) -> Value {
        let mut world = self.world();
        let seq = world.messages.len() + 1;
        let message = json!({
            "message_id": Uuid::now_v7(), "chat_id": CHAT, "sender_id": sender, "client_msg_id": key, "seq": seq, "rev": seq, "type": "text",
            "payload": {"body": body, "mentions": []}, "reply_to_message_id": null, "reply_to_preview": null, "forwarded": false, "forwarded_from": null,
            "status": "sent", "reactions": [], "is_deleted": false, "is_starred": false, "edited_at": null, "expires_at": null, "created_at": AT, "updated_at": AT
        });
        world.messages.push(message.clone());
        message
    }

    /// The access token is no longer good.
    pub(crate) fn expire_token(&self) {
        self.world().generation += 1;
    }

    /// Neither access nor refresh token is good any more.
    pub(crate) fn end_session(&self) {
        let mut world = self.world();
        world.generation += 1;
        world.session_ended = true;
    }

    /// Answers the next calls with these statuses.
    pub(crate) fn fail(&self, statuses: impl IntoIterator<Item = StatusCode>) {
        self.world().failures.extend(statuses);
    }

    /// Answers the next exchange of tokens with this status.
    pub(crate) fn fail_refresh(&self, status: StatusCode) {
        self.world().refresh_failure = Some(status);
    }

    /// The keys of the calls to this path, one for each call.
    pub(crate) fn calls(&self, path: &str) -> Vec<Option<String>> {
        self.world().calls.iter().filter(|(called, _)| called == path).map(|(_, key)| key.clone()).collect()
    }

    async fn serve(self, stream: TcpStream, opened: mpsc::Sender<Socket>) {
        let mut start = [0; 7];
        while stream.peek(&mut start).await.is_ok_and(|count| (1..start.len()).contains(&count)) {}
        if &start != b"GET /ws" {
            let service = TowerToHyperService::new(self.router());
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            return;
        }
        let Ok((request, ws)) = ServerBuilder::new().accept(stream).await else { return };
        let mut socket = Socket { ws };
        if self.refuses(request.headers()) {
            socket.close(4001).await;
        } else {
            let _ = opened.send(socket).await;
        }
    }

    fn refuses(&self, headers: &HeaderMap) -> bool {
        let expected = format!("Bearer access-{}", self.world().generation);
        headers.get("authorization").and_then(|value| value.to_str().ok()) != Some(&expected)
    }

    fn router(&self) -> Router {
        Router::new()
            .route(
                "/api/v1/users/me",
                get(async |State(mock): State<Self>, headers: HeaderMap| {
                    mock.answer("me", &headers, |_| {
                        json!({
                            "id": ME, "phone": "+15550100001", "display_name": "Me", "avatar_url": "", "status_text": "", "created_at": AT, "updated_at": AT
                        })
                    })
                }),
            )
            .route(
                "/api/v1/chats",
                get(async |State(mock): State<Self>, headers: HeaderMap| {
                    mock.answer("chats", &headers, |world| {
                        json!({
                            "chats": [chat(world)], "next_cursor": null, "has_more": false
                        })
                    })
                }),
            )
            .route(
                "/api/v1/chats/{chat}/messages",
                get(async |State(mock): State<Self>, headers: HeaderMap, Query(query): Query<History>| {
                    mock.answer("history", &headers, |world| {
                        let after: Vec<_> = world.messages.iter().skip(query.after_seq).cloned().collect();
                        json!({"messages": after.iter().take(query.limit).collect::<Vec<_>>(), "next_cursor": null, "has_more": after.len() > query.limit})
                    })
                }),
            )
            .route(
                "/api/v1/sync",
                post(async |State(mock): State<Self>, headers: HeaderMap, body: Bytes| {
                    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
                    mock.answer("sync", &headers, |world| sync(world, &request))
                }),
            )
            .route("/api/v1/auth/refresh", post(async |State(mock): State<Self>, headers: HeaderMap, body: Bytes| mock.refresh(&headers, &body)))
            .with_state(self.clone())
    }

    fn answer(&self, path: &str, headers: &HeaderMap, data: impl FnOnce(&World) -> Value) -> Response {
        let refused = self.refuses(headers);
        let mut world = self.world();
        world.calls.push((path.to_owned(), None));
        if let Some(status) = world.failures.pop_front() {
            return failure(status, "UNAVAILABLE");
        }
        match refused {
            true => failure(StatusCode::UNAUTHORIZED, "TOKEN_EXPIRED"),
            false => success(&data(&world)),
        }
    }

    fn refresh(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        let mut world = self.world();
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(ToOwned::to_owned);
        world.calls.push(("refresh".to_owned(), key));
        if let Some(status) = world.refresh_failure.take() {
            return failure(status, "UNAVAILABLE");
        }
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        if world.session_ended || request["refresh_token"] != "refresh-0" && request["refresh_token"] != format!("refresh-{}", world.generation - 1) {
            return failure(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        }
        let user = json!({"id": ME, "phone": "+15550100001", "display_name": "Me", "is_new_user": false});
        success(&json!({
            "access_token": format!("access-{}", world.generation), "refresh_token": format!("refresh-{}", world.generation), "expires_in": 900,
            "expires_in_seconds": 900, "user": user, "is_new_user": false, "device_id": ME
        }))
    }
}

#[derive(serde::Deserialize)]
struct History {
    after_seq: usize,
    limit: usize,
}

fn chat(world: &World) -> Value {
    let last = world.messages.len();
    json!({
        "chat_id": CHAT, "type": "direct", "name": "Bob", "description": "", "avatar_url": "", "participant": null, "participants": [], "last_message": null,
        "unread_count": last, "is_muted": false, "mute_until": null, "is_pinned": false, "is_admin_only": false, "auto_delete_timer": "off",
        "last_seq": last, "rev": last, "created_at": AT, "updated_at": AT
    })
}

fn sync(world: &World, request: &Value) -> Value {
    let last = world.messages.len();
    let since = request["chats"][CHAT].as_u64().map_or(0, |rev| rev as usize);
    let limit = request["limit"].as_u64().map_or(500, |limit| limit as usize);
    if since >= last {
        return json!({"chats": [], "removed_chat_ids": [], "complete": true});
    }
    let messages: Vec<_> = world.messages.iter().skip(since).take(limit).collect();
    let rev = since + messages.len();
    json!({
        "chats": [{"chat": chat(world), "rev": rev, "messages": messages, "hidden_message_ids": [], "receipts": [], "limited": rev < last}],
        "removed_chat_ids": [], "complete": rev == last
    })
}

fn success(data: &Value) -> Response {
    envelope(StatusCode::OK, &json!({"success": true, "data": data, "error": null, "meta": {"request_id": "1", "timestamp": AT}}))
}

fn failure(status: StatusCode, code: &str) -> Response {
    let error = json!({"code": code, "message": "as the test says", "details": []});
    envelope(status, &json!({"success": false, "data": null, "error": error, "meta": {"request_id": "1", "timestamp": AT}}))
}

fn envelope(status: StatusCode, body: &Value) -> Response {
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

impl Socket {
    /// Sends an event.
    pub(crate) async fn say(&mut self, event: &str, data: &Value, req_id: Option<&Value>) {
        let mut frame = json!({"event": event, "data": data, "timestamp": AT});
        if let Some(req_id) = req_id {
            frame["req_id"] = req_id.clone();
        }
        self.ws.send(Message::text(frame.to_string())).await.expect("the client listens");
    }

    /// The client's next frame, which must be of this event; pings and acknowledgements in between are passed over.
    pub(crate) async fn expect(&mut self, event: &str) -> Value {
        loop {
            let message = soon("a frame", self.ws.next()).await.expect("the client stays").expect("a frame");
            let Some(text) = message.as_text() else { continue };
            let frame: Value = serde_json::from_str(text).expect("JSON");
            match frame["event"].as_str() {
                Some(found) if found == event => return frame,
                Some("ping" | "message.delivered") => {}
                found => panic!("expected {event}, got {found:?}"),
            }
        }
    }

    /// The client's next frame.
    pub(crate) async fn expect_any(&mut self) -> Value {
        loop {
            let message = soon("a frame", self.ws.next()).await.expect("the client stays").expect("a frame");
            if let Some(text) = message.as_text() {
                return serde_json::from_str(text).expect("JSON");
            }
        }
    }

    /// Answers a `message.send` as stored.
    pub(crate) async fn accept(&mut self, frame: &Value, message: &Value) {
        let sent = json!({
            "message_id": message["message_id"], "client_msg_id": message["client_msg_id"], "chat_id": CHAT, "seq": message["seq"], "rev": message["rev"],
            "timestamp": AT, "created_at": AT, "duplicate": false
        });
        self.say("message.sent", &sent, Some(&frame["req_id"])).await;
    }

    /// Closes with this code.
    pub(crate) async fn close(&mut self, code: u16) {
        let code = CloseCode::try_from(code).expect("a code");
        let _ = self.ws.send(Message::close(Some(code), "")).await;
        while let Some(Ok(_)) = self.ws.next().await {}
    }

    /// Waits until the client closes.
    pub(crate) async fn closed(mut self) {
        while let Some(Ok(_)) = self.ws.next().await {}
    }
}
