//! MP3 and AAC: frames one after the other, each with a header that says how long it is. All are walked, so that the
//! duration is exact and junk behind a good start is noticed.

use std::io::{BufRead, Read, Seek, SeekFrom};

use wa_core::media::Format;

use super::Refusal;
use super::detect::{Finding, duration};

/// How many bytes that belong to no frame are stepped over, padding and tags of other programs included.
const MAX_JUNK: u64 = 256 * 1024;
/// How many tags may stand in front.
const MAX_TAGS: usize = 16;

/// What one frame's header says.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Frame {
    format: Format,
    rate: u32,
    samples: u32,
    length: u32,
}

impl Frame {
    /// Frames of one stream agree in this.
    fn goes_with(self, other: Self) -> bool {
        self.format == other.format && self.rate == other.rate && self.samples == other.samples
    }
}

/// Reads the seven bytes that ADTS (ISO 13818-7) and MPEG audio (ISO 11172-3) frames begin with.
fn frame(header: [u8; 7]) -> Option<Frame> {
    if header[0] != 0xFF || header[1] & 0xE0 != 0xE0 {
        return None;
    }
    if header[1] & 0xF6 == 0xF0 { adts(header) } else { mpeg(header) }
}

fn adts(header: [u8; 7]) -> Option<Frame> {
    const RATES: [u32; 13] = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
    let rate = *RATES.get(usize::from(header[2] >> 2 & 0xF))?;
    let length = u32::from(header[3] & 3) << 11 | u32::from(header[4]) << 3 | u32::from(header[5] >> 5);
    let blocks = u32::from(header[6] & 3) + 1;
    (length >= 7).then_some(Frame { format: Format::Aac, rate, samples: 1024 * blocks, length })
}

fn mpeg(header: [u8; 7]) -> Option<Frame> {
    const KBITS_1: [u32; 16] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];
    const KBITS_2: [u32; 16] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];
    const RATES: [u32; 4] = [44_100, 48_000, 32_000, 0];
    // Layer 3 alone.
    if header[1] >> 1 & 3 != 1 {
        return None;
    }
    let (bitrates, samples, slower) = match header[1] >> 3 & 3 {
        3 => (KBITS_1, 1152, 0),
        2 => (KBITS_2, 576, 1),
        0 => (KBITS_2, 576, 2),
        _ => return None,
    };
    let bitrate = bitrates[usize::from(header[2] >> 4)] * 1000;
    let rate = RATES[usize::from(header[2] >> 2 & 3)] >> slower;
    if bitrate == 0 || rate == 0 || header[3] & 3 == 2 {
        return None;
    }
    let padding = u32::from(header[2] >> 1 & 1);
    Some(Frame { format: Format::Mp3, rate, samples, length: samples / 8 * bitrate / rate + padding })
}

pub(super) fn examine(file: &mut (impl BufRead + Seek), total: u64) -> Result<Finding, Refusal> {
    let mut position = skip_tags(file, total)?;
    let mut junk = 0;
    let mut first: Option<Frame> = None;
    let (mut frames, mut samples) = (0_u64, 0_u64);
    while let Some(header) = header_at(file, position)? {
        let found = frame(header).filter(|found| first.is_none_or(|first| first.goes_with(*found)));
        // The first frame counts only if another one follows it, or the end of the file.
        let confirmed = match found {
            Some(found) if first.is_none() => {
                let next = position + u64::from(found.length);
                next == total || header_at(file, next)?.and_then(frame).is_some_and(|next| found.goes_with(next))
            }
            found => found.is_some(),
        };
        if let Some(found) = found.filter(|_| confirmed) {
            first = first.or(Some(found));
            frames += 1;
            samples += u64::from(found.samples);
            position += u64::from(found.length);
        } else {
            junk += 1;
            position += 1;
            if junk > MAX_JUNK {
                break;
            }
        }
    }
    match first {
        Some(first) if frames > 0 => Ok(Finding { duration_ms: duration(samples, u64::from(first.rate)), ..first.format.into() }),
        _ => Err(Refusal::invalid("This begins like MP3 or AAC, but holds no frames of either")),
    }
}

/// The seven bytes there; none at the end of the file.
fn header_at(file: &mut (impl BufRead + Seek), position: u64) -> Result<Option<[u8; 7]>, Refusal> {
    file.seek(SeekFrom::Start(position))?;
    let mut header = [0; 7];
    match file.read_exact(&mut header) {
        Ok(()) => Ok(Some(header)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where the audio begins behind tags in ID3v2 (id3.org, section 3.1).
fn skip_tags(file: &mut (impl Read + Seek), total: u64) -> Result<u64, Refusal> {
    let mut position = 0;
    for _ in 0..MAX_TAGS {
        let mut header = [0; 10];
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut header)?;
        if &header[..3] != b"ID3" {
            return Ok(position);
        }
        let size = header[6..].iter().try_fold(0_u64, |size, byte| (*byte < 0x80).then(|| size << 7 | u64::from(*byte)));
        let footer = if header[5] & 0x10 != 0 { 10 } else { 0 };
        position += 10 + size.ok_or_else(|| Refusal::broken("ID3 tag"))? + footer;
        if position >= total {
            return Err(Refusal::cut());
        }
    }
    Err(Refusal::broken("ID3 tag"))
}
