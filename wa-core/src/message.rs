//! Messages: their content with its validation, their place in a chat's log, and the object the outside sees.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::error::{Error, FieldError, Result};
use crate::id::{ChatId, MediaId, MessageId, UserId};
use crate::limits::Limits;
use crate::receipt::{Located, Status};
use crate::time::Timestamp;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// Before the first one.
            pub const ZERO: Self = Self(0);

            /// From its number.
            #[must_use]
            pub const fn new(number: i64) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }

            /// The one after.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

counters! {
    /// The place of a message in its chat: 1, 2, 3 … without gaps (contract, section 3.5).
    Seq;
    /// The count of visible changes of a chat; a changed row carries the value its change took.
    Rev;
}

/// The contract's message types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Text.
    Text,
    /// A picture.
    Image,
    /// A film.
    Video,
    /// A voice note or music.
    Audio,
    /// A file.
    Document,
    /// A place.
    Location,
    /// Written by the server only.
    System,
}

impl MessageKind {
    /// As it is written on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
            Self::Location => "location",
            Self::System => "system",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "text" => Self::Text,
            "image" => Self::Image,
            "video" => Self::Video,
            "audio" => Self::Audio,
            "document" => Self::Document,
            "location" => Self::Location,
            "system" => Self::System,
            _ => return None,
        })
    }
}

/// A user named in a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mention {
    /// Who.
    pub user_id: UserId,
    /// Where in the body, in characters.
    pub offset: u32,
    /// How many characters.
    pub length: u32,
}

/// A text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The text itself.
    pub body: String,
    /// Users named in it.
    #[serde(default)]
    pub mentions: Vec<Mention>,
}

/// A picture or a film.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// The uploaded file.
    pub media_id: MediaId,
    /// Text below it.
    pub caption: Option<String>,
}

/// A voice note or music.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audio {
    /// The uploaded file.
    pub media_id: MediaId,
    /// Its length as the sender's device measured it.
    pub duration_ms: Option<u32>,
    /// Loudness over time, 0 to 255 each.
    pub waveform: Option<Vec<u8>>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The uploaded file.
    pub media_id: MediaId,
    /// Its name on the sender's device.
    pub filename: Option<String>,
    /// Text below it.
    pub caption: Option<String>,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Degrees, −90 to 90.
    pub latitude: f64,
    /// Degrees, −180 to 180.
    pub longitude: f64,
    /// What the place is called.
    pub name: Option<String>,
    /// Where it is.
    pub address: Option<String>,
}

/// A note of the server in the log of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// A sentence for people.
    pub body: String,
    /// A word for programs, such as `group_created`.
    pub action: String,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(Text),
    /// A picture.
    Image(Picture),
    /// A film.
    Video(Picture),
    /// A voice note or music.
    Audio(Audio),
    /// A file.
    Document(Document),
    /// A place.
    Location(Location),
    /// A note of the server.
    System(System),
}

impl Content {
    /// Reads and checks what a client sent as `type` and `payload` (contract, section 1.4).
    ///
    /// # Errors
    /// [`Error::Validation`] naming every field that breaks a rule.
    pub fn parse(kind: &str, payload: &Value, limits: &Limits) -> Result<Self> {
        let Some(kind) = MessageKind::parse(kind) else {
            return Err(Error::invalid("type", "must be one of text, image, video, audio, document, location"));
        };
        let Some(payload) = payload.as_object() else {
            return Err(Error::invalid("payload", "must be an object"));
        };
        let mut fields = Fields { payload, errors: Vec::new() };
        let content = match kind {
            MessageKind::Text => fields.text(limits).map(Self::Text),
            MessageKind::Image => fields.picture(limits).map(Self::Image),
            MessageKind::Video => fields.picture(limits).map(Self::Video),
            MessageKind::Audio => fields.audio(limits).map(Self::Audio),
            MessageKind::Document => fields.document(limits).map(Self::Document),
            MessageKind::Location => fields.location(limits).map(Self::Location),
            MessageKind::System => {
                fields.error_at("type", "system messages are made by the server only");
                None
            }
        };
        match content {
            Some(content) if fields.errors.is_empty() => Ok(content),
            _ => Err(Error::Validation(fields.errors)),
        }
    }

