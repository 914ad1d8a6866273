use crate::prepared::Region;
use image::RgbImage;
use serde::{Deserialize, Deserializer, Serialize};

/// The input of a network: its shape, and how a picture is resized and normalised for it. Read from
/// the `[input]` table of a model's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Pixels down.
    pub height: u32,
    /// Pixels across.
    pub width: u32,
    /// Order of the tensor's axes.
    #[serde(default)]
    pub layout: Layout,
    /// Order of the colours on the channel axis.
    #[serde(default)]
    pub channels: ChannelOrder,
    /// A pixel `p` in `0..=255` becomes `(p * scale - mean) / std`, by channel.
    #[serde(default = "one_over_255")]
    pub scale: f32,
    /// Subtracted from the scaled pixel; in the order of `channels`. One number stands for three.
    #[serde(default, deserialize_with = "by_channel")]
    pub mean: [f32; 3],
    /// The difference is divided by this; in the order of `channels`. One number stands for three.
    #[serde(default = "ones", deserialize_with = "by_channel")]
    pub std: [f32; 3],
    /// Interpolation while resizing.
    #[serde(default)]
    pub filter: Filter,
    /// How a picture of another shape is made to fit.
    #[serde(default)]
    pub fit: Fit,
}

/// Order of the axes of the input tensor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[batch, channel, row, column]`, as PyTorch has it.
    #[default]
    Nchw,
    /// `[batch, row, column, channel]`, as TensorFlow and Keras have it.
    Nhwc,
}

/// Order of the colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first, as in OpenCV and Caffe.
    Bgr,
    /// One channel: luma, as Pillow's `convert("L")` has it.
    #[serde(alias = "gray", alias = "greyscale", alias = "grayscale", alias = "l")]
    Grey,
}

/// Interpolation, named as in Pillow; both widen with the scale when shrinking (antialias).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Triangle filter.
    #[default]
    Bilinear,
    /// Cubic convolution with a = -0.5 (Keys 1981).
    Bicubic,
}

impl Filter {
    /// Radius, in source or resized pixels, whichever are larger.
    pub(crate) fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }
}

/// How a picture fits the input's shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fit {
    /// Resize both sides to the input's, whatever the aspect.
    #[default]
    Stretch,
    /// Resize the shortest side to this many pixels, keep the aspect, cut the centre out.
    CropShortestSide(u32),
}

fn one_over_255() -> f32 {
    1.0 / 255.0
}

fn ones() -> [f32; 3] {
    [1.0; 3]
}

/// A number for each channel, or one for all.
fn by_channel<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f32; 3], D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected three numbers, or one for all channels")]
    enum Numbers {
        One(f32),
        Single([f32; 1]),
        Three([f32; 3]),
    }
    Ok(match Numbers::deserialize(deserializer)? {
        Numbers::One(number) | Numbers::Single([number]) => [number; 3],
        Numbers::Three(numbers) => numbers,
    })
}

/// Luma of ITU-R BT.601, in the fixed-point arithmetic of Pillow's `convert("L")`.
fn luma(pixel: &[u8]) -> u8 {
    let weights = [19_595, 38_470, 7_471];
    let sum: u32 =
        pixel.iter().zip(weights).map(|(&value, weight)| u32::from(value) * weight).sum();
    // The weights add up to 2^16: the quotient is at most 255.
    ((sum + 0x8000) >> 16) as u8
}

impl Spec {
    /// A square input of RGB values in `0..=1`, NCHW, its centre cut out at that size.
    pub fn square(side: u32) -> Spec {
        Spec {
            height: side,
            width: side,
            layout: Layout::Nchw,
            channels: ChannelOrder::Rgb,
            scale: one_over_255(),
            mean: [0.0; 3],
            std: ones(),
            filter: Filter::Bilinear,
            fit: Fit::CropShortestSide(side),
        }
    }

    /// Shape of the tensor, batch of one.
    pub fn shape(&self) -> [usize; 4] {
        self.shape_of(if self.channels == ChannelOrder::Grey { 1 } else { 3 })
    }

    /// Shape of a tensor with so many channels, batch of one.
    pub fn shape_of(&self, channels: usize) -> [usize; 4] {
        let (height, width) = (self.height as usize, self.width as usize);
        match self.layout {
            Layout::Nchw => [1, channels, height, width],
            Layout::Nhwc => [1, height, width, channels],
        }
    }

    /// The axes of [`Spec::shape`] that are rows and columns.
    pub fn spatial_axes(&self) -> [usize; 2] {
        match self.layout {
            Layout::Nchw => [2, 3],
            Layout::Nhwc => [1, 2],
        }
    }

