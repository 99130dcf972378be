//! A file on its way in: its bytes go to a staged file, are counted and hashed, and vanish with it unless it is kept.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result, TooLarge};
use crate::id::UserId;
use crate::media::Checksum;
use crate::ports::StagedFile;

/// When somebody with all their places taken may ask again.
const SOON: Duration = Duration::from_secs(5);

/// Uploads under way, by who sends them; no user without any.
type Taken = Mutex<HashMap<UserId, usize>>;

/// Places for uploads that are under way.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    taken: Arc<Taken>,
    most: usize,
    /// Of one user.
    most_of_one: usize,
}

/// One of [`Places`], given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Arc<Taken>,
    user: UserId,
}

impl Places {
    pub(crate) fn new(most: usize, most_of_one: usize) -> Self {
        Self { taken: Arc::default(), most, most_of_one }
    }

    /// # Errors
    /// UNAVAILABLE if all are taken, RATE_LIMITED if as many are taken by this user as one may take.
    pub(crate) fn take(&self, user: UserId) -> Result<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= self.most {
            return Err(Error::unavailable("as many uploads are under way as may be"));
        }
        let own = taken.entry(user).or_default();
        if *own >= self.most_of_one {
            return Err(Error::RateLimited { retry_after: SOON });
        }
        *own += 1;
        Ok(Place { taken: Arc::clone(&self.taken), user })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = taken.remove(&self.user),
        }
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
