//! The bytes of files in the local store, under addresses that were signed and expire: in whole or in part, shown in place
//! only where that can do no harm. Query strings are in no log.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use wa_core::error::{Denied, Error, Missing, StoreError};
use wa_core::link::{FILES, FileSigner, SignedFile, content_disposition};
use wa_core::ports::{Blob, BlobBody, BlobStore};

use super::Shared;
use super::error::ApiError;

/// What hands out the files of the local store.
#[derive(Clone)]
pub struct LocalFiles {
    /// Tells addresses that were signed here from others.
    pub signer: FileSigner,
    /// Where the files lie.
    pub blobs: Arc<dyn BlobStore>,
}

/// Nothing in a file can run, load anything or be framed with anything else of this server.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox");

/// Answers an address made by [`FileSigner::sign`].
pub(super) async fn serve(State(rest): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let files = rest.backend.files.as_ref().ok_or(Error::not_found(Missing::Resource))?;
    let path = uri.path().split_once(FILES).map(|(_, path)| path).unwrap_or_default();
    let now = rest.backend.env.now();
    let refused = || Error::Denied(Denied::Forbidden("This address is not valid, or has expired: ask for a fresh one"));
    let file = files.signer.verify(path, uri.query().unwrap_or_default(), now).ok_or_else(refused)?;
    let tag = format!("\"{}\"", file.key);
    if names_tag(&headers, &header::IF_NONE_MATCH, &tag) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        describe(&mut response, &file, &tag, now)?;
        return Ok(response);
    }
    // A part of another file than the one at hand would be put together with it.
    let range = match headers.get(header::RANGE) {
        Some(range) if !headers.contains_key(header::IF_RANGE) || names_tag(&headers, &header::IF_RANGE, &tag) => wanted(range),
        _ => None,
    };
    let absent = || Error::not_found(Missing::Resource);
    let Blob { size, range: part, body } = match range {
        None => files.blobs.read(&file.key, None).await.map_err(unavailable)?.ok_or_else(absent)?,
        Some(wanted) => {
            // How much there is decides which part is meant.
            let size = files.blobs.read(&file.key, Some(0..0)).await.map_err(unavailable)?.ok_or_else(absent)?.size;
            let Some(range) = wanted.within(size) else {
                let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
                describe(&mut response, &file, &tag, now)?;
                response.headers_mut().insert(header::CONTENT_RANGE, text(&format!("bytes */{size}"))?);
                return Ok(response);
            };
            files.blobs.read(&file.key, Some(range)).await.map_err(unavailable)?.ok_or_else(absent)?
        }
    };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = (status, Body::from_stream(pieces(body))).into_response();
    describe(&mut response, &file, &tag, now)?;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.key.format().mime()));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
    if range.is_some() {
        fields.insert(header::CONTENT_RANGE, text(&format!("bytes {}-{}/{size}", part.start, part.end - 1))?);
    }
    Ok(response)
}

/// What every answer about a file says.
fn describe(response: &mut Response, file: &SignedFile, tag: &str, now: wa_core::time::Timestamp) -> Result<(), Error> {
    let left = file.expires_at.since(now).as_secs();
    let fields = response.headers_mut();
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(header::ETAG, text(tag)?);
    fields.insert(header::CACHE_CONTROL, text(&format!("private, max-age={left}, immutable"))?);
    fields.insert(header::CONTENT_DISPOSITION, text(&content_disposition(&file.disposition))?);
    fields.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    fields.insert(header::HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(())
}

fn text(value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value).map_err(Error::internal)
}

fn unavailable(error: StoreError) -> Error {
    Error::unavailable(error)
}

fn names_tag(headers: &HeaderMap, name: &header::HeaderName, tag: &str) -> bool {
    headers.get(name).and_then(|tags| tags.to_str().ok()).is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag))
}

/// The part of a file that a `Range` asks for (RFC 9110, section 14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// From here to there, the last byte included; to the end if that is `None`.
    From(u64, Option<u64>),
    /// So many bytes before the end.
    Last(u64),
}

impl Wanted {
    /// Which bytes these are of so many; `None` if there are none.
    fn within(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first, last) => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

/// Reads a `Range` of one part. What is anything else is as good as absent, and the whole file is the answer.
fn wanted(value: &HeaderValue) -> Option<Wanted> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (first, last) = value.to_str().ok()?.strip_prefix("bytes=")?.trim().split_once('-')?;
    match (first, last) {
        ("", last) => number(last).map(Wanted::Last),
        (first, "") => Some(Wanted::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Wanted::From(first, Some(last)))
        }
    }
}

fn pieces(body: Box<dyn BlobBody>) -> impl futures_util::Stream<Item = Result<Bytes, StoreError>> + Send {
    stream::unfold(Some(body), |body| async move {
        let mut body = body?;
        match body.next().await {
            Ok(Some(piece)) => Some((Ok(Bytes::from(piece)), Some(body))),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, "a file was sent in part only");
                Some((Err(error), None))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_part_or_nothing() {
        let of = |text: &'static str, size| wanted(&HeaderValue::from_static(text)).map(|wanted| wanted.within(size));
        assert_eq!(of("bytes=0-0", 10), Some(Some(0..1)));
        assert_eq!(of("bytes=2-", 10), Some(Some(2..10)));
        assert_eq!(of("bytes=2-99", 10), Some(Some(2..10)));
        assert_eq!(of("bytes=-3", 10), Some(Some(7..10)));
        assert_eq!(of("bytes=-99", 10), Some(Some(0..10)));
        assert_eq!(of("bytes=0-18446744073709551615", 10), Some(Some(0..10)));
        for behind in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(of(behind, 10), Some(None), "{behind}");
        }
        assert_eq!(of("bytes=0-", 0), Some(None));
        for other in ["bytes=5-4", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2", "bytes=0-99999999999999999999", "0-1"] {
            assert_eq!(of(other, 10), None, "{other}");
        }
    }
}