    /// What it says after an edit: a new text, or a new caption (contract, section 1.4). The rest stays.
    ///
    /// # Errors
    /// [`Error::Validation`] naming every field that breaks a rule, and for types that have neither.
    pub fn edited(&self, payload: &Value, limits: &Limits) -> Result<Self> {
        let Some(payload) = payload.as_object() else {
            return Err(Error::invalid("payload", "must be an object"));
        };
        let mut fields = Fields { payload, errors: Vec::new() };
        let edited = match self {
            Self::Text(_) => fields.text(limits).map(Self::Text),
            Self::Image(picture) => Some(Self::Image(Picture { caption: fields.caption(limits), ..picture.clone() })),
            Self::Video(picture) => Some(Self::Video(Picture { caption: fields.caption(limits), ..picture.clone() })),
            Self::Document(document) => Some(Self::Document(Document { caption: fields.caption(limits), ..document.clone() })),
            Self::Audio(_) | Self::Location(_) | Self::System(_) => {
                fields.error_at("payload", "a message of this type has no text and no caption to edit");
                None
            }
        };
        match edited {
            Some(content) if fields.errors.is_empty() => Ok(content),
            _ => Err(Error::Validation(fields.errors)),
        }
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::Text(_) => MessageKind::Text,
            Self::Image(_) => MessageKind::Image,
            Self::Video(_) => MessageKind::Video,
            Self::Audio(_) => MessageKind::Audio,
            Self::Document(_) => MessageKind::Document,
            Self::Location(_) => MessageKind::Location,
            Self::System(_) => MessageKind::System,
        }
    }

    /// Its payload as canonical JSON: what is stored and sent.
    #[must_use]
    pub fn payload(&self) -> Payload {
        let json = match self {
            Self::Text(text) => serde_json::to_string(text),
            Self::Image(picture) | Self::Video(picture) => serde_json::to_string(picture),
            Self::Audio(audio) => serde_json::to_string(audio),
            Self::Document(document) => serde_json::to_string(document),
            Self::Location(location) => serde_json::to_string(location),
            Self::System(system) => serde_json::to_string(system),
        };
        Payload(json.expect("a payload of strings and finite numbers is always JSON").into())
    }

    /// Reads back what [`Self::payload`] wrote.
    ///
    /// # Errors
    /// The JSON error if the text is not such a payload.
    pub fn from_stored(kind: MessageKind, payload: &str) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            MessageKind::Text => Self::Text(serde_json::from_str(payload)?),
            MessageKind::Image => Self::Image(serde_json::from_str(payload)?),
            MessageKind::Video => Self::Video(serde_json::from_str(payload)?),
            MessageKind::Audio => Self::Audio(serde_json::from_str(payload)?),
            MessageKind::Document => Self::Document(serde_json::from_str(payload)?),
            MessageKind::Location => Self::Location(serde_json::from_str(payload)?),
            MessageKind::System => Self::System(serde_json::from_str(payload)?),
        })
    }

    /// The file it shows, if any.
    #[must_use]
    pub const fn media_id(&self) -> Option<MediaId> {
        match self {
            Self::Image(picture) | Self::Video(picture) => Some(picture.media_id),
            Self::Audio(audio) => Some(audio.media_id),
            Self::Document(document) => Some(document.media_id),
            Self::Text(_) | Self::Location(_) | Self::System(_) => None,
        }
    }

    /// One line for chat lists, replies and notifications (contract, sections 7 and 10).
    #[must_use]
    pub fn preview(&self) -> String {
        match self {
            Self::Text(Text { body, .. }) | Self::System(System { body, .. }) => cut(body, 100),
            Self::Image(_) => "📷 Photo".to_owned(),
            Self::Video(_) => "📹 Video".to_owned(),
            Self::Audio(_) => "🎵 Audio".to_owned(),
            Self::Document(_) => "📄 Document".to_owned(),
            Self::Location(_) => "📍 Location".to_owned(),
        }
    }
}

/// Cuts a text to `max` characters, of which a "…" is the last where something was cut.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max - 1).chain(['…']).collect(),
    }
}

