//! WebP, which is decoded as a whole: pictures that would not fit into memory are checked by their structure alone.

use std::io::{BufRead, Seek, SeekFrom};

use image::metadata::Orientation;
use image_webp::{DecodingError, WebPDecoder};

use super::super::bounded::length;
use super::canvas::on_white;
use super::{Canvas, Decoded, Refusal, check_size};

/// More chunks than any animation has frames.
const MAX_CHUNKS: usize = 100_000;
/// For everything the decoder keeps of a picture, the file itself apart.
const MEMORY: u64 = 40 << 20;
/// Bytes per pixel that the decoder keeps at once: its output, what it was made from, and for lossy pictures with
/// transparency a second, lossless one.
const PER_PIXEL: u64 = 8;
const PER_PIXEL_ALPHA: u64 = 12;
const PER_PIXEL_LOSSY: u64 = 5;

pub(super) fn decode(file: &mut (impl BufRead + Seek)) -> Result<Decoded, Refusal> {
    check_length(file)?;
    let mut decoder = WebPDecoder::new(&mut *file).map_err(refuse)?;
    decoder.set_memory_limit(1 << 20);
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let orientation = decoder.exif_metadata().ok().flatten().and_then(|exif| Orientation::from_exif_chunk(&exif)).unwrap_or(Orientation::NoTransforms);
    let per_pixel = if decoder.has_alpha() || decoder.is_animated() {
        PER_PIXEL_ALPHA
    } else if decoder.is_lossy() {
        PER_PIXEL_LOSSY
    } else {
        PER_PIXEL
    };
    let pixels = if u64::from(width) * u64::from(height) * per_pixel <= MEMORY { Some(read(&mut decoder, width, height)?) } else { None };
    Ok(Decoded { width, height, orientation, pixels })
}

fn read<R: BufRead + Seek>(decoder: &mut WebPDecoder<R>, width: u32, height: u32) -> Result<image::RgbImage, Refusal> {
    let mut pixels = vec![0; decoder.output_buffer_size().ok_or_else(|| Refusal::broken("WebP picture"))?];
    decoder.read_image(&mut pixels).map_err(refuse)?;
    let mut canvas = Canvas::new(width, height);
    if decoder.has_alpha() {
        for (y, row) in (0..).zip(pixels.chunks_exact(width as usize * 4)) {
            canvas.add_row(y, 0, 1, row.chunks_exact(4).map(|pixel| on_white([pixel[0], pixel[1], pixel[2]], pixel[3])));
        }
    } else {
        for (y, row) in (0..).zip(pixels.chunks_exact(width as usize * 3)) {
            canvas.add_row(y, 0, 1, row.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]));
        }
    }
    Ok(canvas.finish())
}

/// The header says how long the file is; what is shorter was cut. Every chunk lies within it.
fn check_length(file: &mut (impl BufRead + Seek)) -> Result<(), Refusal> {
    let total = length(file)?;
    let mut header = [0; 12];
    file.read_exact(&mut header)?;
    let end = 8 + u64::from(u32::from_le_bytes([header[4], header[5], header[6], header[7]]));
    if end > total {
        return Err(Refusal::cut());
    }
    let (mut position, mut chunks) = (12, 0);
    while position + 8 <= end {
        chunks += 1;
        if chunks > MAX_CHUNKS {
            return Err(Refusal::broken("WebP picture"));
        }
        file.seek(SeekFrom::Start(position))?;
        let mut chunk = [0; 8];
        file.read_exact(&mut chunk)?;
        let size = u64::from(u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]));
        position += 8 + size;
        if position > end {
            return Err(Refusal::cut());
        }
        position += size % 2;
    }
    file.rewind()?;
    Ok(())
}

fn refuse(error: DecodingError) -> Refusal {
    match error {
        DecodingError::IoError(error) => error.into(),
        DecodingError::MemoryLimitExceeded | DecodingError::ImageTooLarge => Refusal::TooLarge("The picture's metadata is too large".to_owned()),
        _ => Refusal::broken("WebP picture"),
    }
}
