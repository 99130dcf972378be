//! Chats and who takes part in them; the chat object the outside sees; the order and cursor of the chat list.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cursor;
use crate::group::GroupProfile;
use crate::id::{ChatId, MessageId, UserId};
use crate::message::{Message, MessageKind, Rev, Seq};
use crate::privacy::{PrivacySettings, may_see_reads};
use crate::receipt::{Located, Marks, Status};
use crate::time::Timestamp;

/// Direct or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChatKind {
    /// Two people.
    Direct,
    /// A group with admins.
    Group,
}

impl ChatKind {
    /// As it is written on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
        }
    }
}

/// What a participant may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May change the group.
    Admin,
    /// May take part.
    Member,
}

impl Role {
    /// As it is written on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }
}

/// After how long messages of a chat disappear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AutoDeleteTimer {
    /// Never.
    #[default]
    #[serde(rename = "off")]
    Off,
    /// A day.
    #[serde(rename = "24h")]
    Day,
    /// A week.
    #[serde(rename = "7d")]
    Week,
    /// Ninety days.
    #[serde(rename = "90d")]
    Quarter,
}

impl AutoDeleteTimer {
    /// How long a message lives; `None`: for ever.
    #[must_use]
    pub const fn lifetime(self) -> Option<Duration> {
        const DAY: u64 = 24 * 60 * 60;
        match self {
            Self::Off => None,
            Self::Day => Some(Duration::from_secs(DAY)),
            Self::Week => Some(Duration::from_secs(7 * DAY)),
            Self::Quarter => Some(Duration::from_secs(90 * DAY)),
        }
    }

    /// As it is written on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Quarter => "90d",
        }
    }
}

/// The unordered pair of a direct chat: the same for both sides, so that the pair has one chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    low: UserId,
    high: UserId,
}

impl Pair {
    /// The pair of these two. `None` if they are the same user.
    #[must_use]
    pub fn of(a: UserId, b: UserId) -> Option<Self> {
        match a.cmp(&b) {
            std::cmp::Ordering::Less => Some(Self { low: a, high: b }),
            std::cmp::Ordering::Greater => Some(Self { low: b, high: a }),
            std::cmp::Ordering::Equal => None,
        }
    }

    /// Both, in order.
    #[must_use]
    pub const fn users(self) -> [UserId; 2] {
        [self.low, self.high]
    }

    /// The unique key of the pair's chat.
    #[must_use]
    pub fn key(self) -> String {
        format!("{}:{}", self.low, self.high)
    }
}

/// A chat without its people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// Its id.
    pub id: ChatId,
    /// Direct or group.
    pub kind: ChatKind,
    /// The place of its newest message.
    pub last_seq: Seq,
    /// The count of its changes.
    pub rev: Rev,
    /// When its messages disappear.
    pub auto_delete_timer: AutoDeleteTimer,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When the last message came; the chat list's order.
    pub last_activity_at: Timestamp,
    /// What a group shows of itself; `None` for a direct chat.
    pub group: Option<GroupProfile>,
}

/// Somebody who takes part in a chat, or once did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user_id: UserId,
    /// As what.
    pub role: Role,
    /// The newest place at the time of joining: what is above it can be seen.
    pub joined_seq: Seq,
    /// When they joined.
    pub joined_at: Timestamp,
    /// The newest place at the time of leaving; `None` while they are in.
    pub left_seq: Option<Seq>,
    /// In a direct chat: whether they have blocked the other side.
    pub has_blocked: bool,
}

/// Everybody of one chat at one version. Every change to who may do what in it makes a new version, so that a decision
/// taken on an old one is refused at commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The chat.
    pub chat_id: ChatId,
    /// Direct or group.
    pub kind: ChatKind,
    /// Counts the changes to members, roles, blocks and the admin-only setting.
    pub version: i64,
    /// Whether only admins may send.
    pub is_admin_only: bool,
    /// When messages sent now disappear.
    pub auto_delete_timer: AutoDeleteTimer,
    /// Everybody who is or was in it, by user.
    pub members: BTreeMap<UserId, Member>,
}

