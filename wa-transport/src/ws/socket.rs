//! One open socket as the rest of the server sees it: a queue bounded in bytes, and a way to end it. The task that owns the
//! connection takes from the queue ([`super::session`]); nobody else touches the connection.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use wa_core::id::{ChatId, ConnectionId};
use wa_core::message::Seq;
use wa_core::session::Caller;
use wa_core::time::Timestamp;

use super::close::Close;

/// How much later than its message an event may come and still be known as that of a pending message. Events take
/// milliseconds; a client drops what it has seen in any case.
const EVENT_WITHIN: Duration = Duration::from_secs(10);

/// Messages by their place, and when they were accepted.
pub(super) type Places = HashMap<(ChatId, Seq), Timestamp>;

/// A frame on its way to sockets. Cloning shares the bytes.
#[derive(Clone)]
pub(super) struct Outgoing {
    /// The frame.
    pub(super) bytes: Bytes,
    /// Of a new message: where it stands and when it was accepted.
    pub(super) message: Option<(ChatId, Seq, Timestamp)>,
}

impl Outgoing {
    /// A frame that is no new message.
    pub(super) const fn plain(bytes: Bytes) -> Self {
        Self { bytes, message: None }
    }
}

/// What the owner of the connection does next.
pub(super) enum Next {
    /// Write this.
    Frame(Outgoing),
    /// Nothing waits; the waker is called when something does.
    Nothing,
}

pub(super) struct Socket {
    pub(super) id: ConnectionId,
    pub(super) caller: Caller,
    limit: usize,
    outbox: Mutex<Outbox>,
    /// Whether the owner is at work at this moment: taking in requests or writing.
    busy: AtomicBool,
}

struct Outbox {
    frames: VecDeque<Outgoing>,
    /// Events that came while the pending messages were being sent; they follow those.
    held: Option<VecDeque<Outgoing>>,
    /// Pending messages that were sent and whose own events may still come.
    told: Option<Box<Places>>,
    /// The bytes of both queues.
    bytes: usize,
    close: Option<Close>,
    waker: Option<Waker>,
}

impl Outbox {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether this is the event of a message that was sent as a pending one.
    fn was_told(&mut self, frame: &Outgoing) -> bool {
        let (Some(told), Some((chat, seq, accepted_at))) = (&mut self.told, frame.message) else { return false };
        let was_told = told.remove(&(chat, seq)).is_some();
        told.retain(|_, at| accepted_at.since(*at) < EVENT_WITHIN);
        if told.is_empty() {
            self.told = None;
        }
        was_told
    }
}

impl Socket {
    /// A socket that holds events back until [`Self::go_live`], and of which at most `limit` bytes wait.
    pub(super) fn new(id: ConnectionId, caller: Caller, limit: usize) -> Self {
        let outbox = Outbox { frames: VecDeque::new(), held: Some(VecDeque::new()), told: None, bytes: 0, close: None, waker: None };
        Self { id, caller, limit, outbox: Mutex::new(outbox), busy: AtomicBool::new(false) }
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // Nothing in here panics half-way: a poisoned lock holds a whole outbox.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event. A queue that would grow past its limit ends the socket instead: nothing is dropped from one
    /// that goes on. A queue that is empty takes any event: that it is long is not the reader's fault.
    pub(super) fn push(&self, frame: Outgoing) {
        let mut outbox = self.outbox();
        if outbox.close.is_some() {
            return;
        }
        if outbox.was_told(&frame) {
            return;
        }
        let bytes = outbox.bytes + frame.bytes.len();
        if bytes > self.limit && outbox.bytes > 0 {
            #[cfg(feature = "planted")]
            if wa_core::faults::planted("drop_frames") {
                return;
            }
            tracing::debug!(user_id = %self.caller.user_id, connection_id = %self.id, limit = self.limit, "a slow socket is closed");
            end(&mut outbox, Close::SlowReader);
            return;
        }
        outbox.bytes = bytes;
        match &mut outbox.held {
            Some(held) => held.push_back(frame),
            None => {
                outbox.frames.push_back(frame);
                outbox.wake();
            }
        }
    }

    /// Ends the socket; only the first reason counts, but a graceful end may still become an abrupt one.
    pub(super) fn close(&self, why: Close) {
        let mut outbox = self.outbox();
        if outbox.close.is_none_or(|before| before.is_graceful() && !why.is_graceful()) {
            end(&mut outbox, why);
        }
    }

    /// The pending messages were sent: what was held back follows, without the messages that were among them; nor do
    /// those come again whose events are still on their way.
    pub(super) fn go_live(&self, mut sent: Places, now: Timestamp) {
        let mut outbox = self.outbox();
        for frame in outbox.held.take().unwrap_or_default() {
            if frame.message.is_some_and(|(chat, seq, _)| sent.remove(&(chat, seq)).is_some()) {
                outbox.bytes -= frame.bytes.len();
            } else {
                outbox.frames.push_back(frame);
            }
        }
        sent.retain(|_, at| now.since(*at) < EVENT_WITHIN);
        outbox.told = (!sent.is_empty()).then(|| Box::new(sent));
    }

    /// Takes the next frame.
    pub(super) fn next(&self) -> Next {
        let mut outbox = self.outbox();
        let Some(frame) = outbox.frames.pop_front() else { return Next::Nothing };
        outbox.bytes -= frame.bytes.len();
        if outbox.frames.is_empty() && outbox.frames.capacity() > 8 {
            // An idle socket keeps nothing of a past burst.
            outbox.frames = VecDeque::new();
        }
        Next::Frame(frame)
    }

    /// Whether it is to be closed. The waker is called at the next change.
    pub(super) fn closing(&self, waker: &Waker) -> Option<Close> {
        let mut outbox = self.outbox();
        if !outbox.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            outbox.waker = Some(waker.clone());
        }
        outbox.close
    }

