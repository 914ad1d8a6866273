//! Resizing in two passes, rows first as Pillow does, while the stored rows come.
//!
//! Neither the picture nor the result of the first pass is ever held as a whole. In a picture that
//! EXIF turns by a quarter, the stored columns are the upright rows: there the pass from row to row
//! comes first.

use crate::down::Down;
use crate::prepare::{Prepared, Region};
use crate::{Filter, Spec};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use image::metadata::Orientation;

/// Rows of `width` pixels that are resized across at once. Each time the weights are computed anew,
/// so that there should be many; their bytes are held.
fn batch_rows(width: u32) -> usize {
    (384 * 1024 / (3 * width as usize)).clamp(32, 128)
}

/// A picture on its way from stored rows to the network's view.
pub(crate) struct Passes {
    turn: Turn,
    /// Along stored rows.
    across: Across,
    /// From stored row to stored row.
    down: Down,
    /// Stored pixels a row.
    width: u32,
    /// Rows that wait for the pass across, and where they belong; only for turned pictures.
    waiting: Vec<u8>,
    places: Vec<usize>,
    /// Upright, with margins.
    result: RgbImage,
    margins: (u32, u32),
    side: (u32, u32),
    region: Region,
    full_size: (u32, u32),
}

/// From stored to upright: mirror each row, order the rows from below, swap the axes.
#[derive(Debug, Clone, Copy)]
struct Turn {
    mirrored: bool,
    from_below: bool,
    swapped: bool,
}

impl Turn {
    fn new(orientation: Orientation) -> Turn {
        use Orientation as O;
        let (mirrored, from_below, swapped) = match orientation {
            O::NoTransforms => (false, false, false),
            O::FlipHorizontal => (true, false, false),
            O::Rotate180 => (true, true, false),
            O::FlipVertical => (false, true, false),
            O::Rotate90FlipH => (false, false, true),
            O::Rotate90 => (false, true, true),
            O::Rotate270FlipH => (true, true, true),
            O::Rotate270 => (true, false, true),
        };
        Turn { mirrored, from_below, swapped }
    }

    fn size<T>(self, (width, height): (T, T)) -> (T, T) {
        if self.swapped { (height, width) } else { (width, height) }
    }
}

impl Passes {
    /// For a picture stored as `stored` pixels; `full` is its size in the file (larger where it
    /// was decoded at reduced scale). Both before orientation.
    pub(crate) fn new(
        spec: &Spec,
        stored: (u32, u32),
        full: (u32, u32),
        orientation: Orientation,
    ) -> Passes {
        let turn = Turn::new(orientation);
        let upright = turn.size(stored);
        // Windows of the upright axes, and of the stored ones.
        let (horizontal, vertical) = windows(spec, upright);
        let (along, between) = turn.size((horizontal, vertical));
        let values = 3 * if turn.swapped { stored.0 } else { along.length } as usize;
        let rows = stored.1 as usize;
        let outputs = between.length as usize;
        Passes {
            turn,
            across: Across::new(spec.filter, along),
            down: Down::new(spec.filter, rows, turn.from_below, between.source, outputs, values),
            width: stored.0,
            waiting: Vec::new(),
            places: Vec::new(),
            result: RgbImage::new(horizontal.length, vertical.length),
            margins: (horizontal.margin, vertical.margin),
            side: (spec.width, spec.height),
            region: spec.region(upright.0, upright.1),
            full_size: turn.size(full),
        }
    }

    /// Bytes that the passes hold at once, beside the strip.
    pub(crate) fn memory(spec: &Spec, stored: (u32, u32), orientation: Orientation) -> u64 {
        let turn = Turn::new(orientation);
        let (horizontal, vertical) = windows(spec, turn.size(stored));
        let (along, between) = turn.size((horizontal, vertical));
        let area = |a: u32, b: u32| 3 * u64::from(a) * u64::from(b);
        let pixels = if turn.swapped { stored.0 } else { along.length };
        let rows = stored.1 as usize;
        let (outputs, values) = (between.length as usize, 3 * pixels as usize);
        let batch = if turn.swapped { area(batch_rows(stored.0) as u32, stored.0) } else { 0 };
        Down::memory(spec.filter, rows, between.source, outputs, values)
            + batch
            + area(batch_rows(stored.0) as u32, along.length)
            + area(horizontal.length, vertical.length)
    }

