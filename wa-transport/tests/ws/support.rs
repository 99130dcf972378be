//! A server on port 0 over a core that does what the test tells it, and a client on a real socket.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::{HeaderName, HeaderValue};
use futures_util::{SinkExt as _, StreamExt as _};
use mockall::mock;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_websockets::{ClientBuilder, Config, MaybeTlsStream, Message, WebSocketStream};
use uuid::Uuid;
use wa_core::Result;
use wa_core::api::*;
use wa_core::chat::{AutoDeleteTimer, ChatKind, ChatView, Role};
use wa_core::emoji::Emoji;
use wa_core::error::{Error, Missing, Unauthenticated};
use wa_core::event::{Event, Fact, MessageDeleted, MessageNew, MessageReaction, MessageStarred};
use wa_core::group::ProfileChange;
use wa_core::id::*;
use wa_core::limits::{Limits, RateLimit};
use wa_core::message::{Content, MessageKind, MessageView, Rev, Seq, Text};
use wa_core::ports::{Admission, EventHandler as _, RateLimiter, Stored};
use wa_core::privacy::PrivacySettings;
use wa_core::push::DeviceToken;
use wa_core::receipt::{ReceiptView, Status};
use wa_core::session::Caller;
use wa_core::status_post::StatusView;
use wa_core::testing::SimEnv;
use wa_core::time::Timestamp;
use wa_core::user::{ContactView, PresenceView, Profile, ProfileUpdate, RegisteredUser};
use wa_transport::Backend;
use wa_transport::metrics::Metrics;
use wa_transport::rest::Origins;
use wa_transport::ws::{Delivery, Hub, WsOptions, router};

/// The id of this number.
pub(crate) fn id<T: From<Uuid>>(number: u128) -> T {
    T::from(Uuid::from_u128(number))
}

/// The id of this number as text.
pub(crate) fn uuid(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

/// Fails instead of hanging.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it happens soon")
}

mock! {
    pub Users {}
    #[async_trait]
    impl UserApi for Users {
        async fn provision(&self, user: Provision) -> Result<Profile>;
        async fn me(&self, caller: &Caller) -> Result<Profile>;
        async fn update_me(&self, caller: &Caller, update: ProfileUpdate) -> Result<Profile>;
        async fn delete_me(&self, caller: &Caller, confirm: &str) -> Result<()>;
        async fn profile(&self, caller: &Caller, id: UserId) -> Result<Profile>;
        async fn sync_contacts(&self, caller: &Caller, phone_numbers: &[String]) -> Result<Vec<RegisteredUser>>;
        async fn contacts(&self, caller: &Caller) -> Result<Vec<ContactView>>;
        async fn set_blocked(&self, caller: &Caller, target: UserId, blocked: bool) -> Result<()>;
        async fn privacy(&self, caller: &Caller) -> Result<PrivacySettings>;
        async fn set_privacy(&self, caller: &Caller, update: PrivacyUpdate) -> Result<PrivacySettings>;
    }
}

/// A send that waits for the test to end it.
pub(crate) struct SendCall {
    pub(crate) message: SendMessage,
    pub(crate) reply: oneshot::Sender<Result<Sent>>,
}

/// What else the core was asked.
#[derive(Debug, PartialEq)]
pub(crate) enum Call {
    Connected(ConnectionId),
    Disconnected(ConnectionId),
    Delivered(Vec<MessageId>),
    Read(Option<ChatId>, Option<MessageId>),
    Typing(ChatId, bool),
    Sync { chats: usize, limit: Option<i64> },
}

/// A core that reports what it is asked and answers what the test has laid ready.
pub(crate) struct Core {
    sends: mpsc::UnboundedSender<SendCall>,
    calls: mpsc::UnboundedSender<Call>,
    /// What `pending` waits for, call by call; nothing waits once this is used up.
    pub(crate) pending: Mutex<VecDeque<oneshot::Receiver<Result<Pending>>>>,
    /// What `see` waits for, call by call.
    pub(crate) see: Mutex<VecDeque<oneshot::Receiver<()>>>,
    pub(crate) confirm: Mutex<VecDeque<oneshot::Receiver<Result<()>>>>,
    pub(crate) recipients: Mutex<Vec<UserId>>,
    pub(crate) fan_out_fails: Mutex<u32>,
    pub(crate) refuse: Mutex<bool>,
    /// Chats that an answer to sync says were removed.
    pub(crate) removed: Mutex<Vec<ChatId>>,
}

