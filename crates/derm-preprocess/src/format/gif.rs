//! GIF, by the `gif` crate: the first frame on the logical screen, white around it.

use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::strips::{Strips, incomplete};
use crate::warning::Warning;
use gif::{ColorOutput, DecodeOptions, MemoryLimit};
use std::io::Cursor;
use std::num::NonZeroU64;

/// Bytes that the `gif` crate holds: buffers and tables of the decompressor.
const DECOMPRESSOR: u64 = 128 * 1024;

/// A GIF's logical screen and its first frame, in pixels.
pub(super) struct Gif {
    /// Extended to the frame where it is smaller, as browsers and Pillow do.
    screen: (u32, u32),
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Gif {
    pub(super) fn read_header(bytes: &[u8], limits: &Limits) -> Result<Gif, Error> {
        let mut decoder = open(bytes, limits)?;
        let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
        let frame = decoder.next_frame_info().map_err(undecodable)?;
        let frame = frame.ok_or_else(|| undecodable("it has no frame"))?;
        let [left, top, width, height] =
            [frame.left, frame.top, frame.width, frame.height].map(u32::from);
        if width == 0 || height == 0 {
            return Err(undecodable("its first frame has no pixels"));
        }
        let screen = (screen.0.max(left + width), screen.1.max(top + height));
        Ok(Gif { screen, left, top, width, height })
    }
}

fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<gif::Decoder<Cursor<&'a [u8]>>, Error> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.allow_unknown_blocks(true);
    options.set_memory_limit(match NonZeroU64::new(limits.max_memory) {
        Some(limit) => MemoryLimit::Bytes(limit),
        None => MemoryLimit::Unlimited,
    });
    options.read_info(Cursor::new(bytes)).map_err(undecodable)
}

fn undecodable(reason: impl ToString) -> Error {
    Error::undecodable("GIF", reason)
}

impl Decoder for Gif {
    fn size(&self) -> (u32, u32) {
        self.screen
    }

    fn orientation(&self) -> Orientation {
        Orientation::default()
    }

    /// The frame's indices, and a strip.
    fn memory(&self) -> u64 {
        let frame = u64::from(self.width) * u64::from(self.height);
        DECOMPRESSOR + frame + Strips::memory(self.screen.0 as usize)
    }

    fn decode(
        &self,
        bytes: &[u8],
        limits: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error> {
        let mut decoder = open(bytes, limits)?;
        let frame = decoder.next_frame_info().map_err(undecodable)?;
        let frame = frame.ok_or_else(|| undecodable("it has no frame"))?;
        let (interlaced, transparent) = (frame.interlaced, frame.transparent);
        let colours = colours(decoder.palette().map_err(undecodable)?, transparent);
        let (width, height) = (self.width as usize, self.height as usize);
        let mut indices = vec![0; width * height];
        let mut known = vec![false; height];
        for row in row_order(height, interlaced) {
            limits.check_time()?;
            let line = &mut indices[row * width..][..width];
            if !decoder.fill_buffer(line).unwrap_or(false) {
                break;
            }
            known[row] = true;
        }
        let missing = known.iter().filter(|known| !**known).count();
        let warnings = incomplete("GIF", missing, height)?;
        let mut strips = Strips::new(self.screen.0 as usize, rows);
        for row in 0..self.screen.1 as usize {
            strips.row(|rgb| {
                let Some(row) = row.checked_sub(self.top as usize) else { return };
                if row < height && known[row] {
                    let line = &indices[row * width..][..width];
                    let rgb = &mut rgb[self.left as usize..][..width];
                    rgb.iter_mut().zip(line).for_each(|(to, &i)| *to = colours[usize::from(i)]);
                }
            })?;
        }
        strips.flush()?;
        Ok(warnings)
    }
}

/// The colour of each index: transparent is white, and black is what the palette lacks.
fn colours(palette: &[u8], transparent: Option<u8>) -> [[u8; 3]; 256] {
    let mut colours = [[0; 3]; 256];
    for (to, colour) in colours.iter_mut().zip(palette.as_chunks::<3>().0) {
        *to = *colour;
    }
    if let Some(index) = transparent {
        colours[usize::from(index)] = [255; 3];
    }
    colours
}

/// The rows in the order of the file (GIF89a, appendix E).
fn row_order(height: usize, interlaced: bool) -> Box<dyn Iterator<Item = usize>> {
    if !interlaced {
        return Box::new(0..height);
    }
    let passes = [(0, 8), (4, 8), (2, 4), (1, 2)].into_iter();
    Box::new(passes.flat_map(move |(first, step)| (first..height).step_by(step)))
}
