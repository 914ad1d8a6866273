//! Overlays: a heatmap blended with a picture, as transparent pixels, as a mask, as a contour.

use super::colormap::sample;
use super::{Colormap, Heatmap};
use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};

/// Blends the heatmap's colours over the picture with opacity `alpha` (0..=1). The heatmap is
/// resized to the picture.
pub fn blend(picture: &RgbImage, heatmap: &Heatmap, colormap: Colormap, alpha: f32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let heatmap = heatmap.resized(width, height);
    let mut result = picture.clone();
    for (pixel, value) in result.pixels_mut().zip(heatmap.values()) {
        let color = colormap.color(*value);
        let mix = |under: u8, over: u8| {
            sample((f32::from(under) * (1.0 - alpha) + f32::from(over) * alpha).into())
        };
        *pixel = Rgb(std::array::from_fn(|channel| mix(pixel.0[channel], color[channel])));
    }
    result
}

/// The heatmap as an RGBA layer: alpha is the value.
pub fn transparent(heatmap: &Heatmap, width: u32, height: u32, colormap: Colormap) -> RgbaImage {
    let heatmap = heatmap.resized(width, height);
    let mut result = RgbaImage::new(width, height);
    for (pixel, value) in result.pixels_mut().zip(heatmap.values()) {
        let [red, green, blue] = colormap.color(*value);
        *pixel = Rgba([red, green, blue, sample((value * 255.0).into())]);
    }
    result
}

/// A binary mask: 255 where the heatmap is at least `level` (0..=1), 0 elsewhere.
pub fn mask(heatmap: &Heatmap, width: u32, height: u32, level: f32) -> GrayImage {
    let heatmap = heatmap.resized(width, height);
    let values = heatmap.values();
    GrayImage::from_fn(width, height, |x, y| {
        Luma([if values[[y as usize, x as usize]] >= level { 255 } else { 0 }])
    })
}

/// The contour at `level` (0..=1), one pixel wide: every pixel that reaches the level and has a
/// 4-neighbour that does not. Yields `(x, y)`.
pub fn contour(
    heatmap: &Heatmap,
    width: u32,
    height: u32,
    level: f32,
) -> impl Iterator<Item = (u32, u32)> {
    let mask = mask(heatmap, width, height, level);
    let pixels = (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)));
    pixels.filter(move |&(x, y)| {
        let inside = |x: u32, y: u32| mask.get_pixel_checked(x, y).is_none_or(|p| p.0[0] > 0);
        let neighbours = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
        inside(x, y) && !neighbours.iter().all(|&(x, y)| inside(x, y))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_hot() -> Heatmap {
        Heatmap::from_map(ndarray::array![[1.0, 0.0]])
    }

    #[test]
    fn alpha_zero_is_the_picture_and_one_is_the_colours() {
        let picture = RgbImage::from_pixel(8, 4, Rgb([200, 100, 50]));
        assert_eq!(blend(&picture, &left_hot(), Colormap::Jet, 0.0), picture);
        let colours = blend(&picture, &left_hot(), Colormap::Jet, 1.0);
        assert_eq!(colours.get_pixel(0, 0).0, [128, 0, 0]);
        assert_eq!(colours.get_pixel(7, 3).0, [0, 0, 128]);
    }

    #[test]
    fn a_mask_is_one_side_of_its_contour() {
        let heatmap = left_hot();
        assert_eq!(mask(&heatmap, 4, 1, 0.5).as_raw(), &[255, 255, 0, 0]);
        let line: Vec<_> = contour(&heatmap, 8, 2, 0.5).collect();
        assert_eq!(line, [(3, 0), (3, 1)]);
    }

    #[test]
    fn transparency_follows_the_value() {
        let overlay = transparent(&left_hot(), 8, 4, Colormap::Viridis);
        assert_eq!((overlay.get_pixel(0, 0).0[3], overlay.get_pixel(7, 0).0[3]), (255, 0));
    }
}
