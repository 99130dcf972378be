//! A router over mocked apis, and short ways to ask it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use mockall::mock;
use serde_json::Value;
use tower::ServiceExt as _;
use wa_core::Result;
use wa_core::api::*;
use wa_core::chat::{AutoDeleteTimer, ChatKind, ChatView, Role};
use wa_core::error::{Error, StoreError, Unauthenticated};
use wa_core::event::{Event, MessageDeleted, MessageReaction, MessageStarred};
use wa_core::group::ProfileChange;
use wa_core::id::*;
use wa_core::limits::{Limits, RateLimit};
use wa_core::message::{Content, MessageKind, MessageView, Rev, Seq, Text};
use wa_core::ports::{Admission, RateLimiter, Stored};
use wa_core::privacy::PrivacySettings;
use wa_core::push::{DeviceToken, Platform};
use wa_core::receipt::{ReceiptView, Status};
use wa_core::session::{Caller, DeviceView};
use wa_core::status_post::StatusView;
use wa_core::testing::SimEnv;
use wa_core::time::Timestamp;
use wa_core::user::{ContactView, PresenceView, Profile, ProfileUpdate, RegisteredUser};
use wa_transport::Backend;
use wa_transport::metrics::Metrics;
use wa_transport::rest::{RestOptions, router};

// mockall cannot take `Option<&str>` in an async trait, so these two are mocked with owned arguments and adapted.
mock! {
    pub(crate) Auth {
        pub(crate) fn request_otp(&self, phone: String) -> Result<OtpRequested>;
        pub(crate) fn verify_otp(&self, request: VerifyOtp) -> Result<LoggedIn>;
        pub(crate) fn refresh(&self, refresh_token: String, idempotency_key: Option<String>) -> Result<LoggedIn>;
        pub(crate) fn logout(&self, caller: Option<Caller>, refresh_token: Option<String>) -> Result<()>;
        pub(crate) fn devices(&self, caller: Caller) -> Result<Vec<DeviceView>>;
        pub(crate) fn remove_device(&self, caller: Caller, device: DeviceId) -> Result<()>;
    }
}

#[async_trait]
impl AuthApi for MockAuth {
    async fn request_otp(&self, phone: &str) -> Result<OtpRequested> {
        self.request_otp(phone.to_owned())
    }
    async fn verify_otp(&self, request: VerifyOtp) -> Result<LoggedIn> {
        self.verify_otp(request)
    }
    async fn refresh(&self, refresh_token: &str, idempotency_key: Option<&str>) -> Result<LoggedIn> {
        self.refresh(refresh_token.to_owned(), idempotency_key.map(str::to_owned))
    }
    async fn logout(&self, caller: Option<Caller>, refresh_token: Option<&str>) -> Result<()> {
        self.logout(caller, refresh_token.map(str::to_owned))
    }
    async fn devices(&self, caller: &Caller) -> Result<Vec<DeviceView>> {
        self.devices(*caller)
    }
    async fn remove_device(&self, caller: &Caller, device: DeviceId) -> Result<()> {
        self.remove_device(*caller, device)
    }
}

mock! {
    pub(crate) Chats {
        pub(crate) fn create_direct(&self, caller: Caller, participant: UserId) -> Result<(ChatView, bool)>;
        pub(crate) fn list(&self, caller: Caller, cursor: Option<String>, limit: Option<i64>) -> Result<ChatPage>;
        pub(crate) fn get(&self, caller: Caller, chat: ChatId) -> Result<ChatView>;
        pub(crate) fn mute(&self, caller: Caller, chat: ChatId, is_muted: bool, until: Option<Timestamp>) -> Result<()>;
        pub(crate) fn pin(&self, caller: Caller, chat: ChatId, is_pinned: bool) -> Result<()>;
        pub(crate) fn create_group(&self, caller: Caller, request: CreateGroup) -> Result<ChatView>;
        pub(crate) fn update(&self, caller: Caller, chat: ChatId, change: ProfileChange) -> Result<ChatView>;
        pub(crate) fn add_members(&self, caller: Caller, chat: ChatId, users: Vec<UserId>) -> Result<()>;
        pub(crate) fn remove_member(&self, caller: Caller, chat: ChatId, user: UserId) -> Result<()>;
        pub(crate) fn set_role(&self, caller: Caller, chat: ChatId, user: UserId, role: Role) -> Result<()>;
        pub(crate) fn set_timer(&self, caller: Caller, chat: ChatId, timer: AutoDeleteTimer) -> Result<()>;
        pub(crate) fn create_invite(&self, caller: Caller, chat: ChatId) -> Result<String>;
        pub(crate) fn revoke_invite(&self, caller: Caller, chat: ChatId) -> Result<()>;
        pub(crate) fn join(&self, caller: Caller, code: String) -> Result<ChatView>;
    }
}

