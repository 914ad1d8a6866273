//! Rendering: heatmaps as the images or files that a request asks for.

use crate::{Drawing, Explain, Region, Rendering};
use derm_gradcam::{Heatmap, blend, contour, encode_npy, encode_png, mask, transparent};
use derm_preprocess::RgbImage;
use image::imageops::{crop_imm, replace};
use image::{GrayImage, RgbaImage};
use std::borrow::Cow;

/// Colour of a contour.
const LINE: [u8; 3] = [255, 255, 255];

/// Bytes that drawing on a picture of this size (width, height) holds at most, the answer included:
/// the picture, its part, the overlay (RGBA), the heatmap in float32, PNG and its base64.
pub(crate) fn memory((width, height): (u32, u32)) -> u64 {
    u64::from(width) * u64::from(height) * 24
}

/// A heatmap as it is asked for; without a picture to draw on, only its values.
pub(crate) fn rendered(
    heatmap: &Heatmap,
    canvas: Option<&Canvas<'_>>,
    explain: &Explain,
) -> Rendering {
    match (explain.drawing, canvas) {
        (Drawing::Npy, _) => Rendering::Npy(encode_npy(heatmap)),
        (Drawing::Overlay | Drawing::Heatmap | Drawing::Mask, Some(canvas)) => {
            Rendering::Png(canvas.draw(heatmap, explain).png())
        }
        (_, None) | (Drawing::Json, _) => Rendering::None,
    }
}

/// A picture to draw heatmaps on, and the part of it that the network saw.
#[derive(Debug, Clone)]
pub struct Canvas<'a> {
    picture: Cow<'a, RgbImage>,
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

/// A drawn heatmap: 8-bit samples, `[rows, columns, channels]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drawn {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Grey (1 for each pixel), RGB (3) or RGBA (4).
    pub samples: Vec<u8>,
}

impl Drawn {
    /// The picture as a PNG file.
    pub fn png(&self) -> Vec<u8> {
        encode_png(self.width, self.height, &self.samples)
    }

    /// Samples of each pixel: 1, 3 or 4.
    pub fn channels(&self) -> usize {
        self.samples.len() / (self.width as usize * self.height as usize).max(1)
    }
}

impl<'a> Canvas<'a> {
    /// What the network saw.
    pub fn input(picture: Cow<'a, RgbImage>) -> Canvas<'a> {
        let (width, height) = picture.dimensions();
        Canvas { picture, left: 0, top: 0, width, height }
    }

    /// The whole picture, of which the network saw `region`.
    pub(crate) fn upload(picture: RgbImage, region: Region) -> Canvas<'a> {
        let (whole_width, whole_height) = picture.dimensions();
        let along = |start: f64, length: f64, whole: u32| {
            let at = |share: f64| ((share * f64::from(whole)).round() as u32).min(whole);
            let first = at(start).min(whole - 1);
            (first, at(start + length).saturating_sub(first).max(1))
        };
        let (left, width) = along(region.left, region.width, whole_width);
        let (top, height) = along(region.top, region.height, whole_height);
        Canvas { picture: Cow::Owned(picture), left, top, width, height }
    }

    /// The same with a picture of its own.
    pub fn into_owned(self) -> Canvas<'static> {
        Canvas { picture: Cow::Owned(self.picture.into_owned()), ..self }
    }

    /// Draws a heatmap as [`Explain::drawing`] says, with its colours, opacity and contour: a mask (grey)
    /// where that is neither an overlay (RGB) nor a heatmap (RGBA).
    pub fn draw(&self, heatmap: &Heatmap, explain: &Explain) -> Drawn {
        let &Canvas { left, top, width, height, .. } = self;
        let (whole_width, whole_height) = self.picture.dimensions();
        let level = explain.contour.into_iter();
        let line = level.flat_map(|level| contour(heatmap, width, height, level));
        let [red, green, blue] = LINE;
        let drawn = |samples: Vec<u8>| Drawn { width: whole_width, height: whole_height, samples };
        match explain.drawing {
            Drawing::Overlay => {
                let part = crop_imm(&*self.picture, left, top, width, height).to_image();
                let mut part = blend(&part, heatmap, explain.colormap, explain.alpha);
                line.for_each(|(x, y)| part.get_pixel_mut(x, y).0 = LINE);
                let mut whole = self.picture.clone().into_owned();
                replace(&mut whole, &part, left.into(), top.into());
                drawn(whole.into_raw())
            }
            Drawing::Heatmap => {
                let mut part = transparent(heatmap, width, height, explain.colormap);
                line.for_each(|(x, y)| part.get_pixel_mut(x, y).0 = [red, green, blue, 255]);
                let mut whole = RgbaImage::new(whole_width, whole_height);
                replace(&mut whole, &part, left.into(), top.into());
                drawn(whole.into_raw())
            }
            Drawing::Mask | Drawing::Json | Drawing::Npy => {
                let part = mask(heatmap, width, height, explain.contour.unwrap_or(0.5));
                let mut whole = GrayImage::new(whole_width, whole_height);
                replace(&mut whole, &part, left.into(), top.into());
                drawn(whole.into_raw())
            }
        }
    }
}
