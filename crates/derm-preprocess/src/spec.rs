use crate::prepared::Region;
use image::RgbImage;
use serde::{Deserialize, Serialize};

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
    /// Subtracted from the scaled pixel; in the order of `channels`.
    #[serde(default)]
    pub mean: [f32; 3],
    /// The difference is divided by this; in the order of `channels`.
    #[serde(default = "ones")]
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
        let (height, width) = (self.height as usize, self.width as usize);
        match self.layout {
            Layout::Nchw => [1, 3, height, width],
            Layout::Nhwc => [1, height, width, 3],
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
    /// whatever the layout (the caller transposes for another one).
    ///
    /// # Panics
    /// If `input` has not one value for each channel of each pixel.
    pub fn normalise(&self, view: &RgbImage, input: &mut [f32]) {
        assert_eq!(input.len(), view.as_raw().len());
        let order = match self.channels {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        };
        for (values, pixel) in input.chunks_exact_mut(3).zip(view.as_raw().chunks_exact(3)) {
            for channel in 0..3 {
                let value = f32::from(pixel[order[channel]]);
                values[channel] = (value * self.scale - self.mean[channel]) / self.std[channel];
            }
        }
    }
}
