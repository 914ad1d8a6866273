//! BMP: uncompressed, with bit masks, and run-length encoded. Read as Pillow does.

use super::alpha::over_white;
use crate::decoder::{Decoder, RowSink};
use crate::error::Error;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::strips::{Strips, incomplete};
use crate::warning::Warning;

/// Compression, as the header numbers it.
const RLE8: u32 = 1;
const RLE4: u32 = 2;

/// Bit masks of red, green, blue and alpha.
type Masks = [u32; 4];

/// A BMP's header.
pub(super) struct Bmp {
    width: u32,
    height: u32,
    bottom_up: bool,
    /// 1, 2, 4, 8 (palette), 16, 24 or 32.
    bits: u16,
    compression: u32,
    masks: Masks,
    palette: Box<[[u8; 3]; 256]>,
    /// Index of the pixels in the file.
    data: usize,
}

/// Run-length encoded pixels.
struct Indices {
    /// Of the palette.
    indices: Vec<u8>,
    /// Rows that the data has.
    known: usize,
    /// Runs reach over the end of a row, where they are cut off.
    is_damaged: bool,
}

fn undecodable(reason: impl ToString) -> Error {
    Error::undecodable("BMP", reason)
}

/// A little-endian number of the header.
fn number(bytes: &[u8], at: usize, length: usize) -> Result<u32, Error> {
    let bytes = bytes.get(at..at + length).ok_or_else(|| undecodable("its header is cut short"))?;
    Ok(bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
}

impl Bmp {
    pub(super) fn read_header(bytes: &[u8]) -> Result<Bmp, Error> {
        let data = number(bytes, 10, 4)? as usize;
        let size = number(bytes, 14, 4)? as usize;
        if !matches!(size, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124) {
            return Err(undecodable(format!("its header has {size} bytes")));
        }
        let is_core = size == 12;
        let side = if is_core { 2 } else { 4 };
        let width = number(bytes, 18, side)?;
        let stored_height = number(bytes, 18 + side, side)?;
        let bits = number(bytes, 20 + 2 * side, 2)? as u16;
        let compression = if size >= 40 { number(bytes, 30, 4)? } else { 0 };
        // A negative height: rows are stored from the top.
        let is_negative = !is_core && stored_height > i32::MAX as u32;
        let height = if is_negative { stored_height.wrapping_neg() } else { stored_height };
        if !is_core && width > i32::MAX as u32 {
            return Err(undecodable("its width is negative"));
        }
        check_kind(bits, compression)?;
        let masks = masks(bytes, size, bits, compression)?;
        let outside = match (size, compression) {
            (40, 3) => 12,
            (40, 6) => 16,
            _ => 0,
        };
        let colours = if size >= 40 { number(bytes, 46, 4)? } else { 0 };
        let colours = if colours == 0 && bits <= 8 { 1 << bits } else { colours.min(256) as usize };
        // Writers exist that forget the palette.
        let data = if data == 14 + size && bits <= 8 { data + 4 * colours } else { data };
        let palette = palette(bytes, 14 + size + outside, is_core, bits, colours);
        let bottom_up = !is_negative;
        Ok(Bmp { width, height, bottom_up, bits, compression, masks, palette, data })
    }

    fn is_run_length(&self) -> bool {
        matches!(self.compression, RLE8 | RLE4)
    }

    /// Bytes of a stored row.
    fn stride(&self) -> u64 {
        (u64::from(self.width) * u64::from(self.bits)).div_ceil(32) * 4
    }

    /// Indices of the palette, row by row as stored.
    fn run_length_indices(&self, bytes: &[u8], limits: &Limits) -> Result<Indices, Error> {
        let (width, height) = (self.width as usize, self.height as usize);
        // Pixels that are skipped have index 0.
        let mut indices = vec![0; width * height];
        let mut data = bytes.get(self.data..).unwrap_or_default();
        let (mut x, mut y) = (0, 0);
        let (mut is_cut, mut is_damaged) = (false, false);
        while y < height && !is_cut {
            let [count, value, rest @ ..] = data else {
                is_cut = true;
                break;
            };
            data = rest;
            // A row costs no more than its pixels, however many codes it has.
            let left = width.saturating_sub(x);
            let mut put = |index: u8| {
                is_damaged |= x >= width;
                if x < width {
                    indices[y * width + x] = index;
                    x += 1;
                }
            };
            let is_rle4 = self.compression == RLE4;
            let nibble = |byte: u8, number: usize| match (is_rle4, number % 2) {
                (false, _) => byte,
                (true, 0) => byte >> 4,
                (true, _) => byte & 15,
            };
            match (*count, *value) {
                (0, 0) => {
                    limits.check_time()?;
                    (x, y) = (0, y + 1);
                }
                (0, 1) => return Ok(Indices { indices, known: height, is_damaged }),
                (0, 2) => {
                    let [right, up, rest @ ..] = data else {
                        is_cut = true;
                        break;
                    };
                    data = rest;
                    (x, y) = (x + usize::from(*right), y + usize::from(*up));
                }
                (0, count) => {
                    let count = usize::from(count);
                    let length = if is_rle4 { count.div_ceil(2) } else { count };
                    let values = &data[..length.min(data.len())];
                    for number in 0..count {
                        let at = if is_rle4 { number / 2 } else { number };
                        values.get(at).into_iter().for_each(|&byte| put(nibble(byte, number)));
                    }
                    is_cut = values.len() < length;
                    data = data.get(length.next_multiple_of(2)..).unwrap_or_default();
                }
                (count, value) => {
                    let count = usize::from(count).min(left + 1);
                    (0..count).for_each(|number| put(nibble(value, number)));
                }
            }
        }
        let known = if is_cut { y + usize::from(x >= width) } else { height };
        Ok(Indices { indices, known, is_damaged })
    }

    fn write_row(&self, row: &[u8], rgb: &mut [[u8; 3]]) {
        let bits = usize::from(self.bits);
        match bits {
            1..=8 => {
                let mask = ((1u16 << bits) - 1) as u8;
                for (x, to) in rgb.iter_mut().enumerate() {
                    let first = x * bits;
                    let index = row[first / 8] >> (8 - bits - first % 8) & mask;
                    *to = self.palette[usize::from(index)];
                }
            }
            24 => {
                for (to, &[b, g, r]) in rgb.iter_mut().zip(row.as_chunks::<3>().0) {
                    *to = [r, g, b];
                }
            }
            bits => {
                for (to, pixel) in rgb.iter_mut().zip(row.chunks_exact(bits / 8)) {
                    let pixel = pixel.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte));
                    let [r, g, b, alpha] = self.masks.map(|mask| channel(pixel, mask));
                    *to = [r, g, b].map(|c| alpha.map_or(c.unwrap_or(0), |a| over(c, a)));
                }
            }
        }
    }
}

