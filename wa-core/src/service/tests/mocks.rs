//! A mock of every port.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use mockall::mock;

use crate::chat::{Chat, ChatCursor, Membership};
use crate::emoji::Emoji;
use crate::event::Event;
use crate::group::InviteHash;
use crate::id::{ChatId, ConnectionId, DeviceId, EventId, MediaId, MessageId, UserId};
use crate::limits::RateLimit;
use crate::media::{Media, MediaKind, ObjectKey};
use crate::message::{Message, Rev, Seq};
use crate::phone::Phone;
use crate::ports::*;
use crate::privacy::{PrivacySettings, Relation};
use crate::receipt::{Located, Marks, NewReceipt, ReceiptTimes};
use crate::search::SearchTerms;
use crate::session::{OtpAttempt, Rotation, Session, TokenHash};
use crate::star::StarCursor;
use crate::time::Timestamp;
use crate::user::{Contact, ProfileUpdate, User};

mock! {
    pub(super) ChatStore {}

    #[async_trait]
    impl ChatStore for ChatStore {
        async fn create_direct(&self, new: NewDirectChat) -> Stored<(Chat, bool)>;
        async fn membership(&self, chat: ChatId) -> Stored<Option<Arc<Membership>>>;
        async fn get(&self, user: UserId, chats: &[ChatId]) -> Stored<Vec<ListedChat>>;
        async fn list(&self, user: UserId, after: Option<ChatCursor>, limit: usize) -> Stored<Vec<ListedChat>>;
        async fn revs(&self, user: UserId) -> Stored<Vec<(ChatId, Rev)>>;
        async fn set_personal(&self, user: UserId, chat: ChatId, update: PersonalUpdate) -> Stored<bool>;
    }
}

