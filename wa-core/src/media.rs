//! Uploaded files: what may be uploaded (contract, section 7), where its objects lie, and the object the outside sees.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{MediaId, UserId};
use crate::limits::Limits;
use crate::message::MessageKind;
use crate::time::Timestamp;

/// What a file is uploaded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A film.
    Video,
    /// A voice note or music.
    Audio,
    /// Any other file.
    Document,
}

impl MediaKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Image, Self::Video, Self::Audio, Self::Document];

    /// As it is written on the wire and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// What a message of this type shows, if it shows a file.
    #[must_use]
    pub const fn of_message(kind: MessageKind) -> Option<Self> {
        match kind {
            MessageKind::Image => Some(Self::Image),
            MessageKind::Video => Some(Self::Video),
            MessageKind::Audio => Some(Self::Audio),
            MessageKind::Document => Some(Self::Document),
            MessageKind::Text | MessageKind::Location | MessageKind::System => None,
        }
    }

    /// How many bytes such a file may have.
    #[must_use]
    pub const fn max_bytes(self, limits: &Limits) -> u64 {
        let bytes = match self {
            Self::Image => limits.image_bytes,
            Self::Video => limits.video_bytes,
            Self::Audio => limits.audio_bytes,
            Self::Document => limits.document_bytes,
        };
        bytes as u64
    }
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident: $kind:ident, $mime:literal, $extension:literal;)*) => {
        /// A format that may be uploaded (contract, section 7). Its bytes decide, never its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Format {
            $($(#[$doc])* $name,)*
        }

        impl Format {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What it is uploaded as.
            #[must_use]
            pub const fn kind(self) -> MediaKind {
                match self {
                    $(Self::$name => MediaKind::$kind,)*
                }
            }

            /// Its media type (RFC 6838).
            #[must_use]
            pub const fn mime(self) -> &'static str {
                match self {
                    $(Self::$name => $mime,)*
                }
            }

            /// The ending of its object's name; each format has its own.
            #[must_use]
            pub const fn extension(self) -> &'static str {
                match self {
                    $(Self::$name => $extension,)*
                }
            }
        }
    };
}

formats! {
    /// JPEG.
    Jpeg: Image, "image/jpeg", "jpg";
    /// PNG.
    Png: Image, "image/png", "png";
    /// WebP.
    Webp: Image, "image/webp", "webp";
    /// GIF.
    Gif: Image, "image/gif", "gif";
    /// MPEG-4.
    Mp4: Video, "video/mp4", "mp4";
    /// 3GP.
    ThreeGp: Video, "video/3gpp", "3gp";
    /// Matroska.
    Mkv: Video, "video/x-matroska", "mkv";
    /// WebM.
    Webm: Video, "video/webm", "webm";
    /// QuickTime.
    Mov: Video, "video/quicktime", "mov";
    /// AAC in ADTS frames.
    Aac: Audio, "audio/aac", "aac";
    /// AAC in MPEG-4.
    M4a: Audio, "audio/mp4", "m4a";
    /// Vorbis and others in Ogg.
    Ogg: Audio, "audio/ogg", "ogg";
    /// Opus in Ogg (RFC 7845, section 9).
    Opus: Audio, "audio/ogg; codecs=opus", "opus";
    /// MPEG-1 layer 3.
    Mp3: Audio, "audio/mpeg", "mp3";
    /// WAVE.
    Wav: Audio, "audio/wav", "wav";
    /// PDF.
    Pdf: Document, "application/pdf", "pdf";
    /// Word, old.
    Doc: Document, "application/msword", "doc";
    /// Word.
    Docx: Document, "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx";
    /// Excel, old.
    Xls: Document, "application/vnd.ms-excel", "xls";
    /// Excel.
    Xlsx: Document, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx";
    /// PowerPoint, old.
    Ppt: Document, "application/vnd.ms-powerpoint", "ppt";
    /// PowerPoint.
    Pptx: Document, "application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx";
    /// Text.
    Txt: Document, "text/plain", "txt";
    /// Values separated by commas.
    Csv: Document, "text/csv", "csv";
    /// ZIP.
    Zip: Document, "application/zip", "zip";
}

impl Format {
    /// The format with this ending.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.extension() == extension)
    }

    /// Whether a browser may show it in place: it then cannot run anything. Documents are saved instead.
    #[must_use]
    pub const fn shows_inline(self) -> bool {
        !matches!(self.kind(), MediaKind::Document)
    }

    /// Whether it may be the picture of a user or a group.
    #[must_use]
    pub const fn fits_avatar(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::Webp)
    }
}

/// A SHA-256, shown in lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Checksum(pub [u8; 32]);

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a stored object: `originals/<id>.<ext>` or `thumbnails/<id>.jpg` (contract, section 6). No other name can be
/// made, so that none leads out of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    /// The file as it was uploaded.
    Original(MediaId, Format),
    /// A small JPEG of it.
    Thumbnail(MediaId),
}

impl ObjectKey {
    /// Whose object it is.
    #[must_use]
    pub const fn media_id(&self) -> MediaId {
        match self {
            Self::Original(id, _) | Self::Thumbnail(id) => *id,
        }
    }

    /// What its bytes are.
    #[must_use]
    pub const fn format(&self) -> Format {
        match self {
            Self::Original(_, format) => *format,
            Self::Thumbnail(_) => Format::Jpeg,
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Original(id, format) => write!(f, "originals/{id}.{}", format.extension()),
            Self::Thumbnail(id) => write!(f, "thumbnails/{id}.jpg"),
        }
    }
}

