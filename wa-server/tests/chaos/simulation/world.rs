//! A whole server inside one thread: the real services, routes and sockets over SQLite in memory, with a clock, randomness
//! and a bus that the simulation holds. Requests go to the router, sockets over pipes; nothing listens, and no time passes
//! unless the simulation says so.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};
use tower::ServiceExt as _;
use uuid::Uuid;
use wa_core::api::{Authenticator, Provision};
use wa_core::error::{Error, StoreError, Unauthenticated};
use wa_core::event::Event;
use wa_core::id::{DeviceId, UserId};
use wa_core::ports::{Env as _, EventBus, EventHandler, Stored, Subscription};
use wa_core::session::Caller;
use wa_core::testing::SimEnv;
use wa_server::{Chat, Config};
use wa_storage::{StorageConfig, Stores};

/// Bytes that a pipe takes before its reader reads.
const PIPE: usize = 1 << 10;

/// Tokens by device, and which still hold.
#[derive(Clone, Default)]
struct Tickets(Arc<Mutex<HashMap<String, Caller>>>);

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

/// A bus that hands out when it is told to, that can be down, and that can hand out again what it has handed out.
#[derive(Default)]
struct Bus {
    handlers: Mutex<Vec<(u64, Arc<dyn EventHandler>)>>,
    next: AtomicU64,
    queue: Mutex<VecDeque<Arc<Event>>>,
    newest: Mutex<VecDeque<Arc<Event>>>,
    is_down: AtomicBool,
}

#[derive(Clone)]
struct SharedBus(Arc<Bus>);

struct Subscribed(Arc<Bus>, u64);

impl Subscription for Subscribed {}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.0.handlers.lock().unwrap().retain(|(number, _)| *number != self.1);
    }
}

#[async_trait]
impl EventBus for SharedBus {
    async fn publish(&self, events: &[Arc<Event>]) -> Stored<()> {
        if self.0.is_down.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("bus", "the bus is down"));
        }
        self.0.queue.lock().unwrap().extend(events.iter().cloned());
        Ok(())
    }

    async fn subscribe(&self, _: &'static str, handler: Arc<dyn EventHandler>) -> Stored<Box<dyn Subscription>> {
        let number = self.0.next.fetch_add(1, Ordering::SeqCst);
        self.0.handlers.lock().unwrap().push((number, handler));
        Ok(Box::new(Subscribed(Arc::clone(&self.0), number)))
    }
}

/// An answer of a route.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("")
    }

    pub(super) fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// The data of a success.
    #[track_caller]
    pub(super) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "refused: {} {}", self.status, self.body);
        self.body["data"].clone()
    }
}

/// A client's end of a socket.
pub(super) struct Line {
    ws: WebSocketStream<DuplexStream>,
    next: u32,
}

impl Line {
    /// Sends a request and takes in everything up to its answer. Fails with the close code, if one came, once the connection has ended.
    pub(super) async fn ask(&mut self, event: &str, data: Value, passed: &mut Vec<Value>) -> Result<Value, Option<u16>> {
        self.next += 1;
        let req_id = self.next;
        let request = Message::text(json!({ "event": event, "data": data, "req_id": req_id }).to_string());
        // Both at once: a server that is about to close reads no more, and is itself waiting to be read.
        let (mut sink, mut stream) = (&mut self.ws).split();
        let (mut sending, mut is_sent) = (std::pin::pin!(sink.send(request)), false);
        loop {
            let message = tokio::select! {
                biased;
                _ = &mut sending, if !is_sent => {
                    is_sent = true;
                    continue;
                }
                message = stream.next() => message,
            };
            let Some(Ok(message)) = message else { return Err(None) };
            if let Some((code, _)) = message.as_close() {
                return Err(Some(code.into()));
            }
            let Some(text) = message.as_text() else { continue };
            let frame: Value = serde_json::from_str(text).unwrap();
            if frame["req_id"] == req_id {
                return Ok(frame);
            }
            passed.push(frame);
        }
    }

    /// Everything that the server has for this socket by now.
    pub(super) async fn drain(&mut self, passed: &mut Vec<Value>) -> Result<(), Option<u16>> {
        loop {
            let before = passed.len();
            self.ask("ping", Value::Null, passed).await?;
            // What waited when it connected follows the first answer.
            if passed.len() == before {
                return Ok(());
            }
        }
    }
}