fn lay_ready<T>(queue: &Mutex<VecDeque<oneshot::Receiver<T>>>) -> oneshot::Sender<T> {
    let (give, take) = oneshot::channel();
    queue.lock().expect("not poisoned").push_back(take);
    give
}

async fn taken<T>(queue: &Mutex<VecDeque<oneshot::Receiver<T>>>) -> Option<T> {
    let ready = queue.lock().expect("not poisoned").pop_front()?;
    Some(ready.await.expect("the test answers"))
}

impl Core {
    pub(crate) fn hold_pending(&self) -> oneshot::Sender<Result<Pending>> {
        lay_ready(&self.pending)
    }
    pub(crate) fn hold_see(&self) -> oneshot::Sender<()> {
        lay_ready(&self.see)
    }
    pub(crate) fn hold_confirm(&self) -> oneshot::Sender<Result<()>> {
        lay_ready(&self.confirm)
    }
    fn note(&self, call: Call) {
        let _ = self.calls.send(call);
    }
}

#[async_trait]
impl Authenticator for Core {
    /// "1:2" is the token of user 1 on device 2.
    async fn authenticate(&self, token: &str) -> Result<Caller> {
        match token {
            "expired" => Err(Error::Unauthenticated(Unauthenticated::Expired)),
            "down" => Err(Error::unavailable("down")),
            _ => {
                let (user, device) = token.split_once(':').ok_or(Error::Unauthenticated(Unauthenticated::Invalid))?;
                let number = |text: &str| text.parse::<u128>().map_err(|_| Error::Unauthenticated(Unauthenticated::Invalid));
                Ok(Caller { user_id: id(number(user)?), device_id: id(number(device)?) })
            }
        }
    }

    async fn confirm(&self, _: &Caller) -> Result<()> {
        taken(&self.confirm).await.unwrap_or(Ok(()))
    }
}

