//! Keeping an upload: it is looked at, put away as objects, and then noted. A crash in between leaves objects of no known
//! file, which the sweep finds.

use sha2::{Digest as _, Sha256};

use super::MediaService;
use crate::error::{Error, Result, StoreError, StoreErrorKind, TooLarge};
use crate::id::{MediaId, UserId};
use crate::media::{Checksum, Format, Media, MediaKind, ObjectKey};
use crate::ports::{EnvExt as _, InspectError, Inspected};
use crate::upload::Upload;

/// A refusal as the client is told it.
fn refused(error: InspectError) -> Error {
    match error {
        InspectError::Invalid(why) => Error::MediaInvalidType(why),
        InspectError::TooLarge(_) => Error::TooLarge(TooLarge::Media),
        InspectError::Unavailable(cause) => Error::unavailable(cause),
    }
}

/// A store of objects that fails can be tried again: nothing was noted of the file. Its error may hold addresses.
pub(super) fn unavailable(error: StoreError) -> Error {
    match error.kind {
        StoreErrorKind::Unavailable | StoreErrorKind::Other => Error::unavailable(error),
        StoreErrorKind::Corrupt => Error::internal(error),
    }
}

impl MediaService {
    pub(super) async fn inspect(&self, upload: &Upload, kind: MediaKind, width: u32) -> Result<Inspected> {
        if upload.size() == 0 {
            return Err(Error::invalid("file", "must not be empty"));
        }
        self.deps.inspector.inspect(upload.path(), kind, width).await.map_err(refused)
    }

    /// Keeps a file that is to be sent.
    pub(super) async fn keep(&self, uploader_id: UserId, mut upload: Upload, kind: MediaKind, file_name: Option<String>, width: u32) -> Result<Media> {
        if upload.size() > kind.max_bytes(&self.deps.limits) {
            return Err(Error::TooLarge(TooLarge::Media));
        }
        let checksum = upload.finish().await?;
        let Inspected { format, width, height, duration_ms, thumbnail } = self.inspect(&upload, kind, width).await?;
        let id: MediaId = self.deps.env.new_id();
        let media = Media {
            id,
            uploader_id,
            format,
            size_bytes: upload.size(),
            width,
            height,
            duration_ms,
            checksum,
            file_name,
            has_thumbnail: thumbnail.is_some(),
            created_at: self.deps.env.now(),
        };
        self.deps.blobs.put_file(&media.original(), upload.path()).await.map_err(unavailable)?;
        if let Some(thumbnail) = thumbnail {
            self.deps.blobs.put(&ObjectKey::Thumbnail(id), thumbnail).await.map_err(unavailable)?;
        }
        self.deps.media.insert(&media).await?;
        Ok(media)
    }

    /// Keeps a picture of a user or group: a JPEG of it without metadata, which may tell where a photo was taken.
    pub(super) async fn keep_avatar(&self, uploader_id: UserId, mut upload: Upload, width: u32) -> Result<Media> {
        upload.finish().await?;
        let inspected = self.inspect(&upload, MediaKind::Image, width).await?;
        if !inspected.format.fits_avatar() {
            return Err(Error::MediaInvalidType("A picture of a user or group must be a JPEG, PNG or WebP".to_owned()));
        }
        // The file itself is not shown instead: it may tell where it was taken.
        let too_large = || {
            Error::MediaInvalidType(
                "This progressive JPEG or WebP has too many pixels to be made smaller here; make it smaller, or save it as a plain JPEG or PNG".to_owned(),
            )
        };
        let picture = inspected.thumbnail.ok_or_else(too_large)?;
        let media = Media {
            id: self.deps.env.new_id(),
            uploader_id,
            format: Format::Jpeg,
            size_bytes: picture.len() as u64,
            width: None,
            height: None,
            duration_ms: None,
            checksum: Checksum(Sha256::digest(&picture).into()),
            file_name: None,
            has_thumbnail: false,
            created_at: self.deps.env.now(),
        };
        self.deps.blobs.put(&media.original(), picture).await.map_err(unavailable)?;
        self.deps.media.insert(&media).await?;
        Ok(media)
    }
}

/// The name of a file as it is kept: without folders and control characters, and not too long; `None` if nothing is left.
pub(super) fn file_name(name: &str, max: usize) -> Option<String> {
    // Characters that turn the direction of writing make one ending look like another.
    let is_sly = |c: char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !is_sly(*c)).collect();
    let name = name.trim().trim_start_matches('.').trim();
    if name.chars().nth(max).is_none() {
        return (!name.is_empty()).then(|| name.to_owned());
    }
    // The ending is what tells people what it is.
    let (stem, ending) = name.rsplit_once('.').filter(|(_, ending)| ending.chars().count() < 16).unwrap_or((name, ""));
    let ending = if ending.is_empty() { String::new() } else { format!(".{ending}") };
    let room = max.saturating_sub(ending.chars().count());
    Some(stem.chars().take(room).chain(ending.chars()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_has_no_folders_and_no_tricks() {
        for (given, kept) in [
            ("photo.jpg", Some("photo.jpg")),
            ("/etc/passwd", Some("passwd")),
            ("..\\..\\boot.ini", Some("boot.ini")),
            ("../..", None),
            ("..", None),
            ("", None),
            (" \t", None),
            ("a\r\nSet-Cookie: x.pdf", Some("aSet-Cookie: x.pdf")),
            ("photo\u{202e}gpj.exe", Some("photogpj.exe")),
            (".htaccess", Some("htaccess")),
            ("Ünïcode 文件.pdf", Some("Ünïcode 文件.pdf")),
        ] {
            assert_eq!(file_name(given, 255).as_deref(), kept, "{given:?}");
        }
        let long = format!("{}.pdf", "ä".repeat(300));
        let kept = file_name(&long, 255).expect("something is left");
        assert_eq!(kept.chars().count(), 255);
        assert!(kept.ends_with("ä.pdf"));
    }
}
