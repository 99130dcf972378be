//! Pictures: each is decoded, row by row into a small canvas, so that 100 megapixels take no more memory than one.

mod canvas;
mod gif;
mod jpeg;
mod png;
mod webp;

use std::io::{BufReader, Read, Seek};

use image::DynamicImage;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::metadata::Orientation;
use wa_core::media::Format;

use super::bounded::Near;
use super::detect::Finding;
use super::{MAX_PIXELS, Refusal};
use canvas::Canvas;

/// How much higher than wide a small picture may be: long strips are made narrower than others.
const STEEPEST: u32 = 5;
const THUMBNAIL_QUALITY: u8 = 80;
/// Longest side; no camera comes near, and a row must fit into memory.
const MAX_SIDE: u32 = 65_535;

/// A picture as it was decoded.
struct Decoded {
    width: u32,
    height: u32,
    orientation: Orientation,
    /// In a reduced size; none of a picture that does not fit into memory and was checked by its structure alone.
    pixels: Option<RgbImage>,
}

/// Decodes a picture and makes a small one of it.
pub(super) fn examine(format: Format, file: &mut (impl Read + Seek + Send), thumbnail_width: u32) -> Result<Finding, Refusal> {
    let mut reader = Near::new(file);
    let decoded = match format {
        Format::Jpeg => jpeg::decode(&mut reader)?,
        Format::Png => png::decode(&mut reader)?,
        Format::Gif => gif::decode(&mut reader)?,
        _ => webp::decode(&mut reader)?,
    };
    let on_its_side = matches!(decoded.orientation, Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH);
    let size = if on_its_side { (decoded.height, decoded.width) } else { (decoded.width, decoded.height) };
    let thumbnail = decoded.pixels.map(|pixels| thumbnail(pixels, decoded.orientation, thumbnail_width)).transpose()?;
    Ok(Finding { size: Some(size), thumbnail, ..format.into() })
}

/// The small picture of one in PNG that another program made.
pub(super) fn thumbnail_of_png(file: &mut (impl Read + Seek), thumbnail_width: u32) -> Result<Option<Vec<u8>>, Refusal> {
    let decoded = png::decode(&mut BufReader::new(file))?;
    decoded.pixels.map(|pixels| thumbnail(pixels, decoded.orientation, thumbnail_width)).transpose()
}

/// A JPEG of its pixels alone, as wide as the picture is and at the most that wide.
fn thumbnail(pixels: RgbImage, orientation: Orientation, most: u32) -> Result<Vec<u8>, Refusal> {
    let mut image = DynamicImage::ImageRgb8(pixels);
    image.apply_orientation(orientation);
    let image = image.into_rgb8();
    let (width, height) = image.dimensions();
    let scaled = |of: u32, by: u32, from: u32| u32::try_from((u64::from(of) * u64::from(by) + u64::from(from) / 2) / u64::from(from)).unwrap_or(u32::MAX);
    let mut target = (width.min(most), scaled(height, width.min(most), width));
    if target.1 > STEEPEST * most {
        target = (scaled(width, STEEPEST * most, height), STEEPEST * most);
    }
    let target = (target.0.max(1), target.1.max(1));
    let small = if target == (width, height) { image } else { resize(&image, target.0, target.1, FilterType::Triangle) };
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, THUMBNAIL_QUALITY).encode_image(&small).map_err(|error| Refusal::Unreadable(std::io::Error::other(error)))?;
    Ok(jpeg)
}

/// Refuses what has no pixels or too many.
fn check_size(width: u32, height: u32) -> Result<(), Refusal> {
    if width == 0 || height == 0 {
        return Err(Refusal::broken("picture"));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Refusal::TooLarge(format!("The picture has {width} × {height} pixels; at most {} megapixels are accepted", MAX_PIXELS / 1_000_000)));
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(Refusal::TooLarge(format!("The picture has {width} × {height} pixels; at most {MAX_SIDE} on a side are accepted")));
    }
    Ok(())
}
