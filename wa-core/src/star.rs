//! Stars: messages a user marked for themselves, and the place in the list of them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cursor;
use crate::id::{MessageId, UserId};
use crate::time::Timestamp;

/// That the caller starred a message, or took the star back, in the answer to sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StarMark {
    /// The message.
    pub message_id: MessageId,
    /// Whether it has a star now.
    pub is_starred: bool,
}

/// The place in a user's list of starred messages after which the next page starts: newest star first, then greatest id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StarCursor {
    /// When the last message of the page was starred.
    pub starred_at: Timestamp,
    /// The message.
    pub message_id: MessageId,
}

impl StarCursor {
    const LIST: &'static [u8] = b"star cursor";

    /// As clients carry it: opaque, and of use to this user only.
    #[must_use]
    pub fn encode(&self, owner: UserId) -> String {
        let mut place = Vec::with_capacity(8 + 16);
        place.extend_from_slice(&self.starred_at.as_millis().to_be_bytes());
        place.extend_from_slice(self.message_id.as_uuid().as_bytes());
        cursor::encode(Self::LIST, &place, owner)
    }

    /// Reads back what [`Self::encode`] wrote for the same user; `None` for a garbled or a foreign cursor.
    #[must_use]
    pub fn decode(text: &str, owner: UserId) -> Option<Self> {
        let place: [u8; 8 + 16] = cursor::decode(Self::LIST, text, owner)?;
        let (millis, message) = place.split_at_checked(8)?;
        let millis = i64::from_be_bytes(millis.try_into().ok()?);
        let cursor = Self { starred_at: Timestamp::from_millis(millis), message_id: MessageId::from_uuid(Uuid::from_slice(message).ok()?) };
        // One text for every place, also where a time is held at its bounds.
        (cursor.starred_at.as_millis() == millis).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ChatCursor;
    use crate::id::ChatId;
    use proptest::prelude::*;

    fn user(number: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(number))
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_for_its_owner_alone(millis in 0..=Timestamp::MAX.as_millis(), message in any::<u128>(), owner in any::<u128>(), other in any::<u128>()) {
            prop_assume!(owner != other);
            let cursor = StarCursor { starred_at: Timestamp::from_millis(millis), message_id: MessageId::from_uuid(Uuid::from_u128(message)) };
            let text = cursor.encode(user(owner));
            prop_assert_eq!(StarCursor::decode(&text, user(owner)), Some(cursor));
            prop_assert_eq!(StarCursor::decode(&text, user(other)), None);
            prop_assert_eq!(ChatCursor::decode(&text, user(owner)), None);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            prop_assert_eq!(StarCursor::decode(&text, user(1)), None);
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let chat = ChatCursor { is_pinned: false, last_activity_at: Timestamp::default(), chat_id: ChatId::from_uuid(Uuid::nil()) };
        assert_eq!(StarCursor::decode(&chat.encode(user(1)), user(1)), None);
    }
}