#[async_trait]
impl ChatApi for MockChats {
    async fn create_direct(&self, caller: &Caller, participant: UserId) -> Result<(ChatView, bool)> {
        self.create_direct(*caller, participant)
    }
    async fn list(&self, caller: &Caller, cursor: Option<&str>, limit: Option<i64>) -> Result<ChatPage> {
        self.list(*caller, cursor.map(str::to_owned), limit)
    }
    async fn get(&self, caller: &Caller, chat: ChatId) -> Result<ChatView> {
        self.get(*caller, chat)
    }
    async fn mute(&self, caller: &Caller, chat: ChatId, is_muted: bool, until: Option<Timestamp>) -> Result<()> {
        self.mute(*caller, chat, is_muted, until)
    }
    async fn pin(&self, caller: &Caller, chat: ChatId, is_pinned: bool) -> Result<()> {
        self.pin(*caller, chat, is_pinned)
    }
    async fn create_group(&self, caller: &Caller, request: CreateGroup) -> Result<ChatView> {
        self.create_group(*caller, request)
    }
    async fn update(&self, caller: &Caller, chat: ChatId, change: ProfileChange) -> Result<ChatView> {
        self.update(*caller, chat, change)
    }
    async fn add_members(&self, caller: &Caller, chat: ChatId, users: &[UserId]) -> Result<()> {
        self.add_members(*caller, chat, users.to_vec())
    }
    async fn remove_member(&self, caller: &Caller, chat: ChatId, user: UserId) -> Result<()> {
        self.remove_member(*caller, chat, user)
    }
    async fn set_role(&self, caller: &Caller, chat: ChatId, user: UserId, role: Role) -> Result<()> {
        self.set_role(*caller, chat, user, role)
    }
    async fn set_timer(&self, caller: &Caller, chat: ChatId, timer: AutoDeleteTimer) -> Result<()> {
        self.set_timer(*caller, chat, timer)
    }
    async fn create_invite(&self, caller: &Caller, chat: ChatId) -> Result<String> {
        self.create_invite(*caller, chat)
    }
    async fn revoke_invite(&self, caller: &Caller, chat: ChatId) -> Result<()> {
        self.revoke_invite(*caller, chat)
    }
    async fn join(&self, caller: &Caller, code: &str) -> Result<ChatView> {
        self.join(*caller, code.to_owned())
    }
}