impl Membership {
    /// A version that no membership has.
    pub const NO_VERSION: i64 = -1;

    /// The participant, unless they left.
    #[must_use]
    pub fn present(&self, user: UserId) -> Option<&Member> {
        self.members.get(&user).filter(|member| member.left_seq.is_none())
    }

    /// Everybody who has not left.
    pub fn everyone(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.left_seq.is_none())
    }

    /// In a direct chat, the other side.
    #[must_use]
    pub fn peer_of(&self, user: UserId) -> Option<&Member> {
        (self.kind == ChatKind::Direct).then(|| self.members.values().find(|member| member.user_id != user)).flatten()
    }

    /// Those whose receipts make up the state of a message: present, let in before it, not its sender. The one it is
    /// withheld from counts: to the sender they look like somebody it never reached.
    pub fn recipients(&self, message: &Located) -> impl Iterator<Item = &Member> {
        self.everyone().filter(|member| member.user_id != message.sender_id && member.joined_seq < message.seq)
    }

    /// The weakest state of a message over all recipients, as this viewer may know it; `sent` if there is none.
    /// `settings` are those of everybody here; where they are missing, no read is shown.
    #[must_use]
    pub fn weakest_status(&self, message: &Located, marks: &BTreeMap<UserId, Marks>, viewer: UserId, settings: &BTreeMap<UserId, PrivacySettings>) -> Status {
        let state_with = |member: &Member| match marks.get(&member.user_id) {
            Some(marks) if message.withheld_from != Some(member.user_id) => {
                let status = marks.status_of(message.seq);
                let reader = member.user_id;
                if may_see_reads((reader, settings.get(&reader)), (viewer, settings.get(&viewer))) { status } else { status.min(Status::Delivered) }
            }
            _ => Status::Sent,
        };
        self.recipients(message).map(state_with).min().unwrap_or(Status::Sent)
    }
}

/// What a participant set for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Personal {
    /// Whether no notification comes, up to `mute_until` where that is set.
    pub is_muted: bool,
    /// When the mute ends; `None`: never.
    pub mute_until: Option<Timestamp>,
    /// Whether it stays on top of the list.
    pub is_pinned: bool,
}

impl Personal {
    /// Whether the mute holds now.
    #[must_use]
    pub fn muted_at(&self, now: Timestamp) -> bool {
        self.is_muted && self.mute_until.is_none_or(|until| now < until)
    }
}

/// The place in a user's chat list after which the next page starts: pinned first, then newest activity, then id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChatCursor {
    /// Whether the last chat of the page was pinned.
    pub is_pinned: bool,
    /// Its activity.
    pub last_activity_at: Timestamp,
    /// Itself.
    pub chat_id: ChatId,
}

impl ChatCursor {
    const LIST: &'static [u8] = b"chat cursor";

    /// As clients carry it: opaque, and of use to this user only.
    #[must_use]
    pub fn encode(&self, owner: UserId) -> String {
        let mut place = Vec::with_capacity(1 + 8 + 16);
        place.push(u8::from(self.is_pinned));
        place.extend_from_slice(&self.last_activity_at.as_millis().to_be_bytes());
        place.extend_from_slice(self.chat_id.as_uuid().as_bytes());
        cursor::encode(Self::LIST, &place, owner)
    }

    /// Reads back what [`Self::encode`] wrote for the same user; `None` for a garbled or a foreign cursor.
    #[must_use]
    pub fn decode(text: &str, owner: UserId) -> Option<Self> {
        let place: [u8; 1 + 8 + 16] = cursor::decode(Self::LIST, text, owner)?;
        let (pinned, rest) = place.split_first()?;
        let (millis, chat) = rest.split_at_checked(8)?;
        let millis = i64::from_be_bytes(millis.try_into().ok()?);
        let cursor =
            Self { is_pinned: *pinned == 1, last_activity_at: Timestamp::from_millis(millis), chat_id: ChatId::from_uuid(uuid::Uuid::from_slice(chat).ok()?) };
        // One text for every place: a sealed text that would be written otherwise was not written here.
        (u8::from(cursor.is_pinned) == *pinned && cursor.last_activity_at.as_millis() == millis).then_some(cursor)
    }
}

