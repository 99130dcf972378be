//! JPEG: its markers are walked from the first to the last, then it is decoded at an eighth of its size or more, which takes
//! little memory but for progressive pictures: those that would not fit, or would take too long, are checked by their structure
//! alone.

use std::io::{BufRead, BufReader, Read, Seek};

use image::RgbImage;
use image::metadata::Orientation;
use jpeg_decoder::{Decoder, Error, PixelFormat};
use rayon::ThreadPoolBuilder;

use super::{Decoded, Refusal, check_size};

/// Pixels that are decoded, if an eighth of the size does not exceed them.
const PIXELS: u64 = 1 << 20;
/// For the coefficients of a progressive picture, all of which are kept until its last scan.
const COEFFICIENTS: u64 = 36 << 20;
/// Progressive pictures have about ten scans.
const MAX_SCANS: usize = 100;
/// Blocks of 64 coefficients that all scans of a progressive picture go over: some five times as many as the largest ones have
/// that are decoded. Behind the end of its data a scan goes on with zeros, so that a few bytes cost as much as a whole one.
const MAX_VISITS: u64 = 8 << 20;

/// A component of the frame.
struct Component {
    id: u8,
    /// Of 64 coefficients.
    blocks: u64,
    /// Those of its coefficients that a scan has brought whole, as bits.
    whole: u64,
}

/// What the markers tell.
struct Header {
    width: u16,
    height: u16,
    progressive: bool,
    components: Vec<Component>,
    /// Components in all scans.
    scanned: usize,
    /// Blocks in all scans.
    visits: u64,
    orientation: Orientation,
}

impl Header {
    /// Notes a scan (ITU-T T.81, B.2.3).
    fn scan(&mut self, scan: &[u8]) -> Result<(), Refusal> {
        let broken = || Refusal::broken("JPEG picture");
        let (count, rest) = scan.split_first().ok_or_else(broken)?;
        let (selected, [first, last, approximation]) = rest.split_last_chunk().ok_or_else(broken)?;
        if selected.len() != usize::from(*count) * 2 || *count == 0 {
            return Err(broken());
        }
        self.scanned += usize::from(*count);
        // But for progressive pictures each component is in one scan: what came again would be decoded again, all of it.
        if !self.progressive && self.scanned > self.components.len() {
            return Err(broken());
        }
        for selector in selected.chunks_exact(2) {
            let component = self.components.iter_mut().find(|component| component.id == selector[0]).ok_or_else(broken)?;
            self.visits += component.blocks;
            if approximation & 15 == 0 {
                component.whole |= (*first..=*last.min(&63)).fold(0, |bits, coefficient| bits | 1 << coefficient);
            }
        }
        Ok(())
    }

    /// Whether it can be decoded within memory and time.
    fn fits(&self) -> bool {
        if !self.progressive {
            return true;
        }
        let bytes: u64 = self.components.iter().map(|component| component.blocks * 128).sum();
        // Of components that are not whole the decoder makes a copy, one at a time.
        let copied = self.components.iter().filter(|component| component.whole != u64::MAX).map(|component| component.blocks * 128).max();
        bytes + copied.unwrap_or(0) <= COEFFICIENTS && self.visits <= MAX_VISITS
    }
}

pub(super) fn decode(file: &mut (impl BufRead + Seek + Send)) -> Result<Decoded, Refusal> {
    let header = walk(file)?;
    let (width, height) = (u32::from(header.width), u32::from(header.height));
    file.rewind()?;
    let pixels = if header.fits() {
        // Without its feature `rayon` the decoder hands rows to threads of its own, which fall behind where others need the
        // processor: what waits for them has no bound. With it each row is done before the next is read. The pool is for
        // what it does with rows at the end; a pool of the whole process would outlive this.
        let alone = ThreadPoolBuilder::new().num_threads(1).build().map_err(|error| Refusal::Unreadable(std::io::Error::other(error)))?;
        Some(alone.install(|| read(file, &header))?)
    } else {
        None
    };
    Ok(Decoded { width, height, orientation: header.orientation, pixels })
}

fn read(file: &mut (impl BufRead + Seek), header: &Header) -> Result<RgbImage, Refusal> {
    let pixels = u64::from(header.width) * u64::from(header.height);
    let reduction = [1_u16, 2, 4, 8].into_iter().find(|by| pixels / u64::from(*by).pow(2) <= PIXELS).unwrap_or(8);
    let mut decoder = Decoder::new(BufReader::new(file));
    decoder.scale(header.width.div_ceil(reduction), header.height.div_ceil(reduction)).map_err(refuse)?;
    let bytes = decoder.decode().map_err(refuse)?;
    let info = decoder.info().ok_or_else(|| Refusal::broken("JPEG picture"))?;
    let rgb = match info.pixel_format {
        PixelFormat::RGB24 => bytes,
        PixelFormat::L8 => bytes.iter().flat_map(|grey| [*grey; 3]).collect(),
        // The decoder gives ink, not light.
        PixelFormat::CMYK32 => bytes.chunks_exact(4).flat_map(|ink| [ink[0], ink[1], ink[2]].map(|part| light(part, ink[3]))).collect(),
        PixelFormat::L16 => return Err(Refusal::broken("JPEG picture")),
    };
    RgbImage::from_raw(info.width.into(), info.height.into(), rgb).ok_or_else(|| Refusal::broken("JPEG picture"))
}

