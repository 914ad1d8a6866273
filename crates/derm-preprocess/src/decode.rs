//! From bytes to an upright RGB picture, by format.

use crate::{Error, Limits, Picture, Spec, jpeg};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;

/// Decodes a picture that `spec` will prepare.
///
/// # Errors
/// Every [`Error`]; the limits are checked before memory is taken.
pub fn decode(bytes: &[u8], limits: &Limits, spec: &Spec) -> Result<Picture, Error> {
    limits.check_bytes(bytes.len())?;
    match known_format(bytes)? {
        ImageFormat::Jpeg => jpeg::decode(bytes, limits, spec),
        format => decode_with_image(bytes, format, limits),
    }
}

/// Width and height that the header announces, before orientation. Nothing is decoded.
///
/// # Errors
/// [`Error::UnknownFormat`], or [`Error::Undecodable`] for a damaged header.
pub fn dimensions(bytes: &[u8]) -> Result<(u32, u32), Error> {
    match known_format(bytes)? {
        ImageFormat::Jpeg => jpeg::dimensions(bytes),
        format => {
            let reader = ImageReader::with_format(Cursor::new(bytes), format);
            reader.into_dimensions().map_err(|error| undecodable(format, &error))
        }
    }
}

fn known_format(bytes: &[u8]) -> Result<ImageFormat, Error> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | WebP | Bmp | Gif | Tiff)) => Ok(format),
        _ => Err(Error::UnknownFormat),
    }
}

fn decode_with_image(bytes: &[u8], format: ImageFormat, limits: &Limits) -> Result<Picture, Error> {
    let error = |error: image::ImageError| undecodable(format, &error);
    let mut decoder =
        ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(error)?;
    let (width, height) = decoder.dimensions();
    limits.check_pixels(width, height)?;
    // The decoder's own pixels, and their copy in RGB (or RGBA) where they are of another kind.
    let pixels = u64::from(width) * u64::from(height);
    limits.check_memory(decoder.total_bytes().saturating_add(pixels * 4))?;
    let mut inner = image::Limits::no_limits();
    inner.max_alloc = Some(limits.max_memory);
    decoder.set_limits(inner).map_err(error)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(error)?;
    Ok(Picture::upright(over_white(image), (width, height), orientation))
}

/// Lays transparent pixels over white.
fn over_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let (width, height) = rgba.dimensions();
    let blend = |channel: u8, alpha: u8| {
        let (channel, alpha) = (u32::from(channel), u32::from(alpha));
        ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let mut rgb = RgbImage::new(width, height);
    for (out, pixel) in rgb.pixels_mut().zip(rgba.pixels()) {
        let [r, g, b, a] = pixel.0;
        out.0 = [blend(r, a), blend(g, a), blend(b, a)];
    }
    rgb
}

fn undecodable(format: ImageFormat, error: &image::ImageError) -> Error {
    let format = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        _ => "TIFF",
    };
    Error::Undecodable { format, reason: error.to_string() }
}
