//! Uploaded files on their way from one store of objects to another. An object is there whole or not at all, so the listing
//! of the target says how far the copy got.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use wa_core::error::StoreError;
use wa_core::media::ObjectKey;
use wa_core::ports::{BlobStore, Stored};

use super::{Difference, ObjectsReport, Step, TransferError, Watch};

/// Objects of one listing, and objects on their way at a time.
const LISTED: usize = 1000;
const AT_ONCE: usize = 4;

/// How often an object is tried, and the pause after the first failure, which doubles: networks stumble.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

/// Differences that are told one by one.
const TOLD: usize = 10;

/// The size and the hash of an object, if it is there.
type Sum = Option<(u64, [u8; 32])>;

/// Both stores.
pub(super) struct Objects {
    pub(super) source: Arc<dyn BlobStore>,
    pub(super) target: Arc<dyn BlobStore>,
}

fn failed(doing: &str, key: ObjectKey, source: StoreError) -> TransferError {
    TransferError::Failed { doing: format!("{doing} {key}"), source }
}

fn unlisted(which: &str) -> impl Fn(StoreError) -> TransferError {
    move |source| TransferError::Failed { doing: format!("list the files of the {which}"), source }
}

async fn page(store: &dyn BlobStore, after: Option<ObjectKey>) -> Stored<Vec<ObjectKey>> {
    Ok(store.list(after, LISTED).await?.into_iter().map(|object| object.key).collect())
}

/// Tries work that may fail for a moment.
async fn persistently<T, Work: Future<Output = Stored<T>>>(work: impl Fn() -> Work) -> Stored<T> {
    let (mut left, mut pause) = (TRIES, PAUSE);
    loop {
        left -= 1;
        match work().await {
            Err(_) if left > 0 => tokio::time::sleep(pause).await,
            done => return done,
        }
        pause *= 2;
    }
}

/// Does something with many objects, a few at a time; what it gives comes in any order.
struct Crowd<T> {
    tasks: JoinSet<Result<T, TransferError>>,
}

impl<T: Send + 'static> Crowd<T> {
    fn new() -> Self {
        Self { tasks: JoinSet::new() }
    }

    /// Begins with one more, once there is room; gives what came of an earlier one meanwhile.
    async fn begin(&mut self, task: impl Future<Output = Result<T, TransferError>> + Send + 'static) -> Result<Option<T>, TransferError> {
        let done = if self.tasks.len() < AT_ONCE { None } else { self.next().await? };
        self.tasks.spawn(task);
        Ok(done)
    }

    async fn next(&mut self) -> Result<Option<T>, TransferError> {
        match self.tasks.join_next().await {
            None => Ok(None),
            Some(Ok(done)) => done.map(Some),
            Some(Err(error)) => Err(TransferError::Failed { doing: "go on".to_owned(), source: StoreError::other("files", error) }),
        }
    }
}

/// How many files there are, and how large they are.
pub(super) async fn measure(store: &Arc<dyn BlobStore>, watch: Watch<'_>) -> Result<ObjectsReport, TransferError> {
    let mut report = ObjectsReport::default();
    let mut crowd = Crowd::new();
    let mut after = None;
    let mut add = |size: Option<u64>| {
        if let Some(size) = size {
            report.objects += 1;
            report.bytes += size;
            watch(Step::ReadingFiles { objects: report.objects, bytes: report.bytes });
        }
    };
    loop {
        let keys = page(&**store, after).await.map_err(unlisted("source"))?;
        let Some(last) = keys.last() else { break };
        after = Some(*last);
        for key in keys {
            let store = Arc::clone(store);
            let size = async move {
                let blob = persistently(|| store.read(&key, Some(0..0))).await.map_err(|error| failed("read", key, error))?;
                Ok(blob.map_or(0, |blob| blob.size))
            };
            add(crowd.begin(size).await?);
        }
    }
    while let Some(size) = crowd.next().await? {
        add(Some(size));
    }
    Ok(report)
}

impl Objects {
    /// Copies what the target lacks.
    pub(super) async fn copy(&self, watch: Watch<'_>) -> Result<(), TransferError> {
        let mut report = ObjectsReport::default();
        let mut crowd = Crowd::new();
        let mut after = None;
        let mut add = |size: Option<u64>| {
            if let Some(size) = size {
                report.objects += 1;
                report.bytes += size;
                watch(Step::CopyingFiles { objects: report.objects, bytes: report.bytes });
            }
        };
        loop {
            let keys = page(&*self.source, after).await.map_err(unlisted("source"))?;
            let Some(last) = keys.last() else { break };
            let there = self.among(after, *last).await?;
            after = Some(*last);
            for key in keys.into_iter().filter(|key| !there.contains(&key.to_string())) {
                let (source, target) = (Arc::clone(&self.source), Arc::clone(&self.target));
                let copied = async move { persistently(|| carry(&*source, &*target, key)).await.map_err(|error| failed("copy", key, error)) };
                add(crowd.begin(copied).await?);
            }
        }
        while let Some(size) = crowd.next().await? {
            add(Some(size));
        }
        Ok(())
    }

