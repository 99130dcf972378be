//! A picture in a reduced size, built while its rows go by: each cell is the mean of a square of pixels.

use image::{Rgb, RgbImage};

/// Cells of a canvas: 16 MiB of them.
const MAX_CELLS: u64 = 1 << 20;

/// The sum of the pixels that fell into a cell, by colour, and how many they are.
#[derive(Clone, Copy, Default)]
struct Cell([u32; 4]);

/// A picture in a reduced size.
pub(super) struct Canvas {
    /// Pixels on the side of a cell.
    step: u32,
    columns: u32,
    cells: Vec<Cell>,
}

impl Canvas {
    /// For a picture of this size; the smallest reduction that fits.
    pub(super) fn new(width: u32, height: u32) -> Self {
        let cells = |step: u32| u64::from(width.div_ceil(step)) * u64::from(height.div_ceil(step));
        let step = (1..).find(|step| cells(*step) <= MAX_CELLS).unwrap_or(u32::MAX);
        let columns = width.div_ceil(step);
        Self { step, columns, cells: vec![Cell::default(); (columns * height.div_ceil(step)) as usize] }
    }

    /// Adds pixels of a row, from left to right, each so far from the one before.
    pub(super) fn add_row(&mut self, y: u32, left: u32, distance: u32, pixels: impl Iterator<Item = [u8; 3]>) {
        let start = (y / self.step * self.columns) as usize;
        let Some(row) = self.cells.get_mut(start..start + self.columns as usize) else { return };
        let (mut column, mut within) = ((left / self.step) as usize, left % self.step);
        for [red, green, blue] in pixels {
            // What lies outside of the picture is not shown.
            let Some(Cell(sum)) = row.get_mut(column) else { return };
            sum[0] += u32::from(red);
            sum[1] += u32::from(green);
            sum[2] += u32::from(blue);
            sum[3] += 1;
            within += distance;
            while within >= self.step {
                within -= self.step;
                column += 1;
            }
        }
    }

    /// The picture; white where nothing was added.
    pub(super) fn finish(self) -> RgbImage {
        let rows = u32::try_from(self.cells.len()).unwrap_or(u32::MAX) / self.columns;
        RgbImage::from_fn(self.columns, rows, |x, y| {
            let Cell([red, green, blue, count]) = self.cells[(y * self.columns + x) as usize];
            let mean = |sum: u32| sum.checked_div(count).map_or(255, |mean| u8::try_from(mean).unwrap_or(255));
            Rgb([mean(red), mean(green), mean(blue)])
        })
    }
}

/// A colour in front of white.
pub(super) fn on_white(colour: [u8; 3], alpha: u8) -> [u8; 3] {
    let alpha = u32::from(alpha);
    colour.map(|part| u8::try_from((u32::from(part) * alpha + 255 * (255 - alpha)) / 255).unwrap_or(255))
}
