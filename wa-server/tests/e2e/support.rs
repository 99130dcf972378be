//! What the tests share: a real server on a free port, people who log in to it, and raw HTTP and WebSocket clients that
//! show what is on the wire. Nothing sleeps; whatever is awaited has a time limit that only fails the test.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};
use wa_core::ports::Env;
use wa_core::time::Timestamp;
use wa_server::binary::JsonLines;
use wa_server::{Config, Server, ServerBuilder, SystemEnv};

/// When something that is awaited counts as not coming: later than NATS hands out again what was not acknowledged.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits something that must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// The real time, moved forward by the test.
#[derive(Default)]
pub(crate) struct MovedClock(AtomicI64);

impl MovedClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).expect("small"), Ordering::SeqCst);
    }
}

impl Env for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemEnv.now().as_millis() + self.0.load(Ordering::SeqCst))
    }

    fn fill(&self, bytes: &mut [u8]) {
        SystemEnv.fill(bytes);
    }
}

/// Everything that any server of this process logged, at the finest level.
pub(crate) fn log() -> String {
    String::from_utf8(LOG.lock().expect("not poisoned").clone()).expect("the log is text")
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct LogWriter;

impl std::io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn prepare_process() {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Other tests do not look into it, and a campaign would fill the memory with it.
        if env!("CARGO_CRATE_NAME") != "e2e" {
            return;
        }
        let ours = tracing_subscriber::filter::Targets::new().with_target("wa_", tracing::Level::TRACE).with_default(tracing::Level::DEBUG);
        tracing_subscriber::registry().with(ours).with(JsonLines::new(|| LogWriter)).init();
    });
}

pub(crate) fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    prepare_process();
    // Connections belong to the runtime of the test that opened them, so none is kept for the next.
    CLIENT.get_or_init(|| reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(PATIENCE).build().expect("a client"))
}

/// A running server and its data directory.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) grpc: Option<SocketAddr>,
    pub(crate) config: Config,
    pub(crate) data: Arc<tempfile::TempDir>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    #[cfg(feature = "cluster")]
    pub(crate) gateway: Option<Gateway>,
}

/// The gateway before a server, in a process of its own as far as the server can tell.
#[cfg(feature = "cluster")]
pub(crate) struct Gateway {
    /// Where the server listens behind it.
    pub(crate) behind: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

#[cfg(feature = "cluster")]
impl Gateway {
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        soon("the end of the gateway", self.running).await.expect("no panic");
    }
}

/// A gateway before this server: all roles but the gateway run there, or seem to.
#[cfg(feature = "cluster")]
pub(crate) async fn gateway(http: SocketAddr, grpc: SocketAddr, change: impl FnOnce(&mut Config)) -> (SocketAddr, Gateway) {
    let mut config = Config::default();
    config.server.bind = SocketAddr::from(([127, 0, 0, 1], 0));
    config.server.roles = wa_server::Roles::of([wa_server::Role::Gateway]).expect("one role");
    config.limits.enabled = false;
    for role in wa_server::Role::ALL.into_iter().filter(|role| role.area().is_some()) {
        config.peers.http.insert(role, vec![format!("http://{http}").parse().expect("a URL")]);
    }
    config.peers.grpc.insert(wa_server::Role::Auth, vec![format!("http://{grpc}").parse().expect("a URL")]);
    change(&mut config);
    let gateway = wa_server::GatewayServer::bind(config).await.expect("the gateway starts");
    let (stop, stopped) = oneshot::channel::<()>();
    let address = gateway.local_addr();
    let running = tokio::spawn(gateway.run_until(async {
        let _ = stopped.await;
    }));
    (address, Gateway { behind: http, stop, running })
}