mock! {
    pub(crate) Users {}
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

mock! {
    pub(crate) Messages {}
    #[async_trait]
    impl MessageApi for Messages {
        async fn send(&self, caller: &Caller, message: SendMessage) -> Result<Sent>;
        async fn history(&self, caller: &Caller, chat: ChatId, query: HistoryQuery) -> Result<MessagePage>;
        async fn mark_delivered(&self, caller: &Caller, messages: &[MessageId], origin: Option<ConnectionId>) -> Result<()>;
        async fn mark_read(&self, caller: &Caller, chat: Option<ChatId>, up_to: Option<MessageId>, origin: Option<ConnectionId>) -> Result<()>;
        async fn receipts(&self, caller: &Caller, message: MessageId) -> Result<Vec<ReceiptView>>;
        async fn delete_for_me(&self, caller: &Caller, message: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted>;
        async fn delete_for_everyone(&self, caller: &Caller, message: MessageId, origin: Option<ConnectionId>) -> Result<MessageDeleted>;
        async fn edit(&self, caller: &Caller, message: MessageId, payload: &Value, origin: Option<ConnectionId>) -> Result<MessageView>;
        async fn forward(&self, caller: &Caller, forward: ForwardMessage) -> Result<Vec<ForwardedMessage>>;
        async fn react(&self, caller: &Caller, message: MessageId, emoji: Option<String>, origin: Option<ConnectionId>) -> Result<MessageReaction>;
        async fn star(&self, caller: &Caller, message: MessageId, is_starred: bool) -> Result<MessageStarred>;
        async fn starred(&self, caller: &Caller, cursor: Option<String>, limit: Option<i64>) -> Result<MessagePage>;
        async fn expire(&self) -> Result<bool>;
        async fn search(&self, caller: &Caller, request: SearchRequest) -> Result<SearchPage>;
        async fn sync(&self, caller: &Caller, request: SyncRequest) -> Result<SyncAnswer>;
        async fn pending(&self, caller: &Caller) -> Result<Pending>;
    }
}

mock! {
    pub(crate) Presence {}
    #[async_trait]
    impl PresenceApi for Presence {
        async fn connected(&self, caller: &Caller, connection: ConnectionId) -> Result<()>;
        async fn disconnected(&self, caller: &Caller, connection: ConnectionId) -> Result<()>;
        async fn see(&self, caller: &Caller, users: &[UserId]) -> Result<Vec<PresenceView>>;
        async fn typing(&self, caller: &Caller, chat: ChatId, is_typing: bool) -> Result<()>;
        async fn expire_typing(&self) -> Result<()>;
        async fn renew(&self) -> Result<()>;
        async fn expire(&self) -> Result<()>;
    }
}

mock! {
    pub(crate) Statuses {}
    #[async_trait]
    impl StatusApi for Statuses {
        async fn post(&self, caller: &Caller, new: NewStatus) -> Result<StatusView>;
        async fn of_contacts(&self, caller: &Caller) -> Result<Vec<StatusView>>;
        async fn own(&self, caller: &Caller) -> Result<Vec<StatusView>>;
        async fn delete(&self, caller: &Caller, id: StatusId) -> Result<()>;
        async fn view(&self, caller: &Caller, id: StatusId) -> Result<()>;
        async fn expire(&self) -> Result<bool>;
    }
}

// As for `Auth`.
mock! {
    pub(crate) Push {
        pub(crate) fn register(&self, caller: Caller, token: String, platform: Option<Platform>) -> Result<DeviceToken>;
        pub(crate) fn unregister(&self, caller: Caller, token: Option<String>) -> Result<()>;
    }
}

#[async_trait]
impl PushApi for MockPush {
    async fn register(&self, caller: &Caller, device: RegisterDevice) -> Result<DeviceToken> {
        self.register(*caller, device.token, device.platform)
    }
    async fn unregister(&self, caller: &Caller, token: Option<&str>) -> Result<()> {
        self.unregister(*caller, token.map(str::to_owned))
    }
    fn web_push_key(&self) -> Option<&str> {
        Some("BKey")
    }
}

mock! {
    pub(crate) FanOut {}
    #[async_trait]
    impl FanOutApi for FanOut {
        async fn recipients(&self, event: &Event, watchers: &[UserId]) -> Result<Vec<UserId>>;
        async fn shares(&self, event: &Event, recipients: &[UserId]) -> Result<Vec<Share>>;
    }
}

/// The token "alice" is Alice's, "expired" has expired, "down" finds the session store down, anything else is invalid.
pub(crate) struct Tokens;

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, token: &str) -> Result<Caller> {
        match token {
            "alice" => Ok(alice()),
            "expired" => Err(Error::Unauthenticated(Unauthenticated::Expired)),
            "down" => Err(Error::unavailable("session store is down: secret detail")),
            _ => Err(Error::Unauthenticated(Unauthenticated::Invalid)),
        }
    }

    async fn confirm(&self, _: &Caller) -> Result<()> {
        Ok(())
    }
}

/// Remembers what was asked and answers the same to everything.
#[derive(Default)]
pub(crate) struct Limiter {
    pub(crate) refuse: AtomicBool,
    pub(crate) fail: AtomicBool,
    pub(crate) asked: std::sync::Mutex<Vec<String>>,
}

#[async_trait]
impl RateLimiter for Limiter {
    async fn take(&self, key: &str, _: RateLimit) -> Stored<Admission> {
        self.asked.lock().expect("not poisoned").push(key.to_owned());
        if self.fail.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("test", "down"));
        }
        let refused = Admission::Refused { retry_after: Duration::from_millis(1200) };
        Ok(if self.refuse.load(Ordering::SeqCst) { refused } else { Admission::Granted })
    }
}