fn over(channel: Option<u8>, alpha: u8) -> u8 {
    over_white(channel.unwrap_or(0), alpha)
}

/// A channel's bits, scaled to 0..=255; none without a mask.
fn channel(pixel: u32, mask: u32) -> Option<u8> {
    let shift = if mask == 0 { return None } else { mask.trailing_zeros() };
    let (value, most) = (u64::from(pixel & mask) >> shift, u64::from(mask >> shift));
    Some((value * 255 / most) as u8)
}

fn check_kind(bits: u16, compression: u32) -> Result<(), Error> {
    let remedy = "save it as PNG";
    let unsupported =
        |what: &str| Err(Error::Unsupported { what: format!("BMP with {what}"), remedy });
    match (compression, bits) {
        (0, 1 | 2 | 4 | 8 | 16 | 24 | 32) | (RLE8, 8) | (RLE4, 4) | (3 | 6, 16 | 32) => Ok(()),
        (4, _) => unsupported("JPEG compression"),
        (5, _) => unsupported("PNG compression"),
        (11..=13, _) => unsupported("CMYK colours"),
        _ => Err(undecodable(format!("compression {compression} with {bits} bits a pixel"))),
    }
}

fn masks(bytes: &[u8], size: usize, bits: u16, compression: u32) -> Result<Masks, Error> {
    if !matches!(compression, 3 | 6) {
        return Ok(match bits {
            16 => [0x7c00, 0x03e0, 0x001f, 0],
            _ => [0x00ff_0000, 0x0000_ff00, 0x0000_00ff, 0],
        });
    }
    let mask = |index: usize| number(bytes, 54 + 4 * index, 4);
    let has_alpha = size >= 56 || compression == 6;
    let alpha = if has_alpha { mask(3)? } else { 0 };
    let masks = [mask(0)?, mask(1)?, mask(2)?, alpha];
    let is_contiguous = |mask: &u32| {
        let shifted = mask.checked_shr(mask.trailing_zeros()).unwrap_or(0);
        shifted & shifted.wrapping_add(1) == 0
    };
    if masks[..3].contains(&0) || !masks.iter().all(is_contiguous) {
        return Err(undecodable("its bit masks are invalid"));
    }
    // As Pillow: only a whole byte of alpha counts. Writers leave the single bit of 16-bit pixels 0.
    let [red, green, blue, alpha] = masks;
    let has_alpha = bits == 32 && alpha.count_ones() == 8;
    Ok([red, green, blue, if has_alpha { alpha } else { 0 }])
}

