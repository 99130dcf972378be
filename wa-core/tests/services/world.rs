//! All services over SQLite in memory, a clock that stands still and randomness from a seed.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use uuid::Uuid;
use wa_core::api::{AuthApi, ChatApi, HistoryQuery, LoggedIn, MessageApi, Provision, SendMessage, Sent, UserApi, VerifyOtp};
use wa_core::error::{FieldError, StoreError};
use wa_core::event::Event;
use wa_core::id::{ChatId, DeviceId, MediaId, MessageId, UserId};
use wa_core::limits::Limits;
use wa_core::link::Links;
use wa_core::media::ObjectKey;
use wa_core::message::MessageView;
use wa_core::phone::Phone;
use wa_core::ports::{Blob, BlobStore, Env, EventBus, EventHandler, FanOut, ListedObject, Presign, PushOutcome, PushSender, SmsSender, Stored, Subscription};
use wa_core::push::{DeviceToken, Notice, Platform, PushAddress};
use wa_core::service::{
    AttachmentDeps, Attachments, AuthConfig, AuthDeps, AuthService, ChatDeps, ChatService, FanOutDeps, FanOutService, MediaDeps, MediaService, MessageDeps,
    MessageService, Names, NotificationDeps, NotificationService, PresenceDeps, PresenceService, TokenSigner, UserDeps, UserService,
};
use wa_core::session::Caller;
use wa_core::testing::SimEnv;
use wa_core::{Error, Result};
use wa_storage::media::{Inspector, InspectorConfig};
use wa_storage::{StorageConfig, Stores};

/// Takes what would leave the process: text messages, cut sockets, announced facts.
#[derive(Default)]
pub(crate) struct Outside {
    texts: Mutex<Vec<(String, String)>>,
    cut: Mutex<Vec<DeviceId>>,
    events: Mutex<Vec<Arc<Event>>>,
    pushes: Mutex<Vec<(String, Notice)>>,
    /// What the provider says to the next pushes; afterwards it takes them.
    pub(crate) answers: Mutex<VecDeque<PushOutcome>>,
}

#[async_trait]
impl PushSender for Outside {
    fn check(&self, _: Platform, address: &PushAddress) -> Result<(), FieldError> {
        if address.token == "bad" { Err(FieldError { field: "token".to_owned(), message: "is bad".to_owned() }) } else { Ok(()) }
    }

    async fn send(&self, to: &DeviceToken, notice: &Notice) -> PushOutcome {
        self.pushes.lock().expect("is whole").push((to.address.token.clone(), notice.clone()));
        self.answers.lock().expect("is whole").pop_front().unwrap_or(PushOutcome::Sent)
    }
}

#[async_trait]
impl SmsSender for Outside {
    async fn send(&self, to: &Phone, text: &str) -> Stored<()> {
        self.texts.lock().expect("is whole").push((to.to_string(), text.to_owned()));
        Ok(())
    }
}

#[async_trait]
impl FanOut for Outside {
    async fn cut(&self, devices: &[DeviceId]) {
        self.cut.lock().expect("is whole").extend_from_slice(devices);
    }
}

/// The store of objects, but for one file that it does not delete.
pub(crate) struct Stubborn {
    objects: Arc<dyn BlobStore>,
    pub(crate) keeps: Mutex<Option<MediaId>>,
}

#[async_trait]
impl BlobStore for Stubborn {
    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Stored<()> {
        self.objects.put_file(key, file).await
    }

    async fn put(&self, key: &ObjectKey, bytes: Vec<u8>) -> Stored<()> {
        self.objects.put(key, bytes).await
    }

