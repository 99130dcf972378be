//! A clock that stands still and randomness from a seed, for tests and simulations (feature `testing`).

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::chat::ChatKind;
use crate::id::{ChatId, MessageId, UserId};
use crate::message::{Content, Fingerprint};
use crate::ports::{Env, EnvExt as _, NewMessage};
use crate::time::Timestamp;

/// Time moves only when told to, and the same seed gives the same randomness.
#[derive(Debug)]
pub struct SimEnv {
    now: AtomicI64,
    state: Mutex<u64>,
}

impl SimEnv {
    /// Starts at 2026-01-01T00:00:00Z.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { now: AtomicI64::new(1_767_225_600_000), state: Mutex::new(seed) }
    }

    /// A message as it goes to a store, under a key of its own: of a direct chat on its first membership, by somebody
    /// without a name, and with nothing that a message need not have.
    #[must_use]
    pub fn message(&self, chat_id: ChatId, sender_id: UserId, content: Content) -> NewMessage {
        let id: MessageId = self.new_id();
        NewMessage {
            id,
            event_id: self.new_id(),
            chat_id,
            chat_kind: ChatKind::Direct,
            membership_version: 1,
            sender_id,
            sender_name: String::new(),
            client_msg_id: id.to_string(),
            fingerprint: Fingerprint::of(chat_id, &content, None),
            content,
            reply_to: None,
            forwarded_from: None,
            withheld_from: None,
            expires_at: None,
            created_at: self.now(),
            origin: None,
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Env for SimEnv {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn fill(&self, bytes: &mut [u8]) {
        // SplitMix64 (Steele, Lea, Flood 2014): enough for a simulation, no secret.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}