/// The text is no name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not originals/<id>.<ext> or thumbnails/<id>.jpg")]
pub struct InvalidKey;

impl FromStr for ObjectKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let (folder, name) = text.split_once('/').ok_or(InvalidKey)?;
        let (id, extension) = name.split_once('.').ok_or(InvalidKey)?;
        let id = id.parse().map_err(|_| InvalidKey)?;
        let key = match folder {
            "originals" => Self::Original(id, Format::from_extension(extension).ok_or(InvalidKey)?),
            "thumbnails" if extension == "jpg" => Self::Thumbnail(id),
            _ => return Err(InvalidKey),
        };
        // One spelling per object: an id in capitals would be another file to some disks and the same one to others.
        if key.to_string() == text { Ok(key) } else { Err(InvalidKey) }
    }
}

/// What is known of an uploaded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// Its id.
    pub id: MediaId,
    /// Who uploaded it.
    pub uploader_id: UserId,
    /// What its bytes are.
    pub format: Format,
    /// How many bytes.
    pub size_bytes: u64,
    /// Pixels across, of pictures and films, as they are to be shown.
    pub width: Option<u32>,
    /// Pixels down.
    pub height: Option<u32>,
    /// How long it plays.
    pub duration_ms: Option<u32>,
    /// Of all its bytes.
    pub checksum: Checksum,
    /// Its name on the uploader's device, without folders.
    pub file_name: Option<String>,
    /// Whether there is a small picture of it.
    pub has_thumbnail: bool,
    /// When it was uploaded.
    pub created_at: Timestamp,
}

impl Media {
    /// Where its bytes lie.
    #[must_use]
    pub const fn original(&self) -> ObjectKey {
        ObjectKey::Original(self.id, self.format)
    }

    /// Where its small picture lies, if it has one.
    #[must_use]
    pub const fn thumbnail(&self) -> Option<ObjectKey> {
        if self.has_thumbnail { Some(ObjectKey::Thumbnail(self.id)) } else { None }
    }

    /// The object of the contract, with these addresses.
    #[must_use]
    pub fn view(&self, url: String, thumbnail_url: Option<String>) -> MediaView {
        MediaView {
            media_id: self.id,
            kind: self.format.kind(),
            file_type: self.format.kind(),
            mime_type: self.format.mime().to_owned(),
            size_bytes: self.size_bytes,
            width: self.width,
            height: self.height,
            duration_ms: self.duration_ms,
            checksum_sha256: self.checksum.to_string(),
            url,
            thumbnail_url,
        }
    }
}

/// The media object of the contract, section 1.5.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Media))]
pub struct MediaView {
    /// The file.
    pub media_id: MediaId,
    /// What it was uploaded as.
    #[serde(rename = "type")]
    pub kind: MediaKind,
    /// The same, as clients of the first version read it.
    pub file_type: MediaKind,
    /// What its bytes are.
    pub mime_type: String,
    /// How many bytes.
    pub size_bytes: u64,
    /// Pixels across; null where there are none.
    pub width: Option<u32>,
    /// Pixels down; null where there are none.
    pub height: Option<u32>,
    /// How long it plays; null where nothing plays.
    pub duration_ms: Option<u32>,
    /// SHA-256 of its bytes, in hex.
    pub checksum_sha256: String,
    /// Where it can be fetched for an hour.
    pub url: String,
    /// Where a small JPEG of it can be fetched for an hour; null if there is none.
    pub thumbnail_url: Option<String>,
}

impl fmt::Debug for MediaView {
    /// Whoever has a presigned URL can fetch the file, so that no log may hold one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaView").field("media_id", &self.media_id).field("mime_type", &self.mime_type).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "018f3f6e-7b1c-7c4e-8a57-0242ac120002";

    #[test]
    fn every_format_has_an_ending_and_a_type_of_its_own() {
        for format in Format::ALL {
            assert_eq!(Format::from_extension(format.extension()), Some(*format));
            assert_eq!(Format::ALL.iter().filter(|other| other.mime() == format.mime()).count(), 1, "{format:?}");
        }
    }

    #[test]
    fn object_keys_read_back() {
        let id: MediaId = ID.parse().expect("a UUID");
        for key in Format::ALL.iter().map(|format| ObjectKey::Original(id, *format)).chain([ObjectKey::Thumbnail(id)]) {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn nothing_else_is_an_object_key() {
        let upper = ID.to_uppercase();
        for text in [
            String::new(),
            ID.to_owned(),
            format!("originals/{ID}"),
            format!("originals/{ID}.exe"),
            format!("originals/{ID}.jpg/"),
            format!("originals/../{ID}.jpg"),
            format!("/originals/{ID}.jpg"),
            format!("originals//{ID}.jpg"),
            format!("originals/{ID}.JPG"),
            format!("originals/{upper}.jpg"),
            format!("originals/{ID}.jpg\0"),
            format!("thumbnails/{ID}.png"),
            format!("thumbnails\\{ID}.jpg"),
            format!("staging/{ID}.jpg"),
            "originals/..%2f..%2fetc%2fpasswd".to_owned(),
        ] {
            assert_eq!(text.parse::<ObjectKey>(), Err(InvalidKey), "{text}");
        }
    }
}