/// A configuration for tests: a directory and a port of its own, codes echoed, no rate limits.
pub(crate) fn config(data: &tempfile::TempDir) -> Config {
    let mut config = Config::default();
    config.server.bind = SocketAddr::from(([127, 0, 0, 1], 0));
    config.server.data_dir = data.path().to_owned();
    config.dev.echo_otp = true;
    config.limits.enabled = false;
    config
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With changes to the configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let data = Arc::new(tempfile::tempdir().expect("a directory"));
        let mut config = config(&data);
        change(&mut config);
        Self::run(config, data, |builder| builder).await
    }

    /// With a clock that the test moves.
    pub(crate) async fn with_clock(change: impl FnOnce(&mut Config)) -> (Self, Arc<MovedClock>) {
        let clock = Arc::new(MovedClock::default());
        let data = Arc::new(tempfile::tempdir().expect("a directory"));
        let mut config = config(&data);
        change(&mut config);
        let env = Arc::clone(&clock);
        (Self::run(config, data, move |builder| builder.env(env)).await, clock)
    }

    pub(crate) async fn run(mut config: Config, data: Arc<tempfile::TempDir>, build: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        prepare_process();
        // Where the tests are run once more on PostgreSQL, each server that names no database gets one there.
        if config.storage.database.is_none()
            && let Ok(url) = std::env::var("WA_E2E_POSTGRES")
        {
            config.storage.database = Some(wa_storage::conformance::ScratchDatabase::on(&url).await.url().to_owned());
        }
        let server = build(Server::builder(config.clone())).bind().await.expect("the server starts");
        let (stop, stopped) = oneshot::channel::<()>();
        let (address, grpc) = (server.local_addr(), server.grpc_addr());
        let running = tokio::spawn(server.run_until(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            grpc,
            config,
            data,
            stop,
            running,
            #[cfg(feature = "cluster")]
            gateway: None,
        }
    }

    /// All roles but the gateway, and a gateway before them, which is what is talked to.
    #[cfg(feature = "cluster")]
    pub(crate) async fn behind_gateway(change: impl FnOnce(&mut Config)) -> Self {
        let mut server = Self::with(|config| {
            config.server.roles = wa_server::Roles::of(wa_server::Role::ALL.into_iter().skip(1)).expect("seven roles");
            config.server.grpc_bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        })
        .await;
        let (address, gateway) = gateway(server.address, server.grpc.expect("gRPC is served"), change).await;
        (server.address, server.gateway) = (address, Some(gateway));
        server
    }

    /// Ends it gracefully, and returns what is needed to start it again.
    pub(crate) async fn stop(self) -> (Config, Arc<tempfile::TempDir>) {
        let _ = self.stop.send(());
        soon("the end of the server", self.running).await.expect("no panic");
        let mut config = self.config;
        config.server.bind = self.address;
        (config, self.data)
    }

    /// Stops it and starts it again on the same port and data.
    pub(crate) async fn restart(self) -> Self {
        let (config, data) = self.stop().await;
        Self::run(config, data, |builder| builder).await
    }

    /// Ends it as a crash would, and starts it again on the same data.
    pub(crate) async fn crash(self) -> Self {
        self.running.abort();
        let _ = self.running.await;
        let mut config = self.config;
        config.server.bind = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::run(config, self.data, |builder| builder).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks an API route; `path` is below `/api/v1`.
    pub(crate) async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = http().request(method, self.url(&format!("/api/v1{path}")));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, None, Some(body)).await
    }

    /// The code that was sent to a phone.
    pub(crate) async fn otp(&self, phone: &str) -> String {
        let answer = self.post("/auth/request-otp", json!({ "phone": phone })).await.ok(200);
        answer["otp"].as_str().expect("an echoed code").to_owned()
    }

    /// Logs a phone in on a new device.
    pub(crate) async fn login(&self, phone: &str) -> Person {
        let otp = self.otp(phone).await;
        let login = self.post("/auth/verify-otp", json!({ "phone": phone, "otp": otp, "device_name": "Test" })).await.ok(200);
        Person::of(self.address, phone, &login)
    }

    /// Somebody nobody else in any test is.
    pub(crate) async fn somebody(&self) -> Person {
        self.login(&fresh_phone()).await
    }

    /// Two people and their direct chat.
    pub(crate) async fn couple(&self) -> (Person, Person, String) {
        let (alice, bob) = (self.somebody().await, self.somebody().await);
        let chat = alice.chat_with(&bob).await;
        (alice, bob, chat)
    }
}

/// A number of the range kept for fiction (+1 area 555 01xx), or near it, that was not given out before.
pub(crate) fn fresh_phone() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("+1555{:07}", 2_000_000 + NEXT.fetch_add(1, Ordering::SeqCst))
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a whole body");
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null), text }
    }

    /// The data of a success with this status.
    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if status != 204 {
            assert_eq!(self.body["success"], true, "{}", self.text);
            assert_eq!(self.body["error"], Value::Null, "{}", self.text);
            assert!(self.body["meta"]["request_id"].is_string() && self.body["meta"]["timestamp"].is_string(), "{}", self.text);
        } else {
            assert_eq!(self.text, "");
        }
        self.body["data"].clone()
    }

    /// Checks that it is this error, in its envelope.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["error"]["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.body["success"], false, "{}", self.text);
        assert_eq!(self.body["data"], Value::Null, "{}", self.text);
        assert!(self.body["error"]["message"].is_string() && self.body["error"]["details"].is_array(), "{}", self.text);
        if status == 429 || status == 503 {
            assert!(self.headers.contains_key("retry-after"), "{:?}", self.headers);
        }
        self.body["error"].clone()
    }
}