/// The other person of a direct chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Peer {
    /// Who.
    pub id: UserId,
    /// Their name.
    pub display_name: String,
    /// Their picture; null when hidden.
    pub avatar_url: Option<String>,
}

/// One participant, as `GET /chats/:id` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Participant {
    /// Who.
    pub user_id: UserId,
    /// Their name.
    pub display_name: String,
    /// Their picture; null when hidden.
    pub avatar_url: Option<String>,
    /// As what.
    pub role: Role,
    /// Since when.
    pub joined_at: Timestamp,
}

/// The newest message, as the chat list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastMessage {
    /// The message.
    pub message_id: MessageId,
    /// Its sender.
    pub sender_id: UserId,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// One line of it.
    pub preview: String,
    /// When it was accepted.
    pub timestamp: Timestamp,
    /// Its place.
    pub seq: Seq,
}

impl LastMessage {
    /// What is shown of this message.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        Self {
            message_id: message.id,
            sender_id: message.sender_id,
            kind: message.kind,
            preview: message.preview(),
            timestamp: message.created_at,
            seq: message.seq,
        }
    }
}

/// The chat object of the contract, section 1.3, as one participant sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Chat))]
pub struct ChatView {
    /// The chat.
    pub chat_id: ChatId,
    /// Direct or group.
    #[serde(rename = "type")]
    pub kind: ChatKind,
    /// The group's name, or the other person's.
    pub name: String,
    /// The group's description.
    pub description: String,
    /// The group's picture, or the other person's; null when hidden.
    pub avatar_url: Option<String>,
    /// In a direct chat, the other person.
    pub participant: Option<Peer>,
    /// Everybody in it.
    pub participants: Vec<Participant>,
    /// The newest message the viewer can see.
    pub last_message: Option<LastMessage>,
    /// Messages the viewer has not read.
    pub unread_count: u64,
    /// Whether the viewer muted it.
    pub is_muted: bool,
    /// Until when.
    pub mute_until: Option<Timestamp>,
    /// Whether the viewer pinned it.
    pub is_pinned: bool,
    /// Whether only admins may send.
    pub is_admin_only: bool,
    /// When messages disappear.
    pub auto_delete_timer: AutoDeleteTimer,
    /// The place of the newest message.
    pub last_seq: Seq,
    /// The count of changes.
    pub rev: Rev,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn user(number: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(number))
    }

    fn cursor() -> impl Strategy<Value = ChatCursor> {
        (any::<bool>(), 0..=Timestamp::MAX.as_millis(), any::<u128>()).prop_map(|(is_pinned, millis, chat)| ChatCursor {
            is_pinned,
            last_activity_at: Timestamp::from_millis(millis),
            chat_id: ChatId::from_uuid(Uuid::from_u128(chat)),
        })
    }

    #[test]
    fn a_pair_is_the_same_from_both_sides() {
        assert_eq!(Pair::of(user(1), user(2)), Pair::of(user(2), user(1)));
        assert_eq!(Pair::of(user(1), user(1)), None);
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_for_its_owner(cursor in cursor(), owner in any::<u128>()) {
            prop_assert_eq!(ChatCursor::decode(&cursor.encode(user(owner)), user(owner)), Some(cursor));
        }

        #[test]
        fn a_foreign_cursor_is_refused(cursor in cursor(), owner in any::<u128>(), other in any::<u128>()) {
            prop_assume!(owner != other);
            prop_assert_eq!(ChatCursor::decode(&cursor.encode(user(owner)), user(other)), None);
        }

        #[test]
        fn a_garbled_cursor_is_refused(cursor in cursor(), at in 0..41usize, with in "[A-Za-z0-9_-]") {
            let text = cursor.encode(user(1));
            let mut garbled = text.clone();
            garbled.replace_range(at..=at, &with);
            prop_assume!(garbled != text);
            prop_assert_eq!(ChatCursor::decode(&garbled, user(1)), None);
            prop_assert_eq!(ChatCursor::decode(&text[..at], user(1)), None);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            prop_assert_eq!(ChatCursor::decode(&text, user(1)), None);
        }
    }
}
