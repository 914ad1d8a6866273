//! Resampling: resizes a picture in two passes, the horizontal one first as Pillow does, while its
//! stored rows arrive.
//!
//! Neither the picture nor the result of the first pass is ever held as a whole. In a picture that
//! EXIF rotates by 90 degrees, the stored columns are the upright rows: there the pass over stored
//! columns comes first.

mod axis;
mod horizontal;
mod vertical;

use crate::orientation::Orientation;
use crate::prepared::{Prepared, Region};
use crate::spec::Spec;
use crate::warning::Warning;
use axis::axes;
use horizontal::{HorizontalPass, batch_rows};
use image::RgbImage;
use vertical::VerticalPass;

/// Resamples a picture from its stored rows to the network's view.
pub(crate) struct Resampler {
    orientation: Orientation,
    /// Along stored rows.
    horizontal: HorizontalPass,
    /// Along stored columns.
    vertical: VerticalPass,
    /// Stored pixels a row.
    width: u32,
    /// Rows that wait for the horizontal pass, and the upright columns that they become; only for
    /// transposed pictures.
    waiting: Vec<u8>,
    columns: Vec<usize>,
    /// Upright, with margins.
    result: RgbImage,
    margins: (u32, u32),
    side: (u32, u32),
    region: Region,
    full_size: (u32, u32),
}

impl Resampler {
    /// For a picture of `stored` pixels (width, height), before orientation.
    pub(crate) fn new(spec: &Spec, stored: (u32, u32), orientation: Orientation) -> Resampler {
        let upright = orientation.size(stored);
        // The upright axes, and the stored ones.
        let (horizontal, vertical) = axes(spec, upright);
        let (along, between) = orientation.size((horizontal, vertical));
        let values = 3 * if orientation.transposed { stored.0 } else { along.length } as usize;
        let rows = stored.1 as usize;
        let outputs = between.length as usize;
        let waiting = 3 * waiting_rows(orientation, stored, outputs) * stored.0 as usize;
        Resampler {
            orientation,
            horizontal: HorizontalPass::new(spec.filter, along),
            vertical: VerticalPass::new(
                spec.filter,
                rows,
                orientation.bottom_up,
                between.source,
                outputs,
                values,
            ),
            width: stored.0,
            waiting: Vec::with_capacity(waiting),
            columns: Vec::new(),
            result: RgbImage::new(horizontal.length, vertical.length),
            margins: (horizontal.margin, vertical.margin),
            side: (spec.width, spec.height),
            region: spec.region(upright.0, upright.1),
            full_size: upright,
        }
    }

    /// Bytes that both passes hold at once, beside the rows that are pushed.
    pub(crate) fn memory(spec: &Spec, stored: (u32, u32), orientation: Orientation) -> u64 {
        let (horizontal, vertical) = axes(spec, orientation.size(stored));
        let (along, between) = orientation.size((horizontal, vertical));
        let area = |a: u32, b: u32| 3 * u64::from(a) * u64::from(b);
        let pixels = if orientation.transposed { stored.0 } else { along.length };
        let rows = stored.1 as usize;
        let (outputs, values) = (between.length as usize, 3 * pixels as usize);
        let waiting = waiting_rows(orientation, stored, outputs);
        let batch = waiting.max(batch_rows(stored.0));
        VerticalPass::memory(spec.filter, rows, between.source, outputs, values)
            + area(waiting as u32, stored.0)
            + HorizontalPass::memory(spec.filter, along, batch)
            + area(horizontal.length, vertical.length)
    }

    /// Takes whole stored rows, from the top. Changes them.
    pub(crate) fn push(&mut self, strip: &mut [u8]) {
        let row = 3 * self.width as usize;
        if self.orientation.mirrored {
            for row in strip.chunks_exact_mut(row) {
                row.as_chunks_mut::<3>().0.reverse();
            }
        }
        if self.orientation.transposed {
            for row in strip.chunks_exact(row) {
                self.vertical.push(row, |column, line| {
                    self.waiting.extend_from_slice(line);
                    self.columns.push(column);
                });
                if self.columns.len() >= batch_rows(self.width) {
                    self.write_columns();
                }
            }
            return;
        }
        let result: &mut [u8] = &mut self.result;
        for rows in strip.chunks(batch_rows(self.width) * row) {
            let length = self.horizontal.row_bytes();
            for row in self.horizontal.resize(rows, self.width).chunks_exact(length) {
                self.vertical.push(row, |row, line| {
                    result[row * length..][..length].copy_from_slice(line);
                });
            }
        }
    }

    /// Resizes the rows that wait; they become upright columns.
    fn write_columns(&mut self) {
        if self.columns.is_empty() {
            return;
        }
        let length = self.horizontal.row_bytes();
        let target = self.horizontal.resize(&self.waiting, self.width);
        let width = self.result.width() as usize;
        let (pixels, _) = self.result.as_chunks_mut::<3>();
        for (&column, line) in self.columns.iter().zip(target.chunks_exact(length)) {
            for (row, pixel) in line.as_chunks::<3>().0.iter().enumerate() {
                pixels[row * width + column] = *pixel;
            }
        }
        self.waiting.clear();
        self.columns.clear();
    }

    /// The view, after the last row.
    pub(crate) fn finish(mut self, warnings: Vec<Warning>) -> Prepared {
        self.write_columns();
        let view = if self.result.dimensions() == self.side {
            self.result
        } else {
            crop(self.result, self.margins, self.side)
        };
        Prepared { view, region: self.region, full_size: self.full_size, warnings }
    }
}

/// Rows that may wait for the horizontal pass: a batch, and those that its last stored row completes.
/// A bicubic filter that enlarges reaches two rows: the picture's last row completes all outputs within
/// two and a half rows of its edge.
fn waiting_rows(orientation: Orientation, stored: (u32, u32), outputs: usize) -> usize {
    match orientation.transposed {
        true => {
            let completed = (5 * outputs).div_ceil(2 * stored.1 as usize) + 2;
            batch_rows(stored.0) + completed.min(outputs)
        }
        false => 0,
    }
}

/// Crops a picture in place.
fn crop(picture: RgbImage, (left, top): (u32, u32), (width, height): (u32, u32)) -> RgbImage {
    let (from, to) = (3 * picture.width() as usize, 3 * width as usize);
    let mut bytes = picture.into_raw();
    for row in 0..height as usize {
        let start = (top as usize + row) * from + 3 * left as usize;
        bytes.copy_within(start..start + to, row * to);
    }
    bytes.truncate(to * height as usize);
    RgbImage::from_raw(width, height, bytes).expect("as many bytes as pixels")
}