    async fn read(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Stored<Option<Blob>> {
        self.objects.read(key, range).await
    }

    async fn presign(&self, key: &ObjectKey, how: &Presign) -> Stored<String> {
        self.objects.presign(key, how).await
    }

    async fn delete(&self, key: &ObjectKey) -> Stored<()> {
        if *self.keeps.lock().expect("is whole") == Some(key.media_id()) {
            return Err(StoreError::unavailable("files", "it is kept"));
        }
        self.objects.delete(key).await
    }

    async fn list(&self, after: Option<ObjectKey>, limit: usize) -> Stored<Vec<ListedObject>> {
        self.objects.list(after, limit).await
    }

    async fn check(&self) -> Stored<()> {
        self.objects.check().await
    }
}

struct Unsubscribed;

impl Subscription for Unsubscribed {}

#[async_trait]
impl EventBus for Outside {
    async fn publish(&self, events: &[Arc<Event>]) -> Stored<()> {
        self.events.lock().expect("is whole").extend_from_slice(events);
        Ok(())
    }

    async fn subscribe(&self, _: &'static str, _: Arc<dyn EventHandler>) -> Stored<Box<dyn Subscription>> {
        Ok(Box::new(Unsubscribed))
    }
}

impl Outside {
    /// Everything pushed since the last call: to which token, with which title and text.
    pub(crate) fn pushed(&self) -> Vec<(String, String, String)> {
        self.notices().into_iter().map(|(token, notice)| (token, notice.title, notice.body)).collect()
    }

    /// The same, whole.
    pub(crate) fn notices(&self) -> Vec<(String, Notice)> {
        std::mem::take(&mut *self.pushes.lock().expect("is whole"))
    }

    /// The code in the newest text to this phone.
    pub(crate) fn code(&self, phone: &str) -> String {
        let texts = self.texts.lock().expect("is whole");
        let (_, text) = texts.iter().rev().find(|(to, _)| to == phone).expect("a text was sent");
        text.split(|c: char| !c.is_ascii_digit()).find(|word| word.len() == 6).expect("it holds a code").to_owned()
    }