/// The mocks behind a router; those left at their default expect no call.
pub(crate) struct Fixture {
    pub(crate) auth: Option<MockAuth>,
    pub(crate) users: MockUsers,
    pub(crate) chats: MockChats,
    pub(crate) messages: MockMessages,
    pub(crate) presence: MockPresence,
    pub(crate) push: MockPush,
    pub(crate) statuses: MockStatuses,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) options: RestOptions,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            auth: Some(MockAuth::new()),
            users: MockUsers::new(),
            chats: MockChats::new(),
            messages: MockMessages::new(),
            presence: MockPresence::new(),
            push: MockPush::new(),
            statuses: MockStatuses::new(),
            limiter: Arc::default(),
            limits: Limits::default(),
            metrics: Metrics::new(),
            options: RestOptions::default(),
        }
    }
}

impl Fixture {
    pub(crate) fn router(self) -> Router {
        let backend = Backend {
            media: Arc::new(NoMedia),
            files: None,
            links: Arc::default(),
            authenticator: Arc::new(Tokens),
            auth: self.auth.map(|auth| Arc::new(auth) as Arc<dyn AuthApi>),
            users: Arc::new(self.users),
            chats: Arc::new(self.chats),
            messages: Arc::new(self.messages),
            presence: Arc::new(self.presence),
            push: Arc::new(self.push),
            statuses: Arc::new(self.statuses),
            fan_out: Arc::new(MockFanOut::new()),
            rate_limiter: self.limiter,
            limits: Arc::new(self.limits),
            env: Arc::new(SimEnv::new(7)),
            metrics: self.metrics,
        };
        router(backend, self.options)
    }

    pub(crate) async fn ask(self, request: Request<Body>) -> Answer {
        ask(self.router(), request).await
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

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("readable header"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The paths of the invalid fields.
    pub(crate) fn fields(&self) -> Vec<String> {
        let details = self.json()["error"]["details"].clone();
        details.as_array().expect("a list").iter().map(|detail| detail["field"].as_str().expect("a path").to_owned()).collect()
    }
}

pub(crate) async fn ask(router: Router, request: Request<Body>) -> Answer {
    let response: Response<Body> = router.oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a whole body").to_bytes();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).expect("UTF-8") }
}

/// A request as Alice, below the base path unless it begins with "!".
pub(crate) fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    request_with(method, path, &[("authorization", "Bearer alice")], body)
}

pub(crate) fn anonymous(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    request_with(method, path, &[], body)
}

pub(crate) fn request_with(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let uri = path.strip_prefix('!').map_or_else(|| format!("/api/v1{path}"), str::to_owned);
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).expect("a valid request")
}

pub(crate) const ID: &str = "018f3f6e-7b1c-7c4e-8a57-0242ac120002";

pub(crate) fn id<T: From<uuid::Uuid>>() -> T {
    T::from(uuid::Uuid::try_parse(ID).expect("valid"))
}

pub(crate) fn alice() -> Caller {
    Caller { user_id: id(), device_id: id() }
}

pub(crate) fn profile() -> Profile {
    Profile {
        id: id(),
        phone: "+15550100001".to_owned(),
        display_name: "Alice".to_owned(),
        avatar_url: Some(String::new()),
        status_text: None,
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(1),
    }
}

pub(crate) fn chat() -> ChatView {
    ChatView {
        chat_id: id(),
        kind: ChatKind::Direct,
        name: "Bob".to_owned(),
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
        rev: Rev::ZERO,
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
    }
}

pub(crate) fn message() -> MessageView {
    MessageView {
        message_id: id(),
        chat_id: id(),
        sender_id: id(),
        client_msg_id: "c1".to_owned(),
        seq: Seq::new(1),
        rev: Rev::new(1),
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
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
    }
}

pub(crate) fn logged_in() -> LoggedIn {
    LoggedIn {
        access_token: "a.b.c".to_owned(),
        refresh_token: "r".to_owned(),
        expires_in: 900,
        expires_in_seconds: 900,
        user: LoggedInUser { id: id(), phone: "+15550100001".to_owned(), display_name: String::new(), is_new_user: true },
        is_new_user: true,
        device_id: id(),
    }
}

/// That a message was deleted.
pub(crate) fn deleted() -> MessageDeleted {
    let (seq, rev) = (Seq::new(3), Rev::new(4));
    MessageDeleted { message_id: id(), chat_id: id(), seq, rev, deleted_by: id(), for_everyone: false, withheld_from: None, origin: None }
}