/// The fields of a payload while it is checked: what is wrong is collected, so that a client sees all of it at once.
struct Fields<'a> {
    payload: &'a serde_json::Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields<'_> {
    fn error_at(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.to_owned(), message: message.into() });
    }

    fn error(&mut self, field: &str, message: impl Into<String>) {
        self.error_at(&format!("payload.{field}"), message);
    }

    fn string(&mut self, field: &str, max: usize) -> Option<String> {
        match self.payload.get(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.contains('\0') => {
                self.error(field, "must not contain a NUL character");
                None
            }
            Some(Value::String(text)) if text.chars().nth(max).is_some() => {
                self.error(field, format!("must have at most {max} characters"));
                None
            }
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.error(field, "must be a string");
                None
            }
        }
    }

    fn whole(&mut self, field: &str) -> Option<u32> {
        match self.payload.get(field) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
                if number.is_none() {
                    self.error(field, "must be a whole number from 0 to 4294967295");
                }
                number
            }
        }
    }

    fn degrees(&mut self, field: &str, value: Option<f64>, max: f64) -> Option<f64> {
        let valid = value.filter(|d| d.is_finite() && d.abs() <= max);
        if valid.is_none() {
            self.error(field, format!("must be a number from -{max} to {max}"));
        }
        valid
    }

    fn media_id(&mut self) -> Option<MediaId> {
        let id = self.payload.get("media_id").and_then(Value::as_str).and_then(|text| text.parse().ok());
        if id.is_none() {
            self.error("media_id", "must be the UUID of an uploaded file");
        }
        id
    }

    fn text(&mut self, limits: &Limits) -> Option<Text> {
        let before = self.errors.len();
        let body = self.string("body", limits.text_length);
        if self.errors.len() == before && body.as_deref().is_none_or(|body| body.trim().is_empty()) {
            self.error("body", "must not be empty");
        }
        let mentions = self.mentions(body.as_deref().unwrap_or_default(), limits);
        Some(Text { body: body?, mentions })
    }

    fn mentions(&mut self, body: &str, limits: &Limits) -> Vec<Mention> {
        let value = match self.payload.get("mentions") {
            None | Some(Value::Null) => return Vec::new(),
            Some(value) => value,
        };
        let Ok(mentions) = Vec::<Mention>::deserialize(value) else {
            self.error("mentions", "must be a list of {user_id, offset, length}");
            return Vec::new();
        };
        let characters = body.chars().count() as u64;
        if mentions.len() > limits.mentions {
            self.error("mentions", format!("must have at most {} entries", limits.mentions));
        } else if mentions.iter().any(|m| m.length == 0 || u64::from(m.offset) + u64::from(m.length) > characters) {
            self.error("mentions", "must lie within the body");
        }
        mentions
    }

    fn picture(&mut self, limits: &Limits) -> Option<Picture> {
        let media_id = self.media_id();
        let caption = self.string("caption", limits.caption_length);
        Some(Picture { media_id: media_id?, caption })
    }

    /// A caption that takes the place of another; null takes it away.
    fn caption(&mut self, limits: &Limits) -> Option<String> {
        if !self.payload.contains_key("caption") {
            self.error("caption", "is required");
        }
        self.string("caption", limits.caption_length)
    }

    fn audio(&mut self, limits: &Limits) -> Option<Audio> {
        let media_id = self.media_id();
        let duration_ms = self.whole("duration_ms");
        let waveform = match self.payload.get("waveform") {
            None | Some(Value::Null) => None,
            Some(value) => match Vec::<u8>::deserialize(value) {
                Ok(samples) if samples.len() <= limits.waveform => Some(samples),
                _ => {
                    self.error("waveform", format!("must be a list of at most {} numbers from 0 to 255", limits.waveform));
                    None
                }
            },
        };
        Some(Audio { media_id: media_id?, duration_ms, waveform })
    }

    fn document(&mut self, limits: &Limits) -> Option<Document> {
        let media_id = self.media_id();
        let filename = self.string("filename", limits.label_length);
        let caption = self.string("caption", limits.caption_length);
        Some(Document { media_id: media_id?, filename, caption })
    }

    fn location(&mut self, limits: &Limits) -> Option<Location> {
        let number = |field: &str| self.payload.get(field).and_then(Value::as_f64);
        let (latitude, longitude) = if self.payload.contains_key("latitude") || self.payload.contains_key("longitude") {
            (number("latitude"), number("longitude"))
        } else {
            let body = self.payload.get("body").and_then(Value::as_str).unwrap_or_default();
            let (latitude, longitude) = body.split_once(',').unwrap_or_default();
            (latitude.trim().parse().ok(), longitude.trim().parse().ok())
        };
        let latitude = self.degrees("latitude", latitude, 90.0);
        let longitude = self.degrees("longitude", longitude, 180.0);
        let name = self.string("name", limits.label_length);
        let address = self.string("address", limits.label_length);
        Some(Location { latitude: latitude?, longitude: longitude?, name, address })
    }
}

