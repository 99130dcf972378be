//! Messages of some members of a group to all the others, who give receipts for them; what was lost or came twice shows.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::people::{Group, User};
use super::source;
use super::traffic::{DRAIN, Plan, Shared, Traffic, find_error, refused, watch};
use super::wire::{Socket, field};

/// How often it is looked at whether everything has arrived in the end.
const LOOK: Duration = Duration::from_millis(5);

/// A message on its way: how many deliveries, and acknowledgements, are still to come.
struct Flight {
    sent_at: Instant,
    left: usize,
}

/// What one sender has on its way.
#[derive(Default)]
struct Line {
    oldest: u64,
    flights: VecDeque<Flight>,
    waker: Option<Waker>,
}

struct Board {
    shared: Shared,
    lines: Vec<RefCell<Line>>,
}

impl Board {
    /// One of the things that were to come of this message has come. Returns how long that took.
    fn came(&self, sender: usize, number: u64) -> Option<Duration> {
        let mut line = self.lines[sender].borrow_mut();
        let index = usize::try_from(number.checked_sub(line.oldest)?).ok()?;
        let flight = line.flights.get_mut(index)?;
        flight.left = flight.left.checked_sub(1)?;
        let took = flight.sent_at.elapsed();
        self.shared.under_way.set(self.shared.under_way.get() - 1);
        while line.flights.front().is_some_and(|flight| flight.left == 0) {
            line.flights.pop_front();
            line.oldest += 1;
            if let Some(waker) = line.waker.take() {
                waker.wake();
            }
        }
        Some(took)
    }
}

struct Member {
    socket: Socket,
    board: Rc<Board>,
    plan: Plan,
    number: usize,
    members: usize,
    run: String,
    head: String,
    /// The next message of every sender.
    next: Vec<u64>,
    text: String,
    receipt: Vec<u8>,
}

/// The first `senders` members send as planned, each with a window of its own; a message counts as delivered once for every
/// other member. `measuring` is told when measuring begins and ends. The rate and the number of messages are not limited.
///
/// # Errors
/// If a socket cannot be opened, is closed, or the server answers with an error.
pub async fn group_traffic(target: SocketAddr, group: &Group, senders: usize, plan: Plan, mut measuring: impl FnMut(bool)) -> io::Result<Traffic> {
    let run = format!("{:x}", std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_micros()));
    let board = Rc::new(Board { shared: Shared::default(), lines: (0..senders).map(|_| RefCell::default()).collect() });
    let mut members = Vec::with_capacity(group.members.len());
    for (number, User { path, token, .. }) in group.members.iter().enumerate() {
        members.push(Member {
            socket: Socket::open(target, source(target, number), path, token.as_deref()).await?,
            board: Rc::clone(&board),
            plan,
            number,
            members: group.members.len(),
            run: run.clone(),
            head: format!(r#"{{"event":"message.send","data":{{"chat_id":"{}","client_msg_id":"{run}-{number}-"#, group.chat),
            next: vec![0; senders],
            text: String::new(),
            receipt: Vec::new(),
        });
    }
    let tasks: Vec<_> = members.into_iter().map(|mut member| tokio::task::spawn_local(async move { poll_fn(|cx| member.poll(cx)).await })).collect();
    let mut traffic = watch(&board.shared, plan, &mut |_, _| (), &mut measuring, || tasks.iter().any(tokio::task::JoinHandle::is_finished)).await;
    board.shared.stopping.set(true);
    let until = Instant::now() + DRAIN;
    while board.shared.under_way.get() > 0 && Instant::now() < until && !tasks.iter().any(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(LOOK).await;
    }
    for task in tasks {
        if task.is_finished() {
            task.await.map_err(io::Error::other)??;
        } else {
            task.abort();
        }
    }
    traffic.lost = board.shared.under_way.get();
    traffic.duplicated = board.shared.duplicated.get();
    Ok(traffic)
}

impl Member {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut progress = false;
            while let Poll::Ready(filled) = self.socket.poll_fill(cx) {
                filled?;
                self.take()?;
                progress = true;
            }
            progress |= self.send(cx);
            if let Poll::Ready(flushed) = self.socket.poll_flush(cx) {
                flushed?;
            }
            if !progress {
                return Poll::Pending;
            }
        }
    }

    /// Takes in what came, and queues one receipt for all of it.
    fn take(&mut self) -> io::Result<()> {
        self.receipt.clear();
        while let Some(text) = self.socket.text()? {
            let is_arrival = match field(text, "\"event\":\"") {
                // A bare relay forwards what was sent as it is.
                Some(b"message.new" | b"message.send") => true,
                Some(b"message.sent") => false,
                Some(b"message.status") => {
                    self.board.shared.seen.borrow_mut().receipts += 1;
                    continue;
                }
                _ if find_error(text) => return Err(refused(text)),
                _ => continue,
            };
            let Some((sender, number)) = field(text, "\"client_msg_id\":\"").and_then(|key| parse(key, &self.run)) else { continue };
            if !is_arrival {
                if let Some(took) = self.board.came(sender, number) {
                    self.board.shared.seen.borrow_mut().acknowledged.add(took);
                }
                continue;
            }
            if !self.plan.bare
                && let Some(id) = field(text, "\"message_id\":\"")
            {
                self.receipt.extend_from_slice(if self.receipt.is_empty() { br#"{"event":"message.delivered","data":{"message_ids":[""# } else { br#"",""# });
                self.receipt.extend_from_slice(id);
            }
            let next = &mut self.next[sender];
            if number < *next {
                self.board.shared.duplicated.set(self.board.shared.duplicated.get() + 1);
                continue;
            }
            // What was skipped stays under way, and so is found to be lost.
            *next = number + 1;
            if let Some(took) = self.board.came(sender, number) {
                let mut seen = self.board.shared.seen.borrow_mut();
                seen.delivered += 1;
                seen.arrived.add(took);
            }
        }
        if !self.receipt.is_empty() {
            self.receipt.extend_from_slice(br#""]}}"#);
            self.socket.push_text(&[&self.receipt]);
        }
        Ok(())
    }

    /// Sends what the window allows.
    fn send(&mut self, cx: &mut Context<'_>) -> bool {
        use std::fmt::Write as _;
        let Some(line) = self.board.lines.get(self.number) else { return false };
        let shared = &self.board.shared;
        let mut line = line.borrow_mut();
        let mut sent = false;
        while !shared.stopping.get() && line.flights.len() < self.plan.window {
            self.text.clear();
            let _ = write!(self.text, "{}", line.oldest + line.flights.len() as u64);
            let body = r#"","type":"text","payload":{"body":"Shall we meet at the harbour at eight? I bring the charts."}}}"#;
            self.socket.push_text(&[self.head.as_bytes(), self.text.as_bytes(), body.as_bytes()]);
            let left = self.members - usize::from(self.plan.bare);
            line.flights.push_back(Flight { sent_at: Instant::now(), left });
            shared.sent.set(shared.sent.get() + 1);
            shared.under_way.set(shared.under_way.get() + left as u64);
            sent = true;
        }
        line.waker = Some(cx.waker().clone());
        sent
    }
}

/// The sender and the number in a key of this run.
fn parse(key: &[u8], run: &str) -> Option<(usize, u64)> {
    let key = std::str::from_utf8(key).ok()?.strip_prefix(run)?.strip_prefix('-')?;
    let (sender, number) = key.split_once('-')?;
    Some((sender.parse().ok()?, number.parse().ok()?))
}