fn light(ink: u8, black: u8) -> u8 {
    u8::try_from(u32::from(255 - ink) * u32::from(255 - black) / 255).unwrap_or(255)
}

/// Goes over all markers up to the end of the picture; what comes behind it is not looked at.
fn walk(file: &mut (impl BufRead + Seek)) -> Result<Header, Refusal> {
    let mut header: Option<Header> = None;
    let mut orientation = None;
    let mut scans = 0;
    file.seek_relative(2)?;
    loop {
        match marker(file)? {
            // Baseline, extended and progressive with Huffman codes: all that is found in the wild.
            kind @ 0xC0..=0xC2 if header.is_none() => {
                let frame = segment(file)?;
                header = Some(frame_header(&frame, kind == 0xC2)?);
            }
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return Err(Refusal::broken("JPEG picture")),
            0xE1 if orientation.is_none() => {
                orientation = segment(file)?.strip_prefix(b"Exif\0\0").and_then(Orientation::from_exif_chunk);
            }
            0xDA => {
                let scan = segment(file)?;
                scans += 1;
                match header.as_mut() {
                    Some(header) if scans <= MAX_SCANS => header.scan(&scan)?,
                    _ => return Err(Refusal::broken("JPEG picture")),
                }
            }
            0xD9 => {
                let header = header.filter(|_| scans > 0).ok_or_else(|| Refusal::broken("JPEG picture"))?;
                return Ok(Header { orientation: orientation.unwrap_or(Orientation::NoTransforms), ..header });
            }
            // Restarts within a scan and single bytes have no length.
            0xD0..=0xD8 | 0x01 => {}
            _ => {
                let length = segment_length(file)?;
                file.seek_relative(i64::from(length))?;
            }
        }
    }
}

/// The next marker, over the data of scans: there 0xFF is followed by zero.
fn marker(file: &mut impl BufRead) -> Result<u8, Refusal> {
    let mut escaped = false;
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Err(Refusal::cut());
        }
        if escaped {
            let byte = buffer[0];
            file.consume(1);
            match byte {
                0xFF => {}
                0 => escaped = false,
                marker => return Ok(marker),
            }
        } else {
            let skipped = buffer.iter().position(|byte| *byte == 0xFF);
            escaped = skipped.is_some();
            let count = skipped.map_or(buffer.len(), |at| at + 1);
            file.consume(count);
        }
    }
}

fn segment_length(file: &mut impl Read) -> Result<u16, Refusal> {
    let mut length = [0; 2];
    file.read_exact(&mut length)?;
    u16::from_be_bytes(length).checked_sub(2).ok_or_else(|| Refusal::broken("JPEG picture"))
}

fn segment(file: &mut impl Read) -> Result<Vec<u8>, Refusal> {
    let mut bytes = vec![0; usize::from(segment_length(file)?)];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A frame header (ITU-T T.81, B.2.2).
fn frame_header(frame: &[u8], progressive: bool) -> Result<Header, Refusal> {
    let [8, h1, h0, w1, w0, count, components @ ..] = frame else { return Err(Refusal::broken("JPEG picture")) };
    let (width, height) = (u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0]));
    check_size(width.into(), height.into())?;
    let sampling: Vec<(u8, u64, u64)> =
        components.chunks_exact(3).map(|component| (component[0], u64::from(component[1] >> 4), u64::from(component[1] & 15))).collect();
    if sampling.len() != usize::from(*count) || !matches!(count, 1 | 3 | 4) || sampling.iter().any(|(_, h, v)| !(1..=4).contains(h) || !(1..=4).contains(v)) {
        return Err(Refusal::broken("JPEG picture"));
    }
    let most = sampling.iter().fold((1, 1), |most, component| (most.0.max(component.1), most.1.max(component.2)));
    // Units of 8 by 8 for each component.
    let units = u64::from(width).div_ceil(8 * most.0) * u64::from(height).div_ceil(8 * most.1);
    let components = sampling.iter().map(|(id, h, v)| Component { id: *id, blocks: units * h * v, whole: 0 }).collect();
    Ok(Header { width, height, progressive, components, scanned: 0, visits: 0, orientation: Orientation::NoTransforms })
}

fn refuse(error: Error) -> Refusal {
    match error {
        Error::Io(error) => error.into(),
        Error::Format(_) | Error::Unsupported(_) | Error::Internal(_) => Refusal::broken("JPEG picture"),
    }
}