/// A payload as canonical JSON text. Cloning shares the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<str>);

impl Payload {
    /// What a message that was deleted for everyone shows.
    #[must_use]
    pub fn tombstone() -> Self {
        Self(r#"{"body":"This message was deleted"}"#.into())
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parsed JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Payload {
    /// Bodies are in no log: only the size shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self(value.to_string().into())
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Payload {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new().description(Some("Depends on the type: contract, section 1.4")).into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Payload {}

/// Where a forwarded message first stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Source {
    /// The chat.
    pub chat_id: ChatId,
    /// The message.
    pub message_id: MessageId,
}

/// A message as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// The chat whose log it is in.
    pub chat_id: ChatId,
    /// Who sent it; of a system message, whose deed it tells.
    pub sender_id: UserId,
    /// The sender's own key: (sender, key) is unique for as long as the message lives.
    pub client_msg_id: String,
    /// Its place in the log.
    pub seq: Seq,
    /// The chat's revision at its last change.
    pub rev: Rev,
    /// What it says; `None` once it was deleted for everyone.
    pub content: Option<Content>,
    /// Its type, which outlives the content.
    pub kind: MessageKind,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// Where it was forwarded from.
    pub forwarded_from: Option<Source>,
    /// In a direct chat whose other side has blocked the sender: that other side, who never sees it.
    pub withheld_from: Option<UserId>,
    /// When it was last edited.
    pub edited_at: Option<Timestamp>,
    /// When it disappears.
    pub expires_at: Option<Timestamp>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Message {
    /// Whether it was deleted for everyone.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.content.is_none()
    }

    /// Where it stands.
    #[must_use]
    pub const fn located(&self) -> Located {
        Located { message_id: self.id, chat_id: self.chat_id, seq: self.seq, sender_id: self.sender_id, withheld_from: self.withheld_from }
    }

    /// What it shows: its payload, or the tombstone.
    #[must_use]
    pub fn payload(&self) -> Payload {
        self.content.as_ref().map_or_else(Payload::tombstone, Content::payload)
    }

    /// One line for lists and replies.
    #[must_use]
    pub fn preview(&self) -> String {
        self.content.as_ref().map_or_else(|| "This message was deleted".to_owned(), Content::preview)
    }

    /// The line of it that an answer shows.
    #[must_use]
    pub fn reply_preview(&self, sender_name: String) -> ReplyPreview {
        ReplyPreview { message_id: self.id, sender_id: self.sender_id, sender_name, kind: self.kind, preview: self.preview() }
    }

    /// Whether it counts as unread for those who have not read it: someone else's, not deleted, not the server's.
    #[must_use]
    pub fn counts_as_unread_for(&self, user: UserId) -> bool {
        self.sender_id != user && !self.is_deleted() && self.kind != MessageKind::System && self.withheld_from != Some(user)
    }
}

/// Identifies what a client asked to send, so that a repeat with the same key is told from another message under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of a message to this chat with this content, in answer to that message.
    #[must_use]
    pub fn of(chat: ChatId, content: &Content, reply_to: Option<MessageId>) -> Self {
        let mut hash = Sha256::new();
        hash.update(chat.as_uuid().as_bytes());
        hash.update(reply_to.map_or([0; 16], |id| *id.as_uuid().as_bytes()));
        hash.update(content.kind().as_str());
        hash.update([0]);
        hash.update(content.payload().as_str());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(bytes)
    }

    /// Of a message to this chat that was made by forwarding that one, whatever it says by then.
    #[must_use]
    pub fn of_forward(chat: ChatId, message: MessageId) -> Self {
        let hash = Sha256::new().chain_update(chat.as_uuid().as_bytes()).chain_update(message.as_uuid().as_bytes()).chain_update("forward").finalize();
        Self(std::array::from_fn(|index| hash[index]))
    }

    /// For storage.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// From storage.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// A line of the message that another one answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplyPreview {
    /// The message answered.
    pub message_id: MessageId,
    /// Who sent it.
    pub sender_id: UserId,
    /// What its sender is called.
    pub sender_name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// One line of it.
    pub preview: String,
}

/// One user's reaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// Who reacted.
    pub user_id: UserId,
    /// When.
    pub timestamp: Timestamp,
}

/// The message object of the contract, section 1.4, as one viewer sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Message))]
pub struct MessageView {
    /// The message.
    pub message_id: MessageId,
    /// Its chat.
    pub chat_id: ChatId,
    /// Its sender.
    pub sender_id: UserId,
    /// The sender's own key.
    pub client_msg_id: String,
    /// Its place in the chat.
    pub seq: Seq,
    /// The chat's revision at its last change.
    pub rev: Rev,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// What it says.
    pub payload: Payload,
    /// The message it answers.
    pub reply_to_message_id: Option<MessageId>,
    /// A line of the message it answers.
    pub reply_to_preview: Option<ReplyPreview>,
    /// Whether it was forwarded.
    pub forwarded: bool,
    /// From where, if the viewer may read the source.
    pub forwarded_from: Option<Source>,
    /// The weakest state over all recipients.
    pub status: Status,
    /// Everybody's reactions, oldest first.
    pub reactions: Vec<Reaction>,
    /// Whether it was deleted for everyone.
    pub is_deleted: bool,
    /// Whether the viewer starred it.
    pub is_starred: bool,
    /// When it was last edited.
    pub edited_at: Option<Timestamp>,
    /// When it disappears.
    pub expires_at: Option<Timestamp>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl MessageView {
    /// The object of a message with what its row alone tells; the use case fills in what depends on the viewer.
    #[must_use]
    pub fn of(message: &Message, status: Status, reply_to_preview: Option<ReplyPreview>) -> Self {
        Self {
            message_id: message.id,
            chat_id: message.chat_id,
            sender_id: message.sender_id,
            client_msg_id: message.client_msg_id.clone(),
            seq: message.seq,
            rev: message.rev,
            kind: message.kind,
            payload: message.payload(),
            reply_to_message_id: message.reply_to,
            reply_to_preview,
            forwarded: message.forwarded_from.is_some(),
            forwarded_from: message.forwarded_from,
            status,
            reactions: Vec::new(),
            is_deleted: message.is_deleted(),
            is_starred: false,
            edited_at: message.edited_at,
            expires_at: message.expires_at,
            created_at: message.created_at,
            updated_at: message.updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn parse(kind: &str, payload: Value) -> Result<Content> {
        Content::parse(kind, &payload, &Limits::default())
    }

    fn bad_fields(kind: &str, payload: Value) -> Vec<String> {
        match parse(kind, payload) {
            Err(Error::Validation(fields)) => fields.into_iter().map(|f| f.field).collect(),
            other => panic!("expected field errors, got {other:?}"),
        }
    }

    #[test]
    fn a_text_holds_up_to_the_limit_and_not_one_more() {
        assert!(parse("text", json!({"body": "ä".repeat(4096)})).is_ok());
        assert_eq!(bad_fields("text", json!({"body": "ä".repeat(4097)})), ["payload.body"]);
        for empty in [json!({}), json!({"body": null}), json!({"body": ""}), json!({"body": " \n"}), json!({"body": 7}), json!({"body": "a\0b"})] {
            assert_eq!(bad_fields("text", empty.clone()), ["payload.body"], "{empty}");
        }
    }

    #[test]
    fn mentions_lie_within_the_body() {
        let mention =
            |offset, length| json!({"body": "hello", "mentions": [{"user_id": "018f3f6e-7b1c-7c4e-8a57-0242ac120002", "offset": offset, "length": length}]});
        assert!(parse("text", mention(0, 5)).is_ok());
        for (offset, length) in [(0, 6), (5, 1), (0, 0)] {
            assert_eq!(bad_fields("text", mention(offset, length)), ["payload.mentions"]);
        }
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        assert_eq!(
            bad_fields("document", json!({"media_id": "x", "filename": 1, "caption": "c".repeat(1025)})),
            ["payload.media_id", "payload.filename", "payload.caption"]
        );
        assert_eq!(bad_fields("location", json!({"latitude": 91, "longitude": "east"})), ["payload.latitude", "payload.longitude"]);
        assert_eq!(
            bad_fields("audio", json!({"media_id": "018f3f6e-7b1c-7c4e-8a57-0242ac120002", "duration_ms": -1, "waveform": [256]})),
            ["payload.duration_ms", "payload.waveform"]
        );
    }

    #[test]
    fn clients_cannot_send_system_or_unknown_types() {
        for kind in ["system", "encrypted", "sticker", "", "TEXT"] {
            assert_eq!(bad_fields(kind, json!({"body": "x", "action": "y"})), ["type"], "{kind}");
        }
    }

    #[test]
    fn a_location_may_come_as_text() {
        let both = [parse("location", json!({"latitude": 1.5, "longitude": -2})), parse("location", json!({"body": "1.5, -2"}))];
        for location in both {
            assert!(matches!(location, Ok(Content::Location(Location { latitude: 1.5, longitude: -2.0, .. }))));
        }
    }

    #[test]
    fn an_edit_changes_the_text_or_the_caption_and_nothing_else() {
        let limits = Limits::default();
        let media = |kind: &str, more: Value| {
            let mut payload = json!({"media_id": "018f3f6e-7b1c-7c4e-8a57-0242ac120002"});
            payload.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            parse(kind, payload).expect("is valid")
        };
        let text = parse("text", json!({"body": "old", "mentions": []})).expect("is valid");
        assert_eq!(text.edited(&json!({"body": "new"}), &limits).expect("is valid"), parse("text", json!({"body": "new"})).expect("is valid"));
        for (kind, more) in [("image", json!({})), ("video", json!({"caption": "old"})), ("document", json!({"filename": "a.pdf"}))] {
            let edited = media(kind, more.clone()).edited(&json!({"caption": "new", "media_id": "x", "filename": 1}), &limits).expect("is valid");
            let mut expected = more;
            expected["caption"] = json!("new");
            assert_eq!(edited, media(kind, expected));
        }
        let fields = |content: &Content, payload: Value| match content.edited(&payload, &limits) {
            Err(Error::Validation(fields)) => fields.into_iter().map(|f| f.field).collect::<Vec<_>>(),
            other => panic!("expected field errors, got {other:?}"),
        };
        assert_eq!(fields(&text, json!({"body": " "})), ["payload.body"]);
        assert_eq!(fields(&text, json!({"caption": "x"})), ["payload.body"]);
        assert_eq!(fields(&text, json!("new")), ["payload"]);
        assert_eq!(fields(&media("image", json!({})), json!({"body": "x"})), ["payload.caption"]);
        assert_eq!(fields(&media("image", json!({})), json!({"caption": "c".repeat(1025)})), ["payload.caption"]);
        assert_eq!(fields(&media("audio", json!({})), json!({"caption": "x"})), ["payload"]);
        assert_eq!(fields(&parse("location", json!({"body": "1,2"})).expect("is valid"), json!({"body": "3,4"})), ["payload"]);
    }

    #[test]
    fn previews_are_cut_at_a_hundred_characters() {
        let of = |body: String| Content::Text(Text { body, mentions: vec![] }).preview();
        assert_eq!(of("é".repeat(100)), "é".repeat(100));
        assert_eq!(of("é".repeat(101)), "é".repeat(99) + "…");
    }

    proptest! {
        #[test]
        fn stored_content_reads_back(body in "\\PC{1,200}", latitude in -90.0..=90.0f64, longitude in -180.0..=180.0f64) {
            let texts = [
                Content::Text(Text { body: body.clone(), mentions: vec![] }),
                Content::Location(Location { latitude, longitude, name: Some(body), address: None }),
            ];
            for content in texts {
                let stored = content.payload();
                prop_assert_eq!(Content::from_stored(content.kind(), stored.as_str()).expect("reads back"), content);
            }
        }

        #[test]
        fn a_fingerprint_tells_contents_apart(a in "\\PC{1,20}", b in "\\PC{1,20}") {
            let chat = ChatId::from_uuid(uuid::Uuid::nil());
            let of = |body: &String| Fingerprint::of(chat, &Content::Text(Text { body: body.clone(), mentions: vec![] }), None);
            prop_assert_eq!(of(&a) == of(&b), a == b);
        }
    }
}
