//! One socket: a task that owns the connection and polls everything it does by hand, so that a slow write never holds up
//! the requests being answered, and an idle socket costs little memory.

use std::collections::{HashSet, VecDeque, vec_deque};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Wakeup, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use wa_core::api::Pending;
use wa_core::error::{Error, Result};
use wa_core::id::{ChatId, UserId};
use wa_core::limits::Limits;
use wa_core::message::MessageView;

use super::answer::{Context, admit, answer, open};
use super::close::Close;
use super::compat;
use super::event::{NewMessage, Pong, Resync, ServerEvent as _};
use super::frame;
use super::pipeline::{Job, Pipeline};
use super::request::Request;
use super::socket::{Next, Outgoing, Places, Socket};
use super::wire::{Incoming, Wire, WireError};

/// How many bytes are handed to the connection before it is waited for until they are written. An idle socket holds no
/// more than this of what was taken from its queue.
const WRITE_BATCH: usize = 16 << 10;

/// How often the task goes on before it lets others run.
const ROUNDS: usize = 32;

type Opening = Pin<Box<dyn Future<Output = Result<Pending, Close>> + Send>>;
type Admitting = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// The connection of a registered socket.
pub(super) struct Session<S> {
    wire: Wire<S>,
    context: Arc<Context>,
    socket: Arc<Socket>,
    stage: Stage,
    /// The request whose rate limit is being asked for; nothing is read meanwhile.
    admitting: Option<Box<(Admitting, Result<Job, Refused>)>>,
    pipeline: Option<Box<Pipeline>>,
    answers: VecDeque<Bytes>,
    answer_bytes: usize,
    backlog: Option<Box<Backlog>>,
    watched: HashSet<UserId>,
    bad_frames: u32,
    /// Whether the client uses other keys than the canonical ones, and so gets both.
    is_mirrored: bool,
    /// Until when the connection must take something more than it has taken so far, while it keeps the task waiting.
    write_by: Option<(Instant, u64)>,
    heard_at: Instant,
    ping_at: Instant,
    timer: Pin<Box<Sleep>>,
}

enum Stage {
    /// The session is confirmed and the pending messages are fetched; nothing is read yet.
    Opening {
        work: Opening,
        until: Instant,
    },
    Open,
    /// Nothing is read any more; what was asked for is answered, then it ends.
    Draining {
        end: End,
        until: Instant,
    },
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The server closes it.
    Close(Close),
    /// The client closed it, broke the protocol, or is gone.
    Gone,
}

/// A request that is answered by an error, once its rate limit was taken.
struct Refused {
    error: Error,
    req_id: Option<frame::ReqId>,
}

/// What is sent before live events are.
struct Backlog {
    messages: vec_deque::IntoIter<MessageView>,
    sent: Places,
    more_in: Vec<ChatId>,
}

/// Serves a registered socket until it ends, then forgets it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(wire: Wire<S>, context: Arc<Context>, socket: Arc<Socket>) {
    let mut session = Session::new(wire, context.clone(), socket.clone());
    let end = std::panic::AssertUnwindSafe(poll_fn(|cx| session.poll(cx))).catch_unwind().await;
    let end = end.unwrap_or_else(|_| {
        tracing::error!(connection_id = %socket.id, "a socket's task panicked");
        End::Close(Close::Unavailable)
    });
    let Session { wire, watched, stage, pipeline, admitting, backlog, .. } = session;
    drop((stage, pipeline, admitting, backlog));
    context.hub.unregister(&socket, &watched);
    let limits = context.backend.limits.clone();
    // Boxed, because every open socket would else keep room for it.
    let ((), ()) = Box::pin(futures_util::future::join(disconnected(&context, &socket), say_goodbye(wire, end, &limits))).await;
}

async fn disconnected(context: &Context, socket: &Socket) {
    if let Err(error) = context.backend.presence.disconnected(&socket.caller, socket.id).await {
        tracing::warn!(connection_id = %socket.id, ?error, "presence is not noted");
    }
}

