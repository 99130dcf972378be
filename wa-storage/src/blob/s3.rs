//! Objects in a bucket of an S3 server. Whatever is asked is answered in a few seconds, but for uploads, which take as long as
//! they go on; whoever has a presigned address fetches from the server itself.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::s3::{self as client, AddressingStyle, Auth, Client, Credentials};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use percent_encoding::percent_decode_str;
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use url::Url;
use wa_core::error::StoreError;
use wa_core::link::encoded_name;
use wa_core::media::ObjectKey;
use wa_core::ports::{Blob, BlobBody, BlobStore, Disposition, ListedObject, Presign, Stored};
use wa_core::time::Timestamp;

use crate::OpenError;

#[cfg(test)]
mod tests;

const NAME: &str = "object store";
/// For everything but the bytes of files: below the five seconds within which every request is answered.
const ANSWER: Duration = Duration::from_secs(4);
/// For one attempt of it, so that a second one still has time.
const ATTEMPT: Duration = Duration::from_millis(1900);
/// For bytes of a file to go on, and for the server to say that it has them all: longer than any pause of one that works.
const STALL: Duration = Duration::from_secs(8);
/// How often it is looked at meanwhile.
const STALL_TICKS: u32 = 4;
/// For a whole file, and for a connection that hands one out.
const TRANSFER: Duration = Duration::from_secs(15 * 60);
/// Bytes of a file that are held at a time.
const PIECE: usize = 128 << 10;
/// Objects in one page of a listing (S3 gives no more).
const PAGE: usize = 1000;
/// What a URL says of a bucket: `s3://[key:secret@]bucket?endpoint=…&region=…&public_endpoint=…`.
pub(crate) struct S3Config {
    bucket: String,
    endpoint: String,
    public_endpoint: String,
    region: String,
    auth: Auth,
}

impl S3Config {
    /// Credentials are those of the URL, else of the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`), else of
    /// the usual files (`~/.aws/credentials`, `AWS_PROFILE`).
    ///
    /// # Errors
    /// If the URL says something else, or nothing gives credentials. The text does not repeat the URL.
    pub(crate) fn parse(text: &str) -> Result<Self, OpenError> {
        let wrong = |reason: &str| OpenError::ObjectStore { reason: reason.to_owned() };
        let url = Url::parse(text).map_err(|_| wrong("it is no URL; write s3://<bucket>?endpoint=<URL>&region=<name>"))?;
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(|| wrong("it names no bucket; write s3://<bucket>?endpoint=<URL>"))?;
        if !matches!(url.path(), "" | "/") || url.port().is_some() || url.fragment().is_some() {
            return Err(wrong("a bucket stands alone, without a port, a path or a fragment; the server's address is the endpoint"));
        }
        let (mut endpoint, mut public_endpoint, mut region) = (None, None, None);
        for (key, value) in url.query_pairs() {
            match &*key {
                "endpoint" => endpoint = Some(address(&value)?),
                "public_endpoint" => public_endpoint = Some(address(&value)?),
                "region" => region = Some(value.into_owned()),
                _ => return Err(wrong("it knows endpoint, region and public_endpoint, and nothing else")),
            }
        }
        let from_environment = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region =
            region.or_else(|| from_environment("AWS_REGION")).or_else(|| from_environment("AWS_DEFAULT_REGION")).unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let public_endpoint = public_endpoint.unwrap_or_else(|| endpoint.clone());
        let auth = match (url.username(), url.password()) {
            ("", None) => credentials_outside().ok_or_else(|| {
                wrong("there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write them to ~/.aws/credentials, or into the URL")
            })?,
            (key, Some(secret)) => {
                let decode =
                    |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| wrong("its credentials are no UTF-8"));
                Auth::Static(Credentials::new(decode(key)?, decode(secret)?).map_err(|_| wrong("its credentials are not usable"))?)
            }
            (_, None) => return Err(wrong("it has a key without a secret; write s3://<key>:<secret>@<bucket>")),
        };
        Ok(Self { bucket: bucket.to_owned(), endpoint, public_endpoint, region, auth })
    }

    fn client(&self, endpoint: &str, attempt: Duration, attempts: u32) -> Result<Client, OpenError> {
        let wrong = |error: client::Error| OpenError::ObjectStore { reason: error.to_string() };
        let builder = Client::builder(endpoint).map_err(wrong)?.region(&self.region).auth(self.auth.clone());
        builder
            .addressing_style(AddressingStyle::Path)
            .timeout(attempt)
            .max_attempts(attempts)
            .base_retry_delay(Duration::from_millis(50))
            .build()
            .map_err(wrong)
    }
}

/// Credentials of the environment, else of the usual files.
fn credentials_outside() -> Option<Auth> {
    match Auth::from_env() {
        Ok(auth) => Some(auth),
        Err(_) => Auth::from_profile_env().ok(),
    }
}