#[async_trait]
impl MessageApi for Core {
    async fn send(&self, _: &Caller, message: SendMessage) -> Result<Sent> {
        let (reply, answer) = oneshot::channel();
        let _ = self.sends.send(SendCall { message, reply });
        answer.await.expect("the test answers")
    }
    async fn history(&self, _: &Caller, _: ChatId, _: HistoryQuery) -> Result<MessagePage> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn mark_delivered(&self, _: &Caller, messages: &[MessageId], _: Option<ConnectionId>) -> Result<()> {
        self.note(Call::Delivered(messages.to_vec()));
        Ok(())
    }
    async fn mark_read(&self, _: &Caller, chat: Option<ChatId>, up_to: Option<MessageId>, _: Option<ConnectionId>) -> Result<()> {
        self.note(Call::Read(chat, up_to));
        if chat == Some(id(404)) { Err(Error::not_found(Missing::Chat)) } else { Ok(()) }
    }
    async fn receipts(&self, _: &Caller, _: MessageId) -> Result<Vec<ReceiptView>> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn delete_for_me(&self, caller: &Caller, message: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted> {
        deleted(caller, message, false, origin)
    }
    async fn delete_for_everyone(&self, caller: &Caller, message: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted> {
        deleted(caller, message, true, origin)
    }
    async fn edit(&self, _: &Caller, message: MessageId, payload: &Value, _: Option<ConnectionId>) -> Result<MessageView> {
        if message == id(404) {
            return Err(Error::not_found(Missing::Message));
        }
        Ok(MessageView { message_id: message, client_msg_id: payload.to_string(), ..self::message(1, 3) })
    }
    async fn forward(&self, _: &Caller, _: ForwardMessage) -> Result<Vec<ForwardedMessage>> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn react(&self, caller: &Caller, message: MessageId, emoji: Option<String>, origin: Option<ConnectionId>) -> Result<MessageReaction> {
        let emoji = emoji.map(|emoji| Emoji::parse(&emoji).ok_or_else(|| Error::invalid("emoji", "must be one emoji"))).transpose()?;
        let (seq, rev) = (Seq::new(3), Rev::new(4));
        Ok(MessageReaction { message_id: message, chat_id: id(1), seq, rev, user_id: caller.user_id, emoji, withheld_from: None, origin })
    }
    async fn star(&self, _: &Caller, _: MessageId, _: bool) -> Result<MessageStarred> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn starred(&self, _: &Caller, _: Option<String>, _: Option<i64>) -> Result<MessagePage> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn expire(&self) -> Result<bool> {
        Ok(false)
    }
    async fn search(&self, _: &Caller, _: SearchRequest) -> Result<SearchPage> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn sync(&self, _: &Caller, request: SyncRequest) -> Result<SyncAnswer> {
        self.note(Call::Sync { chats: request.chats.len(), limit: request.limit });
        Ok(SyncAnswer { chats: vec![], removed_chat_ids: self.removed.lock().expect("not poisoned").clone(), complete: true })
    }
    async fn pending(&self, _: &Caller) -> Result<Pending> {
        taken(&self.pending).await.unwrap_or_else(|| Ok(Pending::default()))
    }
}

#[async_trait]
impl PresenceApi for Core {
    async fn connected(&self, _: &Caller, connection: ConnectionId) -> Result<()> {
        self.note(Call::Connected(connection));
        Ok(())
    }
    async fn disconnected(&self, _: &Caller, connection: ConnectionId) -> Result<()> {
        self.note(Call::Disconnected(connection));
        Ok(())
    }
    async fn see(&self, _: &Caller, users: &[UserId]) -> Result<Vec<PresenceView>> {
        taken(&self.see).await;
        Ok(users.iter().map(|user| PresenceView { user_id: *user, online: true, last_seen: None }).collect())
    }
    async fn typing(&self, _: &Caller, chat: ChatId, is_typing: bool) -> Result<()> {
        self.note(Call::Typing(chat, is_typing));
        Ok(())
    }
    async fn expire_typing(&self) -> Result<()> {
        Ok(())
    }
    async fn renew(&self) -> Result<()> {
        Ok(())
    }
    async fn expire(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl StatusApi for Core {
    async fn post(&self, _: &Caller, _: NewStatus) -> Result<StatusView> {
        unreachable!("sockets carry no statuses")
    }

    async fn of_contacts(&self, _: &Caller) -> Result<Vec<StatusView>> {
        unreachable!("sockets carry no statuses")
    }

    async fn own(&self, _: &Caller) -> Result<Vec<StatusView>> {
        unreachable!("sockets carry no statuses")
    }

    async fn delete(&self, _: &Caller, _: StatusId) -> Result<()> {
        unreachable!("sockets carry no statuses")
    }

    async fn view(&self, _: &Caller, _: StatusId) -> Result<()> {
        unreachable!("sockets carry no statuses")
    }

    async fn expire(&self) -> Result<bool> {
        Ok(false)
    }
}

#[async_trait]
impl PushApi for Core {
    async fn register(&self, _: &Caller, _: RegisterDevice) -> Result<DeviceToken> {
        unreachable!("sockets register nothing")
    }

    async fn unregister(&self, _: &Caller, _: Option<&str>) -> Result<()> {
        unreachable!("sockets register nothing")
    }

    fn web_push_key(&self) -> Option<&str> {
        None
    }
}

#[async_trait]
impl FanOutApi for Core {
    async fn recipients(&self, _: &Event, _: &[UserId]) -> Result<Vec<UserId>> {
        let mut fails = self.fan_out_fails.lock().expect("not poisoned");
        if *fails > 0 {
            *fails -= 1;
            return Err(Error::unavailable("down"));
        }
        Ok(self.recipients.lock().expect("not poisoned").clone())
    }
    async fn shares(&self, event: &Event, recipients: &[UserId]) -> Result<Vec<Share>> {
        match &event.fact {
            Fact::MessageNew(new) => Ok(vec![Share { message: new.message.clone(), users: recipients.to_vec() }]),
            // Each in their own way: the key tells for whom.
            Fact::MessageEdited(edited) => Ok(recipients
                .iter()
                .map(|user| Share { message: MessageView { client_msg_id: user.to_string(), ..(*edited.message).clone() }.into(), users: vec![*user] })
                .collect()),
            _ => Ok(vec![]),
        }
    }
}

fn deleted(caller: &Caller, message_id: MessageId, for_everyone: bool, origin: Option<ConnectionId>) -> Result<MessageDeleted> {
    if message_id == id(404) {
        return Err(Error::not_found(Missing::Message));
    }
    let (seq, rev) = (Seq::new(3), Rev::new(4));
    Ok(MessageDeleted { message_id, chat_id: id(1), seq, rev, deleted_by: caller.user_id, for_everyone, withheld_from: None, origin })
}

#[async_trait]
impl ChatApi for Core {
    async fn create_direct(&self, _: &Caller, _: UserId) -> Result<(ChatView, bool)> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn list(&self, _: &Caller, _: Option<&str>, _: Option<i64>) -> Result<ChatPage> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn get(&self, caller: &Caller, chat: ChatId) -> Result<ChatView> {
        let at = Timestamp::from_millis(0);
        Ok(ChatView {
            chat_id: chat,
            kind: ChatKind::Direct,
            // Tells for whom it was made.
            name: caller.user_id.to_string(),
            description: String::new(),
            avatar_url: None,
            participant: None,
            participants: vec![],
            last_message: None,
            unread_count: 0,
            is_muted: false,
            mute_until: None,
            is_pinned: false,
            is_admin_only: false,
            auto_delete_timer: AutoDeleteTimer::Off,
            last_seq: Seq::ZERO,
            rev: Rev::new(1),
            created_at: at,
            updated_at: at,
        })
    }
    async fn mute(&self, _: &Caller, _: ChatId, _: bool, _: Option<Timestamp>) -> Result<()> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn pin(&self, _: &Caller, _: ChatId, _: bool) -> Result<()> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn create_group(&self, _: &Caller, _: CreateGroup) -> Result<ChatView> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn update(&self, _: &Caller, _: ChatId, _: ProfileChange) -> Result<ChatView> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn add_members(&self, _: &Caller, _: ChatId, _: &[UserId]) -> Result<()> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn remove_member(&self, _: &Caller, _: ChatId, _: UserId) -> Result<()> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn set_role(&self, _: &Caller, _: ChatId, _: UserId, _: Role) -> Result<()> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn set_timer(&self, _: &Caller, _: ChatId, _: AutoDeleteTimer) -> Result<()> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn create_invite(&self, _: &Caller, _: ChatId) -> Result<String> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn revoke_invite(&self, _: &Caller, _: ChatId) -> Result<()> {
        Err(Error::internal("not asked over sockets"))
    }
    async fn join(&self, _: &Caller, _: &str) -> Result<ChatView> {
        Err(Error::internal("not asked over sockets"))
    }
}

#[async_trait]
impl RateLimiter for Core {
    async fn take(&self, _: &str, _: RateLimit) -> Stored<Admission> {
        let refused = Admission::Refused { retry_after: Duration::from_micros(1500) };
        Ok(if *self.refuse.lock().expect("not poisoned") { refused } else { Admission::Granted })
    }
}

/// A running server.
pub(crate) struct World {
    pub(crate) core: Arc<Core>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) router: Router,
    pub(crate) metrics: Metrics,
    pub(crate) sends: mpsc::UnboundedReceiver<SendCall>,
    pub(crate) calls: mpsc::UnboundedReceiver<Call>,
    pub(crate) address: SocketAddr,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default(), &[]).await
    }

    pub(crate) async fn with(limits: Limits, origins: &[&str]) -> Self {
        let (sends, got_sends) = mpsc::unbounded_channel();
        let (calls, got_calls) = mpsc::unbounded_channel();
        let core = Arc::new(Core {
            sends,
            calls,
            pending: Mutex::default(),
            see: Mutex::default(),
            confirm: Mutex::default(),
            recipients: Mutex::default(),
            fan_out_fails: Mutex::default(),
            refuse: Mutex::default(),
            removed: Mutex::new(vec![id(9)]),
        });
        let metrics = Metrics::new();
        let hub = Hub::new(limits.ws_connections, metrics.clone());
        let backend = Backend {
            media: Arc::new(NoMedia),
            files: None,
            links: Arc::default(),
            authenticator: core.clone(),
            auth: None,
            users: Arc::new(MockUsers::new()),
            chats: core.clone(),
            messages: core.clone(),
            presence: core.clone(),
            statuses: core.clone(),
            push: core.clone(),
            fan_out: core.clone(),
            rate_limiter: core.clone(),
            limits: Arc::new(limits),
            env: Arc::new(SimEnv::new(7)),
            metrics: metrics.clone(),
        };
        let delivery = Delivery::new(hub.clone(), &backend);
        let router = router(hub.clone(), backend, WsOptions { cors_origins: Origins::parse(origins).expect("valid origins"), ..WsOptions::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = router.clone();
        tokio::spawn(async move { axum::serve(listener, serving).await });
        Self { core, hub, delivery, router, metrics, sends: got_sends, calls: got_calls, address }
    }

    /// Connects as user and device and waits until the socket takes part in everything.
    pub(crate) async fn connect(&mut self, token: &str) -> Client {
        let mut client = self.dial(token).await;
        client.settle().await;
        client
    }

    /// Connects without waiting for anything but the upgrade.
    pub(crate) async fn dial(&self, token: &str) -> Client {
        self.dial_with(token, Config::default()).await
    }

    pub(crate) async fn dial_with(&self, token: &str, config: Config) -> Client {
        let uri = format!("ws://{}/ws?token={token}", self.address);
        let (ws, _) = soon(ClientBuilder::new().uri(&uri).expect("a URI").config(config).connect()).await.expect("connected");
        Client { ws }
    }

    /// Connects with a header; the HTTP status if that is refused.
    pub(crate) async fn dial_with_header(&self, name: &'static str, value: &str, query: &str) -> Result<Client, u16> {
        let uri = format!("ws://{}/ws{query}", self.address);
        let builder = ClientBuilder::new().uri(&uri).expect("a URI");
        let builder = builder.add_header(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header")).expect("allowed");
        match soon(builder.connect()).await {
            Ok((ws, _)) => Ok(Client { ws }),
            Err(tokio_websockets::Error::Upgrade(tokio_websockets::upgrade::Error::DidNotSwitchProtocols(status))) => Err(status),
            Err(error) => panic!("{error}"),
        }
    }

    /// What the core was asked next, but for presence.
    pub(crate) async fn call(&mut self) -> Call {
        loop {
            let call = soon(self.calls.recv()).await.expect("the core lives");
            if !matches!(call, Call::Connected(_) | Call::Disconnected(_)) {
                return call;
            }
        }
    }

    /// Waits for what the core is asked next; the socket, if it was announced by it.
    pub(crate) async fn call_connected(&mut self) -> Option<ConnectionId> {
        match soon(self.calls.recv()).await.expect("the core lives") {
            Call::Connected(connection) => Some(connection),
            _ => None,
        }
    }

    /// Whether a socket was told to go and its presence was taken back.
    pub(crate) fn saw_disconnect(&mut self) -> bool {
        std::iter::from_fn(|| self.calls.try_recv().ok()).any(|call| matches!(call, Call::Disconnected(_)))
    }

    pub(crate) async fn next_send(&mut self) -> SendCall {
        soon(self.sends.recv()).await.expect("the core lives")
    }

    /// Lets an event happen, for these users.
    pub(crate) async fn happen(&self, recipients: &[u128], fact: Fact) {
        *self.core.recipients.lock().expect("not poisoned") = recipients.iter().copied().map(id).collect();
        let event = Event { id: id(1), at: Timestamp::from_millis(1), fact, cause: None };
        soon(self.delivery.handle(&[Arc::new(event)])).await.expect("delivered");
    }
}

/// A message at this place of this chat.
pub(crate) fn message(chat: u128, seq: i64) -> MessageView {
    let at = Timestamp::from_millis(0);
    MessageView {
        message_id: id(seq.unsigned_abs().into()),
        chat_id: id(chat),
        sender_id: id(1),
        client_msg_id: format!("key {seq}"),
        seq: Seq::new(seq),
        rev: Rev::new(seq),
        kind: MessageKind::Text,
        payload: Content::Text(Text { body: "hello".to_owned(), mentions: vec![] }).payload(),
        reply_to_message_id: None,
        reply_to_preview: None,
        forwarded: false,
        forwarded_from: None,
        status: Status::Sent,
        reactions: vec![],
        is_deleted: false,
        is_starred: false,
        edited_at: None,
        expires_at: None,
        created_at: at,
        updated_at: at,
    }
}

/// The fact that it was stored.
pub(crate) fn new_message(chat: u128, seq: i64, origin: Option<ConnectionId>) -> Fact {
    Fact::MessageNew(MessageNew {
        answered: None,
        message: Arc::new(message(chat, seq)),
        withheld_from: None,
        chat_kind: ChatKind::Direct,
        sender_name: "Alice".to_owned(),
        origin,
    })
}

/// The frame that sends a text.
pub(crate) fn send_frame(chat: u128, key: &str) -> Value {
    let data = json!({"chat_id": uuid(chat), "client_msg_id": key, "type": "text", "payload": {"body": "hello"}});
    json!({"event": "message.send", "data": data, "req_id": key})
}

/// A client on a real socket.
pub(crate) struct Client {
    pub(crate) ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub(crate) async fn send(&mut self, frame: &Value) {
        self.text(frame.to_string()).await;
    }

    pub(crate) async fn text(&mut self, text: impl Into<String>) {
        soon(self.ws.send(Message::text(text.into()))).await.expect("sent");
    }

    /// Asks for an event and returns the answer, which must be the next frame.
    pub(crate) async fn ask(&mut self, event: &str, data: Value) -> Value {
        self.send(&json!({"event": event, "data": data, "req_id": event})).await;
        self.frame().await
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Value {
        loop {
            let message = soon(self.ws.next()).await.expect("the socket is open").expect("a message");
            if let Some(text) = message.as_text() {
                return serde_json::from_str(text).expect("JSON");
            }
            assert!(message.is_ping(), "{message:?}");
        }
    }

    /// What the next frame is about: its event.
    pub(crate) async fn event(&mut self) -> String {
        self.frame().await["event"].as_str().expect("an event").to_owned()
    }

    /// Waits until the server has answered everything before this.
    pub(crate) async fn settle(&mut self) {
        self.send(&json!({"event": "ping", "req_id": "settle"})).await;
        while self.frame().await["req_id"] != "settle" {}
    }

    /// Reads to the close; what came before it is dropped.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            let message = soon(self.ws.next()).await.expect("a close comes first").expect("a close comes first");
            if let Some((code, reason)) = message.as_close() {
                return (code.into(), reason.to_owned());
            }
        }
    }
}

/// No file is there, and none is taken.
pub(crate) struct NoMedia;

#[async_trait]
impl MediaApi for NoMedia {
    async fn begin(&self, _: &Caller, _: Purpose) -> Result<wa_core::upload::Upload> {
        Err(wa_core::Error::unavailable("no files are taken"))
    }
    async fn store(&self, _: &Caller, _: wa_core::upload::Upload, _: wa_core::media::MediaKind, _: Option<String>) -> Result<wa_core::media::MediaView> {
        Err(wa_core::Error::unavailable("no files are taken"))
    }
    async fn set_avatar(&self, _: &Caller, _: AvatarOf, _: wa_core::upload::Upload) -> Result<String> {
        Err(wa_core::Error::unavailable("no files are taken"))
    }
    async fn get(&self, _: &Caller, _: MediaId) -> Result<wa_core::media::MediaView> {
        Err(wa_core::Error::not_found(wa_core::error::Missing::Resource))
    }
    async fn download(&self, _: &Caller, _: MediaId) -> Result<String> {
        Err(wa_core::Error::not_found(wa_core::error::Missing::Resource))
    }
    async fn avatar(&self, _: MediaId) -> Result<String> {
        Err(wa_core::Error::not_found(wa_core::error::Missing::Resource))
    }
    async fn sweep(&self) -> Result<Swept> {
        Ok(Swept::default())
    }
}
