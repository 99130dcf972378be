//! Where an upload lies until it is known to be good.

use std::path::Path;

use async_trait::async_trait;

use super::Stored;

/// A file that takes an upload. It vanishes when it is dropped, unless it was moved away.
#[async_trait]
pub trait StagedFile: Send + Sync {
    /// Adds bytes at its end.
    async fn write(&mut self, bytes: &[u8]) -> Stored<()>;

    /// Ends writing: from then on whoever opens the path reads all of it. Durability is left to whoever keeps the file.
    async fn finish(&mut self) -> Stored<()>;

    /// Where it lies.
    fn path(&self) -> &Path;
}

/// Where uploads lie until they are known to be good: a folder of this process, emptied at its start.
///
/// * `a_staged_file_holds_what_was_written`
/// * `a_dropped_staged_file_vanishes`
/// * `a_staged_file_that_was_moved_away_stays_where_it_is`
#[async_trait]
pub trait Staging: Send + Sync {
    /// A new, empty file.
    async fn stage(&self) -> Stored<Box<dyn StagedFile>>;
}
