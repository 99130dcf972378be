//! Pushes that wait: one for each device, chat and kind, whatever it will tell of. What is noted here survives a crash, and
//! what was pushed is remembered, so that an event that comes again is not pushed again.

use async_trait::async_trait;

use super::{Stored, Viewer};
use crate::id::{ChatId, UserId};
use crate::message::Message;
use crate::push::{DeviceToken, Lane, PushKey, PushKind};
use crate::time::Timestamp;

/// Something to push to every device of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Whom to tell.
    pub user_id: UserId,
    /// Of which chat.
    pub chat_id: ChatId,
    /// Of what.
    pub kind: PushKind,
    /// The number of the first that is noted: the place of a message, the revision of a joining.
    pub first: i64,
    /// The number of the last.
    pub last: i64,
    /// Who added them.
    pub by: Option<UserId>,
    /// When it goes out, unless something waits already.
    pub due_at: Timestamp,
    /// Now.
    pub at: Timestamp,
}

/// A push that goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// To where.
    pub token: DeviceToken,
    /// Of which chat.
    pub chat_id: ChatId,
    /// Of what.
    pub kind: PushKind,
    /// Everything up to this number was told.
    pub done: i64,
    /// Up to this number something is to be told.
    pub up_to: i64,
    /// Who added them.
    pub by: Option<UserId>,
    /// When the last was noted.
    pub noted_at: Timestamp,
    /// How often it failed.
    pub attempts: u32,
}

impl Due {
    /// What names it.
    #[must_use]
    pub const fn key(&self) -> PushKey {
        PushKey { token_id: self.token.id, chat_id: self.chat_id, kind: self.kind }
    }
}

/// What a push may tell of.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// How many messages, 1,000 at the most.
    pub count: u64,
    /// The oldest.
    pub oldest: Message,
    /// The newest.
    pub newest: Message,
}

/// Who may deliver now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This process, which could already.
    Kept,
    /// This process, and another or none before.
    Gained,
    /// Another process.
    Elsewhere,
}

/// Pushes that wait.
///
/// * `a_note_waits_for_every_token_of_its_user`
/// * `only_users_with_tokens_can_be_reached`
/// * `noting_again_keeps_the_time_and_the_beginning`
/// * `what_was_told_is_not_noted_again`
/// * `what_came_meanwhile_is_due_later`
/// * `a_push_that_failed_comes_back_at_its_time`
/// * `due_pushes_come_oldest_first_by_lane_and_bounded`
/// * `what_an_earlier_process_left_waits_a_little`
/// * `only_what_its_reader_may_and_has_not_read_is_told`
#[async_trait]
pub trait PushQueue: Send + Sync {
    /// Those of these users who have a token.
    async fn reachable(&self, users: &[UserId]) -> Stored<Vec<UserId>>;

    /// Notes pushes, durably; of each user, chat and kind one at the most. What was told before, and what is noted
    /// already, is not noted again.
    async fn note(&self, notes: Vec<Note>) -> Stored<()>;

    /// Takes the turn to deliver, or keeps it, for a second from this call on. Where several processes share a queue one of
    /// them at a time may deliver, and what it reads as due is its alone. Who does not ask again within that second may have
    /// lost it to another.
    async fn take_turn(&self) -> Stored<Turn>;

    /// Pushes of a lane that are due by then and failed at most so often, the longest due first.
    async fn due(&self, lane: Lane, by: Timestamp, failed: u32, limit: usize) -> Stored<Vec<Due>>;

    /// The messages above the viewer's place that came since then, of others, which the viewer can see and has not read;
    /// `None` if there are none.
    async fn waiting(&self, viewer: &Viewer, since: Timestamp) -> Stored<Option<Waiting>>;

    /// Everything up to this number was told. If something above it is noted, that is due then.
    async fn told(&self, key: PushKey, up_to: i64, next_due: Timestamp) -> Stored<()>;

    /// It comes back then. `failed` counts an attempt.
    async fn postpone(&self, key: PushKey, until: Timestamp, failed: bool) -> Stored<()>;

    /// Whatever is due before then is due then.
    async fn resume(&self, not_before: Timestamp) -> Stored<()>;
}
