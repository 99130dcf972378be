//! A file in a `multipart/form-data` body (RFC 7578), taken as it comes in: nothing is held but the piece under way. How much
//! comes, and how long it may take, is bounded whatever the head of the request says.

use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::BodyExt as _;
use multer::{Field, Multipart};
use wa_core::error::{Error, TooLarge};
use wa_core::media::MediaKind;
use wa_core::upload::Upload;

use super::Shared;

/// Bytes of a body beside the file: boundaries, heads of parts, other parts.
const AROUND: u64 = 1 << 20;

/// Bytes of a part that holds a word.
const WORD: usize = 64;

/// Bytes of a refused body that are still read, so that the client gets to see the refusal, and how long that may take.
const DRAINED: u64 = 128 << 20;
const DRAINED_WITHIN: Duration = Duration::from_secs(20);

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
    #[error("nothing came for too long")]
    Idle,
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
    let mut multipart = Multipart::new(bounded(request.into_body(), largest + AROUND + DRAINED, limits.upload_idle), boundary);
    let taken = Taking { names, wants_kind, begin, most: largest + AROUND };
    match taken.take(&mut multipart).await {
        Ok(incoming) => Ok(incoming),
        Err(error) => {
            // A server that answers and closes while data is under way makes the client's stack drop the answer.
            let _ = tokio::time::timeout(DRAINED_WITHIN, async { while let Ok(Some(_)) = multipart.next_field().await {} }).await;
            Err(error)
        }
    }
}

/// The pieces of a body: so many bytes at the most, and none long after the one before.
fn bounded(body: Body, most: u64, idle: Duration) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    stream::unfold(Some((body, 0_u64)), move |state| async move {
        let (mut body, mut read) = state?;
        loop {
            let frame = match tokio::time::timeout(idle, body.frame()).await {
                Ok(None) => return None,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(_))) => return Some((Err(Broken::Cut), None)),
                Err(_) => return Some((Err(Broken::Idle), None)),
            };
            let Ok(data) = frame.into_data() else { continue };
            read = read.saturating_add(data.len() as u64);
            return Some(if read > most { (Err(Broken::TooLarge), None) } else { (Ok(data), Some((body, read))) });
        }
    })
}

struct Taking<'a, B> {
    names: &'a [&'static str],
    wants_kind: bool,
    begin: B,
    /// Bytes of all parts together.
    most: u64,
}

impl<B, Begun> Taking<'_, B>
where
    B: Fn(Option<MediaKind>) -> Begun + Send,
    Begun: Future<Output = Result<Upload, Error>> + Send,
{
    async fn take(&self, multipart: &mut Multipart<'_>) -> Result<Incoming, Error> {
        let mut kind = None;
        let mut file: Option<(Upload, Option<String>)> = None;
        let mut read = 0_u64;
        while let Some(mut field) = multipart.next_field().await.map_err(garbled)? {
            let name = field.name().unwrap_or_default().to_owned();
            if self.names.contains(&name.as_str()) {
                if file.is_some() {
                    return Err(Error::invalid(name, "must be one file"));
                }
                let file_name = field.file_name().map(str::to_owned);
                let mut upload = (self.begin)(kind).await?;
                while let Some(piece) = field.chunk().await.map_err(garbled)? {
                    read = self.counted(read, &piece)?;
                    upload.write(&piece).await?;
                }
                file = Some((upload, file_name));
            } else if name == "type" && self.wants_kind {
                kind = Some(self.kind(field, &mut read).await?);
            } else {
                while let Some(piece) = field.chunk().await.map_err(garbled)? {
                    read = self.counted(read, &piece)?;
                }
            }
        }
        let (upload, file_name) = file.ok_or_else(|| Error::invalid(self.names.first().copied().unwrap_or_default(), "is required"))?;
        if upload.size() == 0 {
            return Err(Error::invalid(self.names.first().copied().unwrap_or_default(), "must not be empty"));
        }
        Ok(Incoming { upload, kind, file_name })
    }

    fn counted(&self, read: u64, piece: &Bytes) -> Result<u64, Error> {
        let read = read.saturating_add(piece.len() as u64);
        if read > self.most { Err(Error::TooLarge(TooLarge::Payload)) } else { Ok(read) }
    }

    async fn kind(&self, mut field: Field<'_>, read: &mut u64) -> Result<MediaKind, Error> {
        let wrong = || Error::invalid("type", "must be image, video, audio or document");
        let mut word = Vec::new();
        while let Some(piece) = field.chunk().await.map_err(garbled)? {
            *read = self.counted(*read, &piece)?;
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
        Some(Broken::Idle) => Error::BadRequest("The upload stopped for too long".to_owned()),
        Some(Broken::Cut) => Error::BadRequest("The upload was cut short".to_owned()),
        // The error's own text may quote the body.
        None => Error::BadRequest("The multipart body is garbled or cut short".to_owned()),
    }
}
