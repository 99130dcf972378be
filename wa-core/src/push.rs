//! Where pushes go and what they say (contract, sections 7 and 10): device tokens, and the notification as providers carry it.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::chat::ChatKind;
use crate::id::{ChatId, DeviceId, MessageId, PushTokenId, UserId};
use crate::message::{Message, MessageKind, cut};
use crate::time::Timestamp;

/// How long a push is worth sending, and how long a provider keeps it for a device that is off.
pub const TTL: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Characters of the text of a push.
const TEXT: usize = 100;

/// Bytes of a picture's address that a push carries; of a longer one it carries none. Providers take 4 KiB in all.
const AVATAR: usize = 512;

/// What a device runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// Android, reached by FCM.
    #[default]
    Android,
    /// iOS, reached by FCM.
    Ios,
    /// A browser, reached by Web Push.
    Web,
}

impl Platform {
    /// As it is written on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Android => "android",
            Self::Ios => "ios",
            Self::Web => "web",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Android, Self::Ios, Self::Web].into_iter().find(|platform| platform.as_str() == text)
    }

    /// Which of the queues its pushes wait in.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::Android | Self::Ios => Lane::Phones,
            Self::Web => Lane::Browsers,
        }
    }
}

/// Pushes wait in two queues, so that providers of one kind that are slow hold up none of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Android and iOS.
    Phones,
    /// Web Push.
    Browsers,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Phones, Self::Browsers];
}

/// The keys of a browser's subscription (RFC 8291, section 2).
#[derive(Clone, PartialEq, Eq)]
pub struct WebPushKeys {
    /// The public key, an uncompressed point of P-256.
    pub p256dh: [u8; 65],
    /// The authentication secret.
    pub auth: [u8; 16],
}

impl WebPushKeys {
    /// Reads what a browser gives, base64url with or without padding. `Err` names the key that is wrong.
    ///
    /// # Errors
    /// The name of the first key that is none.
    pub fn parse(p256dh: &str, auth: &str) -> Result<Self, &'static str> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=').replace('+', "-").replace('/', "_")).ok();
        let p256dh: [u8; 65] = bytes(p256dh).and_then(|bytes| bytes.try_into().ok()).filter(|key: &[u8; 65]| key[0] == 4).ok_or("p256dh")?;
        Ok(Self { p256dh, auth: bytes(auth).and_then(|bytes| bytes.try_into().ok()).ok_or("auth")? })
    }

    /// The public key as [`Self::parse`] reads it.
    #[must_use]
    pub fn p256dh_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.p256dh)
    }

    /// The authentication secret as [`Self::parse`] reads it.
    #[must_use]
    pub fn auth_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.auth)
    }
}

impl fmt::Debug for WebPushKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebPushKeys(…)")
    }
}

/// How a provider finds a device. Whoever has it can reach the device, so it does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct PushAddress {
    /// The token; of a browser, the endpoint of its subscription.
    pub token: String,
    /// The keys of a browser's subscription.
    pub keys: Option<WebPushKeys>,
}

impl fmt::Debug for PushAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushAddress(…)")
    }
}

/// A registered place that pushes go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceToken {
    /// Its id.
    pub id: PushTokenId,
    /// Whose it is.
    pub user_id: UserId,
    /// The login that registered it, with which it ends.
    pub device_id: DeviceId,
    /// What the device runs.
    pub platform: Platform,
    /// How the provider finds it.
    pub address: PushAddress,
    /// When it was registered first.
    pub created_at: Timestamp,
    /// When it was registered last.
    pub updated_at: Timestamp,
}

/// What a push is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PushKind {
    /// Messages of a chat.
    Messages,
    /// That the user was added to a group.
    Added,
}

impl PushKind {
    /// As it is written in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Added => "added",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Messages, Self::Added].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What names a push that waits: there is one for each device, chat and kind, whatever it tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PushKey {
    /// The device.
    pub token_id: PushTokenId,
    /// The chat.
    pub chat_id: ChatId,
    /// What it is about.
    pub kind: PushKind,
}

/// Who a push comes from, as its recipient may know them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sender {
    /// Their name.
    pub name: String,
    /// Their picture; empty when hidden.
    pub avatar: String,
}

/// A notification, ready for a provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// `message.new` or `group.member.added`, as the socket's events are called.
    pub event: &'static str,
    /// Where.
    pub chat_id: ChatId,
    /// Direct or group.
    pub chat_kind: ChatKind,
    /// The message; of several, the newest.
    pub message_id: Option<MessageId>,
    /// Its type.
    pub message_kind: MessageKind,
    /// Who it comes from.
    pub sender_id: UserId,
    /// As the recipient sees them.
    pub sender: Sender,
    /// The headline.
    pub title: String,
    /// The text.
    pub body: String,
    /// When what it tells of came about.
    pub at: Timestamp,
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notice").field("event", &self.event).field("chat_id", &self.chat_id).finish_non_exhaustive()
    }
}

impl Notice {
    /// Of one message.
    #[must_use]
    pub fn of_message(message: &Message, chat_kind: ChatKind, sender: Sender) -> Self {
        let body = message.content.as_ref().map(crate::message::Content::preview).unwrap_or_default();
        // Each would take six bytes where providers count.
        let body = body.replace(|c: char| c.is_control() && c != '\n', " ");
        Self { title: sender.name.clone(), body, ..Self::about(message, chat_kind, sender) }
    }

