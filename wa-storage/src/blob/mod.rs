//! Where the bytes of uploaded files lie, and where they lie before it is known what they are.

mod local;
#[cfg(feature = "s3")]
mod s3;
mod staging;

use std::io;
use std::path::Path;

use tokio::task::spawn_blocking;
use wa_core::error::StoreError;
use wa_core::ports::Stored;

pub(crate) use local::LocalBlobStore;
#[cfg(feature = "s3")]
pub(crate) use s3::S3BlobStore;
pub(crate) use staging::LocalStaging;

/// A file that cannot be read or written: the disk may be full, away or slow, and may work later.
fn failed(error: io::Error) -> StoreError {
    StoreError::unavailable("files", error)
}

/// Does what waits for a disk where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Stored<T> {
    spawn_blocking(work).await.map_err(|error| StoreError::other("files", error))?.map_err(failed)
}

/// Makes a folder for this user alone, with those above it.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Makes a folder, or removes from it the files whose names begin like this. Only those: the folder may have been named by
/// mistake.
fn make_empty(folder: &Path, prefix: &str) -> io::Result<()> {
    make_folder(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Lets names made in, or removed from, a folder outlive a power failure.
fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    std::fs::File::open(folder)?.sync_all()?;
    let _ = folder;
    Ok(())
}