    /// Notes that the owner is at work, until the guard is dropped.
    pub(super) fn work(&self) -> AtWork<'_> {
        self.busy.store(true, Ordering::SeqCst);
        AtWork(&self.busy)
    }

    /// Waits until the owner is between two pieces of work. It then knows of a close that was asked for before.
    pub(super) async fn quiescent(&self) {
        while self.busy.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }
}

fn end(outbox: &mut Outbox, why: Close) {
    outbox.close = Some(why);
    if !why.is_graceful() {
        outbox.frames = VecDeque::new();
        outbox.held = None;
        outbox.told = None;
        outbox.bytes = 0;
    }
    outbox.wake();
}

/// The owner of a socket is at work while this lives.
pub(super) struct AtWork<'a>(&'a AtomicBool);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;
    use wa_core::error::Unauthenticated;
    use wa_core::id::{DeviceId, UserId};

    fn socket(limit: usize) -> Socket {
        let caller = Caller { user_id: UserId::from_uuid(Uuid::from_u128(1)), device_id: DeviceId::from_uuid(Uuid::from_u128(2)) };
        Socket::new(ConnectionId::from_uuid(Uuid::from_u128(3)), caller, limit)
    }

    fn live(limit: usize) -> Socket {
        let socket = socket(limit);
        socket.go_live(Places::new(), Timestamp::default());
        socket
    }

    fn frame(bytes: &'static str) -> Outgoing {
        Outgoing::plain(Bytes::from_static(bytes.as_bytes()))
    }

    fn message(chat: u128, seq: i64, bytes: &'static str) -> Outgoing {
        let message = Some((ChatId::from_uuid(Uuid::from_u128(chat)), Seq::new(seq), Timestamp::from_millis(0)));
        Outgoing { bytes: Bytes::from_static(bytes.as_bytes()), message }
    }

    fn closing(socket: &Socket) -> Option<Close> {
        socket.closing(Waker::noop())
    }

    fn rest(socket: &Socket) -> Vec<Bytes> {
        std::iter::from_fn(|| match socket.next() {
            Next::Frame(frame) => Some(frame.bytes),
            Next::Nothing => None,
        })
        .collect()
    }

    #[test]
    fn a_queue_holds_its_limit_and_not_one_byte_more() {
        let full = live(10);
        full.push(frame("12345"));
        full.push(frame("67890"));
        assert_eq!(closing(&full), None);
        assert_eq!(rest(&full), ["12345", "67890"]);
        full.push(frame("12345"));
        full.push(frame("678901"));
        assert_eq!(closing(&full), Some(Close::SlowReader));
        assert!(rest(&full).is_empty(), "what waited is not sent past the gap");
        full.push(frame("1"));
        assert!(rest(&full).is_empty(), "nothing follows a gap");
    }

    #[test]
    fn an_empty_queue_takes_an_event_of_any_length() {
        let socket = live(10);
        socket.push(frame("longer than a queue may be"));
        assert_eq!(closing(&socket), None);
        assert_eq!(rest(&socket), ["longer than a queue may be"]);
        socket.push(frame("longer than a queue may be"));
        socket.push(frame("1"));
        assert_eq!(closing(&socket), Some(Close::SlowReader), "it counts");
    }

    #[test]
    fn what_is_held_back_counts_as_well() {
        let held = socket(10);
        held.push(frame("1234567890"));
        assert_eq!(closing(&held), None);
        assert!(rest(&held).is_empty());
        held.push(frame("1"));
        assert_eq!(closing(&held), Some(Close::SlowReader));
    }

    #[test]
    fn live_events_follow_the_pending_messages_without_repeats() {
        let socket = socket(100);
        socket.push(message(1, 5, "in both"));
        socket.push(message(2, 5, "other chat"));
        socket.push(message(1, 6, "later"));
        let chat = ChatId::from_uuid(Uuid::from_u128(1));
        socket.go_live(Places::from([((chat, Seq::new(4)), Timestamp::default()), ((chat, Seq::new(5)), Timestamp::default())]), Timestamp::default());
        socket.push(frame("live"));
        socket.push(message(1, 4, "an event that comes late"));
        socket.push(message(2, 4, "of another chat"));
        assert_eq!(rest(&socket), ["other chat", "later", "live", "of another chat"]);
        socket.push(frame("x".repeat(100).leak()));
        assert_eq!(closing(&socket), None, "the bytes of what left the queue are given back");
    }

    #[test]
    fn a_cut_socket_emits_nothing() {
        let socket = live(100);
        socket.push(frame("before"));
        socket.close(Close::Unauthorized(Unauthenticated::Invalid));
        socket.close(Close::Replaced);
        socket.push(frame("after"));
        assert_eq!(closing(&socket), Some(Close::Unauthorized(Unauthenticated::Invalid)), "the first reason counts");
        assert!(rest(&socket).is_empty());
    }

    #[test]
    fn a_graceful_end_sends_what_waits_unless_it_is_cut_meanwhile() {
        let socket = live(100);
        socket.push(frame("before"));
        socket.close(Close::GoingAway(0));
        socket.push(frame("after"));
        assert_eq!(rest(&socket), ["before"]);
        socket.close(Close::Unauthorized(Unauthenticated::Invalid));
        assert_eq!(closing(&socket), Some(Close::Unauthorized(Unauthenticated::Invalid)));
    }

    #[tokio::test]
    async fn a_cut_waits_for_work_in_hand() {
        use futures_util::FutureExt as _;
        let socket = socket(1);
        let work = socket.work();
        assert!(socket.quiescent().now_or_never().is_none());
        drop(work);
        socket.quiescent().await;
    }
}
