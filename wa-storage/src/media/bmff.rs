//! MP4, M4A, 3GP and QuickTime (ISO 14496-12): boxes in boxes. Only those on the way to the tracks are entered, and none is
//! read whole, so that the tables of a long film cost nothing.

use std::io::{BufRead, Seek, SeekFrom};
use std::ops::Range;

use wa_core::media::Format;

use super::Refusal;
use super::detect::{Finding, duration};

/// Boxes beside each other; a film in fragments has two for each second or so.
const MAX_BOXES: usize = 100_000;
/// Tracks of a film.
const MAX_TRACKS: usize = 64;

const NAME: &str = "MP4, M4A, 3GP or QuickTime file";

type Kind = [u8; 4];

/// A reader over the children of a box, or the boxes of the file.
struct Boxes {
    next: u64,
    end: u64,
    left: usize,
}

impl Boxes {
    fn within(range: &Range<u64>) -> Self {
        Self { next: range.start, end: range.end, left: MAX_BOXES }
    }

    /// The next box and where its content lies. A box that would reach past what holds it is refused.
    fn next(&mut self, file: &mut (impl BufRead + Seek)) -> Result<Option<(Kind, Range<u64>)>, Refusal> {
        // QuickTime ends some lists with four zero bytes.
        if self.end.saturating_sub(self.next) < 8 {
            return Ok(None);
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| Refusal::broken(NAME))?;
        let at = self.next;
        file.seek(SeekFrom::Start(at))?;
        let (short, kind) = (u64::from(u32::from_be_bytes(array(file)?)), array(file)?);
        let (size, header) = match short {
            0 => (self.end - at, 8),
            1 => (u64::from_be_bytes(array(file)?), 16),
            size => (size, 8),
        };
        let end = at.checked_add(size).filter(|end| size >= header && *end <= self.end).ok_or_else(Refusal::cut)?;
        self.next = end;
        Ok(Some((kind, at + header..end)))
    }

