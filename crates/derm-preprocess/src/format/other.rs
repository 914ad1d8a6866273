//! Pictures that `image` decodes, as a whole.

use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::warning::Warning;
use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};
use std::io::Cursor;

/// A header that `image` has read.
pub(super) struct Other {
    name: &'static str,
    size: (u32, u32),
    /// Bytes of the decoder's own pixels.
    bytes: u64,
    orientation: Orientation,
}

impl Other {
    pub(super) fn read_header(
        name: &'static str,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Other, Error> {
        let mut decoder = decoder(name, bytes)?;
        let (width, height) = decoder.dimensions();
        limits.check_pixels(width, height)?;
        let orientation = decoder.orientation().map_or(1, |orientation| orientation.to_exif());
        let orientation = Orientation::from_value(orientation.into()).unwrap_or_default();
        Ok(Other { name, size: (width, height), bytes: decoder.total_bytes(), orientation })
    }
}

fn decoder<'a>(name: &'static str, bytes: &'a [u8]) -> Result<impl ImageDecoder + 'a, Error> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|error| Error::undecodable(name, error))?;
    reader.into_decoder().map_err(|error| Error::undecodable(name, error))
}

impl Decoder for Other {
    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// The decoder's own pixels, and their copy in RGB (or RGBA) where they are of another kind.
    fn memory(&self) -> u64 {
        let pixels = u64::from(self.size.0) * u64::from(self.size.1);
        self.bytes.saturating_add(pixels * 4)
    }

    fn decode(
        &self,
        bytes: &[u8],
        limits: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error> {
        let undecodable = |error| Error::undecodable(self.name, error);
        let mut decoder = decoder(self.name, bytes)?;
        let mut inner = image::Limits::no_limits();
        inner.max_alloc = Some(limits.max_memory);
        decoder.set_limits(inner).map_err(undecodable)?;
        let image = DynamicImage::from_decoder(decoder).map_err(undecodable)?;
        rows(&mut over_white(image))?;
        Ok(Vec::new())
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
