//! From bytes to resampled rows, by format.

use crate::jpeg::{self, Jpeg};
use crate::resample::Passes;
use crate::{Error, Limits, Spec};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;

/// A picture whose header was read and found within the limits.
pub(crate) enum Source<'a> {
    Jpeg(Box<Jpeg<'a>>),
    Other(Other<'a>),
}

impl<'a> Source<'a> {
    pub(crate) fn open(bytes: &'a [u8], limits: &Limits, spec: &Spec) -> Result<Source<'a>, Error> {
        limits.check_bytes(bytes.len())?;
        Ok(match known_format(bytes)? {
            ImageFormat::Jpeg => Source::Jpeg(Box::new(Jpeg::open(bytes, limits, spec)?)),
            format => Source::Other(Other::open(bytes, format, limits, spec)?),
        })
    }

    /// Bytes that decoding and resampling hold at once.
    pub(crate) fn memory(&self, spec: &Spec) -> u64 {
        match self {
            Source::Jpeg(jpeg) => jpeg.memory(spec),
            Source::Other(other) => other.memory,
        }
    }

    pub(crate) fn resample(self, spec: &Spec) -> Result<Passes, Error> {
        match self {
            Source::Jpeg(jpeg) => jpeg.resample(spec),
            Source::Other(other) => other.resample(spec),
        }
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

/// A picture that `image` decodes, as a whole.
pub(crate) struct Other<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    format: ImageFormat,
    orientation: Orientation,
    memory: u64,
}

impl<'a> Other<'a> {
    fn open(
        bytes: &'a [u8],
        format: ImageFormat,
        limits: &Limits,
        spec: &Spec,
    ) -> Result<Other<'a>, Error> {
        let error = |error: image::ImageError| undecodable(format, &error);
        let mut decoder =
            ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(error)?;
        let (width, height) = decoder.dimensions();
        limits.check_pixels(width, height)?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        // The decoder's own pixels, and their copy in RGB (or RGBA) where they are of another kind.
        let pixels = u64::from(width) * u64::from(height);
        let memory = decoder
            .total_bytes()
            .saturating_add(pixels * 4)
            .saturating_add(Passes::memory(spec, (width, height), orientation));
        limits.check_memory(memory)?;
        let mut inner = image::Limits::no_limits();
        inner.max_alloc = Some(limits.max_memory);
        decoder.set_limits(inner).map_err(error)?;
        Ok(Other { decoder: Box::new(decoder), format, orientation, memory })
    }

    fn resample(self, spec: &Spec) -> Result<Passes, Error> {
        let image = DynamicImage::from_decoder(self.decoder)
            .map_err(|error| undecodable(self.format, &error))?;
        let mut pixels = over_white(image);
        let size = pixels.dimensions();
        let mut passes = Passes::new(spec, size, size, self.orientation);
        passes.push(&mut pixels);
        Ok(passes)
    }
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