    /// The next box of this kind.
    fn find(&mut self, file: &mut (impl BufRead + Seek), wanted: Kind) -> Result<Option<Range<u64>>, Refusal> {
        while let Some((kind, content)) = self.next(file)? {
            if kind == wanted {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }
}

fn array<const N: usize>(file: &mut impl BufRead) -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What a track is.
#[derive(Default)]
struct Track {
    handler: Kind,
    codec: Kind,
    size: Option<(u32, u32)>,
    duration_ms: Option<u32>,
}

pub(super) fn examine(file: &mut (impl BufRead + Seek), total: u64) -> Result<Finding, Refusal> {
    let mut brand = *b"qt  ";
    let mut movie = None;
    let mut boxes = Boxes::within(&(0..total));
    let mut position = 0;
    while let Some((kind, content)) = boxes.next(file)? {
        match &kind {
            b"ftyp" if position == 0 => {
                file.seek(SeekFrom::Start(content.start))?;
                brand = array(file)?;
            }
            b"moov" if movie.is_none() => movie = Some(content),
            _ => {}
        }
        position += 1;
    }
    if matches!(&brand, b"heic" | b"heix" | b"mif1" | b"msf1" | b"avif" | b"avis" | b"crx ") {
        return Err(Refusal::invalid("HEIC, AVIF and raw pictures are not accepted; use JPEG, PNG, WebP or GIF"));
    }
    let Some(movie) = movie else { return Err(Refusal::cut()) };
    let (duration_ms, tracks) = read_movie(file, &movie)?;
    let video = tracks.iter().find(|track| &track.handler == b"vide");
    let audio = tracks.iter().find(|track| &track.handler == b"soun");
    let format = match (video, audio) {
        (Some(_), _) if &brand == b"qt  " => Format::Mov,
        (Some(_), _) if brand.starts_with(b"3gp") || brand.starts_with(b"3g2") || brand.starts_with(b"3gs") => Format::ThreeGp,
        (Some(_), _) => Format::Mp4,
        (None, Some(audio)) if &brand != b"qt  " && matches!(&audio.codec, b"mp4a" | b"alac" | b"ac-3" | b"ec-3" | b"Opus" | b"fLaC") => Format::M4a,
        (None, Some(_)) => return Err(Refusal::invalid("This audio file is none of AAC, M4A, OGG, OPUS, MP3 and WAV")),
        (None, None) => return Err(Refusal::invalid("This file has neither pictures nor sound")),
    };
    let longest = tracks.iter().filter_map(|track| track.duration_ms).max();
    Ok(Finding { size: video.and_then(|track| track.size), duration_ms: duration_ms.or(longest), ..format.into() })
}

fn read_movie(file: &mut (impl BufRead + Seek), movie: &Range<u64>) -> Result<(Option<u32>, Vec<Track>), Refusal> {
    let mut duration_ms = None;
    let mut scale = 0;
    let mut tracks = Vec::new();
    let mut boxes = Boxes::within(movie);
    while let Some((kind, content)) = boxes.next(file)? {
        match &kind {
            b"mvhd" => {
                let header = times(file, &content)?;
                scale = header.0;
                duration_ms = duration(header.1, header.0);
            }
            b"trak" if tracks.len() < MAX_TRACKS => tracks.push(read_track(file, &content)?),
            // A film in fragments tells its length here.
            b"mvex" => {
                if let Some(header) = Boxes::within(&content).find(file, *b"mehd")? {
                    file.seek(SeekFrom::Start(header.start))?;
                    let [version, ..] = array::<4>(file)?;
                    let units = if version == 1 { u64::from_be_bytes(array(file)?) } else { u64::from(u32::from_be_bytes(array(file)?)) };
                    duration_ms = duration_ms.or_else(|| duration(units, scale));
                }
            }
            _ => {}
        }
    }
    Ok((duration_ms, tracks))
}

fn read_track(file: &mut (impl BufRead + Seek), track: &Range<u64>) -> Result<Track, Refusal> {
    let mut read = Track::default();
    let mut boxes = Boxes::within(track);
    while let Some((kind, content)) = boxes.next(file)? {
        match &kind {
            b"tkhd" => read.size = size(file, &content)?,
            b"mdia" => {
                let mut boxes = Boxes::within(&content);
                while let Some((kind, content)) = boxes.next(file)? {
                    match &kind {
                        b"mdhd" => {
                            let (scale, units) = times(file, &content)?;
                            read.duration_ms = duration(units, scale);
                        }
                        b"hdlr" => {
                            file.seek(SeekFrom::Start(content.start + 8))?;
                            read.handler = array(file)?;
                        }
                        b"minf" => read.codec = codec(file, &content)?.unwrap_or_default(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(read)
}

/// The name of the first sample description.
fn codec(file: &mut (impl BufRead + Seek), information: &Range<u64>) -> Result<Option<Kind>, Refusal> {
    let Some(table) = Boxes::within(information).find(file, *b"stbl")? else { return Ok(None) };
    let Some(descriptions) = Boxes::within(&table).find(file, *b"stsd")? else { return Ok(None) };
    Ok(Boxes::within(&(descriptions.start + 8..descriptions.end)).next(file)?.map(|(kind, _)| kind))
}

/// Units per second and the number of units, of `mvhd` and `mdhd`.
fn times(file: &mut (impl BufRead + Seek), content: &Range<u64>) -> Result<(u64, u64), Refusal> {
    file.seek(SeekFrom::Start(content.start))?;
    let [version, ..] = array::<4>(file)?;
    Ok(if version == 1 {
        file.seek(SeekFrom::Start(content.start + 20))?;
        (u64::from(u32::from_be_bytes(array(file)?)), Some(u64::from_be_bytes(array(file)?)).filter(|units| *units != u64::MAX).unwrap_or(0))
    } else {
        file.seek(SeekFrom::Start(content.start + 12))?;
        let (scale, units) = (u32::from_be_bytes(array(file)?), u32::from_be_bytes(array(file)?));
        (u64::from(scale), if units == u32::MAX { 0 } else { u64::from(units) })
    })
}

/// Width and height as a track is shown: turned on its side where its matrix says so.
fn size(file: &mut (impl BufRead + Seek), content: &Range<u64>) -> Result<Option<(u32, u32)>, Refusal> {
    file.seek(SeekFrom::Start(content.start))?;
    let [version, ..] = array::<4>(file)?;
    file.seek(SeekFrom::Start(content.start + if version == 1 { 52 } else { 40 }))?;
    let mut matrix = [0_u32; 9];
    for entry in &mut matrix {
        *entry = u32::from_be_bytes(array(file)?);
    }
    // In 16.16 fixed point.
    let (width, height) = (u32::from_be_bytes(array(file)?) >> 16, u32::from_be_bytes(array(file)?) >> 16);
    let on_its_side = matrix[0] == 0 && matrix[4] == 0 && matrix[1] != 0 && matrix[3] != 0;
    let size = if on_its_side { (height, width) } else { (width, height) };
    Ok((width > 0 && height > 0).then_some(size))
}