/// The address of a server: a scheme and a host, and no more.
fn address(text: &str) -> Result<String, OpenError> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none());
    match url {
        Some(url) if matches!(url.path(), "" | "/") && url.query().is_none() => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(OpenError::ObjectStore { reason: "its endpoints are http:// or https:// addresses without a path and credentials".to_owned() }),
    }
}

/// A bucket.
pub(crate) struct S3BlobStore {
    bucket: String,
    /// For everything that is answered at once.
    quick: Client,
    /// For the bytes of files.
    slow: Client,
    /// As people reach the server.
    public: Client,
    /// The folder of uploads under way, if it goes with the store.
    _temporary: Option<TempDir>,
}

impl fmt::Debug for S3BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3BlobStore").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl S3BlobStore {
    /// Reaches the server and makes the bucket if it is not there. New buckets are private.
    ///
    /// # Errors
    /// If the URL is not usable, or the server cannot be reached.
    pub(crate) async fn open(url: &str, temporary: Option<TempDir>) -> Result<Self, OpenError> {
        let store = Self::new(S3Config::parse(url)?, temporary)?;
        store.check().await.map_err(|error| OpenError::ObjectStoreDown { reason: error.source.to_string() })?;
        Ok(store)
    }

    /// Looks whether the server can be reached, and makes nothing.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn look(url: &str) -> Result<(), OpenError> {
        let store = Self::new(S3Config::parse(url)?, None)?;
        let head = answered(store.quick.buckets().head(&store.bucket).send()).await;
        head.map(drop).map_err(|error| OpenError::ObjectStoreDown { reason: error.source.to_string() })
    }

    /// The bucket as it is, without asking anybody.
    fn new(config: S3Config, temporary: Option<TempDir>) -> Result<Self, OpenError> {
        Ok(Self {
            quick: config.client(&config.endpoint, ATTEMPT, 2)?,
            slow: config.client(&config.endpoint, TRANSFER, 1)?,
            public: config.client(&config.public_endpoint, ATTEMPT, 1)?,
            bucket: config.bucket,
            _temporary: temporary,
        })
    }

    /// The length of an object; none if it is absent.
    async fn size(&self, key: &ObjectKey) -> Stored<Option<u64>> {
        let head = answered(self.quick.objects().head(&self.bucket, key.to_string()).send()).await?;
        head.map(|head| head.content_length.ok_or_else(|| StoreError::other(NAME, "it does not tell the length of an object"))).transpose()
    }

    /// Sends an object; given up once no byte was taken for a while.
    async fn upload(&self, key: &ObjectKey, length: u64, body: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static) -> Stored<()> {
        let taken = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&taken);
        let body = body.inspect(move |piece| _ = count.fetch_add(piece.as_ref().map_or(0, Bytes::len) as u64 + 1, Ordering::Relaxed));
        let put = self.slow.objects().put(&self.bucket, key.to_string()).content_type(key.format().mime()).body_stream_sized(body, length);
        let mut sending = std::pin::pin!(put.send());
        let (mut before, mut idle) = (0, 0);
        while idle < STALL_TICKS {
            if let Ok(sent) = timeout(STALL / STALL_TICKS, &mut sending).await {
                return sent.map(drop).map_err(failed);
            }
            let now = taken.load(Ordering::Relaxed);
            idle = if now == before { idle + 1 } else { 0 };
            before = now;
        }
        Err(StoreError::unavailable(NAME, "it stopped taking an upload"))
    }
}

/// What a request gives in time; none for what is absent.
async fn answered<T>(request: impl Future<Output = client::Result<T>>) -> Stored<Option<T>> {
    match timeout(ANSWER, request).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(error)) if error.status().is_some_and(|status| status.as_u16() == 404) => Ok(None),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(StoreError::unavailable(NAME, "no answer in time")),
    }
}

/// Down, slow, full or refusing: all may work later. What the server answered in full, and addresses, stay out of it.
fn failed(error: client::Error) -> StoreError {
    match error {
        client::Error::Api { status, code, .. } | client::Error::RateLimited { status, code, .. } => {
            StoreError::unavailable(NAME, format!("it answered {status} {}", code.unwrap_or_default()))
        }
        client::Error::Transport { message, source } => {
            let innermost = source.as_ref().map(|source| std::iter::successors(Some(&**source as &dyn std::error::Error), |error| error.source()));
            let innermost = innermost.and_then(Iterator::last).map(ToString::to_string).unwrap_or_default();
            StoreError::unavailable(NAME, format!("{message}: {innermost}"))
        }
        other => StoreError::other(NAME, other),
    }
}

/// A file, piece by piece.
fn pieces(file: File) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    stream::try_unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        Ok((read > 0).then(|| (Bytes::from(piece), file)))
    })
}

#[async_trait]
impl BlobStore for S3BlobStore {
    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Stored<()> {
        let local = |error: io::Error| StoreError::unavailable("files", error);
        let mut file = File::open(file).await.map_err(local)?;
        file.set_max_buf_size(PIECE);
        let length = file.metadata().await.map_err(local)?.len();
        self.upload(key, length, pieces(file)).await
    }