    /// Of several messages of a chat that is called so.
    #[must_use]
    pub fn of_messages(count: u64, newest: &Message, chat_kind: ChatKind, chat_name: &str, sender: Sender) -> Self {
        let body = cut(&format!("{count} new messages from {chat_name}"), TEXT);
        Self { title: chat_name.to_owned(), body, ..Self::about(newest, chat_kind, sender) }
    }

    /// Of having been added to a group.
    #[must_use]
    pub fn of_joining(chat_id: ChatId, group_name: &str, by: UserId, sender: Sender, at: Timestamp) -> Self {
        Self {
            event: "group.member.added",
            chat_id,
            chat_kind: ChatKind::Group,
            message_id: None,
            message_kind: MessageKind::System,
            sender_id: by,
            title: group_name.to_owned(),
            body: cut(&format!("You were added by {}", sender.name), TEXT),
            sender,
            at,
        }
    }

    fn about(message: &Message, chat_kind: ChatKind, sender: Sender) -> Self {
        Self {
            event: "message.new",
            chat_id: message.chat_id,
            chat_kind,
            message_id: Some(message.id),
            message_kind: message.kind,
            sender_id: message.sender_id,
            sender,
            title: String::new(),
            body: String::new(),
            at: message.created_at,
        }
    }

    /// What clients get: every key twice, as existing ones read it (contract, section 7). All values are strings.
    #[must_use]
    pub fn data(&self) -> BTreeMap<&'static str, String> {
        let avatar = if self.sender.avatar.len() <= AVATAR { self.sender.avatar.clone() } else { String::new() };
        let twice = [
            ("chat_id", "chatId", self.chat_id.to_string()),
            ("chat_type", "chatType", self.chat_kind.as_str().to_owned()),
            ("message_id", "messageId", self.message_id.map(|id| id.to_string()).unwrap_or_default()),
            ("sender_id", "senderId", self.sender_id.to_string()),
            ("sender_name", "senderName", self.sender.name.clone()),
            ("sender_avatar", "senderAvatar", avatar),
            ("message_preview", "messagePreview", self.body.clone()),
            ("message_type", "messageType", self.message_kind.as_str().to_owned()),
        ];
        let once = [("type", self.event.to_owned()), ("title", self.title.clone()), ("body", self.body.clone()), ("timestamp", self.at.to_string())];
        twice.into_iter().flat_map(|(snake, camel, value)| [(snake, value.clone()), (camel, value)]).chain(once).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn joining(name: &str, avatar: &str) -> Notice {
        let sender = Sender { name: name.to_owned(), avatar: avatar.to_owned() };
        Notice::of_joining(ChatId::from_uuid(Uuid::nil()), "Group", UserId::from_uuid(Uuid::nil()), sender, Timestamp::from_millis(0))
    }

    #[test]
    fn every_key_comes_in_both_spellings() {
        let data = joining("Alice", "/a.jpg").data();
        for (snake, camel) in [("chat_id", "chatId"), ("sender_avatar", "senderAvatar"), ("message_preview", "messagePreview"), ("message_type", "messageType")]
        {
            assert_eq!(data[snake], data[camel]);
        }
        assert_eq!((data["title"].as_str(), data["body"].as_str(), data["type"].as_str()), ("Group", "You were added by Alice", "group.member.added"));
        assert_eq!((data["timestamp"].as_str(), data["sender_avatar"].as_str()), ("1970-01-01T00:00:00.000Z", "/a.jpg"));
    }

    #[test]
    fn the_largest_push_fits_what_providers_take() {
        let longest = joining(&"\u{1f600}".repeat(64), &"x".repeat(AVATAR));
        let notice = Notice { title: "\u{1f600}".repeat(100), body: cut(&"\u{1f600}".repeat(200), TEXT), ..longest };
        assert_eq!(notice.body.chars().count(), 100);
        let bytes = serde_json::to_string(&notice.data()).expect("is JSON").len();
        assert!(bytes <= 3993, "{bytes}: RFC 8291 leaves 3993 bytes of 4096");
        let wide = joining("Alice", &"x".repeat(AVATAR + 1));
        assert_eq!(wide.data()["sender_avatar"], "");
    }

    #[test]
    fn keys_of_a_subscription_are_read_with_and_without_padding() {
        let (p256dh, auth) = (URL_SAFE_NO_PAD.encode([4; 65]), URL_SAFE_NO_PAD.encode([7; 16]));
        let keys = WebPushKeys::parse(&p256dh, &auth).expect("valid");
        assert_eq!((keys.p256dh_text(), keys.auth_text()), (p256dh.clone(), auth.clone()));
        assert_eq!(WebPushKeys::parse(&format!("{p256dh}="), &format!("{auth}==")), Ok(keys));
        assert_eq!(WebPushKeys::parse("", &auth), Err("p256dh"));
        assert_eq!(WebPushKeys::parse(&URL_SAFE_NO_PAD.encode([3; 65]), &auth), Err("p256dh"));
        assert_eq!(WebPushKeys::parse(&p256dh, "x"), Err("auth"));
    }
}
