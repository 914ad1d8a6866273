//! Heatmaps as pictures.

use crate::{Colormap, Heatmap};
use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};

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

/// White where the heatmap reaches `level` (0..=1), black elsewhere.
pub fn mask(heatmap: &Heatmap, width: u32, height: u32, level: f32) -> GrayImage {
    let heatmap = heatmap.resized(width, height);
    let values = heatmap.values();
    GrayImage::from_fn(width, height, |x, y| {
        Luma([if values[[y as usize, x as usize]] >= level { 255 } else { 0 }])
    })
}

/// The line along which the heatmap crosses `level` (0..=1), one pixel wide: every pixel that
/// reaches it beside one that does not. `(x, y)` of each.
pub fn contour(
    heatmap: &Heatmap,
    width: u32,
    height: u32,
    level: f32,
) -> impl Iterator<Item = (u32, u32)> {
    let mask = mask(heatmap, width, height, level);
    let places = (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)));
    places.filter(move |&(x, y)| {
        let inside = |x: u32, y: u32| mask.get_pixel_checked(x, y).is_none_or(|p| p.0[0] > 0);
        let beside = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
        inside(x, y) && !beside.iter().all(|&(x, y)| inside(x, y))
    })
}

/// The values as a NumPy array, float32, `[rows, columns]`: the bytes of a `.npy` file
/// (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, version 1.0).
pub fn encode_npy(heatmap: &Heatmap) -> Vec<u8> {
    let (rows, columns) = heatmap.values().dim();
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // Magic, version, length and header, padded so that the numbers begin at a multiple of 64.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    bytes.extend(heatmap.values().iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// PNG bytes of 8-bit pixels, fast compression: `samples` holds 1 (grey), 3 (RGB) or 4 (RGBA) bytes
/// a pixel.
pub fn encode_png(width: u32, height: u32, samples: &[u8]) -> Vec<u8> {
    let color = match samples.len() / (width as usize * height as usize).max(1) {
        1 => png::ColorType::Grayscale,
        4 => png::ColorType::Rgba,
        _ => png::ColorType::Rgb,
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
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
    fn an_array_has_its_header_and_its_numbers() {
        let bytes = encode_npy(&left_hot());
        assert_eq!((bytes.len() - 8) % 64, 0);
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        assert!(String::from_utf8_lossy(&bytes).contains("'shape': (1, 2)"));
        assert_eq!(bytes[bytes.len() - 8..], [1f32.to_le_bytes(), 0f32.to_le_bytes()].concat());
    }

    #[test]
    fn transparency_follows_the_value_and_png_survives() {
        let overlay = transparent(&left_hot(), 8, 4, Colormap::Viridis);
        assert_eq!((overlay.get_pixel(0, 0).0[3], overlay.get_pixel(7, 0).0[3]), (255, 0));
        let png = encode_png(8, 4, overlay.as_raw());
        assert_eq!(image::load_from_memory(&png).unwrap().into_rgba8(), overlay);
    }
}
