//! The WebSocket protocol on one connection, the server's side of it (RFC 6455). There is a library for this, and the client
//! uses it; but it keeps 8 KB for every socket to read into, which is most of what an idle socket costs. Here a socket
//! keeps what has come of an unfinished message and what the connection has not taken yet, and nothing else: all sockets
//! of a thread read through one buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at a time.
const READ: usize = 16 << 10;

/// While more than this waits to be written, nothing is read: what is read may have to be answered.
const UNSENT: usize = 64 << 10;

/// The longest payload of a control frame (section 5.5).
const CONTROL: usize = 125;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A whole text message: UTF-8, and no longer than allowed.
    Text(Vec<u8>),
    /// A whole binary message, of which nothing is kept.
    Binary,
    /// A ping, which is answered by itself, or a pong.
    Control,
}

/// Why no more can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The connection is gone.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The client broke the protocol. The close that the protocol asks for is queued.
    #[error("the client broke the protocol: {0}")]
    Protocol(&'static str),
    /// A message is longer than allowed.
    #[error("a message is too long")]
    TooLong,
}

/// A message of which more fragments are to come.
#[derive(Debug)]
struct Unfinished {
    is_text: bool,
    payload: Vec<u8>,
}

/// A connection after the opening handshake.
#[derive(Debug)]
pub(super) struct Wire<S> {
    io: S,
    /// What was read, of which this much is taken apart already.
    inbox: Vec<u8>,
    taken: usize,
    unfinished: Option<Box<Unfinished>>,
    /// What is to be written, of which this much is.
    outbox: Vec<u8>,
    sent: usize,
    written: u64,
    longest: usize,
    has_closed: bool,
    has_ended: bool,
}

#[derive(Clone, Copy)]
enum Opcode {
    Text = 1,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl<S> Wire<S> {
    /// Takes over a connection. `longest` is the length in bytes that a message may have.
    pub(super) const fn new(io: S, longest: usize) -> Self {
        Self { io, inbox: Vec::new(), taken: 0, unfinished: None, outbox: Vec::new(), sent: 0, written: 0, longest, has_closed: false, has_ended: false }
    }

    /// The bytes the connection has taken so far.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Whether something waits to be written.
    pub(super) const fn has_unsent(&self) -> bool {
        self.sent < self.outbox.len()
    }

    pub(super) fn into_inner(self) -> S {
        self.io
    }

    /// Queues a text message.
    pub(super) fn text(&mut self, payload: &[u8]) {
        self.queue(Opcode::Text, payload);
    }

    /// Queues a ping without a payload.
    pub(super) fn ping(&mut self) {
        self.queue(Opcode::Ping, &[]);
    }

    /// Queues a close, after which nothing else is. The reason has at most 123 bytes.
    pub(super) fn close(&mut self, code: u16, reason: &str) {
        let mut payload = [0; CONTROL];
        let length = 2 + reason.len().min(CONTROL - 2);
        payload[..2].copy_from_slice(&code.to_be_bytes());
        payload[2..length].copy_from_slice(&reason.as_bytes()[..length - 2]);
        self.queue(Opcode::Close, &payload[..length]);
        self.has_closed = true;
    }

    fn queue(&mut self, opcode: Opcode, payload: &[u8]) {
        if self.has_closed {
            return;
        }
        let length = payload.len();
        self.outbox.reserve(length + 10);
        self.outbox.push(0x80 | opcode as u8);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..=125), _) => self.outbox.push(short),
            (_, Ok(medium)) => {
                self.outbox.push(126);
                self.outbox.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                self.outbox.push(127);
                self.outbox.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        self.outbox.extend_from_slice(payload);
    }

    /// Gives back the memory of what was sent, should it be the greater part of much: a client that goes on taking a little,
    /// and asking for more, never takes all.
    fn forget_sent(&mut self) {
        if self.sent > UNSENT && self.sent >= self.outbox.len() - self.sent {
            (self.outbox, self.sent) = (self.outbox[self.sent..].to_vec(), 0);
        }
    }

    /// Takes the next frame out of what was read. `None`: more must be read, or what came was part of a message.
    fn take(&mut self) -> Result<Option<Step>, Fault> {
        let read = &self.inbox[self.taken..];
        let Some(header) = Header::of(read)? else { return Ok(None) };
        let is_data = header.opcode < 8;
        if is_data {
            if (header.opcode == 0) != self.unfinished.is_some() {
                return Err(Fault::Protocol("a fragment out of place"));
            }
            let before = self.unfinished.as_ref().map_or(0, |unfinished| unfinished.payload.len());
            if header.payload > (self.longest - before) as u64 {
                return Err(Fault::TooLong);
            }
        }
        // It fits: it is no longer than a message may be.
        let end = header.length + usize::try_from(header.payload).map_err(|_| Fault::TooLong)?;
        let Some(payload) = read.get(header.length..end) else { return Ok(None) };
        let mut unmasked = payload.to_vec();
        unmask(&mut unmasked, header.mask);
        self.taken += end;
        if self.taken == self.inbox.len() {
            (self.inbox, self.taken) = (Vec::new(), 0);
        }
        if !is_data {
            return self.control(header.opcode, &unmasked).map(Some);
        }
        let message = match self.unfinished.take() {
            None => Unfinished { is_text: header.opcode == 1, payload: unmasked },
            Some(mut unfinished) => {
                unfinished.payload.extend_from_slice(&unmasked);
                *unfinished
            }
        };
        if !header.is_last {
            self.unfinished = Some(Box::new(message));
            return Ok(Some(Step::Further));
        }
        if !message.is_text {
            return Ok(Some(Step::Came(Incoming::Binary)));
        }
        if std::str::from_utf8(&message.payload).is_err() {
            return Err(Fault::NotText);
        }
        Ok(Some(Step::Came(Incoming::Text(message.payload))))
    }

