//! Uploaded files, and the pictures of users and groups.

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{ChatId, MediaId};
use crate::media::{MediaKind, MediaView};
use crate::session::Caller;
use crate::upload::Upload;

/// Whose picture an upload becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AvatarOf {
    /// The caller's.
    Caller,
    /// A group's, of which the caller is an admin.
    Group(ChatId),
}

/// What a file is uploaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be sent; the kind, if it is known before the bytes come.
    Send(Option<MediaKind>),
    /// As a picture.
    Avatar(AvatarOf),
}

/// What a sweep deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files that nothing referred to.
    pub files: usize,
    /// Objects of no known file, which uploads left that a crash ended.
    pub objects: usize,
}

/// Uploaded files (contract, section 1.5), and the pictures of users and groups (sections 1.2 and 1.3).
#[async_trait]
pub trait MediaApi: Send + Sync {
    /// Makes ready to take a file, if the caller may upload it.
    ///
    /// # Errors
    /// UNAVAILABLE when too many uploads are under way; of a group's picture, as for changing the group.
    async fn begin(&self, caller: &Caller, purpose: Purpose) -> Result<Upload>;

    /// Keeps a file whose bytes are all in, as one of this kind and with the name it has on the caller's device.
    ///
    /// # Errors
    /// MEDIA_INVALID_TYPE if it is not of that kind, MEDIA_TOO_LARGE, VALIDATION_ERROR if it is empty.
    async fn store(&self, caller: &Caller, upload: Upload, kind: MediaKind, file_name: Option<String>) -> Result<MediaView>;

    /// Makes a picture of a file whose bytes are all in, in place of the one before. Returns its stable address.
    ///
    /// # Errors
    /// As [`Self::store`]; of a group's picture, as for changing the group.
    async fn set_avatar(&self, caller: &Caller, of: AvatarOf, upload: Upload) -> Result<String>;

    /// What is known of a file, with fresh URLs.
    ///
    /// # Errors
    /// NOT_FOUND for whoever may not see it.
    async fn get(&self, caller: &Caller, id: MediaId) -> Result<MediaView>;

    /// A fresh URL under which the file is saved under its name.
    ///
    /// # Errors
    /// NOT_FOUND for whoever may not see it.
    async fn download(&self, caller: &Caller, id: MediaId) -> Result<String>;

    /// A fresh URL of a file that is the picture of a user or group now. Whoever knows its id was told the picture's address.
    ///
    /// # Errors
    /// NOT_FOUND for any other file.
    async fn avatar(&self, id: MediaId) -> Result<String>;

    /// Deletes files that nothing has referred to for long, and objects of no known file.
    async fn sweep(&self) -> Result<Swept>;
}