/// A logged-in device.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) address: SocketAddr,
    pub(crate) phone: String,
    pub(crate) id: String,
    pub(crate) device: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Person {
    pub(crate) fn of(address: SocketAddr, phone: &str, login: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Self {
            address,
            phone: phone.to_owned(),
            id: text(&login["user"]["id"]),
            device: text(&login["device_id"]),
            access: text(&login["access_token"]),
            refresh: text(&login["refresh_token"]),
        }
    }

    /// Posts to an API route without a token.
    pub(crate) async fn ask(address: SocketAddr, path: &str, body: Value) -> Answer {
        Answer::of(http().post(format!("http://{address}/api/v1{path}")).json(&body)).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = http().request(method, format!("http://{}/api/v1{path}", self.address)).bearer_auth(&self.access);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// The id of the direct chat with somebody.
    pub(crate) async fn chat_with(&self, other: &Self) -> String {
        let answer = self.post("/chats", json!({ "type": "direct", "participant_id": other.id })).await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text);
        answer.body["data"]["chat_id"].as_str().expect("a chat id").to_owned()
    }

    /// Sends a text over REST.
    pub(crate) async fn say(&self, chat: &str, text: &str) -> Value {
        let body = json!({ "client_msg_id": uuid::Uuid::new_v4().to_string(), "type": "text", "payload": { "body": text } });
        self.post(&format!("/chats/{chat}/messages"), body).await.ok(201)
    }

    /// Opens a socket.
    pub(crate) async fn connect(&self) -> Socket {
        Socket::connect(&format!("ws://{}/ws?token={}", self.address, self.access)).await
    }

    /// The texts of a chat's newest page, newest first.
    pub(crate) async fn texts(&self, chat: &str) -> Vec<String> {
        let page = self.get(&format!("/chats/{chat}/messages?limit=100")).await.ok(200);
        texts(&page["messages"])
    }

    /// The state of a message, as its sender sees it in the history.
    pub(crate) async fn status_of(&self, chat: &str, message: &Value) -> String {
        let page = self.get(&format!("/chats/{chat}/messages?limit=100")).await.ok(200);
        let found = page["messages"].as_array().expect("messages").iter().find(|found| found["message_id"] == message["message_id"]);
        found.expect("the message")["status"].as_str().expect("a status").to_owned()
    }
}

pub(crate) fn texts(messages: &Value) -> Vec<String> {
    messages.as_array().expect("messages").iter().map(|message| message["payload"]["body"].as_str().expect("a text").to_owned()).collect()
}

/// A raw WebSocket client.
pub(crate) struct Socket {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_req: u32,
    /// Frames that came while another was awaited.
    pub(crate) passed_over: Vec<Value>,
}

impl Socket {
    pub(crate) async fn connect(url: &str) -> Self {
        prepare_process();
        let builder = ClientBuilder::new().uri(url).expect("a URL");
        let (ws, _) = soon("the upgrade", builder.connect()).await.expect("an upgrade");
        Self { ws, next_req: 0, passed_over: Vec::new() }
    }

    /// Over a connection that was prepared by the test.
    pub(crate) async fn over(stream: TcpStream, url: &str) -> Self {
        let builder = ClientBuilder::new().uri(url).expect("a URL");
        let (ws, _) = soon("the upgrade", builder.connect_on(MaybeTlsStream::Plain(stream))).await.expect("an upgrade");
        Self { ws, next_req: 0, passed_over: Vec::new() }
    }

    /// Sends an event to a server that may have closed the connection. Returns whether it could be sent.
    pub(crate) async fn try_send(&mut self, event: &str, data: Value) -> bool {
        self.ws.send(Message::text(json!({ "event": event, "data": data }).to_string())).await.is_ok()
    }

    pub(crate) async fn send_text(&mut self, text: impl Into<String>) {
        self.ws.send(Message::text(text.into())).await.expect("sent");
    }

    /// Sends an event without a `req_id`.
    pub(crate) async fn send(&mut self, event: &str, data: Value) {
        self.send_text(json!({ "event": event, "data": data }).to_string()).await;
    }