    /// Whether the sockets of this device were cut.
    pub(crate) fn was_cut(&self, device: DeviceId) -> bool {
        self.cut.lock().expect("is whole").contains(&device)
    }
}

pub(crate) struct World {
    pub(crate) env: Arc<SimEnv>,
    pub(crate) outside: Arc<Outside>,
    pub(crate) auth: AuthService,
    pub(crate) users: UserService,
    pub(crate) chats: ChatService,
    pub(crate) messages: MessageService,
    pub(crate) presence: PresenceService,
    pub(crate) fan_out: FanOutService,
    pub(crate) media: MediaService,
    pub(crate) blobs: Arc<Stubborn>,
    pub(crate) notifications: NotificationService,
    pub(crate) stores: Stores,
}

impl World {
    /// Everything announced since the last call, in order.
    pub(crate) async fn events(&self) -> Vec<Arc<Event>> {
        // A shutdown that has come already: the relay publishes what is committed and returns.
        self.stores.relay.run(self.outside.clone(), std::future::ready(())).await;
        std::mem::take(&mut *self.outside.events.lock().expect("is whole"))
    }

    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let env = Arc::new(SimEnv::new(1));
        let stores = wa_storage::open(&StorageConfig::in_memory(), env.clone()).await.expect("opens");
        let outside = Arc::new(Outside::default());
        let limits = Arc::new(limits);
        let names = Arc::new(Names::new(stores.users.clone(), env.clone(), &limits));
        let auth = AuthService::new(AuthDeps {
            users: stores.users.clone(),
            sessions: stores.sessions.clone(),
            otps: stores.otps.clone(),
            sms: outside.clone(),
            limiter: stores.rate_limiter.clone(),
            fan_out: outside.clone(),
            tokens: Arc::new(TokenSigner::new("wa", b"a secret of thirty-two bytes or more", &[], Duration::from_secs(900))),
            env: env.clone(),
            limits: limits.clone(),
            config: AuthConfig::default(),
        });
        let links = Arc::new(Links::new("http://chat.example"));
        let blobs = Arc::new(Stubborn { objects: stores.blobs.clone(), keeps: Mutex::default() });
        let attachments = Arc::new(Attachments::new(AttachmentDeps {
            media: stores.media.clone(),
            uses: stores.media_uses.clone(),
            blobs: blobs.clone(),
            links,
            env: env.clone(),
            limits: limits.clone(),
        }));
        let users = UserService::new(UserDeps {
            users: stores.users.clone(),
            contacts: stores.contacts.clone(),
            chats: stores.chats.clone(),
            groups: stores.groups.clone(),
            names: names.clone(),
            attachments: attachments.clone(),
            fan_out: outside.clone(),
            env: env.clone(),
            limits: limits.clone(),
        });
        let chats = ChatService::new(ChatDeps {
            chats: stores.chats.clone(),
            groups: stores.groups.clone(),
            messages: stores.messages.clone(),
            users: stores.users.clone(),
            contacts: stores.contacts.clone(),
            names: names.clone(),
            attachments: attachments.clone(),
            env: env.clone(),
            limits: limits.clone(),
        });
        let messages = MessageService::new(MessageDeps {
            messages: stores.messages.clone(),
            changes: stores.changes.clone(),
            annotations: stores.annotations.clone(),
            receipts: stores.receipts.clone(),
            search: stores.search.clone(),
            chats: stores.chats.clone(),
            users: stores.users.clone(),
            contacts: stores.contacts.clone(),
            names,
            attachments: attachments.clone(),
            env: env.clone(),
            limits: limits.clone(),
        });
        let presence = PresenceService::new(PresenceDeps {
            presence: stores.presence.clone(),
            typing: stores.typing.clone(),
            chats: stores.chats.clone(),
            users: stores.users.clone(),
            contacts: stores.contacts.clone(),
            bus: outside.clone(),
            env: env.clone(),
            limits: limits.clone(),
        });
        let fan_out = FanOutService::new(FanOutDeps {
            messages: stores.messages.clone(),
            chats: stores.chats.clone(),
            users: stores.users.clone(),
            contacts: stores.contacts.clone(),
            attachments: attachments.clone(),
        });
        let media = MediaService::new(MediaDeps {
            media: stores.media.clone(),
            uses: stores.media_uses.clone(),
            blobs: blobs.clone(),
            staging: stores.staging.clone(),
            inspector: Arc::new(Inspector::new(InspectorConfig { ffmpeg: None, ..InspectorConfig::default() })),
            attachments,
            user_api: Arc::new(users.clone()),
            chat_api: Arc::new(chats.clone()),
            chats: stores.chats.clone(),
            users: stores.users.clone(),
            contacts: stores.contacts.clone(),
            env: env.clone(),
            limits,
        });
        let notifications = notifications(&stores, &outside, &env, &Arc::new(Limits::default()));
        Self { env, outside, auth, users, chats, messages, presence, fan_out, media, blobs, notifications, stores }
    }

    /// A user of a host with its own login, called and numbered so.
    pub(crate) async fn user(&self, number: u32) -> Caller {
        let caller = somebody(number);
        let user = Provision { id: caller.user_id, phone: Some(phone(number)), display_name: format!("User {number}") };
        self.users.provision(user).await.expect("is made");
        caller
    }

    /// Two users and their chat.
    pub(crate) async fn pair(&self) -> (Caller, Caller, ChatId) {
        let (alice, bob) = (self.user(1).await, self.user(2).await);
        let chat = self.direct(&alice, &bob).await;
        (alice, bob, chat)
    }

    pub(crate) async fn direct(&self, a: &Caller, b: &Caller) -> ChatId {
        self.chats.create_direct(a, b.user_id).await.expect("is made").0.chat_id
    }

    pub(crate) async fn try_say(&self, sender: &Caller, chat: ChatId, key: &str, body: &str) -> Result<Sent> {
        self.messages.send(sender, text(chat, key, body)).await
    }

    /// Sends a text whose key is its body.
    pub(crate) async fn say(&self, sender: &Caller, chat: ChatId, body: &str) -> MessageView {
        self.env.advance(Duration::from_millis(1));
        self.try_say(sender, chat, body, body).await.expect("is sent").message
    }

