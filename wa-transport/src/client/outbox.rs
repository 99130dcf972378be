//! The requests of a connection that wait for their answer: bounded, repeated over every new socket until they are answered, and
//! in order within a chat. Pure: time is told to it.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;
use wa_core::id::{ChatId, MessageId, UserId};

use super::error::{ApiError, ClientError};
use super::events::Sent;
use super::rest::Outgoing;

/// Requests that wait, at the most.
const MAX_WAITING: usize = 256;
/// How long a server that refuses for now is left alone if it does not say.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest it is left alone.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// What is asked of the server. Repeating any of these changes nothing more.
#[derive(Debug)]
pub(super) enum Request {
    Send { chat: ChatId, message: Outgoing },
    Read { chat: ChatId, up_to: MessageId },
    Watch(Vec<UserId>),
    Unwatch(Vec<UserId>),
}

impl Request {
    /// Its event and data.
    pub(super) fn frame(&self) -> (&'static str, Value) {
        match self {
            Self::Send { chat, message } => {
                let mut data = json!(message);
                data["chat_id"] = json!(chat);
                ("message.send", data)
            }
            Self::Read { chat, up_to } => ("message.read", json!({"chat_id": chat, "up_to_message_id": up_to})),
            Self::Watch(users) => ("presence.subscribe", json!({"user_ids": users})),
            Self::Unwatch(users) => ("presence.unsubscribe", json!({"user_ids": users})),
        }
    }

    /// Whether it must wait for an earlier one.
    fn follows(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Send { chat, .. }, Self::Send { chat: other, .. }) | (Self::Read { chat, .. }, Self::Read { chat: other, .. }) => chat == other,
            (Self::Watch(_) | Self::Unwatch(_), Self::Watch(_) | Self::Unwatch(_)) => true,
            _ => false,
        }
    }
}

/// Where the answer goes: the message as sent, or nothing for the rest.
pub(super) type Reply = oneshot::Sender<Result<Option<Sent>, ClientError>>;

#[derive(Debug)]
struct Entry {
    id: u64,
    request: Request,
    reply: Reply,
    accepted_at: Instant,
    sent_at: Option<Instant>,
}

/// The requests that wait.
#[derive(Debug)]
pub(super) struct Outbox {
    entries: VecDeque<Entry>,
    patience: Duration,
    paused_until: Option<Instant>,
}

impl Outbox {
    /// Of requests that give up after this long.
    pub(super) const fn new(patience: Duration) -> Self {
        Self { entries: VecDeque::new(), patience, paused_until: None }
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_WAITING
    }

    /// Takes in a request under an id that no other has.
    pub(super) fn push(&mut self, id: u64, request: Request, reply: Reply, now: Instant) {
        self.entries.push_back(Entry { id, request, reply, accepted_at: now, sent_at: None });
    }

