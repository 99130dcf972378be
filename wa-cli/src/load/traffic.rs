//! Messages from one side of every pair to the other, which gives a receipt for each; what was lost or came twice shows.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Sleep, sleep_until};

use super::measure::{Histogram, Quantiles};
use super::people::Pair;
use super::source;
use super::wire::{Socket, field};

/// How long is waited for what is still on its way at the end.
pub(super) const DRAIN: Duration = Duration::from_secs(10);

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Messages of one pair that may be on their way at a time: sent, and not yet both acknowledged and delivered.
    pub window: usize,
    /// How long is sent.
    pub duration: Duration,
    /// Sent before anything is measured.
    pub warm_up: Duration,
    /// Ends once so many were sent, if earlier.
    pub messages: Option<u64>,
    /// Messages a second of all pairs together; as many as the window allows if there is none.
    pub rate: Option<f64>,
    /// Whether the other side is an echo of frames that neither acknowledges nor takes receipts.
    pub bare: bool,
    /// Where receivers connect, if it is another node than that of the senders.
    pub receivers: Option<SocketAddr>,
}

/// What was seen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Messages that arrived while it was measured.
    pub delivered: u64,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Messages that arrived in a second.
    pub delivered_per_second: f64,
    /// Milliseconds from sending to the acknowledgement.
    pub acknowledged_ms: Quantiles,
    /// Milliseconds from sending to the arrival on the other side.
    pub delivered_ms: Quantiles,
    /// Receipts that came back to senders, each for one message or more.
    pub receipts: u64,
    /// Messages that never arrived or were never acknowledged, over the whole run.
    pub lost: u64,
    /// Messages that arrived more than once, over the whole run.
    pub duplicated: u64,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) delivered: u64,
    pub(super) acknowledged: Histogram,
    pub(super) arrived: Histogram,
    pub(super) receipts: u64,
}

#[derive(Default)]
pub(super) struct Shared {
    pub(super) seen: RefCell<Seen>,
    pub(super) sent: Cell<u64>,
    /// Sent, and not both acknowledged and arrived.
    pub(super) under_way: Cell<u64>,
    pub(super) duplicated: Cell<u64>,
    pub(super) stopping: Cell<bool>,
}

/// A message on its way.
struct Flight {
    sent_at: Instant,
    acknowledged: bool,
    arrived: bool,
}

struct Talk {
    sender: Socket,
    receiver: Socket,
    shared: Rc<Shared>,
    plan: Plan,
    head: String,
    body: String,
    number: String,
    /// The oldest on its way, and those after it.
    oldest: u64,
    flights: VecDeque<Flight>,
    pace: Option<(Pin<Box<Sleep>>, Duration)>,
    receipt: Vec<u8>,
}

