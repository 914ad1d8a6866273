//! WebP, by `image-webp` (through `image`). Of an animation the first frame is read, on white.

use super::alpha::write_row;
use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::strips::Strips;
use crate::warning::Warning;
use image::codecs::webp::WebPDecoder;
use image::{ColorType, ImageDecoder};
use std::borrow::Cow;
use std::io::Cursor;
use std::ops::Range;

/// Bytes of decompression tables.
const TABLES: u64 = 512 * 1024;

/// A WebP's header.
pub(super) struct WebP {
    /// Width and height.
    canvas: (u32, u32),
    /// The first frame on the canvas; all of it in a file without animation.
    left: u32,
    top: u32,
    frame: (u32, u32),
    channels: usize,
    orientation: Orientation,
    /// Bytes of compressed pixels.
    compressed: u64,
    /// Where the chunks of an animation's first frame lie in the file.
    animated: Option<Range<usize>>,
}

impl WebP {
    pub(super) fn read_header(bytes: &[u8]) -> Result<WebP, Error> {
        let exif = chunk(bytes, b"EXIF").and_then(|range| Orientation::from_exif(&bytes[range]));
        let orientation = exif.unwrap_or_default();
        let animated = first_frame(bytes)?;
        let range = animated.as_ref().map(|frame| frame.chunks.clone());
        let file = still(bytes, animated.as_ref());
        let decoder = WebPDecoder::new(Cursor::new(&*file)).map_err(undecodable)?;
        let frame = decoder.dimensions();
        let channels = if decoder.color_type() == ColorType::Rgba8 { 4 } else { 3 };
        let (canvas, left, top) = match &animated {
            _ if coded_size(&file).is_some_and(|size| size != frame) => {
                return Err(undecodable("its pixels have another size than its header says"));
            }
            None => (frame, 0, 0),
            Some(first) if first.size != frame => {
                return Err(undecodable("its first frame has two sizes"));
            }
            Some(first) => (first.canvas, first.left, first.top),
        };
        let compressed = file.len() as u64;
        Ok(WebP { canvas, left, top, frame, channels, orientation, compressed, animated: range })
    }
}

fn undecodable(reason: impl ToString) -> Error {
    Error::undecodable("WebP", reason)
}

/// Where the content of the first chunk of this type lies; cut off at the end of the file.
fn chunk(bytes: &[u8], wanted: &[u8; 4]) -> Option<Range<usize>> {
    let mut start = 12;
    loop {
        let (kind, after) = bytes.get(start..)?.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*after.first_chunk::<4>()?) as usize;
        let end = (start + 8).checked_add(length)?;
        if kind == wanted {
            return Some(start + 8..end.min(bytes.len()));
        }
        // Padded to an even length.
        start = end.checked_add(length % 2)?;
    }
}

/// Width and height of lossy pixels, by their own header (RFC 6386, section 9.1). `image-webp` takes memory
/// for them before it compares them with the file's.
fn coded_size(bytes: &[u8]) -> Option<(u32, u32)> {
    if chunk(bytes, b"VP8L").is_some() {
        return None;
    }
    let [w0, w1, h0, h1] = *bytes[chunk(bytes, b"VP8 ")?].get(6..)?.first_chunk::<4>()?;
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Some((side(w0, w1), side(h0, h1)))
}

/// The first frame of an animation.
struct Frame {
    canvas: (u32, u32),
    left: u32,
    top: u32,
    size: (u32, u32),
    chunks: Range<usize>,
}

/// None: there is no animation.
fn first_frame(bytes: &[u8]) -> Result<Option<Frame>, Error> {
    let three = |at: usize| {
        let bytes = bytes.get(at..at + 3).ok_or_else(|| undecodable("it is cut short"))?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
    };
    let is_animated = bytes.get(12..16) == Some(b"VP8X") && three(20)? & 2 != 0;
    if !is_animated {
        return Ok(None);
    }
    let canvas = (three(24)? + 1, three(27)? + 1);
    let range = chunk(bytes, b"ANMF").ok_or_else(|| undecodable("it has no frame"))?;
    let at = |offset| three(range.start + offset);
    let (left, top) = (2 * at(0)?, 2 * at(3)?);
    let size = (at(6)? + 1, at(9)? + 1);
    if left + size.0 > canvas.0 || top + size.1 > canvas.1 {
        return Err(undecodable("its first frame lies outside the picture"));
    }
    let chunks = range.start + 16..range.end;
    if chunks.start >= chunks.end {
        return Err(undecodable("its first frame is empty"));
    }
    Ok(Some(Frame { canvas, left, top, size, chunks }))
}

/// The file itself, or one of only the animation's first frame.
fn still<'a>(bytes: &'a [u8], frame: Option<&Frame>) -> Cow<'a, [u8]> {
    let Some(frame) = frame else { return Cow::Borrowed(bytes) };
    let chunks = &bytes[frame.chunks.clone()];
    let mut file = Vec::with_capacity(chunks.len() + 30);
    file.extend(b"RIFF\0\0\0\0WEBP");
    if chunks.starts_with(b"ALPH") {
        let side = |length: u32| length.to_le_bytes().into_iter().take(3);
        file.extend(b"VP8X\x0a\0\0\0\x10\0\0\0");
        file.extend(side(frame.size.0 - 1));
        file.extend(side(frame.size.1 - 1));
    }
    file.extend(chunks);
    let length = (file.len() - 8) as u32;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    Cow::Owned(file)
}

impl Decoder for WebP {
    fn size(&self) -> (u32, u32) {
        self.canvas
    }

    fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// The frame's pixels, and what the decoder holds for each: RGBA and a copy of alpha, or YCbCr.
    fn memory(&self) -> u64 {
        let side = |length: u32| u64::from(length.next_multiple_of(16));
        let pixels = side(self.frame.0) * side(self.frame.1);
        let copy = self.animated.as_ref().map_or(0, |chunks| chunks.len() as u64 + 30);
        // The last partition is copied to a buffer that doubles as it grows, and once more.
        let compressed = 3 * self.compressed + copy;
        let strip = Strips::memory(self.canvas.0 as usize);
        (self.channels as u64 + 6) * pixels + compressed + TABLES + strip
    }

    fn decode(
        &self,
        bytes: &[u8],
        _limits: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error> {
        let (width, height) = (self.frame.0 as usize, self.frame.1 as usize);
        let row_bytes = self.channels * width;
        let mut samples = vec![0; row_bytes * height];
        let file = still(bytes, first_frame(bytes)?.as_ref());
        let decoder = WebPDecoder::new(Cursor::new(&*file)).map_err(undecodable)?;
        decoder.read_image(&mut samples).map_err(undecodable)?;
        let mut strips = Strips::new(self.canvas.0 as usize, rows);
        for row in 0..self.canvas.1 as usize {
            strips.row(|rgb| {
                let Some(row) = row.checked_sub(self.top as usize) else { return };
                if row < height {
                    let line = &samples[row * row_bytes..][..row_bytes];
                    write_row(line, self.channels, &mut rgb[self.left as usize..][..width]);
                }
            })?;
        }
        strips.flush()?;
        Ok(Vec::new())
    }
}
