//! The requests of one socket that are being answered. Many sends are in flight at a time, so that they share the store's
//! transactions; yet two sends into one chat reach the store in the order of their frames.
//!
//! A send that has just been begun is known to have taken its place only where nothing had to be looked up first: a text or
//! place, no reply, into a chat where a send has just succeeded. After any other, the sends into that chat wait until it
//! is done. Everything that is no send is answered one at a time.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream};
use wa_core::id::ChatId;

use super::frame::ReqId;
use super::request::Request;

/// What keeps its order among itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Sends into this chat.
    Chat(ChatId),
    /// Everything else.
    Other,
}

/// A request to be answered.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) req_id: Option<ReqId>,
}

impl Job {
    fn lane(&self) -> Lane {
        match &self.request {
            Request::Send(message) => Lane::Chat(message.chat_id),
            _ => Lane::Other,
        }
    }

    /// Whether something may have to be looked up before it takes its place, even in a chat that was just sent to.
    fn looks_up(&self) -> bool {
        match &self.request {
            Request::Send(message) => message.reply_to_message_id.is_some() || !matches!(message.kind.as_str(), "text" | "location"),
            _ => true,
        }
    }
}

/// How a job ended.
pub(super) struct Outcome {
    /// The frame that answers it, if any.
    pub(super) answer: Option<Bytes>,
    /// Whether it succeeded.
    pub(super) succeeded: bool,
}

/// A job at work.
pub(super) type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A job that may begin now.
#[derive(Debug)]
pub(super) struct Ticket {
    lane: Lane,
    /// Whether others of its lane wait for its end.
    holds_up: bool,
}

#[derive(Default)]
struct LaneState {
    running: usize,
    held_up: bool,
    /// Whether the last send into the chat succeeded.
    warm: bool,
}

struct Running {
    work: Work,
    ticket: Option<Ticket>,
}

impl Future for Running {
    type Output = (Ticket, Outcome);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = std::task::ready!(self.work.as_mut().poll(cx));
        let ticket = self.ticket.take().expect("polled once after completion at the most");
        Poll::Ready((ticket, outcome))
    }
}

/// The requests of one socket that wait or are being answered. Who fills it bounds it.
#[derive(Default)]
pub(super) struct Pipeline {
    running: FuturesUnordered<Running>,
    waiting: VecDeque<Job>,
    lanes: HashMap<Lane, LaneState>,
}

impl Pipeline {
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// The first job that may begin. It is to be given back to [`Self::run`] before the next is asked for.
    pub(super) fn begin(&mut self) -> Option<(Job, Ticket)> {
        let held_up = |job: &Job| self.lanes.get(&job.lane()).is_some_and(|lane| lane.held_up);
        // An earlier job of the same lane, if there were one, would be found first.
        let index = self.waiting.iter().position(|job| !held_up(job))?;
        let job = self.waiting.remove(index)?;
        let lane = self.lanes.entry(job.lane()).or_default();
        let holds_up = !lane.warm || job.looks_up();
        lane.running += 1;
        lane.held_up = holds_up;
        let ticket = Ticket { lane: job.lane(), holds_up };
        Some((job, ticket))
    }

    /// Sets a job to work: polls it for the first time, now. Returns its answer if that ended it.
    pub(super) fn run(&mut self, ticket: Ticket, mut work: Work, cx: &mut Context<'_>) -> Option<Bytes> {
        match work.as_mut().poll(cx) {
            Poll::Ready(outcome) => self.end(&ticket, outcome),
            Poll::Pending => {
                self.running.push(Running { work, ticket: Some(ticket) });
                None
            }
        }
    }

    /// Ends a job: by its outcome, where there was nothing to wait for, or by [`Self::poll`]. Returns its answer.
    pub(super) fn end(&mut self, ticket: &Ticket, outcome: Outcome) -> Option<Bytes> {
        if let Some(lane) = self.lanes.get_mut(&ticket.lane) {
            lane.running -= 1;
            lane.warm = outcome.succeeded && matches!(ticket.lane, Lane::Chat(_));
            if ticket.holds_up {
                lane.held_up = false;
            }
            if lane.running == 0 && !self.waiting.iter().any(|job| job.lane() == ticket.lane) {
                self.lanes.remove(&ticket.lane);
            }
        }
        outcome.answer
    }

    /// The answer of the next job that ends; the inner `None` is a job without an answer. Pending while nothing ends or
    /// nothing runs.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match Pin::new(&mut self.running).poll_next(cx) {
            Poll::Ready(Some((ticket, outcome))) => Poll::Ready(self.end(&ticket, outcome)),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::task::Waker;
    use tokio::sync::oneshot;
    use uuid::Uuid;
    use wa_core::api::SendMessage;

