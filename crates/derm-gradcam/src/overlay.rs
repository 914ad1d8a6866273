//! Heatmaps as pictures.

use crate::{Colormap, Heatmap};
use image::{Rgb, RgbImage, Rgba, RgbaImage};

/// The heatmap's colours over the picture: `alpha` (0..=1) of colour, the rest of picture. The
/// heatmap is resized to the picture.
pub fn blend(picture: &RgbImage, heatmap: &Heatmap, colormap: Colormap, alpha: f32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let heatmap = heatmap.resized(width, height);
    let mut result = picture.clone();
    for (pixel, value) in result.pixels_mut().zip(heatmap.values()) {
        let color = colormap.color(*value);
        let mix = |under: u8, over: u8| {
            (f32::from(under) * (1.0 - alpha) + f32::from(over) * alpha).round() as u8
        };
        *pixel = Rgb(std::array::from_fn(|channel| mix(pixel.0[channel], color[channel])));
    }
    result
}

/// The heatmap alone, to be laid over a picture: the stronger the value, the less transparent.
pub fn transparent(heatmap: &Heatmap, width: u32, height: u32, colormap: Colormap) -> RgbaImage {
    let heatmap = heatmap.resized(width, height);
    let mut result = RgbaImage::new(width, height);
    for (pixel, value) in result.pixels_mut().zip(heatmap.values()) {
        let [red, green, blue] = colormap.color(*value);
        *pixel = Rgba([red, green, blue, (value * 255.0).round() as u8]);
    }
    result
}

/// PNG bytes of 8-bit pixels, fast compression: `samples` holds 3 (RGB) or 4 (RGBA) bytes a pixel.
pub fn encode_png(width: u32, height: u32, samples: &[u8]) -> Vec<u8> {
    let has_alpha = samples.len() == width as usize * height as usize * 4;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(if has_alpha { png::ColorType::Rgba } else { png::ColorType::Rgb });
    encoder.set_compression(png::Compression::Fast);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(samples))
        .expect("writing into memory, of the size that the header says");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    fn left_hot() -> Heatmap {
        let activations = Array3::from_shape_vec((1, 1, 2), vec![1.0, 0.0]).unwrap();
        Heatmap::grad_cam(activations.view(), Array3::ones((1, 1, 2)).view())
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
    fn transparency_follows_the_value_and_png_survives() {
        let overlay = transparent(&left_hot(), 8, 4, Colormap::Viridis);
        assert_eq!((overlay.get_pixel(0, 0).0[3], overlay.get_pixel(7, 0).0[3]), (255, 0));
        let png = encode_png(8, 4, overlay.as_raw());
        assert_eq!(image::load_from_memory(&png).unwrap().into_rgba8(), overlay);
    }
}
