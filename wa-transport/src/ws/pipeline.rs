//! The requests of one socket that are being answered. Many sends are in flight at a time, so that they share the store's
//! transactions; they are begun in the order of their frames, which is the order in which the core stores them
//! ([`wa_core::api::MessageApi::send`]). Everything that is no send is answered one at a time.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::time::Instant;

use super::frame::ReqId;
use super::request::Request;

/// A request to be answered.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) req_id: Option<ReqId>,
}

impl Job {
    /// Whether it may run beside others.
    pub(super) const fn is_send(&self) -> bool {
        matches!(self.request, Request::Send(_))
    }
}

/// A job at work; it ends with the frame that answers it, if any.
pub(super) type Work = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// A job at work, since when, and how its answer is marked.
struct Running {
    work: Work,
    since: Instant,
    req_id: Option<ReqId>,
}

impl Future for Running {
    type Output = Option<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.work.as_mut().poll(cx)
    }
}

/// The requests of one socket that wait or are being answered. Who fills it bounds it. One timer of the socket watches over
/// all of them.
#[derive(Default)]
pub(super) struct Pipeline {
    sends: FuturesUnordered<Running>,
    other: Option<Running>,
    waiting: VecDeque<Job>,
    /// No job at work began before this.
    began: Option<Instant>,
}

impl Pipeline {
    pub(super) fn len(&self) -> usize {
        self.sends.len() + usize::from(self.other.is_some()) + self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// The next job that may begin.
    pub(super) fn begin(&mut self) -> Option<Job> {
        let index = if self.other.is_none() { 0 } else { self.waiting.iter().position(Job::is_send)? };
        self.waiting.remove(index)
    }

    /// Sets a job to work: polls it for the first time, now. Returns its answer if that ended it.
    pub(super) fn run(&mut self, is_send: bool, req_id: Option<ReqId>, mut work: Work, cx: &mut Context<'_>) -> Option<Bytes> {
        if let Poll::Ready(answer) = work.as_mut().poll(cx) {
            return answer;
        }
        let since = Instant::now();
        self.began.get_or_insert(since);
        let running = Running { work, since, req_id };
        if is_send {
            self.sends.push(running);
        } else {
            self.other = Some(running);
        }
        None
    }

    /// When to look for jobs that take longer than this; not too late, but maybe too early.
    pub(super) fn look_at(&self, patience: Duration) -> Option<Instant> {
        self.began.map(|began| began + patience)
    }

    /// Gives up the jobs that began at this time or before, and returns how their answers are marked.
    pub(super) fn give_up(&mut self, by: Instant) -> Vec<Option<ReqId>> {
        let running = std::mem::take(&mut self.sends).into_iter().map(|running| (running, true));
        let running: Vec<_> = running.chain(self.other.take().map(|running| (running, false))).collect();
        self.began = running.iter().map(|(running, _)| running.since).filter(|since| *since > by).min();
        let mut given_up = Vec::new();
        for (running, is_send) in running {
            match (running.since <= by, is_send) {
                (true, _) => given_up.push(running.req_id),
                (false, true) => self.sends.push(running),
                (false, false) => self.other = Some(running),
            }
        }
        given_up
    }

    /// The answer of the next job that ends; the inner `None` is a job without an answer. Pending while nothing ends or
    /// nothing runs.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(running) = &mut self.other
            && let Poll::Ready(answer) = running.work.as_mut().poll(cx)
        {
            self.other = None;
            return Poll::Ready(answer);
        }
        match Pin::new(&mut self.sends).poll_next(cx) {
            Poll::Ready(Some(answer)) => Poll::Ready(answer),
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
    use wa_core::id::ChatId;

    fn send(key: &str) -> Job {
        let message = SendMessage {
            chat_id: ChatId::from_uuid(Uuid::nil()),
            client_msg_id: key.to_owned(),
            kind: "text".to_owned(),
            payload: Value::Null,
            reply_to_message_id: None,
            origin: None,
        };
        Job { request: Request::Send(message), req_id: None }
    }

    fn other() -> Job {
        Job { request: Request::Ping, req_id: None }
    }

    /// Begins all jobs that may begin; what they are called, and the means to end them.
    fn begin_all(pipeline: &mut Pipeline) -> Vec<(String, oneshot::Sender<()>)> {
        let mut begun = Vec::new();
        while let Some(job) = pipeline.begin() {
            let name = if let Request::Send(message) = &job.request { message.client_msg_id.clone() } else { "other".to_owned() };
            let (end, ended) = oneshot::channel();
            let answer = Bytes::from(name.clone());
            let work: Work = Box::pin(async move { ended.await.ok().map(|()| answer) });
            assert!(pipeline.run(job.is_send(), None, work, &mut Context::from_waker(Waker::noop())).is_none());
            begun.push((name, end));
        }
        begun
    }

    fn poll(pipeline: &mut Pipeline) -> Poll<Option<Bytes>> {
        pipeline.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn sends_run_together_and_the_rest_one_at_a_time() {
        let mut pipeline = Pipeline::default();
        for job in [send("a"), other(), other(), send("b"), send("c")] {
            pipeline.push(job);
        }
        let mut begun = begin_all(&mut pipeline);
        assert_eq!(begun.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "other", "b", "c"]);
        assert_eq!(pipeline.len(), 5);
        assert!(poll(&mut pipeline).is_pending());
        let (_, end) = begun.remove(3);
        end.send(()).expect("it runs");
        assert_eq!(poll(&mut pipeline), Poll::Ready(Some(Bytes::from_static(b"c"))), "answers come as they end");
        assert!(begin_all(&mut pipeline).is_empty(), "the other still runs");
        let (_, end) = begun.remove(1);
        end.send(()).expect("it runs");
        assert_eq!(poll(&mut pipeline), Poll::Ready(Some(Bytes::from_static(b"other"))));
        assert_eq!(begin_all(&mut pipeline).len(), 1);
        assert_eq!(pipeline.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_given_up_and_the_rest_goes_on() {
        let patience = Duration::from_secs(5);
        let mut pipeline = Pipeline::default();
        assert_eq!(pipeline.look_at(patience), None);
        for job in [send("a"), other()] {
            pipeline.push(job);
        }
        let early = begin_all(&mut pipeline);
        let due = pipeline.look_at(patience).expect("something runs");
        tokio::time::advance(Duration::from_secs(2)).await;
        pipeline.push(send("b"));
        let mut late = begin_all(&mut pipeline);
        assert_eq!(pipeline.look_at(patience), Some(due), "the first one counts");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(pipeline.give_up(Instant::now() - patience).len(), early.len());
        assert_eq!(pipeline.look_at(patience), Some(due + Duration::from_secs(2)));
        late.remove(0).1.send(()).expect("it still runs");
        assert_eq!(poll(&mut pipeline), Poll::Ready(Some(Bytes::from_static(b"b"))));
        assert!(pipeline.is_empty());
    }

    #[test]
    fn what_ends_at_once_takes_no_place() {
        let mut pipeline = Pipeline::default();
        for job in [other(), send("a")] {
            pipeline.push(job);
        }
        while let Some(job) = pipeline.begin() {
            let answer = pipeline.run(job.is_send(), None, Box::pin(async { Some(Bytes::new()) }), &mut Context::from_waker(Waker::noop()));
            assert!(answer.is_some());
        }
        assert!(pipeline.is_empty());
        assert!(poll(&mut pipeline).is_pending());
    }
}