    /// Sends an event and returns its direct answer, whatever it is.
    pub(crate) async fn ask(&mut self, event: &str, data: Value) -> Value {
        self.next_req += 1;
        let req_id = format!("r{}", self.next_req);
        self.send_text(json!({ "event": event, "data": data, "req_id": req_id }).to_string()).await;
        self.until(&format!("the answer to {event}"), |frame| frame["req_id"] == req_id.as_str()).await
    }

    /// Sends a text message and returns `message.sent`.
    pub(crate) async fn say(&mut self, chat: &str, text: &str) -> Value {
        let data = json!({ "chat_id": chat, "client_msg_id": uuid::Uuid::new_v4().to_string(), "type": "text", "payload": { "body": text } });
        let answer = self.ask("message.send", data).await;
        assert_eq!(answer["event"], "message.sent", "{answer}");
        answer["data"].clone()
    }

    /// The next frame; `None` once the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            match soon("a frame", self.ws.next()).await? {
                Ok(message) if message.is_text() => {
                    let frame: Value = serde_json::from_str(message.as_text().expect("a text")).expect("a frame is JSON");
                    assert!(frame["event"].is_string() && frame["timestamp"].is_string(), "{frame}");
                    return Some(frame);
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next frame that fits; those before it are put aside.
    pub(crate) async fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame =
                soon(what, self.next()).await.unwrap_or_else(|| panic!("the socket was closed before {what} came; passed over: {:?}", self.passed_over));
            if fits(&frame) {
                return frame;
            }
            self.passed_over.push(frame);
        }
    }

    /// The data of the next frame of this event.
    pub(crate) async fn expect(&mut self, event: &str) -> Value {
        self.until(event, |frame| frame["event"] == event).await["data"].clone()
    }

    /// Makes sure that everything the server has for this socket by now has come: whatever was queued before the `pong`.
    pub(crate) async fn settle(&mut self) {
        self.next_req += 1;
        let req_id = format!("p{}", self.next_req);
        self.send_text(json!({ "event": "ping", "req_id": req_id }).to_string()).await;
        self.until("pong", |frame| frame["event"] == "pong" && frame["req_id"] == req_id.as_str()).await;
    }

    /// As [`Self::ask`], on a connection that the server may have ended. Returns whether it stands, and the close code if
    /// one came.
    pub(crate) async fn try_ask(&mut self, event: &str, data: Value) -> (bool, Option<u16>) {
        self.next_req += 1;
        let req_id = format!("t{}", self.next_req);
        let _ = self.ws.send(Message::text(json!({ "event": event, "data": data, "req_id": req_id }).to_string())).await;
        loop {
            let Some(Ok(message)) = soon("an answer or the end", self.ws.next()).await else { return (false, None) };
            if let Some((code, _)) = message.as_close() {
                return (false, Some(code.into()));
            }
            let Some(text) = message.as_text() else { continue };
            let frame: Value = serde_json::from_str(text).expect("a frame is JSON");
            if frame["req_id"] == req_id.as_str() {
                return (true, None);
            }
            self.passed_over.push(frame);
        }
    }

    /// Those frames of an event that were put aside.
    pub(crate) fn passed(&self, event: &str) -> Vec<&Value> {
        self.passed_over.iter().filter(|frame| frame["event"] == event).map(|frame| &frame["data"]).collect()
    }

    /// Reads until the connection ends, and returns the close code if one could still be sent.
    pub(crate) async fn close_code_or_end(&mut self) -> Option<u16> {
        loop {
            match soon("the end of the connection", self.ws.next()).await {
                Some(Ok(message)) => {
                    if let Some((code, _)) = message.as_close() {
                        return Some(code.into());
                    }
                }
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Reads until the server closes, and returns the code.
    pub(crate) async fn close_code(&mut self) -> u16 {
        self.close_reason().await.0
    }

    /// Reads until the server closes, and returns the code and the reason.
    pub(crate) async fn close_reason(&mut self) -> (u16, String) {
        loop {
            match soon("a close", self.ws.next()).await {
                Some(Ok(message)) => {
                    if let Some((code, reason)) = message.as_close() {
                        return (code.into(), reason.to_owned());
                    }
                    if let Some(Ok(frame)) = message.as_text().map(serde_json::from_str) {
                        self.passed_over.push(frame);
                    }
                }
                Some(Err(error)) => panic!("no close frame came: {error}"),
                None => panic!("the connection ended without a close frame"),
            }
        }
    }

    pub(crate) async fn close(mut self) {
        let _ = self.ws.close().await;
        while let Some(Ok(_)) = self.ws.next().await {}
    }
}

/// Awaits a state that is reached on its own, asking again and again.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    soon(what, async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}