    fn send(chat: u128, key: &str, kind: &str) -> Job {
        let message = SendMessage {
            chat_id: ChatId::from_uuid(Uuid::from_u128(chat)),
            client_msg_id: key.to_owned(),
            kind: kind.to_owned(),
            payload: Value::Null,
            reply_to_message_id: None,
            origin: None,
        };
        Job { request: Request::Send(message), req_id: None }
    }

    fn reply(chat: u128, key: &str) -> Job {
        let mut job = send(chat, key, "text");
        if let Request::Send(message) = &mut job.request {
            message.reply_to_message_id = Some(wa_core::id::MessageId::from_uuid(Uuid::nil()));
        }
        job
    }

    /// Begins all jobs that may begin; what they are called, and the means to end them.
    fn begin_all(pipeline: &mut Pipeline, ends: &mut HashMap<String, oneshot::Sender<bool>>) -> Vec<String> {
        let mut begun = Vec::new();
        while let Some((job, ticket)) = pipeline.begin() {
            let name = match &job.request {
                Request::Send(message) => message.client_msg_id.clone(),
                _ => "other".to_owned(),
            };
            let (end, ended) = oneshot::channel();
            let work: Work = Box::pin(async move { Outcome { answer: None, succeeded: ended.await.unwrap_or(false) } });
            assert!(pipeline.run(ticket, work, &mut Context::from_waker(Waker::noop())).is_none());
            ends.insert(name.clone(), end);
            begun.push(name);
        }
        begun
    }

    fn end(pipeline: &mut Pipeline, ends: &mut HashMap<String, oneshot::Sender<bool>>, name: &str, succeeded: bool) {
        ends.remove(name).expect("it was begun").send(succeeded).expect("it runs");
        assert!(pipeline.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[test]
    fn sends_into_a_chat_run_together_once_one_succeeded() {
        let (mut pipeline, mut ends) = (Pipeline::default(), HashMap::new());
        for key in ["a", "b", "c"] {
            pipeline.push(send(1, key, "text"));
        }
        pipeline.push(send(2, "x", "text"));
        assert_eq!(begin_all(&mut pipeline, &mut ends), ["a", "x"], "the first into a chat goes alone");
        end(&mut pipeline, &mut ends, "a", true);
        assert_eq!(begin_all(&mut pipeline, &mut ends), ["b", "c"]);
        pipeline.push(send(1, "d", "location"));
        assert_eq!(begin_all(&mut pipeline, &mut ends), ["d"]);
        // A failure may mean that the chat changed: what follows is looked up again, one by one.
        end(&mut pipeline, &mut ends, "b", false);
        pipeline.push(send(1, "e", "text"));
        pipeline.push(send(1, "f", "text"));
        assert_eq!(begin_all(&mut pipeline, &mut ends), ["e"]);
        for name in ["c", "d", "e"] {
            end(&mut pipeline, &mut ends, name, true);
        }
        assert_eq!(begin_all(&mut pipeline, &mut ends), ["f"]);
        for name in ["f", "x"] {
            end(&mut pipeline, &mut ends, name, true);
        }
        assert!(pipeline.is_empty() && pipeline.lanes.is_empty(), "nothing is kept of what ended");
    }

    #[test]
    fn what_must_look_something_up_holds_up_what_follows() {
        let (mut pipeline, mut ends) = (Pipeline::default(), HashMap::new());
        pipeline.push(send(1, "warm", "text"));
        begin_all(&mut pipeline, &mut ends);
        pipeline.push(send(1, "a", "text"));
        pipeline.push(reply(1, "b"));
        pipeline.push(send(1, "c", "image"));
        pipeline.push(send(1, "d", "text"));
        end(&mut pipeline, &mut ends, "warm", true);
        assert_eq!(begin_all(&mut pipeline, &mut ends), ["a", "b"]);
        end(&mut pipeline, &mut ends, "a", true);
        assert!(begin_all(&mut pipeline, &mut ends).is_empty(), "the reply may not have its place yet");
        end(&mut pipeline, &mut ends, "b", true);
        assert_eq!(begin_all(&mut pipeline, &mut ends), ["c"]);
        end(&mut pipeline, &mut ends, "c", true);
        assert_eq!(begin_all(&mut pipeline, &mut ends), ["d"]);
    }

    #[test]
    fn everything_else_is_answered_one_at_a_time_and_holds_up_no_send() {
        let (mut pipeline, mut ends) = (Pipeline::default(), HashMap::new());
        pipeline.push(Job { request: Request::Ping, req_id: None });
        pipeline.push(Job { request: Request::Ping, req_id: None });
        pipeline.push(send(1, "a", "text"));
        assert_eq!(begin_all(&mut pipeline, &mut ends), ["other", "a"]);
        assert_eq!(pipeline.len(), 3);
        end(&mut pipeline, &mut ends, "other", true);
        assert_eq!(begin_all(&mut pipeline, &mut ends), ["other"]);
    }
}
