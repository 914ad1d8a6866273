//! WebP, by `image-webp` (through `image`), as a whole; of an animation the first frame.

use super::alpha::write_row;
use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::strips::Strips;
use crate::warning::Warning;
use image::codecs::webp::WebPDecoder;
use image::{ColorType, ImageDecoder};
use std::io::Cursor;

/// A WebP's header.
pub(super) struct WebP {
    width: u32,
    height: u32,
    channels: usize,
    orientation: Orientation,
}

impl WebP {
    pub(super) fn read_header(bytes: &[u8]) -> Result<WebP, Error> {
        let decoder = open(bytes)?;
        let (width, height) = decoder.dimensions();
        let channels = if decoder.color_type() == ColorType::Rgba8 { 4 } else { 3 };
        let exif = chunk(bytes, b"EXIF").and_then(Orientation::from_exif);
        Ok(WebP { width, height, channels, orientation: exif.unwrap_or_default() })
    }
}

fn open(bytes: &[u8]) -> Result<WebPDecoder<Cursor<&[u8]>>, Error> {
    WebPDecoder::new(Cursor::new(bytes)).map_err(undecodable)
}

fn undecodable(reason: impl ToString) -> Error {
    Error::undecodable("WebP", reason)
}

/// Content of the first chunk of this type.
fn chunk<'a>(bytes: &'a [u8], wanted: &[u8; 4]) -> Option<&'a [u8]> {
    let mut rest = bytes.get(12..)?;
    loop {
        let (kind, after) = rest.split_first_chunk::<4>()?;
        let (length, content) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        if kind == wanted {
            return content.get(..length);
        }
        // Padded to an even length.
        rest = content.get(length.checked_add(length % 2)?..)?;
    }
}

impl Decoder for WebP {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// The pixels, and what the decoder holds for each: RGBA and a copy of alpha, or YCbCr.
    fn memory(&self) -> u64 {
        let pixels = u64::from(self.width.next_multiple_of(16))
            * u64::from(self.height.next_multiple_of(16));
        (self.channels as u64 + 6) * pixels + 512 * 1024 + Strips::memory(self.width as usize)
    }

    fn decode(
        &self,
        bytes: &[u8],
        _limits: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error> {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut samples = vec![0; self.channels * width * height];
        open(bytes)?.read_image(&mut samples).map_err(undecodable)?;
        let mut strips = Strips::new(width, rows);
        for row in samples.chunks_exact(self.channels * width) {
            strips.row(|rgb| write_row(row, self.channels, rgb))?;
        }
        strips.finish("WebP", height)
    }
}
