//! Objects as files, which the server hands out itself under signed addresses. Names come from [`ObjectKey`] alone, so that
//! none leads out of the folder.
//!
//! Below `originals` and `thumbnails` lies a folder for each few hours of ids, so that none holds too many files.

use std::fs;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use tempfile::{NamedTempFile, TempDir};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use wa_core::link::FileSigner;
use wa_core::media::ObjectKey;
use wa_core::ports::{Blob, BlobBody, BlobStore, Env, ListedObject, Presign, Stored};
use wa_core::time::Timestamp;

use super::{blocking, failed, make_empty, make_folder, sync_folder};

/// Bytes that are read at a time.
const PIECE: usize = 128 << 10;

/// How much of an id names its folder: ids of 2^24 ms, some five hours, have so much in common.
const SHARD: usize = 6;

/// Where objects lie until they are whole, below the folder of the store.
const PARTS: &str = ".parts";

/// What their names begin with.
const PART: &str = "part-";

/// Objects in a folder.
pub(crate) struct LocalBlobStore {
    root: PathBuf,
    signer: FileSigner,
    env: Arc<dyn Env>,
    /// The folder, if it goes with the store.
    _temporary: Option<TempDir>,
}

impl std::fmt::Debug for LocalBlobStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalBlobStore").field("root", &self.root).finish_non_exhaustive()
    }
}

impl LocalBlobStore {
    /// Takes this folder, which is made if it is not there, and deletes what an earlier process left half done.
    pub(crate) fn open(root: PathBuf, temporary: Option<TempDir>, signer: FileSigner, env: Arc<dyn Env>) -> io::Result<Self> {
        for folder in ["originals", "thumbnails"] {
            make_folder(&root.join(folder))?;
        }
        make_empty(&root.join(PARTS), PART)?;
        sync_folder(&root)?;
        if let Some(above) = root.parent().filter(|above| !above.as_os_str().is_empty()) {
            sync_folder(above)?;
        }
        Ok(Self { root, signer, env, _temporary: temporary })
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        path(&self.root, key)
    }
}

fn path(root: &Path, key: &ObjectKey) -> PathBuf {
    let name = key.to_string();
    let (folder, name) = name.split_once('/').unwrap_or_default();
    root.join(folder).join(name.get(..SHARD).unwrap_or_default()).join(name)
}

/// Makes sure of the folder of an object, and that its name will last.
fn folder_of(target: &Path) -> io::Result<&Path> {
    let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_folder(folder)?;
    // Also if it was there: whoever made it may not have come to this yet.
    sync_folder(folder.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    Ok(folder)
}

/// A file that becomes an object, and vanishes if it does not.
fn part(root: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(PART).tempfile_in(root.join(PARTS))
}

/// Puts a file that is complete and durable in its place.
fn place(root: &Path, file: &Path, target: &Path) -> io::Result<()> {
    let folder = folder_of(target)?;
    match fs::rename(file, target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let mut copy = part(root)?;
            io::copy(&mut fs::File::open(file)?, copy.as_file_mut())?;
            copy.as_file().sync_all()?;
            copy.persist(target).map_err(|error| error.error)?;
        }
        placed => placed?,
    }
    sync_folder(folder)
}

#[async_trait]
impl BlobStore for LocalBlobStore {
    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Stored<()> {
        let (root, target, file) = (self.root.clone(), self.path(key), file.to_owned());
        blocking(move || {
            fs::File::open(&file)?.sync_all()?;
            place(&root, &file, &target)
        })
        .await
    }

    async fn put(&self, key: &ObjectKey, bytes: Vec<u8>) -> Stored<()> {
        let (root, target) = (self.root.clone(), self.path(key));
        blocking(move || {
            let folder = folder_of(&target)?;
            let mut part = part(&root)?;
            part.write_all(&bytes)?;
            part.as_file().sync_all()?;
            part.persist(&target).map_err(|error| error.error)?;
            sync_folder(folder)
        })
        .await
    }

    async fn read(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Stored<Option<Blob>> {
        let mut file = match File::open(self.path(key)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let size = file.metadata().await.map_err(failed)?.len();
        let range = range.unwrap_or(0..size);
        let start = range.start.min(size);
        let range = start..range.end.clamp(start, size);
        if start > 0 {
            file.seek(io::SeekFrom::Start(start)).await.map_err(failed)?;
        }
        file.set_max_buf_size(PIECE);
        let body = Box::new(LocalBody { file, left: range.end - range.start });
        Ok(Some(Blob { size, range, body }))
    }

    async fn presign(&self, key: &ObjectKey, how: &Presign) -> Stored<String> {
        Ok(self.signer.sign(key, how, self.env.now()))
    }

    async fn delete(&self, key: &ObjectKey) -> Stored<()> {
        let target = self.path(key);
        blocking(move || match fs::remove_file(target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        })
        .await
    }

    async fn list(&self, after: Option<ObjectKey>, limit: usize) -> Stored<Vec<ListedObject>> {
        let root = self.root.clone();
        blocking(move || list(&root, after, limit)).await
    }

    async fn check(&self) -> Stored<()> {
        let root = self.root.clone();
        // A disk that is full or read-only shows here as well.
        blocking(move || part(&root)?.write_all(b"ok")).await
    }
}

/// The names in a folder, in their order; none if it is not there.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names: Vec<String> = entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()).collect::<io::Result<_>>()?;
    names.sort_unstable();
    Ok(names)
}

fn list(root: &Path, after: Option<ObjectKey>, limit: usize) -> io::Result<Vec<ListedObject>> {
    let after = after.map(|key| key.to_string()).unwrap_or_default();
    let mut found = Vec::new();
    for kind in ["originals", "thumbnails"] {
        for shard in names(&root.join(kind))? {
            let first = format!("{kind}/{shard}");
            // Whole folders of smaller keys are not even looked into.
            if first.as_str() < after.get(..first.len()).unwrap_or_default() {
                continue;
            }
            let folder = root.join(kind).join(&shard);
            for name in names(&folder)? {
                let text = format!("{kind}/{name}");
                let Ok(key) = text.parse::<ObjectKey>() else { continue };
                if text <= after {
                    continue;
                }
                let stored_at = match fs::metadata(folder.join(&name)).and_then(|file| file.modified()) {
                    Ok(stored_at) => stored_at.duration_since(UNIX_EPOCH).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                if found.len() == limit {
                    return Ok(found);
                }
                found.push(ListedObject { key, stored_at: Timestamp::from_millis(i64::try_from(stored_at.as_millis()).unwrap_or(i64::MAX)) });
            }
        }
    }
    Ok(found)
}

/// A file that is being read.
struct LocalBody {
    file: File,
    left: u64,
}

#[async_trait]
impl BlobBody for LocalBody {
    async fn next(&mut self) -> Stored<Option<Vec<u8>>> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
        if wanted == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; wanted];
        let read = self.file.read(&mut piece).await.map_err(failed)?;
        if read == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        piece.truncate(read);
        self.left -= read as u64;
        Ok(Some(piece))
    }
}