/// Closes a connection that never became a socket.
pub(super) async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(wire: Wire<S>, why: Close, limits: &Limits) {
    Box::pin(say_goodbye(wire, End::Close(why), limits)).await;
}

/// Sends the close frame and lets the client take it in: a connection that is dropped while data comes in is reset, and
/// the close would be lost.
async fn say_goodbye<S: AsyncRead + AsyncWrite + Unpin>(mut wire: Wire<S>, end: End, limits: &Limits) {
    if let End::Close(close) = end {
        wire.close(close.code(), &close.reason());
    }
    let told = timeout(limits.ws_write_timeout, poll_fn(|cx| wire.poll_flush(cx)));
    if !matches!(told.await, Ok(Ok(()))) {
        return;
    }
    let _ = timeout(limits.ws_linger, async {
        while let Some(message) = poll_fn(|cx| wire.poll_next(cx)).await {
            if matches!(message, Err(WireError::Io(_))) {
                return;
            }
        }
        let mut io = wire.into_inner();
        let mut rest = [0; 256];
        if io.shutdown().await.is_ok() {
            while matches!(io.read(&mut rest).await, Ok(1..)) {}
        }
    })
    .await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(wire: Wire<S>, context: Arc<Context>, socket: Arc<Socket>) -> Self {
        let now = Instant::now();
        let limits = &context.backend.limits;
        let (until, ping_at) = (now + limits.request_timeout, now + limits.ws_ping);
        let work = Box::pin(open(context.clone(), socket.clone()));
        Self {
            wire,
            socket,
            stage: Stage::Opening { work, until },
            admitting: None,
            pipeline: None,
            answers: VecDeque::new(),
            answer_bytes: 0,
            backlog: None,
            watched: HashSet::new(),
            bad_frames: 0,
            is_mirrored: false,
            write_by: None,
            heard_at: now,
            ping_at,
            timer: Box::pin(sleep_until(until.min(ping_at))),
            context,
        }
    }

    fn poll(&mut self, cx: &mut Wakeup<'_>) -> Poll<End> {
        let socket = self.socket.clone();
        // From here to the return a cut waits: what is taken in or written, is so before the cut returns.
        let _work = socket.work();
        if let Some(close) = socket.closing(cx.waker()) {
            if !close.is_graceful() {
                return Poll::Ready(End::Close(close));
            }
            self.drain(End::Close(close));
        }
        for round in 0.. {
            if round == ROUNDS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut progress = match self.poll_opening(cx) {
                Ok(progress) => progress,
                Err(end) => return Poll::Ready(end),
            };
            progress |= self.poll_requests(cx);
            match self.poll_write(cx) {
                Ok(wrote) => progress |= wrote,
                Err(_) => self.drain(End::Gone),
            }
            match self.poll_read(cx) {
                Ok(read) => progress |= read,
                Err(end) => return Poll::Ready(end),
            }
            if let Stage::Draining { end, .. } = self.stage
                && self.is_drained()
            {
                return Poll::Ready(end);
            }
            if !progress {
                match self.poll_timer(cx) {
                    Poll::Ready(Some(end)) => return Poll::Ready(end),
                    Poll::Ready(None) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        }
        Poll::Pending
    }

    fn limits(&self) -> &Limits {
        &self.context.backend.limits
    }

    /// Reads nothing more; ends once everything is answered.
    fn drain(&mut self, end: End) {
        let until = match &self.stage {
            Stage::Draining { end: End::Gone, .. } => return,
            Stage::Draining { until, .. } => *until,
            _ => Instant::now() + self.limits().request_timeout,
        };
        if !matches!(&self.stage, Stage::Draining { end: before, .. } if *before == end) {
            self.stage = Stage::Draining { end, until };
        }
        if end == End::Gone {
            self.answers = VecDeque::new();
            self.answer_bytes = 0;
            self.backlog = None;
        }
    }

    fn is_drained(&self) -> bool {
        // What a connection that is gone did not take is not waited for here.
        let is_gone = matches!(self.stage, Stage::Draining { end: End::Gone, .. });
        self.pipeline.is_none() && self.admitting.is_none() && self.answers.is_empty() && (is_gone || !self.wire.has_unsent())
    }

    fn poll_opening(&mut self, cx: &mut Wakeup<'_>) -> Result<bool, End> {
        let Stage::Opening { work, .. } = &mut self.stage else { return Ok(false) };
        match work.as_mut().poll(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(close)) => Err(End::Close(close)),
            Poll::Ready(Ok(Pending { messages, more_in })) => {
                self.stage = Stage::Open;
                let sent = messages.iter().map(|message| ((message.chat_id, message.seq), message.created_at)).collect();
                self.backlog = Some(Box::new(Backlog { messages: VecDeque::from(messages).into_iter(), sent, more_in }));
                Ok(true)
            }
        }
    }

    /// Goes on with the requests in hand and begins those that may.
    fn poll_requests(&mut self, cx: &mut Wakeup<'_>) -> bool {
        let mut progress = false;
        if let Some(admitting) = &mut self.admitting
            && let Poll::Ready(admission) = admitting.0.as_mut().poll(cx)
            && let Some(admitted) = self.admitting.take()
        {
            progress = true;
            self.admitted(admission, admitted.1);
        }
        let Some(mut pipeline) = self.pipeline.take() else { return progress };
        while let Poll::Ready(answer) = pipeline.poll(cx) {
            progress = true;
            self.push_answer(answer);
        }
        // An answer may be large, so none is made while as many wait as may.
        while self.answer_bytes < self.limits().ws_answer_bytes
            && let Some(job) = pipeline.begin()
        {
            progress = true;
            let answer = match self.subscribe(&job) {
                Ok(()) => {
                    let (is_send, req_id) = (job.is_send(), job.req_id.clone());
                    pipeline.run(is_send, req_id, Box::pin(answer(self.context.clone(), self.socket.clone(), job)), cx)
                }
                Err(error) => self.context.failure(&self.socket, &error, job.req_id.as_ref()),
            };
            self.push_answer(answer);
        }
        if !pipeline.is_empty() {
            self.pipeline = Some(pipeline);
        }
        progress
    }

    fn admitted(&mut self, admission: Result<()>, job: Result<Job, Refused>) {
        let job = match (admission, job) {
            (Ok(()), Ok(job)) => job,
            (Ok(()), Err(Refused { error, req_id })) | (Err(error), Err(Refused { req_id, .. }) | Ok(Job { req_id, .. })) => {
                let answer = self.context.failure(&self.socket, &error, req_id.as_ref());
                return self.push_answer(answer);
            }
        };
        if matches!(job.request, Request::Ping) {
            self.push_answer(Pong {}.frame(job.req_id.as_ref(), self.context.backend.env.now()));
        }
        self.pipeline.get_or_insert_default().push(job);
    }

    /// Changes the presence subscriptions at the moment the request's turn has come.
    fn subscribe(&mut self, job: &Job) -> Result<()> {
        match &job.request {
            Request::Subscribe(users) => {
                let max = self.limits().presence_subscriptions;
                let new: HashSet<_> = users.iter().filter(|user| !self.watched.contains(user)).collect();
                if self.watched.len() + new.len() > max {
                    return Err(Error::invalid("user_ids", format!("a socket may watch at most {max} users")));
                }
                for user in users {
                    self.watched.insert(*user);
                    self.context.hub.watch(&self.socket, *user);
                }
            }
            Request::Unsubscribe(users) => {
                for user in users.iter().filter(|user| self.watched.remove(user)) {
                    self.context.hub.unwatch(&self.socket, *user);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn push_answer(&mut self, answer: Option<Bytes>) {
        if let Some(answer) = answer
            && !matches!(self.stage, Stage::Draining { end: End::Gone, .. })
        {
            self.answer_bytes += answer.len();
            self.answers.push_back(answer);
        }
    }

    /// Writes what waits, as far as the connection takes it.
    fn poll_write(&mut self, cx: &mut Wakeup<'_>) -> io::Result<bool> {
        if matches!(self.stage, Stage::Draining { end: End::Gone, .. }) {
            return Ok(false);
        }
        let mut progress = false;
        loop {
            if self.wire.has_unsent() {
                if self.wire.poll_flush(cx)?.is_pending() {
                    let (written, now) = (self.wire.written(), Instant::now());
                    if self.write_by.is_none_or(|(_, before)| before != written) {
                        self.write_by = Some((now + self.limits().ws_write_timeout, written));
                    }
                    return Ok(progress);
                }
                self.write_by = None;
            }
            let mut written = 0;
            while written < WRITE_BATCH
                && let Some(frame) = self.next_frame()
            {
                let metrics = &self.context.backend.metrics;
                if let Some((_, _, accepted_at)) = frame.message {
                    metrics.message_delivery().observe(self.context.backend.env.now().since(accepted_at).as_secs_f64());
                }
                metrics.ws_sent().inc();
                written += frame.bytes.len();
                self.wire.text(&if self.is_mirrored { compat::mirror(frame.bytes) } else { frame.bytes });
            }
            if written == 0 {
                return Ok(progress);
            }
            progress = true;
        }
    }

    /// Events first, so that what a request caused is seen before its answer; then answers; then the pending messages,
    /// during which events are held back.
    fn next_frame(&mut self) -> Option<Outgoing> {
        if let Next::Frame(frame) = self.socket.next() {
            return Some(frame);
        }
        if let Some(answer) = self.answers.pop_front() {
            self.answer_bytes -= answer.len();
            if self.answers.is_empty() {
                self.answers = VecDeque::new();
            }
            return Some(Outgoing::plain(answer));
        }
        while let Some(backlog) = &mut self.backlog {
            let now = self.context.backend.env.now();
            if let Some(message) = backlog.messages.next() {
                if let Some(bytes) = NewMessage::from(&message).frame(None, now) {
                    return Some(Outgoing::plain(bytes));
                }
                continue;
            }
            let chat_ids = std::mem::take(&mut backlog.more_in);
            if !chat_ids.is_empty() {
                return Resync { chat_ids: &chat_ids }.frame(None, now).map(Outgoing::plain);
            }
            self.socket.go_live(std::mem::take(&mut backlog.sent), now);
            self.backlog = None;
            if let Next::Frame(frame) = self.socket.next() {
                return Some(frame);
            }
        }
        None
    }

    fn may_read(&self) -> bool {
        matches!(self.stage, Stage::Open)
            && self.admitting.is_none()
            && self.pipeline.as_ref().is_none_or(|pipeline| pipeline.len() < self.limits().ws_in_flight)
            && self.answer_bytes < self.limits().ws_answer_bytes
    }

    fn poll_read(&mut self, cx: &mut Wakeup<'_>) -> Result<bool, End> {
        if !self.may_read() {
            return Ok(false);
        }
        let message = match self.wire.poll_next(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Some(Ok(message))) => message,
            Poll::Ready(Some(Err(WireError::TooLong))) => return Err(End::Close(Close::TooLarge)),
            Poll::Ready(Some(Err(WireError::Protocol(_)))) => return Err(End::Gone),
            Poll::Ready(Some(Err(WireError::Io(_))) | None) => {
                self.drain(End::Gone);
                return Ok(true);
            }
        };
        self.heard_at = Instant::now();
        // Frames are text (contract, section 3.2); a binary one is as bad as text that is no JSON.
        let text = match message {
            Incoming::Control => return Ok(true),
            Incoming::Text(text) => Some(text),
            Incoming::Binary => None,
        };
        self.context.backend.metrics.ws_received().inc();
        self.take_in(text.as_deref(), cx);
        Ok(true)
    }

    fn take_in(&mut self, text: Option<&[u8]>, cx: &mut Wakeup<'_>) {
        let mut read = text.map_or(Err(frame::FrameError::NotJson), |text| frame::parse(text, self.limits()));
        let respelled = compat::respell(text.unwrap_or_default(), &read);
        if let Some((text, uses_keys)) = &respelled {
            self.is_mirrored |= *uses_keys;
            read = frame::parse(text.as_bytes(), self.limits());
        }
        let frame = match read {
            Ok(frame) => frame,
            Err(error) => {
                let answer = self.context.failure(&self.socket, &Error::from(&error), error.req_id());
                self.push_answer(answer);
                self.bad_frames += 1;
                if self.bad_frames >= self.limits().ws_bad_frames {
                    self.drain(End::Close(Close::BadFrames));
                }
                return;
            }
        };
        self.bad_frames = 0;
        let is_message = frame.event.is_message();
        let request = Request::read(&frame, self.socket.id, self.limits());
        let job = match request.or_else(|error| compat::receipt(&frame).ok_or(error)) {
            Ok(request) => Ok(Job { request, req_id: frame.req_id }),
            Err(error) => Err(Refused { error, req_id: frame.req_id }),
        };
        if !self.limits().enabled {
            return self.admitted(Ok(()), job);
        }
        let mut admitting: Admitting = Box::pin(admit(self.context.clone(), self.socket.caller.user_id, is_message));
        match admitting.as_mut().poll(cx) {
            Poll::Ready(admission) => self.admitted(admission, job),
            Poll::Pending => self.admitting = Some(Box::new((admitting, job))),
        }
    }

    /// Does what is due. Ready without an end means that there is more to do.
    fn poll_timer(&mut self, cx: &mut Wakeup<'_>) -> Poll<Option<End>> {
        loop {
            let now = Instant::now();
            if self.write_by.is_some_and(|(by, _)| by <= now) {
                return Poll::Ready(Some(End::Close(Close::SlowReader)));
            }
            let mut due = match self.stage {
                Stage::Opening { until, .. } if until <= now => return Poll::Ready(Some(End::Close(Close::Unavailable))),
                Stage::Draining { end, until } if until <= now => return Poll::Ready(Some(end)),
                Stage::Opening { until, .. } | Stage::Draining { until, .. } => until,
                Stage::Open => {
                    let idle_at = self.heard_at + self.limits().ws_idle;
                    if idle_at <= now {
                        return Poll::Ready(Some(End::Close(Close::Idle)));
                    }
                    if self.ping_at <= now {
                        self.ping_at = now + self.limits().ws_ping;
                        self.ping();
                        return Poll::Ready(None);
                    }
                    idle_at.min(self.ping_at)
                }
            };
            due = self.write_by.map_or(due, |(by, _)| due.min(by));
            let patience = self.limits().request_timeout;
            if let Some(look_at) = self.pipeline.as_ref().and_then(|pipeline| pipeline.look_at(patience)) {
                if look_at <= now {
                    self.give_up(now - patience);
                    return Poll::Ready(None);
                }
                due = due.min(look_at);
            }
            // The timer may ring too early, which costs little, but never too late; moving it costs each time.
            if due < self.timer.deadline() || self.timer.is_elapsed() {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Answers the requests that began at this time or before, and are not done.
    fn give_up(&mut self, by: Instant) {
        let given_up = self.pipeline.as_mut().map(|pipeline| pipeline.give_up(by)).unwrap_or_default();
        for req_id in given_up {
            let error = Error::unavailable("a request took too long");
            let answer = self.context.failure(&self.socket, &error, req_id.as_ref());
            self.push_answer(answer);
        }
        if self.pipeline.as_ref().is_some_and(|pipeline| pipeline.is_empty()) {
            self.pipeline = None;
        }
    }

    /// Asks the client whether it still is there, and renews the presence of the user meanwhile.
    fn ping(&mut self) {
        self.wire.ping();
        self.pipeline.get_or_insert_default().push(Job { request: Request::Ping, req_id: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    fn size_of_output<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_socket_takes_little_memory() {
        // The task of every open socket holds one of these. A field that grows it costs as much as there are sockets.
        let size = size_of::<Session<TcpStream>>();
        assert!(size <= 600, "{size} bytes");
        let task = size_of_output(serve::<TcpStream>);
        assert!(task <= 1100, "{task} bytes");
    }
}