/// Sends as planned over all pairs. `started` runs when measuring begins, and what it returns when it has ended, with what
/// was delivered so far; `progress` runs every second.
///
/// # Errors
/// If a socket cannot be opened, is closed, or the server answers with an error.
pub async fn traffic(
    target: SocketAddr,
    pairs: &[Pair],
    plan: Plan,
    mut progress: impl FnMut(f64, u64),
    mut measuring: impl FnMut(bool),
) -> io::Result<Traffic> {
    let shared = Rc::new(Shared::default());
    // Keys are good once: those of an earlier run are taken.
    let run = std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_micros());
    let receivers = plan.receivers.unwrap_or(target);
    let mut talks = Vec::with_capacity(pairs.len());
    for (number, pair) in pairs.iter().enumerate() {
        let sender = Socket::open(target, source(target, 2 * number), &pair.sender.path, pair.sender.token.as_deref()).await?;
        let receiver = Socket::open(receivers, source(receivers, 2 * number), &pair.receiver.path, pair.receiver.token.as_deref()).await?;
        talks.push((number, sender, receiver));
    }
    let count = talks.len();
    let mut tasks = Vec::with_capacity(count);
    for (number, sender, receiver) in talks {
        let pace = plan.rate.map(|rate| {
            #[expect(clippy::cast_precision_loss, reason = "there are few pairs")]
            let step = Duration::from_secs_f64(count as f64 / rate);
            // Spread, so that not all send at once.
            let first = step.mul_f64(f64::from(u32::try_from(number).unwrap_or(0)) / f64::from(u32::try_from(count).unwrap_or(1)));
            (Box::pin(sleep_until(Instant::now() + first)), step)
        });
        let mut talk = Talk {
            sender,
            receiver,
            shared: Rc::clone(&shared),
            plan,
            head: format!(r#"{{"event":"message.send","data":{{"chat_id":"{}","client_msg_id":"{run:x}-{number}-"#, pairs[number].chat),
            body: r#"","type":"text","payload":{"body":"Shall we meet at the harbour at eight? I bring the charts."}}}"#.to_owned(),
            number: String::new(),
            oldest: 0,
            flights: VecDeque::new(),
            pace,
            receipt: Vec::new(),
        };
        tasks.push(tokio::task::spawn_local(async move { poll_fn(|cx| talk.poll(cx)).await }));
    }
    let outcome = watch(&shared, plan, &mut progress, &mut measuring, || tasks.iter().any(tokio::task::JoinHandle::is_finished)).await;
    shared.stopping.set(true);
    // Those that wait for nothing but a message that is lost are given up.
    let until = Instant::now() + DRAIN;
    for task in tasks {
        let abort = task.abort_handle();
        match tokio::time::timeout_at(until, task).await {
            Ok(Ok(ended)) => ended?,
            Ok(Err(panic)) => return Err(io::Error::other(panic)),
            Err(_) => abort.abort(),
        }
    }
    let mut traffic = outcome;
    traffic.lost = shared.under_way.get();
    traffic.duplicated = shared.duplicated.get();
    Ok(traffic)
}

