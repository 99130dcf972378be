//! Matroska and WebM (RFC 8794, RFC 9559): elements in elements, walked up to the first cluster of frames.

use std::io::{BufRead, Seek, SeekFrom};

use wa_core::media::Format;

use super::Refusal;
use super::detect::{Finding, duration};

/// Elements beside each other.
const MAX_BESIDE: usize = 10_000;
/// Elements that are looked at in all.
const MAX_ELEMENTS: usize = 100_000;

const HEADER: u32 = 0x1A45_DFA3;
const DOC_TYPE: u32 = 0x4282;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
const DURATION: u32 = 0x4489;
const TRACKS: u32 = 0x1654_AE6B;
const TRACK_ENTRY: u32 = 0xAE;
const TRACK_TYPE: u32 = 0x83;
const VIDEO: u32 = 0xE0;
const PIXEL_WIDTH: u32 = 0xB0;
const PIXEL_HEIGHT: u32 = 0xBA;
const CLUSTER: u32 = 0x1F43_B675;

const NAME: &str = "Matroska or WebM file";

/// An element: its content lies in `start..end`.
struct Element {
    id: u32,
    start: u64,
    end: u64,
    /// The file does not say where it ends, as live recordings do.
    open: bool,
}

/// A file whose elements are walked through.
struct Walk<F> {
    file: F,
    /// Elements that may still be looked at.
    left: usize,
}

/// The element at a position within what ends at `end`; one that would reach further is refused.
fn element(walk: &mut Walk<impl BufRead + Seek>, at: u64, end: u64) -> Result<Element, Refusal> {
    walk.left = walk.left.checked_sub(1).ok_or_else(|| Refusal::broken(NAME))?;
    walk.file.seek(SeekFrom::Start(at))?;
    let (id, id_length) = vint(&mut walk.file, 4, true)?;
    let (size, size_length) = vint(&mut walk.file, 8, false)?;
    let start = at + id_length + size_length;
    let open = size == (1 << (7 * size_length)) - 1;
    let stop = if open { end } else { start.checked_add(size).filter(|stop| *stop <= end).ok_or_else(Refusal::cut)? };
    let id = u32::try_from(id).map_err(|_| Refusal::broken(NAME))?;
    Ok(Element { id, start, end: stop, open })
}

/// A number whose leading zero bits say how many bytes it has, and how many those are (RFC 8794, section 4).
fn vint(file: &mut impl BufRead, longest: u64, keep_marker: bool) -> Result<(u64, u64), Refusal> {
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    let length = u64::from(byte[0].leading_zeros()) + 1;
    if length > longest {
        return Err(Refusal::broken(NAME));
    }
    let marker = if keep_marker { 0 } else { 0x80_u8 >> (length - 1) };
    let mut value = u64::from(byte[0] & !marker);
    for _ in 1..length {
        file.read_exact(&mut byte)?;
        value = value << 8 | u64::from(byte[0]);
    }
    Ok((value, length))
}

/// Calls `each` with the children of an element, until it says that it has seen enough.
fn children<F: BufRead + Seek>(
    walk: &mut Walk<F>,
    parent: &Element,
    mut each: impl FnMut(&mut Walk<F>, &Element) -> Result<bool, Refusal>,
) -> Result<(), Refusal> {
    let mut at = parent.start;
    for _ in 0..MAX_BESIDE {
        if at >= parent.end {
            return Ok(());
        }
        let child = element(walk, at, parent.end)?;
        if each(walk, &child)? {
            return Ok(());
        }
        at = child.end;
    }
    Err(Refusal::broken(NAME))
}

