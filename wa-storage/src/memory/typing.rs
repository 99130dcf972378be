//! Who is typing, for a few seconds at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use async_trait::async_trait;
use wa_core::id::{ChatId, UserId};
use wa_core::ports::{Stored, TypingStore};
use wa_core::time::Timestamp;

use super::locked;

#[derive(Debug, Default)]
struct Notices {
    until: HashMap<(ChatId, UserId), Timestamp>,
    by_time: BTreeSet<(Timestamp, ChatId, UserId)>,
}

/// Typing notices in memory.
#[derive(Debug)]
pub(crate) struct MemoryTypingStore {
    capacity: usize,
    notices: Mutex<Notices>,
}

impl MemoryTypingStore {
    /// Holds this many notices; further ones are dropped, as nobody misses them.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, notices: Mutex::default() }
    }
}

#[async_trait]
impl TypingStore for MemoryTypingStore {
    async fn start(&self, chat: ChatId, user: UserId, until: Timestamp) -> Stored<bool> {
        let mut notices = locked(&self.notices);
        let known = notices.until.get(&(chat, user)).copied();
        if known.is_none() && notices.until.len() >= self.capacity {
            return Ok(false);
        }
        if let Some(before) = known {
            notices.by_time.remove(&(before, chat, user));
        }
        notices.until.insert((chat, user), until);
        notices.by_time.insert((until, chat, user));
        Ok(known.is_none())
    }

    async fn stop(&self, chat: ChatId, user: UserId) -> Stored<bool> {
        let mut notices = locked(&self.notices);
        let Some(until) = notices.until.remove(&(chat, user)) else {
            return Ok(false);
        };
        notices.by_time.remove(&(until, chat, user));
        Ok(true)
    }

    async fn take_expired(&self, now: Timestamp) -> Stored<Vec<(ChatId, UserId)>> {
        let mut notices = locked(&self.notices);
        let mut expired = Vec::new();
        while let Some(&(until, chat, user)) = notices.by_time.first() {
            if until > now {
                break;
            }
            notices.by_time.pop_first();
            notices.until.remove(&(chat, user));
            expired.push((chat, user));
        }
        Ok(expired)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_notice_past_the_bound_is_dropped() {
        let store = MemoryTypingStore::new(1);
        let (chat, other) = (ChatId::from_uuid(Uuid::from_u128(1)), ChatId::from_uuid(Uuid::from_u128(2)));
        let user = UserId::from_uuid(Uuid::from_u128(3));
        let at = Timestamp::from_millis;
        assert_eq!(store.start(chat, user, at(5)).await.ok(), Some(true));
        assert_eq!(store.start(other, user, at(5)).await.ok(), Some(false));
        assert_eq!(store.start(chat, user, at(9)).await.ok(), Some(false), "prolonging needs no room");
        assert_eq!(store.take_expired(at(9)).await.ok(), Some(vec![(chat, user)]));
        assert_eq!(store.start(other, user, at(15)).await.ok(), Some(true));
    }
}
