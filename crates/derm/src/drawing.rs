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
            Rendering::Png(canvas.draw(heatmap, explain))
        }
        (_, None) | (Drawing::Json, _) => Rendering::None,
    }
}

/// A picture, and the part of it that the network saw.
pub(crate) struct Canvas<'a> {
    picture: Cow<'a, RgbImage>,
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl<'a> Canvas<'a> {
    /// What the network saw.
    pub(crate) fn input(view: &'a RgbImage) -> Canvas<'a> {
        let (width, height) = view.dimensions();
        Canvas { picture: Cow::Borrowed(view), left: 0, top: 0, width, height }
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

    /// Draws a heatmap, a mask where neither that nor an overlay is asked for; a PNG file.
    fn draw(&self, heatmap: &Heatmap, explain: &Explain) -> Vec<u8> {
        let &Canvas { left, top, width, height, .. } = self;
        let (whole_width, whole_height) = self.picture.dimensions();
        let level = explain.contour.into_iter();
        let line = level.flat_map(|level| contour(heatmap, width, height, level));
        let [red, green, blue] = LINE;
        let png = |pixels: &[u8]| encode_png(whole_width, whole_height, pixels);
        match explain.drawing {
            Drawing::Overlay => {
                let part = crop_imm(&*self.picture, left, top, width, height).to_image();
                let mut part = blend(&part, heatmap, explain.colormap, explain.alpha);
                line.for_each(|(x, y)| part.get_pixel_mut(x, y).0 = LINE);
                let mut whole = self.picture.clone().into_owned();
                replace(&mut whole, &part, left.into(), top.into());
                png(whole.as_raw())
            }
            Drawing::Heatmap => {
                let mut part = transparent(heatmap, width, height, explain.colormap);
                line.for_each(|(x, y)| part.get_pixel_mut(x, y).0 = [red, green, blue, 255]);
                let mut whole = RgbaImage::new(whole_width, whole_height);
                replace(&mut whole, &part, left.into(), top.into());
                png(whole.as_raw())
            }
            Drawing::Mask | Drawing::Json | Drawing::Npy => {
                let part = mask(heatmap, width, height, explain.contour.unwrap_or(0.5));
                let mut whole = GrayImage::new(whole_width, whole_height);
                replace(&mut whole, &part, left.into(), top.into());
                png(whole.as_raw())
            }
        }
    }
}