    /// The newest messages as the viewer sees them, newest first.
    pub(crate) async fn history(&self, viewer: &Caller, chat: ChatId) -> Vec<MessageView> {
        let query = HistoryQuery { limit: Some(100), ..HistoryQuery::default() };
        self.messages.history(viewer, chat, query).await.expect("is shown").messages
    }

    /// The bodies of [`Self::history`].
    pub(crate) async fn bodies(&self, viewer: &Caller, chat: ChatId) -> Vec<String> {
        self.history(viewer, chat).await.iter().map(body).collect()
    }

    /// One message as the viewer sees it.
    pub(crate) async fn seen(&self, viewer: &Caller, message: &MessageView) -> Option<MessageView> {
        self.history(viewer, message.chat_id).await.into_iter().find(|seen| seen.message_id == message.message_id)
    }

    pub(crate) async fn read(&self, reader: &Caller, message: &MessageView) {
        self.messages.mark_read(reader, Some(message.chat_id), Some(message.message_id), None).await.expect("is marked");
    }

    pub(crate) async fn login(&self, phone: &str) -> LoggedIn {
        self.auth.request_otp(phone).await.expect("is sent");
        self.verify(phone, &self.outside.code(phone)).await.expect("logs in")
    }

    pub(crate) async fn verify(&self, phone: &str, otp: &str) -> Result<LoggedIn> {
        self.auth.verify_otp(VerifyOtp { phone: phone.to_owned(), otp: otp.to_owned(), device_name: None, platform: None }).await
    }
}

/// The service of pushes, which keeps nothing that it could not find again.
pub(crate) fn notifications(stores: &Stores, outside: &Arc<Outside>, env: &Arc<SimEnv>, limits: &Arc<Limits>) -> NotificationService {
    NotificationService::new(notification_deps(stores, outside, env, limits))
}

/// What it stands on.
pub(crate) fn notification_deps(stores: &Stores, outside: &Arc<Outside>, env: &Arc<SimEnv>, limits: &Arc<Limits>) -> NotificationDeps {
    NotificationDeps {
        queue: stores.push_queue.clone(),
        tokens: stores.device_tokens.clone(),
        sender: outside.clone(),
        presence: stores.presence.clone(),
        chats: stores.chats.clone(),
        users: stores.users.clone(),
        contacts: stores.contacts.clone(),
        links: Arc::default(),
        names: Arc::new(Names::new(stores.users.clone(), env.clone(), limits)),
        env: env.clone(),
        limits: limits.clone(),
        group_window: Duration::from_secs(3),
        web_push_key: None,
    }
}

/// A caller whose account need not exist.
pub(crate) fn somebody(number: u32) -> Caller {
    let id = Uuid::from_u128(u128::from(number));
    Caller { user_id: UserId::from_uuid(id), device_id: DeviceId::from_uuid(id) }
}

pub(crate) fn phone(number: u32) -> String {
    format!("+1555010{number:04}")
}

pub(crate) fn text(chat_id: ChatId, key: &str, body: &str) -> SendMessage {
    SendMessage { chat_id, client_msg_id: key.to_owned(), kind: "text".to_owned(), payload: json!({"body": body}), reply_to_message_id: None, origin: None }
}

pub(crate) fn body(message: &MessageView) -> String {
    message.payload.to_value()["body"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn absent_chat() -> ChatId {
    ChatId::from_uuid(Uuid::from_u128(u128::MAX))
}

pub(crate) fn absent_message() -> MessageId {
    MessageId::from_uuid(Uuid::from_u128(u128::MAX))
}

/// The code of a refusal.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.expect_err("is refused").code()
}

/// The fields a refusal names.
pub(crate) fn bad_fields<T: std::fmt::Debug>(result: Result<T, Error>) -> Vec<String> {
    result.expect_err("is refused").details().iter().map(|detail| detail.field.clone()).collect()
}

/// Now, by the world's clock.
pub(crate) fn now(world: &World) -> wa_core::time::Timestamp {
    world.env.now()
}
