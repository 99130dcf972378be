//! PNG: rows come one by one, interlaced ones too.

use std::io::{BufRead, Seek};

use image::metadata::Orientation;
use png::{ColorType, DecodingError, InterlaceInfo, Limits, Transformations};

use super::canvas::on_white;
use super::{Canvas, Decoded, Refusal, check_size};

/// For rows, tables and metadata; pixels are not kept.
const MEMORY: usize = 8 << 20;
/// Where each pass of an interlaced picture begins, and how far its pixels are apart: x, y, right, down (PNG, section 8.2).
const PASSES: [[u32; 4]; 7] = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

pub(super) fn decode(file: &mut (impl BufRead + Seek)) -> Result<Decoded, Refusal> {
    let mut decoder = png::Decoder::new_with_limits(file, Limits { bytes: MEMORY });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let (width, height) = decoder.read_header_info().map(png::Info::size).map_err(refuse)?;
    check_size(width, height)?;
    let mut reader = decoder.read_info().map_err(refuse)?;
    let colours = reader.output_color_type().0;
    let orientation = reader.info().exif_metadata.as_deref().and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let mut canvas = Canvas::new(width, height);
    // Passes are told apart by where their lines begin again: an empty one has no lines at all.
    let mut passes = Passes::new(width, height);
    let mut y = 0;
    while let Some(row) = reader.next_interlaced_row().map_err(refuse)? {
        let (line, [left, top, right, down]) = match row.interlace() {
            InterlaceInfo::Null(_) => (y, [0, 0, 1, 1]),
            InterlaceInfo::Adam7(_) => passes.next(),
        };
        y += 1;
        add(&mut canvas, top + line * down, left, right, colours, row.data());
    }
    reader.finish().map_err(refuse)?;
    Ok(Decoded { width, height, orientation, pixels: Some(canvas.finish()) })
}

fn add(canvas: &mut Canvas, y: u32, left: u32, right: u32, colours: ColorType, row: &[u8]) {
    match colours {
        ColorType::Grayscale | ColorType::Indexed => canvas.add_row(y, left, right, row.iter().map(|grey| [*grey; 3])),
        ColorType::GrayscaleAlpha => canvas.add_row(y, left, right, row.chunks_exact(2).map(|pixel| on_white([pixel[0]; 3], pixel[1]))),
        ColorType::Rgb => canvas.add_row(y, left, right, row.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]])),
        ColorType::Rgba => canvas.add_row(y, left, right, row.chunks_exact(4).map(|pixel| on_white([pixel[0], pixel[1], pixel[2]], pixel[3]))),
    }
}

/// The lines of an interlaced picture in the order in which they come.
struct Passes {
    size: (u32, u32),
    pass: usize,
    line: u32,
}

impl Passes {
    const fn new(width: u32, height: u32) -> Self {
        Self { size: (width, height), pass: 0, line: 0 }
    }

    /// The number of the next line in its pass, and the geometry of that.
    fn next(&mut self) -> (u32, [u32; 4]) {
        while let Some([left, top, _, down]) = PASSES.get(self.pass).copied() {
            if left < self.size.0 && top + self.line * down < self.size.1 {
                self.line += 1;
                return (self.line - 1, PASSES[self.pass]);
            }
            self.pass += 1;
            self.line = 0;
        }
        // No line comes after the last; one that did would lie outside.
        (u32::MAX / 8, PASSES[0])
    }
}

fn refuse(error: DecodingError) -> Refusal {
    match error {
        DecodingError::IoError(error) => error.into(),
        DecodingError::LimitsExceeded => Refusal::TooLarge("The picture's rows or metadata are too large".to_owned()),
        DecodingError::Format(_) | DecodingError::Parameter(_) => Refusal::broken("PNG picture"),
    }
}