    /// Takes whole rows, from the top of the file.
    pub(crate) fn push(&mut self, strip: &mut [u8]) {
        let row = 3 * self.width as usize;
        if self.turn.mirrored {
            for row in strip.chunks_exact_mut(row) {
                row.as_chunks_mut::<3>().0.reverse();
            }
        }
        if self.turn.swapped {
            for row in strip.chunks_exact(row) {
                self.down.push(row, |place, line| {
                    self.waiting.extend_from_slice(line);
                    self.places.push(place);
                });
                if self.places.len() >= batch_rows(self.width) {
                    self.place_columns();
                }
            }
            return;
        }
        let result: &mut [u8] = &mut self.result;
        for rows in strip.chunks(batch_rows(self.width) * row) {
            let length = 3 * self.across.window.length as usize;
            for row in self.across.resize(rows, self.width).chunks_exact(length) {
                self.down.push(row, |place, line| {
                    result[place * length..][..length].copy_from_slice(line);
                });
            }
        }
    }

    /// The rows that wait are resized across and become upright columns.
    fn place_columns(&mut self) {
        if self.places.is_empty() {
            return;
        }
        let length = 3 * self.across.window.length as usize;
        let target = self.across.resize(&self.waiting, self.width);
        let width = self.result.width() as usize;
        let (pixels, _) = self.result.as_chunks_mut::<3>();
        for (&column, line) in self.places.iter().zip(target.chunks_exact(length)) {
            for (row, pixel) in line.as_chunks::<3>().0.iter().enumerate() {
                pixels[row * width + column] = *pixel;
            }
        }
        self.waiting.clear();
        self.places.clear();
    }

    /// The view, once all rows have come.
    pub(crate) fn finish(mut self) -> Prepared {
        self.place_columns();
        let view = if self.result.dimensions() == self.side {
            self.result
        } else {
            cut(self.result, self.margins, self.side)
        };
        Prepared { view, region: self.region, full_size: self.full_size }
    }
}

/// A part of a picture, in its own memory.
fn cut(picture: RgbImage, (left, top): (u32, u32), (width, height): (u32, u32)) -> RgbImage {
    let (from, to) = (3 * picture.width() as usize, 3 * width as usize);
    let mut bytes = picture.into_raw();
    for row in 0..height as usize {
        let start = (top as usize + row) * from + 3 * left as usize;
        bytes.copy_within(start..start + to, row * to);
    }
    bytes.truncate(to * height as usize);
    RgbImage::from_raw(width, height, bytes).expect("as many bytes as pixels")
}

/// The pass along rows.
struct Across {
    resizer: Resizer,
    filter: FilterType,
    window: Window,
    /// The rows that were resized last: their memory is used again.
    target: Image<'static>,
}

impl Across {
    fn new(filter: Filter, window: Window) -> Across {
        let filter = match filter {
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Bicubic => FilterType::CatmullRom,
        };
        let target = Image::new(window.length, 1, PixelType::U8x3);
        Across { resizer: Resizer::new(), filter, window, target }
    }

    /// Resizes whole rows of `width` pixels.
    fn resize(&mut self, rows: &[u8], width: u32) -> &[u8] {
        let count = (rows.len() / (3 * width as usize)) as u32;
        let (start, length) = self.window.source;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(self.filter)).crop(
            start,
            0.0,
            length,
            f64::from(count),
        );
        let source = ImageRef::new(width, count, rows, PixelType::U8x3).expect("whole rows of RGB");
        if self.target.height() != count {
            self.target = Image::new(self.window.length, count, PixelType::U8x3);
        }
        self.resizer
            .resize(&source, &mut self.target, &options)
            .expect("both are RGB and the window lies inside the rows");
        self.target.buffer()
    }
}

/// The windows of the upright axes of a picture of this upright size.
fn windows(spec: &Spec, (width, height): (u32, u32)) -> (Window, Window) {
    let support = spec.filter.support();
    let region = spec.region(width, height);
    let horizontal = Window::new(width, spec.width, region.left, region.width, support);
    let vertical = Window::new(height, spec.height, region.top, region.height, support);
    (horizontal, vertical)
}

/// One axis of the resized picture, from a little before the region to a little after it: pixels
/// near the region's edges see beyond it as they do when the whole picture is resized and then cut.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Start and length, in source pixels.
    source: (f64, f64),
    /// In resized pixels, margins included.
    length: u32,
    /// Resized pixels before the region.
    margin: u32,
}

impl Window {
    /// `start` and `share` are the region's place on the axis (0..=1); `side` its length in
    /// resized pixels; `support` the filter's reach, in the larger of the two kinds of pixels.
    fn new(source: u32, side: u32, start: f64, share: f64, support: f64) -> Window {
        let source = f64::from(source);
        let resized = (f64::from(side) / share).round();
        let scale = resized / source;
        let reach = (support * scale.max(1.0)).ceil() + 1.0;
        let first = (start * resized).round();
        let begin = (first - reach).max(0.0);
        let end = (first + f64::from(side) + reach).min(resized);
        let source_start = begin / scale;
        Window {
            source: (source_start, ((end - begin) / scale).min(source - source_start)),
            length: (end - begin) as u32,
            margin: (first - begin) as u32,
        }
    }
}
