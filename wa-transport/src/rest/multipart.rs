//! A file in a `multipart/form-data` body (RFC 7578), taken as it comes in: nothing is held but the piece under way. How much
//! comes, and how long it may take, is bounded whatever the head of the request says. What a refused upload still sends is read
//! by `refused`.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::BodyExt as _;
use multer::{Field, Multipart};
use tokio::time::Instant;
use wa_core::error::{Error, TooLarge};
use wa_core::media::MediaKind;
use wa_core::upload::Upload;

use super::Shared;

/// Bytes of a body beside the file: boundaries, heads of parts, other parts.
const AROUND: u64 = 1 << 20;

/// Bytes of a part that holds a word.
const WORD: usize = 64;

/// Bytes that may come without any part going on: what stands before the first one, or the head of one. The parser holds all
/// of it, and looks through it again with each piece that comes.
const HELD: u64 = 64 << 10;

/// A file that came in.
pub(super) struct Incoming {
    pub(super) upload: Upload,
    /// What the part `type` says.
    pub(super) kind: Option<MediaKind>,
    pub(super) file_name: Option<String>,
}

/// Why a body could not be read to its end.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Broken {
    #[error("it is too large")]
    TooLarge,
    #[error("what stands before a part is too large")]
    Held,
    #[error("nothing came for too long")]
    Idle,
    #[error("it comes in too slowly")]
    Slow,
    #[error("the connection broke")]
    Cut,
}

/// Takes the file out of a body: the part of one of these names. `begin` is called when it starts, with the kind if the part
/// `type` came before and is of interest.
pub(super) async fn receive<B, Begun>(rest: &Shared, request: Request, names: &[&'static str], wants_kind: bool, begin: B) -> Result<Incoming, Error>
where
    B: Fn(Option<MediaKind>) -> Begun + Send,
    Begun: Future<Output = Result<Upload, Error>> + Send,
{
    let limits = &rest.backend.limits;
    let largest = MediaKind::ALL.into_iter().map(|kind| kind.max_bytes(limits)).max().unwrap_or_default();
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(|_| Error::BadRequest("The body must be multipart/form-data with a boundary".to_owned()))?;
    let held = AtomicU64::new(0);
    let arriving = Arriving::new(request.into_body(), largest + AROUND, limits.upload_idle, limits.upload_rate as u64);
    let mut multipart = Multipart::new(pieces(arriving, &held), boundary);
    Taking { names, wants_kind, begin, held: &held }.take(&mut multipart).await
}

/// A body as it comes in: so many bytes at the most, none long after the one before, and not too slowly on the whole.
struct Arriving {
    body: Body,
    /// Bytes that may still come.
    left: u64,
    idle: Duration,
    /// Bytes in a second.
    rate: u64,
    /// How long it was waited for since the last look at its rate, and what came in that time. What else takes time, such as
    /// writing to the disk, is not the client's fault.
    waited: Duration,
    came: u64,
}

impl Arriving {
    const fn new(body: Body, most: u64, idle: Duration, rate: u64) -> Self {
        Self { body, left: most, idle, rate, waited: Duration::ZERO, came: 0 }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            let since = Instant::now();
            let frame = match tokio::time::timeout(self.idle, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_))) => return Err(Broken::Cut),
                Err(_) => return Err(Broken::Idle),
            };
            self.waited += since.elapsed();
            let Ok(data) = frame.into_data() else { continue };
            self.left = self.left.checked_sub(data.len() as u64).ok_or(Broken::TooLarge)?;
            self.came += data.len() as u64;
            if self.waited >= self.idle {
                if u128::from(self.came) * 1000 < u128::from(self.rate) * self.waited.as_millis() {
                    return Err(Broken::Slow);
                }
                (self.waited, self.came) = (Duration::ZERO, 0);
            }
            return Ok(Some(data));
        }
    }
}

/// The pieces of a body for the parser. `held` counts what it was given; whoever gets anything out of it sets it to zero.
fn pieces(arriving: Arriving, held: &AtomicU64) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    stream::unfold(Some(arriving), move |arriving| async move {
        let mut arriving = arriving?;
        // The parser asks for more until there is none at the moment, and only then looks at what it has.
        tokio::task::yield_now().await;
        if held.load(Ordering::Relaxed) > HELD {
            return Some((Err(Broken::Held), None));
        }
        match arriving.next().await {
            Ok(Some(data)) => {
                held.fetch_add(data.len() as u64, Ordering::Relaxed);
                Some((Ok(data), Some(arriving)))
            }
            Ok(None) => None,
            Err(broken) => Some((Err(broken), None)),
        }
    })
}

struct Taking<'a, B> {
    names: &'a [&'static str],
    wants_kind: bool,
    begin: B,
    /// Bytes that came since the last part began or went on.
    held: &'a AtomicU64,
}

