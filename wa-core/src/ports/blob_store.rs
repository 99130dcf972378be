//! Where the bytes of uploaded files lie.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use super::Stored;
use crate::media::ObjectKey;
use crate::time::Timestamp;

/// How a presigned URL is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presign {
    /// How long it is good.
    pub ttl: Duration,
    /// What a browser is told to do with it.
    pub disposition: Disposition,
}

/// What a browser does with a file. Its type always is that of the object's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Shows it in place.
    Inline,
    /// Saves it under this name.
    Attachment(String),
}

/// An object that is being read.
pub struct Blob {
    /// Bytes of the whole object.
    pub size: u64,
    /// The part that is read, within `0..size`.
    pub range: Range<u64>,
    /// The bytes of that part.
    pub body: Box<dyn BlobBody>,
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob").field("size", &self.size).field("range", &self.range).finish_non_exhaustive()
    }
}

/// Bytes that come piece by piece.
#[async_trait]
pub trait BlobBody: Send {
    /// The next piece, of at most 256 KiB and never empty; `None` after the last.
    async fn next(&mut self) -> Stored<Option<Vec<u8>>>;
}

/// An object as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedObject {
    /// Its name.
    pub key: ObjectKey,
    /// When it was put.
    pub stored_at: Timestamp,
}

/// Where the bytes of uploaded files lie: objects that are put once, read in parts, and deleted.
///
/// A put that fails, or that the process does not survive, leaves no object of that name, or the whole one: never a part.
///
/// * `an_object_reads_back_whole_and_in_parts`
/// * `a_range_past_the_end_is_cut_and_one_behind_it_is_empty`
/// * `an_absent_object_reads_as_none`
/// * `putting_again_replaces`
/// * `a_deleted_object_is_gone_and_deleting_it_again_is_no_error`
/// * `a_listing_is_in_the_order_of_keys_and_goes_on_after_the_last`
/// * `a_large_file_is_put_and_read_in_pieces`
/// * `a_store_that_can_be_used_is_healthy`
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Puts a file as an object, durably: afterwards it survives a crash. The file may be moved away.
    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Stored<()>;

    /// Puts a few bytes as an object, durably.
    async fn put(&self, key: &ObjectKey, bytes: Vec<u8>) -> Stored<()>;

    /// Reads an object, or the part of it that lies in the range (its end is cut to the object's). `None` if it is absent.
    async fn read(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Stored<Option<Blob>>;

    /// A URL under which anybody can fetch the object (GET, with `Range`) for a while, without any other credential. HEAD may be
    /// refused: signatures of S3 are good for one method.
    /// The object's type is that of its format. It need not exist.
    async fn presign(&self, key: &ObjectKey, how: &Presign) -> Stored<String>;

    /// Deletes an object; an absent one is no error.
    async fn delete(&self, key: &ObjectKey) -> Stored<()>;

    /// Objects in the order of their names as text, at most `limit`, from the one behind `after` on. Names that are no
    /// [`ObjectKey`] are left out.
    async fn list(&self, after: Option<ObjectKey>, limit: usize) -> Stored<Vec<ListedObject>>;

    /// Whether it can be used now.
    async fn check(&self) -> Stored<()>;
}
