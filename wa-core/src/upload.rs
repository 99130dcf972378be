//! A file on its way in: its bytes go to a staged file, are counted and hashed, and vanish with it unless it is kept.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result, TooLarge};
use crate::media::Checksum;
use crate::ports::StagedFile;

/// Places for uploads that are under way.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// One of [`Places`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// # Errors
    /// UNAVAILABLE if all are taken.
    pub(crate) fn take(&self) -> Result<Place> {
        let free = |taken| (taken < self.most).then_some(taken + 1);
        match self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, free) {
            Ok(_) => Ok(Place(Arc::clone(&self.taken))),
            Err(_) => Err(Error::unavailable("as many uploads are under way as may be")),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A file on its way in. Dropping it leaves nothing behind.
pub struct Upload {
    staged: Box<dyn StagedFile>,
    hash: Sha256,
    size: u64,
    most: u64,
    _place: Place,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("size", &self.size).field("most", &self.most).finish_non_exhaustive()
    }
}

impl Upload {
    pub(crate) fn new(staged: Box<dyn StagedFile>, most: u64, place: Place) -> Self {
        Self { staged, hash: Sha256::new(), size: 0, most, _place: place }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// MEDIA_TOO_LARGE past the limit of what is uploaded, UNAVAILABLE if they cannot be written.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > self.most {
            return Err(Error::TooLarge(TooLarge::Media));
        }
        self.hash.update(bytes);
        // Whatever the disk says, nothing is stored: the same file may be sent again.
        self.staged.write(bytes).await.map_err(Error::unavailable)
    }

    /// How many bytes came in.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Ends writing, and tells what the bytes hash to.
    pub(crate) async fn finish(&mut self) -> Result<Checksum> {
        self.staged.finish().await.map_err(Error::unavailable)?;
        Ok(Checksum(std::mem::take(&mut self.hash).finalize().into()))
    }

    /// Where the bytes lie.
    pub(crate) fn path(&self) -> &Path {
        self.staged.path()
    }
}
