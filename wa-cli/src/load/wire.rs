//! The least a WebSocket client and an HTTP client need, so that the load takes little of the machine it measures: frames
//! are found where they lie in the read buffer, and everything that is due goes out in one write. Plain TCP only.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

/// The head of an answer may have this many bytes.
const HEAD: usize = 8 << 10;

/// How many bytes are read at a time.
const CHUNK: usize = 16 << 10;

fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Opens a connection, from this address of the machine where one is named: more connections than one address has ports
/// need several.
pub(super) async fn connect(target: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let stream = match from {
        Some(from) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(from, 0))?;
            socket.connect(target).await?
        }
        None => TcpStream::connect(target).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A kept-alive HTTP connection.
pub(super) struct Http {
    stream: TcpStream,
    host: SocketAddr,
}

impl Http {
    pub(super) async fn open(target: SocketAddr, from: Option<IpAddr>) -> io::Result<Self> {
        Ok(Self { stream: connect(target, from).await?, host: target })
    }

    /// Posts JSON and reads the JSON of the answer.
    pub(super) async fn post<T: DeserializeOwned>(&mut self, path: &str, token: Option<&str>, body: &str) -> io::Result<T> {
        let authorization = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{authorization}content-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(2048);
        let (status, head) = read_head(&mut self.stream, &mut answer).await?;
        let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let end = head + length.ok_or_else(|| broken("an answer without content-length"))?;
        while answer.len() < end {
            if self.stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let body = &answer[head..end];
        if !(200..300).contains(&status) {
            return Err(broken(format!("{path} was answered {status}: {}", String::from_utf8_lossy(body))));
        }
        serde_json::from_slice(body).map_err(|error| broken(format!("the answer to {path} is not as expected: {error}")))
    }
}

/// Reads up to the end of the head. Returns the status and where the body begins.
async fn read_head(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<(u16, usize)> {
    loop {
        if let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            return Ok((status.ok_or_else(|| broken("no HTTP answer"))?, end + 4));
        }
        if answer.len() > HEAD {
            return Err(broken("the head of an answer is too long"));
        }
        if stream.read_buf(answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A WebSocket.
pub(super) struct Socket {
    stream: TcpStream,
    inbox: Vec<u8>,
    read: usize,
    outbox: Vec<u8>,
    written: usize,
}

impl Socket {
    /// Connects and upgrades.
    pub(super) async fn open(target: SocketAddr, from: Option<IpAddr>, path: &str, token: Option<&str>) -> io::Result<Self> {
        let mut stream = connect(target, from).await?;
        let authorization = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {target}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{authorization}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut inbox = Vec::with_capacity(512);
        let (status, end) = read_head(&mut stream, &mut inbox).await?;
        if status != 101 {
            return Err(broken(format!("the upgrade was answered {status}")));
        }
        inbox.drain(..end);
        inbox.shrink_to_fit();
        Ok(Self { stream, inbox, read: 0, outbox: Vec::new(), written: 0 })
    }

    /// Reads more. Ready with an error when the server has closed.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.read == self.inbox.len() {
            self.inbox.clear();
        } else {
            self.inbox.drain(..self.read);
        }
        self.read = 0;
        let mut chunk = [std::mem::MaybeUninit::uninit(); CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut chunk))?;
        if chunk.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.inbox.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(()))
    }

    /// The next text that was read; pings are answered on the way.
    pub(super) fn text(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let bytes = &self.inbox[self.read..];
            let Some(frame) = Frame::find(bytes)? else { return Ok(None) };
            let (start, end) = (self.read + frame.start, self.read + frame.end);
            self.read = end;
            match frame.opcode {
                1 => return Ok(Some(&self.inbox[start..end])),
                8 => {
                    let code = self.inbox.get(start..start + 2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, format!("the server closed a socket with {code}")));
                }
                9 => {
                    let payload = self.inbox[start..end].to_vec();
                    self.push(0x8a, &[&payload]);
                }
                _ => {}
            }
        }
    }

    /// Queues a text made of these parts.
    pub(super) fn push_text(&mut self, parts: &[&[u8]]) {
        self.push(0x81, parts);
    }

    fn push(&mut self, first: u8, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.outbox.push(first);
        match u16::try_from(length) {
            Ok(short @ 0..126) => self.outbox.push(0x80 | u8::try_from(short).unwrap_or(0)),
            Ok(length) => {
                self.outbox.push(0x80 | 126);
                self.outbox.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => {
                self.outbox.push(0x80 | 127);
                self.outbox.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        // A key of zeros leaves the payload as it is; the server unmasks it all the same.
        self.outbox.extend_from_slice(&[0; 4]);
        for part in parts {
            self.outbox.extend_from_slice(part);
        }
    }

    /// Writes what is queued.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outbox.len() {
            self.written += ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outbox[self.written..]))?;
        }
        self.outbox.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Answers pings until the server closes.
    pub(super) async fn stay(&mut self) -> io::Result<()> {
        self.outbox.shrink_to_fit();
        self.inbox.shrink_to_fit();
        loop {
            poll_fn(|cx| self.poll_fill(cx)).await?;
            while self.text()?.is_some() {}
            poll_fn(|cx| self.poll_flush(cx)).await?;
        }
    }
}

struct Frame {
    opcode: u8,
    start: usize,
    end: usize,
}

impl Frame {
    /// The frame at the beginning of these bytes, if it is there whole.
    fn find(bytes: &[u8]) -> io::Result<Option<Self>> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x80 == 0 || second & 0x80 != 0 {
            return Err(broken("a fragmented or masked frame"));
        }
        let (start, length) = match second {
            126 => match rest {
                [a, b, ..] => (4, usize::from(u16::from_be_bytes([*a, *b]))),
                _ => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (10, usize::try_from(u64::from_be_bytes(*length)).map_err(|_| broken("an endless frame"))?),
                None => return Ok(None),
            },
            length => (2, usize::from(*length)),
        };
        let end = start + length;
        Ok((bytes.len() >= end).then_some(Self { opcode: first & 0x0f, start, end }))
    }
}

/// The value of a string in JSON, found by the key as it is written: `"key":"`. The values looked for hold no escapes.
pub(super) fn field<'a>(text: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let key = key.as_bytes();
    let start = find(text, key)? + key.len();
    let length = text[start..].iter().position(|byte| *byte == b'"')?;
    Some(&text[start..start + length])
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == first) {
        let at = from + at;
        if text[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_once_it_is_whole() {
        let long = [&[0x81, 126, 1, 0][..], &[b'x'; 256]].concat();
        for (bytes, expected) in [(&b"\x81\x02hi"[..], (1, 2, 4)), (&long[..], (1, 4, 260)), (&b"\x89\x00"[..], (9, 2, 2))] {
            for cut in 0..bytes.len() {
                assert!(Frame::find(&bytes[..cut]).expect("a frame").is_none(), "{cut} bytes are not enough");
            }
            let frame = Frame::find(bytes).expect("a frame").expect("it is whole");
            assert_eq!((frame.opcode, frame.start, frame.end), expected);
        }
        assert!(Frame::find(b"\x01\x00").is_err());
    }

    #[test]
    fn fields_are_found_by_their_key() {
        let text = br#"{"event":"message.new","data":{"message_id":"m","client_msg_id":"1-2"}}"#;
        assert_eq!(field(text, "\"event\":\""), Some(&b"message.new"[..]));
        assert_eq!(field(text, "\"client_msg_id\":\""), Some(&b"1-2"[..]));
        assert_eq!(field(text, "\"chat_id\":\""), None);
    }
}