/// The palette that starts at this index of the file; black where there is none. As browsers and Pillow have it, it
/// may reach into the pixels.
fn palette(
    bytes: &[u8],
    start: usize,
    is_core: bool,
    bits: u16,
    colours: usize,
) -> Box<[[u8; 3]; 256]> {
    let mut palette = Box::new([[0; 3]; 256]);
    if bits > 8 {
        return palette;
    }
    let entry = if is_core { 3 } else { 4 };
    let entries = bytes.get(start..).unwrap_or_default().chunks_exact(entry);
    for (to, colour) in palette.iter_mut().zip(entries.take(colours)) {
        *to = [colour[2], colour[1], colour[0]];
    }
    palette
}

impl Decoder for Bmp {
    fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn orientation(&self) -> Orientation {
        Orientation::default()
    }

    /// A strip; the indices where they are run-length encoded.
    fn memory(&self) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        Strips::memory(self.width as usize) + if self.is_run_length() { pixels } else { 0 }
    }

    fn decode(
        &self,
        bytes: &[u8],
        limits: &Limits,
        rows: &mut RowSink<'_>,
    ) -> Result<Vec<Warning>, Error> {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut strips = Strips::new(width, rows);
        let stored = |row: usize| if self.bottom_up { height - 1 - row } else { row };
        if self.is_run_length() {
            let Indices { indices, known, is_damaged } = self.run_length_indices(bytes, limits)?;
            let mut warnings = incomplete("BMP", height - known, height)?;
            if is_damaged {
                warnings.push(Warning::Damaged);
            }
            for row in 0..height {
                let line = &indices[stored(row) * width..][..width];
                strips.row(|rgb| {
                    if stored(row) < known {
                        let colours = line.iter().map(|&index| self.palette[usize::from(index)]);
                        rgb.iter_mut().zip(colours).for_each(|(to, colour)| *to = colour);
                    }
                })?;
            }
            strips.flush()?;
            return Ok(warnings);
        }
        let stride = usize::try_from(self.stride()).map_err(undecodable)?;
        let data = bytes.get(self.data..).unwrap_or_default();
        // The last row need not be padded.
        let needed = (width * usize::from(self.bits)).div_ceil(8);
        let line = |row: usize| data.get(stored(row).checked_mul(stride)?..)?.get(..needed);
        let missing = (0..height).filter(|&row| line(row).is_none()).count();
        let warnings = incomplete("BMP", missing, height)?;
        for row in 0..height {
            strips.row(|rgb| line(row).into_iter().for_each(|line| self.write_row(line, rgb)))?;
        }
        strips.flush()?;
        Ok(warnings)
    }
}
