//! Sockets that go through the gateway: bytes are carried both ways until one side ends. When the gateway itself ends, clients are
//! told so with the code 1001, between two frames of their role.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wa_core::error::{Error, Result};

/// Bytes read at a time: frames are small, and a role ends slow readers.
const PIECE: usize = 4096;

/// A close frame with the code 1001, as a server sends it (RFC 6455, section 5.5.1).
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xE9];

/// How long a client has to answer it.
const ANSWER: Duration = Duration::from_secs(2);

/// The sockets that go through a gateway.
#[derive(Debug, Clone)]
pub struct ProxiedSockets {
    places: Arc<Semaphore>,
    leave: CancellationToken,
    tasks: TaskTracker,
}

impl ProxiedSockets {
    pub(super) fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))), leave: CancellationToken::new(), tasks: TaskTracker::new() }
    }

    /// Tells every client to go away (close 1001), and waits until they are gone or `grace` has passed. Returns how many are left.
    pub async fn close(&self, grace: Duration) -> usize {
        self.leave.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(grace, self.tasks.wait()).await;
        self.tasks.len()
    }

    /// A place for one more.
    ///
    /// # Errors
    /// UNAVAILABLE if all are taken.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| Error::unavailable("no place for another socket"))
    }

    /// Joins the two ends of an upgraded connection.
    pub(super) fn join(&self, client: hyper::upgrade::OnUpgrade, role: reqwest::Response, place: OwnedSemaphorePermit) {
        let leave = self.leave.clone();
        self.tasks.spawn(async move {
            let _place = place;
            let (client, role) = match tokio::join!(client, role.upgrade()) {
                (Ok(client), Ok(role)) => (client, role),
                (Err(error), _) => return tracing::debug!(%error, "a client left during the upgrade"),
                (_, Err(error)) => return tracing::debug!(error = %error.without_url(), "a role left during the upgrade"),
            };
            if let Err(error) = carry(TokioIo::new(client), role, &leave).await {
                tracing::debug!(%error, "a socket ended with an error");
            }
        });
    }
}

/// Carries bytes both ways until both sides have ended, or one has failed, or the client was told to go.
async fn carry(client: impl AsyncRead + AsyncWrite, role: impl AsyncRead + AsyncWrite, leave: &CancellationToken) -> io::Result<()> {
    let (from_client, to_client) = io::split(client);
    let (from_role, mut to_role) = io::split(role);
    let up = async {
        io::copy_buf(&mut BufReader::with_capacity(PIECE, from_client), &mut to_role).await?;
        to_role.shutdown().await
    };
    let down = hand_down(from_role, to_client, leave);
    let mut up = std::pin::pin!(up);
    let mut down = std::pin::pin!(down);
    let told = tokio::select! {
        ended = &mut up => {
            ended?;
            return down.await.map(|_| ());
        }
        told = &mut down => told?,
    };
    if told {
        // What the client had sent before goes to the role, and so does its answer.
        return tokio::time::timeout(ANSWER, up).await.unwrap_or(Ok(()));
    }
    up.await
}

/// Carries what a role sends; returns whether the client was told to go instead of the rest.
async fn hand_down(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, leave: &CancellationToken) -> io::Result<bool> {
    let mut frames = Frames::default();
    let mut piece = [0; PIECE];
    let mut leaving = false;
    loop {
        if leaving && frames.is_between() {
            to.write_all(&GOING_AWAY).await?;
            to.shutdown().await?;
            return Ok(true);
        }
        let read = tokio::select! {
            read = from.read(&mut piece) => read?,
            () = leave.cancelled(), if !leaving => {
                leaving = true;
                continue;
            }
        };
        if read == 0 {
            to.shutdown().await?;
            return Ok(false);
        }
        let end = frames.take(&piece[..read], leaving);
        to.write_all(&piece[..end]).await?;
        to.flush().await?;
    }
}

/// Where in a stream of frames one ends (RFC 6455, section 5.2). A role masks nothing, but a mask would be passed over.
#[derive(Debug, Default)]
struct Frames {
    /// The head of the present frame, as far as it came.
    head: [u8; 14],
    came: usize,
    /// What of its payload is still to come, once the head has.
    left: u64,
}

impl Frames {
    /// Whether the last frame has ended and the next not begun.
    const fn is_between(&self) -> bool {
        self.came == 0
    }

    /// Takes note of these bytes, or of those up to the end of the present frame. Returns of how many.
    fn take(&mut self, bytes: &[u8], up_to_end: bool) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.came == 0 || self.came < self.length_of_head() {
                self.head[self.came] = bytes[at];
                self.came += 1;
                at += 1;
                if self.came < self.length_of_head() {
                    continue;
                }
                self.left = self.length_of_payload();
            } else {
                let step = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += step;
                self.left -= step as u64;
            }
            if self.left == 0 {
                self.came = 0;
                if up_to_end {
                    break;
                }
            }
        }
        at
    }

    fn length_of_head(&self) -> usize {
        if self.came < 2 {
            return 2;
        }
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + mask
            + match self.head[1] & 0x7F {
                126 => 2,
                127 => 8,
                _ => 0,
            }
    }

    fn length_of_payload(&self) -> u64 {
        let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        match self.head[1] & 0x7F {
            126 => big_endian(&self.head[2..4]),
            127 => big_endian(&self.head[2..10]),
            short => short.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with so many bytes.
    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(mask | u8::try_from(length).expect("short")),
            126..0x1_0000 => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(length).expect("short").to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([0xFF; 4]);
        }
        frame.resize(frame.len() + length, 0xFF);
        frame
    }

    #[test]
    fn frames_end_where_they_do_however_they_come() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 3];
        for masked in [false, true] {
            let ends: Vec<usize> = lengths.iter().scan(0, |end, length| (*end += frame(*length, masked).len(), Some(*end)).1).collect();
            let stream: Vec<u8> = lengths.iter().flat_map(|length| frame(*length, masked)).collect();
            for step in [1, 2, 3, 1000, stream.len()] {
                let (mut frames, mut at, mut found) = (Frames::default(), 0, Vec::new());
                while at < stream.len() {
                    at += frames.take(&stream[at..stream.len().min(at + step)], true);
                    if frames.is_between() {
                        found.push(at);
                    }
                }
                assert_eq!(found, ends, "in steps of {step}");
            }
            let mut frames = Frames::default();
            assert_eq!((frames.take(&stream, false), frames.is_between()), (stream.len(), true));
        }
    }

    #[tokio::test]
    async fn a_client_is_told_to_go_between_two_frames() {
        let sockets = ProxiedSockets::new(1);
        let ((mut client, inner), (mut role, outer)) = (io::duplex(64), io::duplex(64));
        let leave = sockets.leave.clone();
        let carrying = tokio::spawn(async move { carry(inner, outer, &leave).await });
        let whole = frame(10, false);
        role.write_all(&whole[..4]).await.expect("written");
        let mut got = [0; 4];
        client.read_exact(&mut got).await.expect("read");
        sockets.leave.cancel();
        tokio::task::yield_now().await;
        role.write_all(&whole[4..]).await.expect("written");
        role.write_all(&frame(5, false)).await.expect("written");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("read");
        assert_eq!(rest, [&whole[4..], &GOING_AWAY].concat());
        client.write_all(b"the answer").await.expect("written");
        drop(client);
        let mut answer = Vec::new();
        role.read_to_end(&mut answer).await.expect("read");
        assert_eq!(answer, b"the answer");
        carrying.await.expect("no panic").expect("no error");
    }
}
