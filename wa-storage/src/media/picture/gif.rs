//! GIF: the first frame is decoded row by row; the others are walked through, to know that they are all there.

use std::io::Read;

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};
use image::metadata::Orientation;

use super::{Canvas, Decoded, Refusal, check_size};

/// For metadata; pixels are not kept.
const MEMORY: u64 = 4 << 20;
/// More frames than any animation has.
const MAX_FRAMES: usize = 100_000;

pub(super) fn decode(file: &mut impl Read) -> Result<Decoded, Refusal> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Bytes(MEMORY.try_into().map_err(|_| Refusal::broken("GIF picture"))?));
    let mut decoder = options.read_info(file).map_err(refuse)?;
    let (width, height) = (u32::from(decoder.width()), u32::from(decoder.height()));
    // A script may stand where its size would: it has no frame, and is no picture at all.
    let Some(frame) = decoder.next_frame_info().map_err(refuse)? else { return Err(Refusal::broken("GIF picture")) };
    let (left, top, columns, rows) = (u32::from(frame.left), u32::from(frame.top), u32::from(frame.width), u32::from(frame.height));
    let (interlaced, transparent) = (frame.interlaced, frame.transparent);
    check_size(width, height)?;
    check_size(columns, rows)?;
    let mut canvas = Canvas::new(width, height);
    let palette = decoder.palette().map_err(refuse)?.to_vec();
    let mut row = vec![0; columns as usize];
    for line in lines(rows, interlaced) {
        if !decoder.fill_buffer(&mut row).map_err(refuse)? {
            return Err(Refusal::cut());
        }
        let pixels = row.iter().map(|index| match palette.get(usize::from(*index) * 3..) {
            Some([red, green, blue, ..]) if Some(*index) != transparent => [*red, *green, *blue],
            _ => [255; 3],
        });
        canvas.add_row(top + line, left, 1, pixels);
    }
    for _ in 0..MAX_FRAMES {
        if decoder.next_frame_info().map_err(refuse)?.is_none() {
            return Ok(Decoded { width, height, orientation: Orientation::NoTransforms, pixels: Some(canvas.finish()) });
        }
    }
    Err(Refusal::broken("GIF picture"))
}

/// The rows of a frame in the order in which they are stored (GIF89a, appendix E).
fn lines(rows: u32, interlaced: bool) -> Box<dyn Iterator<Item = u32>> {
    if interlaced {
        Box::new([(0, 8), (4, 8), (2, 4), (1, 2)].into_iter().flat_map(move |(first, distance)| (first..rows).step_by(distance)))
    } else {
        Box::new(0..rows)
    }
}

fn refuse(error: DecodingError) -> Refusal {
    match error {
        DecodingError::Io(error) => error.into(),
        DecodingError::OutOfMemory | DecodingError::MemoryLimit => Refusal::TooLarge("The picture's metadata is too large".to_owned()),
        _ => Refusal::broken("GIF picture"),
    }
}
