//! Ogg (RFC 3533): the first pages name the codecs of the streams, the last one says where it ends.

use std::io::{Read, Seek, SeekFrom};

use wa_core::media::Format;

use super::Refusal;
use super::bounded::{length, read_at};
use super::detect::{Finding, duration};

/// Streams that may begin together.
const STREAMS: usize = 16;
/// The last page is looked for in so many bytes at the end; a page has at most 65,307.
const TAIL: u64 = 2 * 65_536;

/// A stream as its first packet describes it.
struct Stream {
    format: Format,
    serial: u32,
    /// Samples per second of its positions; none where they are not known.
    rate: Option<u64>,
    /// Samples at its start that are not played.
    skip: u64,
}

/// A page: its header, and where its content lies.
struct Page {
    first: bool,
    serial: u32,
    start: u64,
    length: u64,
}

fn page(file: &mut (impl Read + Seek), position: u64) -> Result<Option<Page>, Refusal> {
    let mut header = [0; 27];
    file.seek(SeekFrom::Start(position))?;
    file.read_exact(&mut header)?;
    if &header[..5] != b"OggS\0" {
        return Ok(None);
    }
    let mut segments = vec![0; usize::from(header[26])];
    file.read_exact(&mut segments)?;
    Ok(Some(Page {
        first: header[5] & 2 != 0,
        serial: u32::from_le_bytes([header[14], header[15], header[16], header[17]]),
        start: position + 27 + segments.len() as u64,
        length: segments.iter().map(|length| u64::from(*length)).sum(),
    }))
}

pub(super) fn examine(file: &mut (impl Read + Seek), total: u64) -> Result<Finding, Refusal> {
    let mut found: Option<Stream> = None;
    let mut position = 0;
    for _ in 0..=STREAMS {
        let Some(page) = page(file, position)? else { return Err(Refusal::broken("Ogg file")) };
        if !page.first {
            // The headers are over; what follows must be there.
            let stream = found.ok_or_else(|| Refusal::broken("Ogg file"))?;
            if page.start + page.length > total {
                return Err(Refusal::cut());
            }
            let duration_ms = end(file, &stream)?;
            return Ok(Finding { duration_ms, ..stream.format.into() });
        }
        let packet = read_at(file, page.start, page.length.min(64))?;
        if let Some(stream) = stream(&packet, page.serial)? {
            found = found.or(Some(stream));
        }
        position = page.start + page.length;
    }
    Err(Refusal::broken("Ogg file"))
}

fn stream(packet: &[u8], serial: u32) -> Result<Option<Stream>, Refusal> {
    let number = |at: usize| packet.get(at..at + 4).map(|bytes| u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])));
    Ok(match packet {
        // RFC 7845, section 5.1: positions count at 48 kHz whatever was recorded.
        [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', _, 1..=255, ..] => {
            let skip = packet.get(10..12).map_or(0, |bytes| u64::from(u16::from_le_bytes([bytes[0], bytes[1]])));
            Some(Stream { format: Format::Opus, serial, rate: Some(48_000), skip })
        }
        [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => Some(Stream { format: Format::Ogg, serial, rate: number(12), skip: 0 }),
        [b'S', b'p', b'e', b'e', b'x', b' ', b' ', b' ', ..] => Some(Stream { format: Format::Ogg, serial, rate: number(36), skip: 0 }),
        [0x7F, b'F', b'L', b'A', b'C', ..] => Some(Stream { format: Format::Ogg, serial, rate: None, skip: 0 }),
        // A table of contents beside the streams.
        [b'f', b'i', b's', b'h', b'e', b'a', b'd', 0, ..] => None,
        [0x80, b't', b'h', b'e', b'o', b'r', b'a', ..] => return Err(Refusal::invalid("Videos in Ogg are not accepted; use WebM or MP4")),
        _ => return Err(Refusal::invalid("This Ogg file holds no Opus, Vorbis, Speex or FLAC")),
    })
}

/// The position of the last page of the stream, in milliseconds; none if there is no such page near the end.
fn end(file: &mut (impl Read + Seek), stream: &Stream) -> Result<Option<u32>, Refusal> {
    let total = length(file)?;
    let tail = read_at(file, total.saturating_sub(TAIL), TAIL)?;
    let position = tail.windows(18).rev().filter(|window| window.starts_with(b"OggS\0")).find_map(|header| {
        let serial = u32::from_le_bytes([header[14], header[15], header[16], header[17]]);
        let position = u64::from_le_bytes([header[6], header[7], header[8], header[9], header[10], header[11], header[12], header[13]]);
        // No packet ends on a page whose position is −1.
        (serial == stream.serial && position != u64::MAX).then_some(position)
    });
    Ok(position.zip(stream.rate).and_then(|(position, rate)| duration(position.saturating_sub(stream.skip), rate)))
}
