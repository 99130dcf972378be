//! What an uploaded file really is.

use std::path::Path;

use async_trait::async_trait;

use crate::media::{Format, MediaKind};

/// Pixels across of a thumbnail (contract, section 7).
pub const THUMBNAIL_WIDTH: u32 = 200;

/// Pixels across of the picture of a user or group.
pub const AVATAR_WIDTH: u32 = 640;

/// What an upload turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// What its bytes are; of the declared kind.
    pub format: Format,
    /// Pixels across, as the picture or film is to be shown (turned as its metadata says).
    pub width: Option<u32>,
    /// Pixels down.
    pub height: Option<u32>,
    /// How long it plays.
    pub duration_ms: Option<u32>,
    /// A small JPEG without metadata, of an image or a film where one could be made: huge progressive or WebP pictures have
    /// none, nor have films where there is no FFmpeg.
    pub thumbnail: Option<Vec<u8>>,
}

/// Why an upload is not taken.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It is of no allowed format, not of the declared kind, or broken; the sentence for people says which.
    #[error("{0}")]
    Invalid(String),
    /// It would unfold to more than may be held, such as a picture of too many pixels; the sentence for people says of what.
    #[error("{0}")]
    TooLarge(String),
    /// It cannot be looked at now.
    #[error("{0}")]
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
}

/// Tells what an uploaded file is, by its bytes alone.
///
/// The number of files looked at at once, and the memory and time each may take, are bounded inside.
#[async_trait]
pub trait MediaInspector: Send + Sync {
    /// Looks at a file that was uploaded as one of this kind, and makes its thumbnail that many pixels wide at the most
    /// ([`THUMBNAIL_WIDTH`] for what is sent; [`AVATAR_WIDTH`] for what becomes the picture of a user or group, of which only
    /// the thumbnail is kept, as it carries no metadata). A smaller picture is not made larger.
    async fn inspect(&self, file: &Path, declared: MediaKind, thumbnail_width: u32) -> Result<Inspected, InspectError>;
}