    /// The next request to be sent now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(u64, &Request)> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let ready = |at: usize| {
            let entry = &self.entries[at];
            entry.sent_at.is_none() && !self.entries.iter().take(at).any(|earlier| entry.request.follows(&earlier.request))
        };
        let at = (0..self.entries.len()).find(|at| ready(*at))?;
        let entry = &mut self.entries[at];
        entry.sent_at = Some(now);
        Some((entry.id, &entry.request))
    }

    /// The request of this id was answered well. Returns it with where the answer goes.
    pub(super) fn answered(&mut self, id: u64) -> Option<(Request, Reply)> {
        let at = self.entries.iter().position(|entry| entry.id == id)?;
        self.entries.remove(at).map(|entry| (entry.request, entry.reply))
    }

    /// The request of this id was refused: for now, or for good.
    pub(super) fn refused(&mut self, id: u64, error: Box<ApiError>, now: Instant) {
        let Some(at) = self.entries.iter().position(|entry| entry.id == id) else { return };
        if matches!(error.code.as_str(), "RATE_LIMITED" | "UNAVAILABLE") {
            self.entries[at].sent_at = None;
            self.paused_until = Some(now + error.retry_after.unwrap_or(PAUSE).min(MAX_PAUSE));
        } else if let Some(entry) = self.entries.remove(at) {
            let _ = entry.reply.send(Err(ClientError::Api(error)));
        }
    }

    /// The socket is gone: what was not answered is sent over the next one.
    pub(super) fn disconnected(&mut self) {
        self.paused_until = None;
        for entry in &mut self.entries {
            entry.sent_at = None;
        }
    }

    /// Gives up what has waited too long, or for which nobody waits.
    pub(super) fn expire(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(entry) = self.entries.get(index) {
            let is_late = now >= entry.accepted_at + self.patience;
            let is_abandoned = entry.sent_at.is_none() && entry.reply.is_closed();
            if !is_late && !is_abandoned {
                index += 1;
            } else if let Some(entry) = self.entries.remove(index) {
                let _ = entry.reply.send(Err(ClientError::Timeout(self.patience)));
            }
        }
    }

    /// When something is to be done without anything happening.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let expiry = self.entries.front().map(|entry| entry.accepted_at + self.patience);
        let pause = self.paused_until.filter(|_| !self.entries.is_empty());
        expiry.into_iter().chain(pause).min()
    }

    /// Since when the longest unanswered request has been with the server.
    pub(super) fn unanswered_since(&self) -> Option<Instant> {
        self.entries.iter().filter_map(|entry| entry.sent_at).min()
    }

    /// The connection has ended.
    pub(super) fn fail(&mut self, error: impl Fn() -> ClientError) {
        for entry in self.entries.drain(..) {
            let _ = entry.reply.send(Err(error()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn chat(number: u128) -> ChatId {
        ChatId::from_uuid(Uuid::from_u128(number))
    }

    fn push(outbox: &mut Outbox, id: u64, to: u128, now: Instant) -> oneshot::Receiver<Result<Option<Sent>, ClientError>> {
        let (reply, answer) = oneshot::channel();
        outbox.push(id, Request::Send { chat: chat(to), message: Outgoing::text("hi") }, reply, now);
        answer
    }

    fn sendable(outbox: &mut Outbox, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next(now).map(|(id, _)| id)).collect()
    }

    fn refusal(code: &str, retry_after: Option<Duration>) -> Box<ApiError> {
        Box::new(ApiError { status: 0, code: code.to_owned(), message: String::new(), details: Vec::new(), retry_after, request_id: None })
    }

    #[test]
    fn messages_of_a_chat_go_one_after_the_other_and_chats_do_not_wait_for_each_other() {
        let (mut outbox, now) = (Outbox::new(PATIENCE), Instant::now());
        let _answers = [(1, 7), (2, 7), (3, 8)].map(|(id, to)| push(&mut outbox, id, to, now));
        assert_eq!(sendable(&mut outbox, now), [1, 3]);
        assert!(outbox.answered(1).is_some());
        assert_eq!(sendable(&mut outbox, now), [2]);
    }

    #[test]
    fn what_was_not_answered_goes_again_over_the_next_socket() {
        let (mut outbox, now) = (Outbox::new(PATIENCE), Instant::now());
        let _answer = push(&mut outbox, 1, 7, now);
        assert_eq!(sendable(&mut outbox, now), [1]);
        assert!(sendable(&mut outbox, now).is_empty());
        outbox.disconnected();
        assert_eq!(sendable(&mut outbox, now), [1]);
    }

    #[test]
    fn a_refusal_for_now_pauses_and_one_for_good_is_the_answer() {
        let (mut outbox, now) = (Outbox::new(PATIENCE), Instant::now());
        let mut answer = push(&mut outbox, 1, 7, now);
        let wait = Duration::from_secs(2);
        sendable(&mut outbox, now);
        outbox.refused(1, refusal("RATE_LIMITED", Some(wait)), now);
        assert!(sendable(&mut outbox, now).is_empty());
        assert_eq!(outbox.wake_at(), Some(now + wait));
        assert_eq!(sendable(&mut outbox, now + wait), [1]);
        assert!(answer.try_recv().is_err());
        outbox.refused(1, refusal("NOT_CHAT_MEMBER", None), now);
        assert!(matches!(answer.try_recv(), Ok(Err(error)) if error.code() == Some("NOT_CHAT_MEMBER")));
    }

    #[test]
    fn patience_ends_and_what_nobody_waits_for_is_dropped_unless_it_is_under_way() {
        let (mut outbox, now) = (Outbox::new(PATIENCE), Instant::now());
        let mut answer = push(&mut outbox, 1, 7, now);
        outbox.expire(now + PATIENCE - Duration::from_millis(1));
        assert!(answer.try_recv().is_err());
        outbox.expire(now + PATIENCE);
        assert!(matches!(answer.try_recv(), Ok(Err(ClientError::Timeout(PATIENCE)))));
        drop(push(&mut outbox, 2, 7, now));
        drop(push(&mut outbox, 3, 8, now));
        assert_eq!(outbox.next(now).map(|(id, _)| id), Some(2));
        outbox.expire(now);
        assert_eq!(outbox.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn the_outbox_is_full_at_its_bound() {
        let (mut outbox, now) = (Outbox::new(PATIENCE), Instant::now());
        for id in 0..MAX_WAITING as u64 {
            assert!(!outbox.is_full());
            drop(push(&mut outbox, id, 7, now));
        }
        assert!(outbox.is_full());
    }
}