    /// What the target has between these two, the second included.
    async fn among(&self, after: Option<ObjectKey>, last: ObjectKey) -> Result<BTreeSet<String>, TransferError> {
        let (mut found, mut after, last) = (BTreeSet::new(), after, last.to_string());
        loop {
            let keys = page(&*self.target, after).await.map_err(unlisted("target"))?;
            let end = keys.last().copied();
            found.extend(keys.iter().map(ToString::to_string));
            match end {
                Some(end) if end.to_string() < last => after = Some(end),
                _ => return Ok(found),
            }
        }
    }

    /// Reads every file on both sides.
    pub(super) async fn compare(&self, watch: Watch<'_>) -> Result<(ObjectsReport, Vec<Difference>), TransferError> {
        let mut report = ObjectsReport::default();
        let mut differences = Vec::new();
        let mut tell = |key: String, what: &str| {
            if differences.len() < TOLD {
                differences.push(Difference { place: key, what: what.to_owned() });
            }
        };
        let mut crowd = Crowd::new();
        let mut add = |found: Option<(ObjectKey, [Sum; 2])>| {
            let Some((key, [here, there])) = found else { return };
            if let Some((size, _)) = here {
                report.objects += 1;
                report.bytes += size;
            }
            match (here, there) {
                (Some(_), None) => tell(key.to_string(), "it is missing"),
                (None, Some(_)) => tell(key.to_string(), "it is not of the source"),
                (here, there) if here != there => tell(key.to_string(), "its bytes differ"),
                _ => {}
            }
            watch(Step::ComparingFiles { objects: report.objects, bytes: report.bytes });
        };
        let mut after = None;
        loop {
            let mut keys = page(&*self.source, after).await.map_err(unlisted("source"))?;
            // Behind the last of the source there may be more that should not be there.
            let there = match keys.last() {
                Some(last) => self.among(after, *last).await?,
                None => page(&*self.target, after).await.map_err(unlisted("target"))?.iter().map(ToString::to_string).collect(),
            };
            let end = keys.last().map(ToString::to_string);
            let known: BTreeSet<String> = keys.iter().map(ToString::to_string).collect();
            let more = there.iter().filter(|key| !known.contains(*key) && end.as_ref().is_none_or(|end| *key <= end));
            keys.extend(more.filter_map(|key| key.parse::<ObjectKey>().ok()));
            let Some(last) = keys.iter().max_by_key(ToString::to_string).copied() else { break };
            after = Some(last);
            for key in keys {
                let (source, target) = (Arc::clone(&self.source), Arc::clone(&self.target));
                let both = async move {
                    let sums = tokio::join!(persistently(|| sum(&*source, key)), persistently(|| sum(&*target, key)));
                    Ok((key, [sums.0.map_err(|error| failed("read", key, error))?, sums.1.map_err(|error| failed("read", key, error))?]))
                };
                add(crowd.begin(both).await?);
            }
        }
        while let Some(found) = crowd.next().await? {
            add(Some(found));
        }
        Ok((report, differences))
    }
}

/// Carries an object over, and gives its size. It goes through a file, so that memory holds a piece of it at a time.
async fn carry(source: &dyn BlobStore, target: &dyn BlobStore, key: ObjectKey) -> Stored<u64> {
    let local = |error: std::io::Error| StoreError::unavailable("files", error);
    // What the source swept meanwhile need not be there.
    let Some(mut blob) = source.read(&key, None).await? else { return Ok(0) };
    let (file, path) = tempfile::NamedTempFile::new().map_err(local)?.into_parts();
    let mut file = tokio::fs::File::from_std(file);
    while let Some(piece) = blob.body.next().await? {
        file.write_all(&piece).await.map_err(local)?;
    }
    file.flush().await.map_err(local)?;
    drop(file);
    target.put_file(&key, &path).await?;
    Ok(blob.size)
}

/// Reads an object.
async fn sum(store: &dyn BlobStore, key: ObjectKey) -> Stored<Sum> {
    let Some(mut blob) = store.read(&key, None).await? else { return Ok(None) };
    let mut hash = Sha256::new();
    while let Some(piece) = blob.body.next().await? {
        hash.update(&piece);
    }
    Ok(Some((blob.size, hash.finalize().into())))
}
