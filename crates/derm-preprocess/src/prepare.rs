//! From a picture to the tensor: fit, resample, normalise.

use crate::{ChannelOrder, Filter, Picture, Spec};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use serde::Serialize;

/// The rectangle of the upright picture that the network sees, as shares of its sides (0..=1).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Region {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// A picture as the network gets it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its pixels, `width` x `height` of the spec.
    pub view: RgbImage,
    /// Where in the picture they are from.
    pub region: Region,
}

impl Spec {
    /// Resizes and crops a picture.
    pub fn prepare(&self, picture: &Picture) -> Prepared {
        let region = self.region(picture.pixels.width(), picture.pixels.height());
        let view = self.resample(&picture.pixels, region);
        Prepared { view, region }
    }

    fn region(&self, width: u32, height: u32) -> Region {
        // The cut's offset is a whole number of resized pixels, as `center_crop` after `resize`.
        let (resized_width, resized_height) = self.resized_size(width, height);
        let offset = |resized: f64, side: u32| ((resized - f64::from(side)) / 2.0).floor();
        Region {
            left: offset(resized_width, self.width) / resized_width,
            top: offset(resized_height, self.height) / resized_height,
            width: f64::from(self.width) / resized_width,
            height: f64::from(self.height) / resized_height,
        }
    }

    /// Resizes the region, and a margin around it, so that pixels near its edges see beyond it as
    /// they do when the whole picture is resized and then cut; then cuts the margin off.
    fn resample(&self, pixels: &RgbImage, region: Region) -> RgbImage {
        let (filter, support) = match self.filter {
            Filter::Bilinear => (FilterType::Bilinear, 1.0),
            Filter::Bicubic => (FilterType::CatmullRom, 2.0),
        };
        let across = Window::new(pixels.width(), self.width, region.left, region.width, support);
        let down = Window::new(pixels.height(), self.height, region.top, region.height, support);
        // Two calls, since Pillow resizes rows first, rounds, and then resizes columns; one call
        // would do it the other way round and differ by several grey levels at hard edges.
        let rows = (0.0, f64::from(pixels.height()));
        let rows_done =
            resize(pixels, across.source, rows, (across.length, pixels.height()), filter);
        let columns = (0.0, f64::from(across.length));
        let target = resize(&rows_done, columns, down.source, (across.length, down.length), filter);
        if target.dimensions() == (self.width, self.height) {
            return target;
        }
        image::imageops::crop_imm(&target, across.margin, down.margin, self.width, self.height)
            .to_image()
    }

    /// Writes the network's input for a prepared picture: rows, columns, channels, whatever the
    /// layout (a caller that wants another one transposes).
    ///
    /// # Panics
    /// If `to` has not a value for each channel of each pixel.
    pub fn normalise(&self, view: &RgbImage, to: &mut [f32]) {
        assert_eq!(to.len(), view.as_raw().len());
        let order = match self.channels {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        for (to, pixel) in to.chunks_exact_mut(3).zip(view.as_raw().chunks_exact(3)) {
            for place in 0..3 {
                let value = f32::from(pixel[order[place]]);
                to[place] = (value * self.scale - self.mean[place]) / self.std[place];
            }
        }
    }
}

/// Resizes the rectangle at `across` x `down` (start and length, in pixels) to `size`.
fn resize(
    pixels: &RgbImage,
    across: (f64, f64),
    down: (f64, f64),
    size: (u32, u32),
    filter: FilterType,
) -> RgbImage {
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(filter))
        .crop(across.0, down.0, across.1, down.1);
    let source = ImageRef::new(pixels.width(), pixels.height(), pixels.as_raw(), PixelType::U8x3)
        .expect("an RGB image holds three bytes a pixel");
    let mut target = Image::new(size.0, size.1, PixelType::U8x3);
    Resizer::new()
        .resize(&source, &mut target, &options)
        .expect("both are RGB and the rectangle lies inside the picture");
    RgbImage::from_raw(size.0, size.1, target.into_vec()).expect("the target was made at this size")
}

/// One axis of the resized picture, from a little before the region to a little after it.
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