    /// Why the values are invalid, if they are.
    pub fn problem(&self) -> Option<String> {
        let sides = 1..=4096;
        if !sides.contains(&self.height) || !sides.contains(&self.width) {
            let (height, width) = (self.height, self.width);
            return Some(format!("height and width must be in 1..=4096, not {height}x{width}"));
        }
        if !self.scale.is_finite() || self.mean.iter().any(|m| !m.is_finite()) {
            return Some("scale and mean must be finite numbers".to_owned());
        }
        if self.std.iter().any(|s| !s.is_normal()) {
            return Some("std must be finite numbers other than 0".to_owned());
        }
        match self.fit {
            Fit::CropShortestSide(side) if side < self.height.max(self.width) || side > 8192 => {
                Some(format!(
                    "crop_shortest_side must be in {}..=8192, not {side}",
                    self.height.max(self.width)
                ))
            }
            _ => None,
        }
    }

    /// Width and height to which a picture is resized, before the centre is cut out.
    pub(crate) fn resized_size(&self, width: u32, height: u32) -> (f64, f64) {
        match self.fit {
            Fit::Stretch => (self.width.into(), self.height.into()),
            Fit::CropShortestSide(side) => {
                let scale = f64::from(side) / f64::from(width.min(height));
                let scaled = |length: u32| (f64::from(length) * scale).round().max(side.into());
                (scaled(width), scaled(height))
            }
        }
    }

    /// The part of a picture of this size that the network sees.
    pub(crate) fn region(&self, width: u32, height: u32) -> Region {
        // The crop's offset is a whole number of resized pixels, as `center_crop` after `resize`.
        let (resized_width, resized_height) = self.resized_size(width, height);
        let offset = |resized: f64, side: u32| ((resized - f64::from(side)) / 2.0).floor();
        Region {
            left: offset(resized_width, self.width) / resized_width,
            top: offset(resized_height, self.height) / resized_height,
            width: f64::from(self.width) / resized_width,
            height: f64::from(self.height) / resized_height,
        }
    }

    /// Normalises a prepared picture: writes the network's input as `[row, column, channel]`,
    /// whatever the layout (the caller transposes for another one). An input with one value for
    /// each pixel gets luma.
    ///
    /// # Panics
    /// If `input` has neither three values for each pixel nor one.
    pub fn normalise(&self, view: &RgbImage, input: &mut [f32]) {
        let bytes = view.as_raw();
        let pixels = bytes.chunks_exact(3);
        let scaled = |value: u8, channel: usize| {
            (f32::from(value) * self.scale - self.mean[channel]) / self.std[channel]
        };
        if input.len() == pixels.len() {
            input.iter_mut().zip(pixels).for_each(|(value, pixel)| *value = scaled(luma(pixel), 0));
            return;
        }
        assert_eq!(input.len(), bytes.len());
        let order = match self.channels {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
            ChannelOrder::Grey => {
                for (values, pixel) in input.chunks_exact_mut(3).zip(pixels) {
                    let luma = luma(pixel);
                    (0..3).for_each(|channel| values[channel] = scaled(luma, channel));
                }
                return;
            }
        };
        for (values, pixel) in input.chunks_exact_mut(3).zip(pixels) {
            for channel in 0..3 {
                values[channel] = scaled(pixel[order[channel]], channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_channel_is_pillows_luma() {
        // Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
        let pillow = [
            ([255, 255, 255], 255.0),
            ([255, 0, 0], 76.0),
            ([0, 255, 0], 150.0),
            ([0, 0, 255], 29.0),
            ([201, 3, 90], 72.0),
            ([17, 130, 244], 109.0),
        ];
        let spec = Spec { scale: 1.0, mean: [1.0; 3], std: [2.0; 3], ..Spec::square(1) };
        for (colour, expected) in pillow {
            let view = RgbImage::from_pixel(1, 1, image::Rgb(colour));
            let mut one = [0.0];
            spec.normalise(&view, &mut one);
            assert_eq!(one, [(expected - 1.0) / 2.0], "{colour:?}");
            let mut three = [0.0; 3];
            let grey = Spec { channels: ChannelOrder::Grey, ..spec.clone() };
            grey.normalise(&view, &mut three);
            assert_eq!(three, [one[0]; 3], "{colour:?}");
        }
    }

    #[test]
    fn the_colours_are_in_the_order_of_the_channels() {
        let view = RgbImage::from_pixel(1, 1, image::Rgb([1, 2, 3]));
        let spec = Spec { scale: 1.0, mean: [0.0, 1.0, 2.0], ..Spec::square(1) };
        let mut input = [0.0; 3];
        spec.normalise(&view, &mut input);
        assert_eq!(input, [1.0, 1.0, 1.0]);
        let bgr = Spec { channels: ChannelOrder::Bgr, ..spec };
        bgr.normalise(&view, &mut input);
        assert_eq!(input, [3.0, 1.0, -1.0]);
    }
}