    async fn put(&self, key: &ObjectKey, bytes: Vec<u8>) -> Stored<()> {
        let length = bytes.len() as u64;
        self.upload(key, length, stream::iter([Ok(Bytes::from(bytes))])).await
    }

    async fn read(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Stored<Option<Blob>> {
        let request = self.slow.objects().get(&self.bucket, key.to_string());
        let (request, known) = match range {
            None => (request, None),
            Some(range) => {
                let Some(size) = self.size(key).await? else { return Ok(None) };
                let start = range.start.min(size);
                let range = start..range.end.clamp(start, size);
                if range.is_empty() {
                    return Ok(Some(Blob { size, range, body: Box::new(Nothing) }));
                }
                (request.range_bytes(range.start, range.end - 1), Some((size, range)))
            }
        };
        let Some(answer) = answered(request.send()).await? else { return Ok(None) };
        let length = answer.content_length.ok_or_else(|| StoreError::other(NAME, "it does not tell the length of an object"))?;
        let (size, range) = known.unwrap_or((length, 0..length));
        if length != range.end - range.start {
            return Err(StoreError::unavailable(NAME, "the object changed while it was read"));
        }
        Ok(Some(Blob { size, range, body: Box::new(S3Body { stream: answer.body, left: length }) }))
    }

    async fn presign(&self, key: &ObjectKey, how: &Presign) -> Stored<String> {
        let disposition = match &how.disposition {
            Disposition::Inline => "inline".to_owned(),
            Disposition::Attachment(name) => format!("attachment; filename*=UTF-8''{}", encoded_name(name)),
        };
        let request = self.public.objects().presign_get(&self.bucket, key.to_string()).expires_in(how.ttl);
        let request = request.query_param("response-content-disposition", disposition).query_param("response-content-type", key.format().mime());
        request.build().map(|presigned| presigned.url.to_string()).map_err(failed)
    }

    async fn delete(&self, key: &ObjectKey) -> Stored<()> {
        answered(self.quick.objects().delete(&self.bucket, key.to_string()).send()).await.map(drop)
    }

    async fn list(&self, after: Option<ObjectKey>, limit: usize) -> Stored<Vec<ListedObject>> {
        let mut after = after.map(|key| key.to_string());
        let mut found = Vec::new();
        while found.len() < limit {
            let wanted = (limit - found.len()).min(PAGE);
            let mut request = self.quick.objects().list_v2(&self.bucket).max_keys(u32::try_from(wanted).unwrap_or(1));
            if let Some(after) = &after {
                request = request.start_after(after);
            }
            let page = answered(request.send()).await?.ok_or_else(|| StoreError::unavailable(NAME, "the bucket is gone"))?;
            let last = page.contents.last().map(|object| object.key.clone());
            found.extend(page.contents.iter().filter_map(|object| {
                let stored_at = object.last_modified.as_deref().and_then(Timestamp::parse)?;
                Some(ListedObject { key: object.key.parse().ok()?, stored_at })
            }));
            if !page.is_truncated || last.is_none() {
                break;
            }
            after = last;
        }
        Ok(found)
    }

    async fn check(&self) -> Stored<()> {
        if answered(self.quick.buckets().head(&self.bucket).send()).await?.is_some() {
            return Ok(());
        }
        let request = self.quick.buckets().create(&self.bucket);
        match answered(request.send()).await {
            Ok(Some(_)) => {
                tracing::info!(bucket = %self.bucket, "made the bucket for uploaded files");
                Ok(())
            }
            Ok(None) => Err(StoreError::unavailable(NAME, "the bucket is absent and cannot be made")),
            // Another node was first.
            Err(error) => answered(self.quick.buckets().head(&self.bucket).send()).await?.map(drop).ok_or(error),
        }
    }
}

/// The empty part of an object.
struct Nothing;

#[async_trait]
impl BlobBody for Nothing {
    async fn next(&mut self) -> Stored<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// An object that is being read.
struct S3Body {
    stream: Pin<Box<dyn Stream<Item = client::Result<Bytes>> + Send>>,
    left: u64,
}

#[async_trait]
impl BlobBody for S3Body {
    async fn next(&mut self) -> Stored<Option<Vec<u8>>> {
        let mut piece = Vec::new();
        while (piece.len() as u64) < self.left.min(PIECE as u64 / 2) {
            match timeout(STALL, self.stream.next()).await {
                Ok(Some(Ok(bytes))) => piece.extend_from_slice(&bytes),
                Ok(Some(Err(error))) => return Err(failed(error)),
                Ok(None) => return Err(StoreError::unavailable(NAME, "an object ended before its length")),
                Err(_) => return Err(StoreError::unavailable(NAME, "it stopped sending an object")),
            }
        }
        self.left = self.left.saturating_sub(piece.len() as u64);
        Ok((!piece.is_empty()).then_some(piece))
    }
}