impl<B, Begun> Taking<'_, B>
where
    B: Fn(Option<MediaKind>) -> Begun + Send,
    Begun: Future<Output = Result<Upload, Error>> + Send,
{
    async fn take(&self, multipart: &mut Multipart<'_>) -> Result<Incoming, Error> {
        let mut kind = None;
        let mut file: Option<(Upload, Option<String>)> = None;
        while let Some(mut field) = multipart.next_field().await.map_err(garbled)? {
            self.held.store(0, Ordering::Relaxed);
            let name = field.name().unwrap_or_default().to_owned();
            if self.names.contains(&name.as_str()) {
                if file.is_some() {
                    return Err(Error::invalid(name, "must be one file"));
                }
                let file_name = field.file_name().map(str::to_owned);
                let mut upload = (self.begin)(kind).await?;
                while let Some(piece) = self.piece(&mut field).await? {
                    upload.write(&piece).await?;
                }
                file = Some((upload, file_name));
            } else if name == "type" && self.wants_kind {
                kind = Some(self.kind(field).await?);
            } else {
                while self.piece(&mut field).await?.is_some() {}
            }
        }
        let (upload, file_name) = file.ok_or_else(|| Error::invalid(self.names.first().copied().unwrap_or_default(), "is required"))?;
        Ok(Incoming { upload, kind, file_name })
    }

    /// The next bytes of a part.
    async fn piece(&self, field: &mut Field<'_>) -> Result<Option<Bytes>, Error> {
        let piece = field.chunk().await.map_err(garbled)?;
        self.held.store(0, Ordering::Relaxed);
        Ok(piece)
    }

    async fn kind(&self, mut field: Field<'_>) -> Result<MediaKind, Error> {
        let wrong = || Error::invalid("type", "must be image, video, audio or document");
        let mut word = Vec::new();
        while let Some(piece) = self.piece(&mut field).await? {
            word.extend_from_slice(piece.get(..WORD.min(piece.len())).unwrap_or_default());
            if word.len() > WORD {
                return Err(wrong());
            }
        }
        std::str::from_utf8(&word).ok().and_then(|word| MediaKind::parse(word.trim())).ok_or_else(wrong)
    }
}

/// What is wrong with a body that cannot be read.
#[expect(clippy::needless_pass_by_value, reason = "maps an error")]
fn garbled(error: multer::Error) -> Error {
    let broken = match &error {
        multer::Error::StreamReadFailed(source) => source.downcast_ref::<Broken>(),
        _ => None,
    };
    match broken {
        Some(Broken::TooLarge) => Error::TooLarge(TooLarge::Payload),
        Some(Broken::Slow) => Error::BadRequest("The upload came in too slowly".to_owned()),
        Some(Broken::Idle) => Error::BadRequest("The upload stopped for too long".to_owned()),
        Some(Broken::Cut) => Error::BadRequest("The upload was cut short".to_owned()),
        // The error's own text may quote the body.
        Some(Broken::Held) | None => Error::BadRequest("The multipart body is garbled or cut short".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    fn body(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Body {
        Body::from_stream(pieces.map(Ok::<_, std::convert::Infallible>))
    }

    /// A body of pieces of which each takes so long to come.
    fn dripping(bytes: usize, each: Duration) -> Body {
        body(stream::unfold((), move |()| async move {
            tokio::time::sleep(each).await;
            Some((Bytes::from(vec![b'x'; bytes]), ()))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_drips_is_ended() {
        let mut arriving = Arriving::new(dripping(20_000, Duration::from_secs(10)), 1 << 30, IDLE, 2048);
        for piece in 1..=2 {
            assert!(matches!(arriving.next().await, Ok(Some(_))), "piece {piece}");
        }
        assert!(matches!(arriving.next().await, Err(Broken::Slow)), "60,000 bytes in 30 seconds");
        let mut arriving = Arriving::new(dripping(20_500, Duration::from_secs(10)), 1 << 30, IDLE, 2048);
        for piece in 1..=100 {
            assert!(matches!(arriving.next().await, Ok(Some(_))), "piece {piece}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_the_server_takes_is_not_the_clients() {
        let mut arriving = Arriving::new(dripping(10, Duration::from_millis(1)), 1 << 30, IDLE, 2048);
        for _ in 0..10 {
            assert!(matches!(arriving.next().await, Ok(Some(_))));
            tokio::time::sleep(IDLE).await;
        }
    }

    /// How much of a body is read before it is refused.
    async fn read_of(start: &'static str, then: &'static [u8]) -> u64 {
        let read = std::sync::Arc::new(AtomicU64::new(0));
        let count = std::sync::Arc::clone(&read);
        let endless = stream::once(async move { Bytes::from(start) }).chain(stream::repeat(Bytes::from(then.repeat(64)))).take(100_000);
        let body = body(endless.inspect(move |piece| _ = count.fetch_add(piece.len() as u64, Ordering::Relaxed)));
        let held = AtomicU64::new(0);
        let mut multipart = Multipart::new(pieces(Arriving::new(body, 1 << 30, IDLE, 1), &held), "x");
        let refused = async {
            while let Some(mut field) = multipart.next_field().await? {
                held.store(0, Ordering::Relaxed);
                while field.chunk().await?.is_some() {
                    held.store(0, Ordering::Relaxed);
                }
            }
            Ok::<(), multer::Error>(())
        };
        assert!(refused.await.is_err());
        read.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn what_stands_before_a_part_is_not_held_without_end() {
        for start in ["", "--x\r\ncontent-disposition: form-data; name=\"file\"\r\nx-long: "] {
            let read = read_of(start, b"no boundary here").await;
            assert!((HELD..HELD + 4096).contains(&read), "{start:?}: {read}");
        }
        let read = read_of("--x\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\n", b"of a file, any l").await;
        assert!(read > 100_000_000, "a part itself goes on: {read}");
    }
}
