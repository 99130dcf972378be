//! What is known of uploaded files.

use async_trait::async_trait;

use super::Stored;
use crate::id::MediaId;
use crate::media::Media;
use crate::time::Timestamp;

/// What is known of uploaded files.
///
/// A file is *used* when a message, profile, group or status is about to refer to it. One that nothing has referred to since
/// long is *released* before its objects are deleted: from then on it cannot be used, so that no use can overtake the
/// deletion, whichever database holds the messages.
///
/// * `what_was_inserted_reads_back`
/// * `unknown_files_are_left_out`
/// * `using_a_file_puts_its_release_off`
/// * `a_released_file_is_gone_for_everybody_but_the_sweep`
/// * `of_a_use_and_a_release_one_wins`
/// * `unused_files_come_oldest_first_and_bounded`
/// * `a_removed_file_is_gone`
#[async_trait]
pub trait MediaStore: Send + Sync {
    /// Stores what is known of a new file, durably; it counts as used when it was made.
    async fn insert(&self, media: &Media) -> Stored<()>;

    /// These files, in no order; unknown and released ones are left out.
    async fn get(&self, ids: &[MediaId]) -> Stored<Vec<Media>>;

    /// Notes that something is about to refer to a file. Returns whether it is there, and not released.
    async fn mark_used(&self, id: MediaId, at: Timestamp) -> Stored<bool>;

    /// Files last used before this time, released ones included, those unused longest first, after the one named, at most
    /// `limit`.
    async fn unused(&self, before: Timestamp, after: Option<(Timestamp, MediaId)>, limit: usize) -> Stored<Vec<Unused>>;

    /// Releases a file that was last used before this time. Returns whether it is released now.
    async fn release(&self, id: MediaId, before: Timestamp) -> Stored<bool>;

    /// Forgets released files.
    async fn remove(&self, ids: &[MediaId]) -> Stored<()>;

    /// Those of these ids for which there is a row, released or not.
    async fn known(&self, ids: &[MediaId]) -> Stored<Vec<MediaId>>;
}

/// A file that was not used for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// The file.
    pub media: Media,
    /// When it was last used.
    pub used_at: Timestamp,
    /// Whether it was released already.
    pub is_released: bool,
}