pub(super) struct World {
    env: Arc<SimEnv>,
    stores: Arc<Stores>,
    bus: Arc<Bus>,
    tickets: Tickets,
    chat: Option<Chat>,
    router: Router,
    /// Whether events wait.
    pub(super) is_held: bool,
    /// While a blocking task is under way the stopped clock does not move by itself.
    _still: mpsc::Sender<()>,
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let (still, end) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || end.recv());
        let env = Arc::new(SimEnv::new(seed));
        let storage = StorageConfig { readers: 1, ..StorageConfig::in_memory() };
        let stores = Arc::new(wa_storage::open(&storage, env.clone()).await.unwrap());
        let mut world =
            Self { env, stores, bus: Arc::default(), tickets: Tickets::default(), chat: None, router: Router::new(), is_held: false, _still: still };
        world.start().await;
        world
    }

    fn config() -> Config {
        let mut config = Config::default();
        config.limits.enabled = false;
        config.limits.ws_queue_bytes = 4 << 10;
        config.limits.connect_backlog = 6;
        config
    }

    async fn start(&mut self) {
        let builder = Chat::builder(Self::config()).authenticator(self.tickets.clone()).env(self.env.clone()).stores(Arc::clone(&self.stores));
        let chat = builder.event_bus(Arc::new(SharedBus(Arc::clone(&self.bus)))).build().await.unwrap();
        self.router = chat.router();
        self.chat = Some(chat);
    }

    /// Ends the services and starts them again over the same stores. What was on its way over the bus is repeated if it was not
    /// handed out: the outbox is at least once, and so is the bus.
    pub(super) async fn restart(&mut self, gracefully: bool) {
        let chat = self.chat.take().unwrap();
        if gracefully {
            chat.shutdown().await;
        } else {
            drop(chat);
        }
        self.router = Router::new();
        self.start().await;
    }

    pub(super) fn now(&self) -> i64 {
        self.env.now().as_millis()
    }

    /// A moment later, by the clock of the services alone.
    pub(super) fn tick(&self) {
        self.env.advance(Duration::from_millis(1));
    }

    pub(super) async fn advance(&self, by: Duration) {
        self.env.advance(by);
        tokio::time::advance(by).await;
    }

    pub(super) fn set_bus_down(&self, is_down: bool) {
        self.bus.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(super) fn is_bus_down(&self) -> bool {
        self.bus.is_down.load(Ordering::SeqCst)
    }

    /// Hands out again, after everything that waits, what was handed out last.
    pub(super) fn repeat(&self, events: usize) {
        let newest: Vec<_> = self.bus.newest.lock().unwrap().iter().rev().take(events).rev().cloned().collect();
        self.bus.queue.lock().unwrap().extend(newest);
    }

    /// Hands out everything that is committed, unless it is held.
    pub(super) async fn settle(&self) {
        while !self.is_bus_down() && self.stores.relay.depth() > 0 {
            tokio::task::yield_now().await;
        }
        if self.is_held {
            return;
        }
        loop {
            let batch: Vec<_> = self.bus.queue.lock().unwrap().drain(..).collect();
            if batch.is_empty() {
                return;
            }
            let handlers: Vec<_> = self.bus.handlers.lock().unwrap().iter().map(|(_, handler)| Arc::clone(handler)).collect();
            for handler in handlers {
                while handler.handle(&batch).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
            let mut newest = self.bus.newest.lock().unwrap();
            newest.extend(batch);
            while newest.len() > 16 {
                newest.pop_front();
            }
        }
    }

    /// Makes a user.
    pub(super) async fn provision(&self, number: usize) -> String {
        let id = Uuid::from_u128(0x1000 + number as u128);
        let user = Provision { id: UserId::from_uuid(id), phone: Some(format!("+1555010{number:04}")), display_name: format!("User {number}") };
        self.chat.as_ref().unwrap().users().provision(user).await.unwrap();
        id.to_string()
    }

    /// A token of a device.
    pub(super) fn issue(&self, user: usize, device: usize) -> String {
        let (user, device_id) = (Uuid::from_u128(0x1000 + user as u128), Uuid::from_u128(0x2000 + device as u128));
        let token = format!("device-{device}");
        self.tickets.0.lock().unwrap().insert(token.clone(), Caller { user_id: UserId::from_uuid(user), device_id: DeviceId::from_uuid(device_id) });
        token
    }

    /// Asks a route below `/api/v1`.
    pub(super) async fn ask(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(format!("/api/v1{path}"));
        request = request.header("authorization", format!("Bearer {token}"));
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, body: if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() } }
    }

    /// Opens a socket.
    pub(super) async fn connect(&self, token: &str) -> Line {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let service = TowerToHyperService::new(self.router.clone());
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service).with_upgrades().await;
        });
        let builder = ClientBuilder::new().uri(&format!("ws://simulation/ws?token={token}")).unwrap();
        let (ws, _) = builder.connect_on(ours).await.unwrap();
        Line { ws, next: 0 }
    }
}