    fn control(&mut self, opcode: u8, payload: &[u8]) -> Result<Step, Fault> {
        match opcode {
            9 => self.queue(Opcode::Pong, payload),
            10 => {}
            _ => {
                let code = match payload {
                    [] => None,
                    [_] => return Err(Fault::Protocol("half a close code")),
                    [high, low, reason @ ..] => {
                        if std::str::from_utf8(reason).is_err() {
                            return Err(Fault::NotText);
                        }
                        Some(u16::from_be_bytes([*high, *low]))
                    }
                };
                // Those that may be sent (section 7.4, and the registry of codes).
                if code.is_some_and(|code| !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)) {
                    return Err(Fault::Protocol("a close code that must not be sent"));
                }
                self.queue(Opcode::Close, payload.get(..2).unwrap_or_default());
                self.has_closed = true;
                return Ok(Step::Closed);
            }
        }
        Ok(Step::Came(Incoming::Control))
    }
}

/// What came of a frame.
enum Step {
    Came(Incoming),
    /// Part of a message.
    Further,
    /// The client closes.
    Closed,
}

/// What is wrong with a frame.
enum Fault {
    Protocol(&'static str),
    NotText,
    TooLong,
}

/// The start of a frame (section 5.2).
struct Header {
    is_last: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Bytes up to the payload, and of it.
    length: usize,
    payload: u64,
}

impl Header {
    /// `None` if it is not there as a whole.
    fn of(read: &[u8]) -> Result<Option<Self>, Fault> {
        let &[first, second, ref rest @ ..] = read else { return Ok(None) };
        let (is_last, opcode, short) = (first & 0x80 != 0, first & 0x0f, second & 0x7f);
        if first & 0x70 != 0 {
            return Err(Fault::Protocol("reserved bits"));
        }
        if second & 0x80 == 0 {
            return Err(Fault::Protocol("a frame without a mask"));
        }
        match opcode {
            0..=2 => {}
            8..=10 if is_last && usize::from(short) <= CONTROL => {}
            8..=10 => return Err(Fault::Protocol("a control frame that is long or in fragments")),
            _ => return Err(Fault::Protocol("an unknown opcode")),
        }
        let (payload, length) = match short {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let Some(mask) = read.get(length..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(None) };
        Ok(Some(Self { is_last, opcode, mask: *mask, length: length + 4, payload }))
    }
}

fn unmask(payload: &mut [u8], [a, b, c, d]: [u8; 4]) {
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// The next message of the client; `None` when it has closed, and after any error.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, WireError>>> {
        while !self.has_ended {
            match self.take() {
                Ok(Some(Step::Came(incoming))) => return Poll::Ready(Some(Ok(incoming))),
                Ok(Some(Step::Further)) => continue,
                Ok(Some(Step::Closed)) => {
                    self.has_ended = true;
                    break;
                }
                Ok(None) => {}
                Err(fault) => {
                    self.has_ended = true;
                    let error = match fault {
                        Fault::TooLong => WireError::TooLong,
                        Fault::Protocol(what) => {
                            self.close(1002, "");
                            WireError::Protocol(what)
                        }
                        Fault::NotText => {
                            self.close(1007, "");
                            WireError::Protocol("text that is not UTF-8")
                        }
                    };
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if self.outbox.len() - self.sent > UNSENT {
                // Whoever writes it goes on.
                return Poll::Pending;
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) => self.has_ended = true,
                Ok(_) => {}
                Err(error) => {
                    self.has_ended = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
        Poll::Ready(None)
    }

    /// Reads something more; 0 bytes at the end of the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            self.inbox.drain(..self.taken);
            self.taken = 0;
            self.inbox.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// Writes what is queued.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_unsent() {
            let Poll::Ready(sent) = Pin::new(&mut self.io).poll_write(cx, &self.outbox[self.sent..])? else {
                self.forget_sent();
                return Poll::Pending;
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
            self.written += sent as u64;
        }
        (self.outbox, self.sent) = (Vec::new(), 0);
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

#[cfg(test)]
#[path = "wire/tests.rs"]
mod tests;
