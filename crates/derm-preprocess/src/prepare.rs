//! From a picture's bytes to the network's input.

use crate::decode::Source;
use crate::{ChannelOrder, Error, Limits, Spec};
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
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Its pixels, `width` x `height` of the spec.
    pub view: RgbImage,
    /// Where in the picture they are from.
    pub region: Region,
    /// Size of the whole picture, upright: width, height.
    pub full_size: (u32, u32),
}

impl Spec {
    /// Decodes a picture, turns it upright, resizes and crops it.
    ///
    /// # Errors
    /// Every [`Error`]; the limits are checked before memory is taken.
    pub fn prepare(&self, bytes: &[u8], limits: &Limits) -> Result<Prepared, Error> {
        Ok(Source::open(bytes, limits, self)?.resample(self)?.finish())
    }

    /// Bytes that [`Spec::prepare`] will hold at once, beside the file's own, as the header tells.
    /// Nothing is decoded.
    ///
    /// # Errors
    /// As [`Spec::prepare`], but for damage that only decoding finds.
    pub fn memory_needed(&self, bytes: &[u8], limits: &Limits) -> Result<u64, Error> {
        Ok(Source::open(bytes, limits, self)?.memory(self))
    }

    pub(crate) fn region(&self, width: u32, height: u32) -> Region {
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
