//! GIF (GIF89a): the first frame on the logical screen, white around it. Codes are decompressed by `weezl`, blocks are
//! read here: the `gif` crate 0.14.2 loses rows of valid files when it gives them one by one.

use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::strips::{Strips, incomplete};
use crate::warning::Warning;
use std::ops::Range;
use weezl::{BitOrder, LzwStatus, decode};

/// Bytes that the decompressor holds: tables and a buffer.
const DECOMPRESSOR: u64 = 128 * 1024;

/// A GIF's logical screen and its first frame, in pixels.
pub(super) struct Gif {
    /// Extended to the frame where it is smaller, as browsers and Pillow do.
    screen: (u32, u32),
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    interlaced: bool,
    transparent: Option<u8>,
    /// Where the palette lies in the file.
    palette: Range<usize>,
    /// Bits of an index.
    code_size: u8,
    /// Where the compressed indices begin in the file.
    data: usize,
}

impl Gif {
    pub(super) fn read_header(bytes: &[u8]) -> Result<Gif, Error> {
        let mut blocks = Blocks { bytes, position: 6 };
        let [w0, w1, h0, h1, flags, _, _] = blocks.take()?;
        let screen = (side(w0, w1), side(h0, h1));
        let global = blocks.palette(flags);
        let mut transparent = None;
        loop {
            match blocks.take()? {
                [b'!'] => {
                    let [label] = blocks.take()?;
                    while let Some(content) = blocks.sub_block() {
                        // A control extension: the transparent index of the next frame.
                        if let (0xf9, [flags, _, _, index, ..]) = (label, content) {
                            transparent = (flags & 1 == 1).then_some(*index);
                        }
                    }
                }
                [b','] => break,
                [b';'] => return Err(undecodable("it has no frame")),
                // Writers exist that leave bytes between blocks.
                _ => {}
            }
        }
        let [l0, l1, t0, t1, w0, w1, h0, h1, flags] = blocks.take()?;
        let (left, top, width, height) = (side(l0, l1), side(t0, t1), side(w0, w1), side(h0, h1));
        if width == 0 || height == 0 {
            return Err(undecodable("its first frame has no pixels"));
        }
        let palette = blocks.palette(flags).or(global);
        let palette = palette.ok_or_else(|| undecodable("its first frame has no palette"))?;
        let [code_size] = blocks.take()?;
        if !(1..=11).contains(&code_size) {
            return Err(undecodable(format!("its codes begin with {code_size} bits")));
        }
        Ok(Gif {
            screen: (screen.0.max(left + width), screen.1.max(top + height)),
            left,
            top,
            width,
            height,
            interlaced: flags & 0x40 != 0,
            transparent,
            palette,
            code_size,
            data: blocks.position,
        })
    }

    /// The frame's indices in the order of the file, and how many there are.
    fn indices(&self, bytes: &[u8], limits: &Limits) -> Result<(Vec<u8>, usize), Error> {
        let mut indices = vec![0; self.width as usize * self.height as usize];
        let mut length = 0;
        let mut decoder = decode::Decoder::new(BitOrder::Lsb, self.code_size);
        let mut blocks = Blocks { bytes, position: self.data };
        while let Some(mut data) = blocks.sub_block() {
            limits.check_time()?;
            // Each call takes bytes or a code that the decoder holds; where it has none left, it says so.
            while length < indices.len() {
                let result = decoder.decode_bytes(data, &mut indices[length..]);
                data = &data[result.consumed_in..];
                length += result.consumed_out;
                match result.status {
                    Ok(LzwStatus::Ok) => {}
                    Ok(LzwStatus::NoProgress) => break,
                    Ok(LzwStatus::Done) | Err(_) => return Ok((indices, length)),
                }
            }
        }
        Ok((indices, length))
    }

    /// The colour of each index: transparent is white, and black is what the palette lacks.
    fn colours(&self, bytes: &[u8]) -> [[u8; 3]; 256] {
        let mut colours = [[0; 3]; 256];
        let palette = bytes.get(self.palette.clone()).unwrap_or_default();
        for (to, colour) in colours.iter_mut().zip(palette.as_chunks::<3>().0) {
            *to = *colour;
        }
        if let Some(index) = self.transparent {
            colours[usize::from(index)] = [255; 3];
        }
        colours
    }
}

fn side(low: u8, high: u8) -> u32 {
    u16::from_le_bytes([low, high]).into()
}

fn undecodable(reason: impl ToString) -> Error {
    Error::undecodable("GIF", reason)
}

/// The blocks of a file, one after the other.
struct Blocks<'a> {
    bytes: &'a [u8],
    /// Index of the next byte.
    position: usize,
}

impl<'a> Blocks<'a> {
    /// The next bytes.
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let taken =
            rest.first_chunk().ok_or_else(|| undecodable("it ends before its first frame"))?;
        self.position += N;
        Ok(*taken)
    }

    /// Skips the palette that a screen's or a frame's flags announce; gives where it lies.
    fn palette(&mut self, flags: u8) -> Option<Range<usize>> {
        let length = if flags & 0x80 != 0 { 3 << ((flags & 7) + 1) } else { 0 };
        let start = self.position;
        self.position += length;
        (length > 0).then_some(start..start + length)
    }

    /// The content of the next data sub-block. None: the list of sub-blocks is over.
    fn sub_block(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.bytes.get(self.position..)?.split_first()?;
        self.position += 1 + usize::from(length);
        (length > 0).then(|| &rest[..usize::from(length).min(rest.len())])
    }
}

impl Decoder for Gif {
    fn size(&self) -> (u32, u32) {
        self.screen
    }

    fn orientation(&self) -> Orientation {
        Orientation::default()
    }

    /// The frame's indices, the order of its rows, and a strip.
    fn memory(&self) -> u64 {
        let frame = u64::from(self.width) * u64::from(self.height);
        let order = size_of::<usize>() as u64 * u64::from(self.height);
        DECOMPRESSOR + frame + order + Strips::memory(self.screen.0 as usize)
    }

    fn decode(
        &self,
        bytes: &[u8],
        limits: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error> {
        let (width, height) = (self.width as usize, self.height as usize);
        let (indices, length) = self.indices(bytes, limits)?;
        let known = length / width;
        let warnings = incomplete("GIF", height - known, height)?;
        let colours = self.colours(bytes);
        let stored = stored_rows(height, self.interlaced);
        let mut strips = Strips::new(self.screen.0 as usize, rows);
        for row in 0..self.screen.1 as usize {
            strips.row(|rgb| {
                let Some(row) = row.checked_sub(self.top as usize) else { return };
                if row < height && stored[row] < known {
                    let line = &indices[stored[row] * width..][..width];
                    let rgb = &mut rgb[self.left as usize..][..width];
                    rgb.iter_mut().zip(line).for_each(|(to, &i)| *to = colours[usize::from(i)]);
                }
            })?;
        }
        strips.flush()?;
        Ok(warnings)
    }
}

/// For each row of the picture its number in the file (GIF89a, appendix E).
fn stored_rows(height: usize, interlaced: bool) -> Vec<usize> {
    let passes: &[(usize, usize)] =
        if interlaced { &[(0, 8), (4, 8), (2, 4), (1, 2)] } else { &[(0, 1)] };
    let mut stored = vec![0; height];
    let rows = passes.iter().flat_map(|&(first, step)| (first..height).step_by(step));
    rows.enumerate().for_each(|(number, row)| stored[row] = number);
    stored
}
