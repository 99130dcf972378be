//! The first bytes say which family a file is of; the family's own reader then says what it really is.

use std::io::{Read, Seek};

use wa_core::media::{Format, MediaKind};
use wa_core::ports::Inspected;

use super::bounded::{Near, length, read_at};
use super::{Refusal, audio, bmff, ebml, office, ogg, picture, text, wave};

/// How much of a file's beginning is looked at for its magic bytes.
const HEAD: u64 = 4096;

/// What is known of a file once it was looked at.
pub(super) struct Finding {
    pub(super) format: Format,
    pub(super) size: Option<(u32, u32)>,
    pub(super) duration_ms: Option<u32>,
    pub(super) thumbnail: Option<Vec<u8>>,
}

impl From<Format> for Finding {
    fn from(format: Format) -> Self {
        Self { format, size: None, duration_ms: None, thumbnail: None }
    }
}

/// Which reader knows more of a file.
enum Family {
    Image(Format),
    Bmff,
    Ebml,
    Ogg,
    Wave,
    Framed,
    Pdf,
    Zip,
    Compound,
    Unknown,
}

fn family(head: &[u8]) -> Family {
    match head {
        [0xFF, 0xD8, 0xFF, ..] => Family::Image(Format::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Family::Image(Format::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Family::Image(Format::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Family::Image(Format::Webp),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Family::Wave,
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Family::Bmff,
        // QuickTime files from before there was a type box.
        [_, _, _, _, b'm', b'o', b'o', b'v', ..] | [_, _, _, _, b'm', b'd', b'a', b't', ..] | [_, _, _, _, b'w', b'i', b'd', b'e', ..] => Family::Bmff,
        [0x1A, 0x45, 0xDF, 0xA3, ..] => Family::Ebml,
        [b'O', b'g', b'g', b'S', ..] => Family::Ogg,
        // 0xFF 0xFE begins text in UTF-16 too, and no MP3.
        [b'I', b'D', b'3', ..] | [0xFF, 0xE0..=0xFD, ..] => Family::Framed,
        [b'%', b'P', b'D', b'F', b'-', b'1'..=b'9', b'.', b'0'..=b'9', ..] => Family::Pdf,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Family::Zip,
        [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1, ..] => Family::Compound,
        _ => Family::Unknown,
    }
}

/// Looks at a file that was uploaded as one of this kind, and makes a thumbnail of a picture, at most that wide. The memory it takes is bounded whatever the file holds; the time
/// grows with its length and with the number of its pixels.
///
/// # Errors
/// If it is of no allowed format, of another kind, broken, or too large a picture; the text is for people.
pub fn examine(file: &mut (impl Read + Seek + Send), declared: MediaKind, thumbnail_width: u32) -> Result<Inspected, Refusal> {
    let total = length(file)?;
    let head = read_at(file, 0, HEAD)?;
    if head.is_empty() {
        return Err(Refusal::invalid("The file is empty"));
    }
    file.rewind()?;
    let family = family(&head);
    // A picture that was declared to be something else is not worth decoding.
    if matches!(family, Family::Image(_)) != (declared == MediaKind::Image) {
        return Err(mismatch(&head, declared));
    }
    let finding = match family {
        Family::Image(format) => picture::examine(format, file, thumbnail_width)?,
        Family::Bmff => bmff::examine(&mut Near::new(file), total)?,
        Family::Ebml => ebml::examine(Near::new(file), total)?,
        Family::Ogg => ogg::examine(file, total)?,
        Family::Wave => wave::examine(file, total)?,
        Family::Framed => audio::examine(&mut Near::new(file), total)?,
        Family::Pdf => Format::Pdf.into(),
        Family::Zip => office::zip(file)?.into(),
        Family::Compound => office::compound(file)?.into(),
        Family::Unknown if declared == MediaKind::Document => text::examine(&head, file)?.into(),
        Family::Unknown => return Err(mismatch(&head, declared)),
    };
    if finding.format.kind() != declared {
        return Err(Refusal::Invalid(format!("This is {} ({}), but it was uploaded as {declared}", article(finding.format.kind()), finding.format.mime())));
    }
    Ok(Inspected {
        format: finding.format,
        width: finding.size.map(|size| size.0),
        height: finding.size.map(|size| size.1),
        duration_ms: finding.duration_ms,
        thumbnail: finding.thumbnail,
    })
}

const fn article(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "an image",
        MediaKind::Video => "a video",
        MediaKind::Audio => "an audio file",
        MediaKind::Document => "a document",
    }
}

fn mismatch(head: &[u8], declared: MediaKind) -> Refusal {
    let accepted = match declared {
        MediaKind::Image => "JPEG, PNG, WebP and GIF",
        MediaKind::Video => "MP4, 3GP, MKV, WebM and MOV",
        MediaKind::Audio => "AAC, M4A, OGG, OPUS, MP3 and WAV",
        MediaKind::Document => "PDF, DOC, DOCX, XLS, XLSX, PPT, PPTX, TXT, CSV and ZIP",
    };
    Refusal::Invalid(match infer::get(head) {
        Some(found) => format!("Accepted as {declared} are {accepted}; this is {}", found.mime_type()),
        None => format!("Accepted as {declared} are {accepted}; this is none of them"),
    })
}

/// A duration in milliseconds; none for a nonsensical one of more than a week.
pub(super) fn duration(units: u64, per_second: u64) -> Option<u32> {
    const WEEK_MS: u128 = 7 * 24 * 60 * 60 * 1000;
    let ms = (u128::from(units) * 1000).checked_div(u128::from(per_second))?;
    (0 < ms && ms <= WEEK_MS).then(|| u32::try_from(ms).ok()).flatten()
}