pub(super) async fn watch(
    shared: &Shared,
    plan: Plan,
    progress: &mut impl FnMut(f64, u64),
    measuring: &mut impl FnMut(bool),
    ended: impl Fn() -> bool,
) -> Traffic {
    tokio::time::sleep(plan.warm_up).await;
    shared.seen.take();
    measuring(true);
    let start = Instant::now();
    let (mut last, mut ticks) = (0, 1_u32);
    loop {
        let tick = start + Duration::from_millis(250) * ticks;
        let end = start + plan.duration;
        tokio::time::sleep_until(tick.min(end)).await;
        let all_sent = plan.messages.is_some_and(|messages| shared.sent.get() >= messages);
        if Instant::now() >= end || all_sent || ended() {
            break;
        }
        if ticks.is_multiple_of(4) {
            let delivered = shared.seen.borrow().delivered;
            progress(start.elapsed().as_secs_f64(), delivered - last);
            last = delivered;
        }
        ticks += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    measuring(false);
    let seen = shared.seen.take();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let delivered_per_second = seen.delivered as f64 / seconds;
    Traffic {
        delivered: seen.delivered,
        seconds,
        delivered_per_second,
        acknowledged_ms: seen.acknowledged.quantiles(),
        delivered_ms: seen.arrived.quantiles(),
        receipts: seen.receipts,
        lost: 0,
        duplicated: 0,
    }
}

impl Talk {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut progress = false;
            while let Poll::Ready(filled) = self.receiver.poll_fill(cx) {
                filled?;
                self.receive()?;
                progress = true;
            }
            while let Poll::Ready(filled) = self.sender.poll_fill(cx) {
                filled?;
                self.hear()?;
                progress = true;
            }
            progress |= self.send(cx);
            if let Poll::Ready(flushed) = self.receiver.poll_flush(cx) {
                flushed?;
            }
            if let Poll::Ready(flushed) = self.sender.poll_flush(cx) {
                flushed?;
            }
            if self.shared.stopping.get() && self.flights.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    /// Takes in what arrived, and queues one receipt for all of it.
    fn receive(&mut self) -> io::Result<()> {
        self.receipt.clear();
        while let Some(text) = self.receiver.text()? {
            if find_error(text) {
                return Err(refused(text));
            }
            // What was in this chat before, such as a backlog, is none of ours; a bare echo has no name of its own.
            let Some(key) = field(text, "\"client_msg_id\":\"").filter(|key| self.head.as_bytes().ends_with(prefix(key))) else { continue };
            let number = number(key);
            if !self.plan.bare
                && let Some(id) = field(text, "\"message_id\":\"")
            {
                self.receipt.extend_from_slice(if self.receipt.is_empty() { br#"{"event":"message.delivered","data":{"message_ids":[""# } else { br#"",""# });
                self.receipt.extend_from_slice(id);
            }
            let index = number.and_then(|number| number.checked_sub(self.oldest)).and_then(|index| usize::try_from(index).ok());
            match index.and_then(|index| self.flights.get_mut(index)) {
                Some(flight) if !flight.arrived => {
                    flight.arrived = true;
                    let is_done = flight.acknowledged;
                    let mut seen = self.shared.seen.borrow_mut();
                    seen.delivered += 1;
                    seen.arrived.add(flight.sent_at.elapsed());
                    drop(seen);
                    self.shared.under_way.set(self.shared.under_way.get() - u64::from(is_done));
                }
                _ => self.shared.duplicated.set(self.shared.duplicated.get() + 1),
            }
        }
        if !self.receipt.is_empty() {
            self.receipt.extend_from_slice(br#""]}}"#);
            self.receiver.push_text(&[&self.receipt]);
        }
        self.forget_done();
        Ok(())
    }

    /// Takes in what the sender is told.
    fn hear(&mut self) -> io::Result<()> {
        while let Some(text) = self.sender.text()? {
            match field(text, "\"event\":\"") {
                Some(b"message.sent") => {
                    let number = field(text, "\"client_msg_id\":\"").and_then(number);
                    let index = number.and_then(|number| number.checked_sub(self.oldest)).and_then(|index| usize::try_from(index).ok());
                    if let Some(flight) = index.and_then(|index| self.flights.get_mut(index)).filter(|flight| !flight.acknowledged) {
                        flight.acknowledged = true;
                        self.shared.under_way.set(self.shared.under_way.get() - u64::from(flight.arrived));
                        self.shared.seen.borrow_mut().acknowledged.add(flight.sent_at.elapsed());
                    }
                }
                Some(b"message.status") => self.shared.seen.borrow_mut().receipts += 1,
                Some(b"error") => return Err(refused(text)),
                _ => {}
            }
        }
        self.forget_done();
        Ok(())
    }

    fn forget_done(&mut self) {
        while self.flights.front().is_some_and(|flight| flight.arrived && flight.acknowledged) {
            self.flights.pop_front();
            self.oldest += 1;
        }
    }

    /// Sends what the window, the pace and the plan allow.
    fn send(&mut self, cx: &mut Context<'_>) -> bool {
        use std::fmt::Write as _;
        let mut sent = false;
        while !self.shared.stopping.get()
            && self.flights.len() < self.plan.window
            && self.plan.messages.is_none_or(|messages| self.shared.sent.get() < messages)
        {
            if let Some((pace, step)) = &mut self.pace {
                if pace.as_mut().poll(cx).is_pending() {
                    break;
                }
                let next = pace.deadline() + *step;
                pace.as_mut().reset(next);
            }
            self.number.clear();
            let _ = write!(self.number, "{}", self.oldest + self.flights.len() as u64);
            self.sender.push_text(&[self.head.as_bytes(), self.number.as_bytes(), self.body.as_bytes()]);
            self.flights.push_back(Flight { sent_at: Instant::now(), acknowledged: self.plan.bare, arrived: false });
            self.shared.sent.set(self.shared.sent.get() + 1);
            self.shared.under_way.set(self.shared.under_way.get() + 1);
            sent = true;
        }
        sent
    }
}

/// The key of a message up to its number.
fn prefix(key: &[u8]) -> &[u8] {
    key.iter().rposition(|byte| *byte == b'-').map_or(key, |at| &key[..=at])
}

fn number(key: &[u8]) -> Option<u64> {
    let digits = &key[prefix(key).len()..];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

pub(super) fn find_error(text: &[u8]) -> bool {
    text.starts_with(br#"{"event":"error""#)
}

pub(super) fn refused(text: &[u8]) -> io::Error {
    io::Error::other(format!("the server refused: {}; are its rate limits off (WA_LIMITS__ENABLED=false)?", String::from_utf8_lossy(text)))
}