mock! {
    pub(super) BlobStore {}

    #[async_trait]
    impl BlobStore for BlobStore {
        async fn put_file(&self, key: &ObjectKey, file: &Path) -> Stored<()>;
        async fn put(&self, key: &ObjectKey, bytes: Vec<u8>) -> Stored<()>;
        async fn read(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Stored<Option<Blob>>;
        async fn presign(&self, key: &ObjectKey, how: &Presign) -> Stored<String>;
        async fn delete(&self, key: &ObjectKey) -> Stored<()>;
        async fn list(&self, after: Option<ObjectKey>, limit: usize) -> Stored<Vec<ListedObject>>;
        async fn check(&self) -> Stored<()>;
    }
}

mock! {
    pub(super) MediaInspector {}

    #[async_trait]
    impl MediaInspector for MediaInspector {
        async fn inspect(&self, file: &Path, declared: MediaKind, thumbnail_width: u32) -> Result<Inspected, InspectError>;
    }
}

mock! {
    pub(super) MediaStore {}

    #[async_trait]
    impl MediaStore for MediaStore {
        async fn insert(&self, media: &Media) -> Stored<()>;
        async fn get(&self, ids: &[MediaId]) -> Stored<Vec<Media>>;
        async fn mark_used(&self, id: MediaId, at: Timestamp) -> Stored<bool>;
        async fn unused(&self, before: Timestamp, after: Option<(Timestamp, MediaId)>, limit: usize) -> Stored<Vec<Unused>>;
        async fn release(&self, id: MediaId, before: Timestamp) -> Stored<bool>;
        async fn remove(&self, ids: &[MediaId]) -> Stored<()>;
        async fn known(&self, ids: &[MediaId]) -> Stored<Vec<MediaId>>;
    }
}

mock! {
    pub(super) MediaUses {}

    #[async_trait]
    impl MediaUses for MediaUses {
        async fn is_sent_to(&self, id: MediaId, user: UserId, now: Timestamp) -> Stored<bool>;
        async fn shown_by(&self, media: &Media, limit: usize) -> Stored<Vec<Showing>>;
        async fn used(&self, ids: &[MediaId]) -> Stored<Vec<MediaId>>;
    }
}

mock! {
    pub(super) Staging {}

    #[async_trait]
    impl Staging for Staging {
        async fn stage(&self) -> Stored<Box<dyn StagedFile>>;
    }
}

mock! {
    pub(super) ContactStore {}

    #[async_trait]
    impl ContactStore for ContactStore {
        async fn save(&self, owner: UserId, contacts: &[UserId], at: Timestamp) -> Stored<()>;
        async fn list(&self, owner: UserId) -> Stored<Vec<Contact>>;
        async fn set_blocked(&self, owner: UserId, target: UserId, blocked: bool, at: Timestamp) -> Stored<()>;
        async fn relations(&self, pairs: &[(UserId, UserId)]) -> Stored<HashMap<(UserId, UserId), Relation>>;
    }
}

mock! {
    pub(super) FanOut {}

    #[async_trait]
    impl FanOut for FanOut {
        async fn cut(&self, devices: &[DeviceId]);
    }
}

mock! {
    pub(super) GroupStore {}

    #[async_trait]
    impl GroupStore for GroupStore {
        async fn create(&self, group: NewGroup) -> Stored<Applied>;
        async fn change(&self, command: Command) -> Stored<Applied>;
        async fn set_invite(&self, command: Command, invite: Option<InviteHash>) -> Stored<Applied>;
        async fn invited_to(&self, invite: InviteHash) -> Stored<Option<ChatId>>;
        async fn purge(&self, limit: usize) -> Stored<bool>;
    }
}

mock! {
    pub(super) MessageStore {}

    #[async_trait]
    impl MessageStore for MessageStore {
        async fn append(&self, message: NewMessage) -> Stored<Appended>;
        async fn locate(&self, ids: &[MessageId]) -> Stored<Vec<Located>>;
        async fn get(&self, viewer: &Viewer, ids: &[MessageId]) -> Stored<Vec<Message>>;
        async fn page(&self, viewer: &Viewer, page: Page, limit: usize) -> Stored<Vec<Message>>;
        async fn changed(&self, viewer: &Viewer, since: Rev, limit: usize) -> Stored<Changed>;
        async fn undelivered(&self, user: UserId, now: Timestamp, limit: usize) -> Stored<Undelivered>;
        async fn summaries(&self, viewers: &[Viewer]) -> Stored<Vec<Summary>>;
        async fn hide(&self, viewer: &Viewer, id: MessageId, event_id: EventId, origin: Option<ConnectionId>) -> Stored<Option<Revision>>;
    }
}

mock! {
    pub(super) ChangeStore {}

    #[async_trait]
    impl ChangeStore for ChangeStore {
        async fn edit(&self, change: Change, edit: Edit) -> Stored<Outcome<Message>>;
        async fn delete(&self, change: Change) -> Stored<Outcome<Revision>>;
        async fn forward(&self, forward: Forward) -> Stored<Forwarded>;
        async fn expire(&self, now: Timestamp, limit: usize) -> Stored<usize>;
    }
}

mock! {
    pub(super) AnnotationStore {}

    #[async_trait]
    impl AnnotationStore for AnnotationStore {
        async fn react(&self, change: Change, emoji: Option<Emoji>, withheld_from: Option<UserId>) -> Stored<Outcome<Revision>>;
        async fn star(&self, change: Change, is_starred: bool) -> Stored<Outcome<Revision>>;
        async fn annotations(&self, viewer: &Viewer, places: &[Seq]) -> Stored<BTreeMap<Seq, Annotations>>;
        async fn starred(&self, user: UserId, now: Timestamp, after: Option<StarCursor>, limit: usize) -> Stored<Vec<Starred>>;
    }
}

mock! {
    pub(super) OtpStore {}

    #[async_trait]
    impl OtpStore for OtpStore {
        async fn ready(&self, phone: &Phone) -> Stored<()>;
        async fn put(&self, phone: &Phone, hash: &str, expires_at: Timestamp) -> Stored<()>;
        async fn attempt(&self, phone: &Phone, max_attempts: u32, now: Timestamp) -> Stored<OtpAttempt>;
        async fn consume(&self, phone: &Phone, hash: &str) -> Stored<bool>;
    }
}

mock! {
    pub(super) PresenceStore {}

    #[async_trait]
    impl PresenceStore for PresenceStore {
        async fn connect(&self, user: UserId, connection: ConnectionId) -> Stored<bool>;
        async fn disconnect(&self, user: UserId, connection: ConnectionId) -> Stored<bool>;
        async fn online(&self, users: &[UserId]) -> Stored<Vec<UserId>>;
        async fn renew(&self) -> Stored<CameAndWent>;
        async fn expire(&self) -> Stored<CameAndWent>;
    }
}

mock! {
    pub(super) RateLimiter {}

    #[async_trait]
    impl RateLimiter for RateLimiter {
        async fn take(&self, key: &str, limit: RateLimit) -> Stored<Admission>;
    }
}

mock! {
    pub(super) ReceiptStore {}

    #[async_trait]
    impl ReceiptStore for ReceiptStore {
        async fn give(&self, receipt: NewReceipt, event_id: EventId) -> Stored<bool>;
        async fn marks(&self, chats: &[ChatId]) -> Stored<BTreeMap<ChatId, BTreeMap<UserId, Marks>>>;
        async fn times(&self, chat: ChatId, seq: Seq) -> Stored<Vec<ReceiptTimes>>;
    }
}

mock! {
    pub(super) SearchStore {}

    #[async_trait]
    impl SearchStore for SearchStore {
        async fn matches(&self, terms: &SearchTerms, viewers: &[Viewer], bounds: SearchBounds) -> Stored<Vec<Message>>;
    }
}

mock! {
    pub(super) SessionStore {}

    #[async_trait]
    impl SessionStore for SessionStore {
        async fn create(&self, new: NewSession) -> Stored<()>;
        async fn get(&self, device: DeviceId) -> Stored<Option<Arc<Session>>>;
        async fn by_refresh(&self, token: &TokenHash) -> Stored<Option<Session>>;
        async fn rotate(&self, rotation: NewRotation) -> Stored<Rotation>;
        async fn revoke(&self, user: UserId, devices: &[DeviceId], event_id: EventId, at: Timestamp) -> Stored<Vec<DeviceId>>;
        async fn list(&self, user: UserId) -> Stored<Vec<Session>>;
        async fn touch(&self, device: DeviceId, at: Timestamp) -> Stored<()>;
    }
}

mock! {
    pub(super) SmsSender {}

    #[async_trait]
    impl SmsSender for SmsSender {
        async fn send(&self, to: &Phone, text: &str) -> Stored<()>;
    }
}

mock! {
    pub(super) TypingStore {}

    #[async_trait]
    impl TypingStore for TypingStore {
        async fn start(&self, chat: ChatId, user: UserId, until: Timestamp) -> Stored<bool>;
        async fn stop(&self, chat: ChatId, user: UserId) -> Stored<bool>;
        async fn take_expired(&self, now: Timestamp) -> Stored<Vec<(ChatId, UserId)>>;
    }
}

mock! {
    pub(super) UserStore {}

    #[async_trait]
    impl UserStore for UserStore {
        async fn register(&self, new: NewUser) -> Stored<(User, bool)>;
        async fn get(&self, ids: &[UserId]) -> Stored<Vec<User>>;
        async fn by_phones(&self, phones: &[Phone]) -> Stored<Vec<User>>;
        async fn update(&self, id: UserId, update: ProfileUpdate, at: Timestamp) -> Stored<Option<User>>;
        async fn set_last_seen(&self, seen: &[(UserId, Timestamp)]) -> Stored<()>;
        async fn erase(&self, id: UserId, event_id: EventId, at: Timestamp) -> Stored<Erased>;
        async fn privacy(&self, ids: &[UserId]) -> Stored<BTreeMap<UserId, PrivacySettings>>;
        async fn set_privacy(&self, id: UserId, settings: PrivacySettings, at: Timestamp) -> Stored<()>;
    }
}

mock! {
    pub(super) EventBus {}

    #[async_trait]
    impl EventBus for EventBus {
        async fn publish(&self, events: &[Arc<Event>]) -> Stored<()>;
        async fn subscribe(&self, consumer: &'static str, handler: Arc<dyn EventHandler>) -> Stored<Box<dyn Subscription>>;
    }
}