/// The content of a small element.
fn content(walk: &mut Walk<impl BufRead>, element: &Element) -> Result<Vec<u8>, Refusal> {
    let length = usize::try_from(element.end - element.start).ok().filter(|length| *length <= 64 && !element.open);
    let mut bytes = vec![0; length.ok_or_else(|| Refusal::broken(NAME))?];
    walk.file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(walk: &mut Walk<impl BufRead>, element: &Element) -> Result<u64, Refusal> {
    let bytes = content(walk, element)?;
    if bytes.len() > 8 {
        return Err(Refusal::broken(NAME));
    }
    Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn float(walk: &mut Walk<impl BufRead>, element: &Element) -> Result<f64, Refusal> {
    let bytes = content(walk, element)?;
    match (<[u8; 4]>::try_from(bytes.as_slice()), <[u8; 8]>::try_from(bytes.as_slice())) {
        (Ok(single), _) => Ok(f64::from(f32::from_be_bytes(single))),
        (_, Ok(double)) => Ok(f64::from_be_bytes(double)),
        _ => Err(Refusal::broken(NAME)),
    }
}

/// What the file tells of itself before its frames.
#[derive(Default)]
struct Told {
    scale: Option<u64>,
    duration: Option<f64>,
    video: bool,
    size: Option<(u32, u32)>,
    frames: bool,
}

pub(super) fn examine(file: impl BufRead + Seek, total: u64) -> Result<Finding, Refusal> {
    let walk = &mut Walk { file, left: MAX_ELEMENTS };
    let header = element(walk, 0, total)?;
    let mut doc_type = Vec::new();
    if header.id != HEADER || header.open {
        return Err(Refusal::broken(NAME));
    }
    children(walk, &header, |walk, child| {
        if child.id == DOC_TYPE {
            doc_type = content(walk, child)?;
        }
        Ok(false)
    })?;
    let format = match doc_type.split(|byte| *byte == 0).next() {
        Some(b"webm") => Format::Webm,
        Some(b"matroska") => Format::Mkv,
        _ => return Err(Refusal::broken(NAME)),
    };
    let mut segment = element(walk, header.end, total)?;
    while segment.id != SEGMENT {
        // Padding may stand between the two.
        segment = element(walk, segment.end, total)?;
    }
    let mut told = Told::default();
    children(walk, &segment, |walk, child| {
        match child.id {
            INFO => read_info(walk, child, &mut told)?,
            TRACKS => read_tracks(walk, child, &mut told)?,
            CLUSTER => told.frames = true,
            _ => {}
        }
        // What follows a cluster without an end cannot be found.
        Ok(told.frames && (told.video || child.open))
    })?;
    if !told.frames {
        return Err(Refusal::cut());
    }
    if !told.video {
        return Err(Refusal::invalid("Matroska and WebM files without pictures are not accepted; use OGG, OPUS or M4A"));
    }
    // Durations count in units of so many nanoseconds.
    let milliseconds = told.duration.unwrap_or(0.0) * told.scale.unwrap_or(1_000_000) as f64 / 1e6;
    let duration_ms = (1.0..1e12).contains(&milliseconds).then_some(milliseconds as u64).and_then(|ms| duration(ms, 1000));
    Ok(Finding { size: told.size, duration_ms, ..format.into() })
}

fn read_info<F: BufRead + Seek>(walk: &mut Walk<F>, info: &Element, told: &mut Told) -> Result<(), Refusal> {
    children(walk, info, |walk, child| {
        match child.id {
            TIMESTAMP_SCALE => told.scale = Some(number(walk, child)?),
            DURATION => told.duration = Some(float(walk, child)?),
            _ => {}
        }
        Ok(false)
    })
}

fn read_tracks<F: BufRead + Seek>(walk: &mut Walk<F>, tracks: &Element, told: &mut Told) -> Result<(), Refusal> {
    children(walk, tracks, |walk, entry| {
        if entry.id != TRACK_ENTRY {
            return Ok(false);
        }
        let (mut video, mut width, mut height) = (false, 0, 0);
        children(walk, entry, |walk, child| {
            match child.id {
                TRACK_TYPE => video = number(walk, child)? == 1,
                VIDEO => children(walk, child, |walk, child| {
                    match child.id {
                        PIXEL_WIDTH => width = number(walk, child)?,
                        PIXEL_HEIGHT => height = number(walk, child)?,
                        _ => {}
                    }
                    Ok(false)
                })?,
                _ => {}
            }
            Ok(false)
        })?;
        told.video |= video;
        if video && told.size.is_none() {
            told.size = u32::try_from(width).ok().zip(u32::try_from(height).ok()).filter(|size| size.0 > 0 && size.1 > 0);
        }
        Ok(false)
    })
}
