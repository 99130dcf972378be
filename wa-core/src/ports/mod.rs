//! What the core needs from outside, one small trait a file. Each trait lists its contract as bullets; every bullet is
//! the name of a conformance case (`wa-storage`, feature `conformance`) that all backends pass.

mod annotation_store;
mod blob_store;
mod change_store;
mod chat_store;
mod contact_store;
mod device_token_store;
mod env;
mod event_bus;
mod fan_out;
mod group_store;
mod media_inspector;
mod media_store;
mod media_uses;
mod message_store;
mod otp_store;
mod presence_store;
mod push_queue;
mod push_sender;
mod rate_limiter;
mod receipt_store;
mod search_store;
mod session_store;
mod sms_sender;
mod staging;
mod status_store;
mod typing_store;
mod user_store;

pub use annotation_store::{AnnotationStore, Annotations, Starred};
pub use blob_store::{Blob, BlobBody, BlobStore, Disposition, ListedObject, Presign};
pub use change_store::{Change, ChangeStore, Edit, Forward, Forwarded, Outcome};
pub use chat_store::{ChatStore, ListedChat, NewDirectChat, PersonalUpdate};
pub use contact_store::ContactStore;
pub use device_token_store::{DeviceTokenStore, NewDeviceToken};
pub use env::{Env, EnvExt};
pub use event_bus::{EventBus, EventHandler, Progress, Subscription};
pub use fan_out::FanOut;
pub use group_store::{Applied, Command, Decide, FirstMember, GroupStore, NewGroup};
pub use media_inspector::{AVATAR_WIDTH, InspectError, Inspected, MediaInspector, THUMBNAIL_WIDTH};
pub use media_store::{MediaStore, Unused};
pub use media_uses::{MediaUses, Showing};
pub use message_store::{Appended, Changed, MessageStore, NewMessage, Page, Reply, Revision, Summary, Undelivered, Viewer};
pub use otp_store::OtpStore;
pub use presence_store::{CameAndWent, PresenceStore};
pub use push_queue::{Due, Note, PushQueue, Turn, Waiting};
pub use push_sender::{PushOutcome, PushSender};
pub use rate_limiter::{Admission, RateLimiter};
pub use receipt_store::ReceiptStore;
pub use search_store::{SearchBounds, SearchStore};
pub use session_store::{NewRotation, NewSession, SessionStore};
pub use sms_sender::SmsSender;
pub use staging::{StagedFile, Staging};
pub use status_store::StatusStore;
pub use typing_store::TypingStore;
pub use user_store::{Erased, NewUser, UserStore};

/// What a port call gives.
pub type Stored<T> = Result<T, crate::error::StoreError>;
