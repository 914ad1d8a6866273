//! CCITT compression (ITU-T T.4 and T.6): black runs to bits. Rows are decoded here, codes by the
//! `fax` crate: its own rows take time that is quadratic in the number of empty runs.

use crate::error::Error;
use crate::limits::Limits;
use fax::maps::{Mode, black, mode, white};
use fax::{BitReader, ByteReader};
use std::convert::Infallible;
use std::iter::repeat_n;

/// Rows after which the time is checked.
const ROWS_BETWEEN_CHECKS: usize = 64;

/// The variants of the compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fax {
    /// One-dimensional, rows begin at bytes, no codes between rows (TIFF 6.0, section 10).
    RunLength,
    /// T.4, one-dimensional.
    Group3,
    /// T.6.
    Group4,
}

/// Bytes that decoding holds beside the decoded rows: the colour changes of two rows, two bytes each,
/// in lists that double as they grow.
pub(super) fn memory(width: usize) -> u64 {
    10 * width as u64 + 1024
}

/// Rows of bits, black is 1.
struct Rows<'a> {
    bits: Vec<u8>,
    /// Bytes of all rows.
    size: usize,
    width: u16,
    limits: &'a Limits,
}

impl Rows<'_> {
    /// Appends a row from the positions at which its colour changes, which rise and are below the
    /// width; it begins white. Whether more rows are wanted.
    fn push(&mut self, transitions: &[u16]) -> Result<bool, Error> {
        let (start, row) = (self.bits.len(), usize::from(self.width).div_ceil(8));
        if start + row > self.size {
            return Ok(false);
        }
        if (start / row).is_multiple_of(ROWS_BETWEEN_CHECKS) {
            self.limits.check_time()?;
        }
        self.bits.resize(start + row, 0);
        for run in transitions.chunks(2) {
            for x in run[0]..*run.get(1).unwrap_or(&self.width) {
                self.bits[start + usize::from(x / 8)] |= 0x80 >> (x % 8);
            }
        }
        Ok(true)
    }
}

/// Decompresses into at most `size` bytes; gives fewer where the data ends early. Also whether the
/// data is damaged.
pub(super) fn decompress(
    kind: Fax,
    data: &[u8],
    size: usize,
    width: usize,
    limits: &Limits,
) -> Result<(Vec<u8>, bool), Error> {
    let Ok(width) = u16::try_from(width) else { return Ok((Vec::new(), false)) };
    let mut rows = Rows { bits: Vec::with_capacity(size), size, width, limits };
    // Codes are looked up by more bits than they have.
    let input = data.iter().copied().chain(repeat_n(0, 4)).map(Ok::<u8, Infallible>);
    let Ok(mut reader) = ByteReader::new(input);
    let mut damaged = false;
    match kind {
        Fax::RunLength => {
            while let (row, true) = run_length_row(&mut reader, width)
                && rows.push(&row)?
            {
                let padding = reader.bits_to_byte_boundary();
                let Ok(()) = reader.consume(padding);
            }
        }
        Fax::Group3 => damaged = group3(&mut reader, &mut rows)?,
        Fax::Group4 => {
            let mut row = Vec::new();
            while let Some(next) = group4_row(&mut reader, &row, width)
                && rows.push(&next)?
            {
                row = next;
            }
        }
    }
    Ok((rows.bits, damaged))
}

/// Changes the colour at a position, which is not before the last change. Two changes at one position
/// are none, so that a row has at most as many as pixels.
fn toggle(transitions: &mut Vec<u16>, at: u16, width: u16) {
    if transitions.last() == Some(&at) {
        transitions.pop();
    } else if at < width {
        transitions.push(at);
    }
}

/// The length of a run. None: no code.
fn run(reader: &mut impl BitReader, is_black: bool) -> Option<u16> {
    let mut length = 0u16;
    loop {
        let code = if is_black { black::decode(reader)? } else { white::decode(reader)? };
        length = length.saturating_add(code);
        // Longer runs have several codes; the last is below 64.
        if code < 64 {
            return Some(length);
        }
    }
}

/// The positions at which the colour of a one-dimensional row changes, and whether the row is whole:
/// else its rest is white.
fn run_length_row(reader: &mut impl BitReader, width: u16) -> (Vec<u16>, bool) {
    let (mut transitions, mut position, mut is_black) = (Vec::new(), 0u16, false);
    while position < width
        && !is_line_end(reader)
        && let Some(run) = run(reader, is_black)
    {
        position = position.saturating_add(run).min(width);
        toggle(&mut transitions, position, width);
        is_black = !is_black;
    }
    if is_black {
        toggle(&mut transitions, position, width);
    }
    (transitions, position >= width)
}

/// Whether an end-of-line code (EOL) is next, or zeros that fill up before it: no other code begins
/// with so many zeros.
fn is_line_end(reader: &impl BitReader) -> bool {
    reader.peek(9) == Some(0)
}

/// Skips everything up to the next EOL, and that. Whether there is one.
fn skip_line_end(reader: &mut impl BitReader) -> bool {
    while !is_line_end(reader) {
        if reader.peek(1).is_none() || reader.consume(1).is_err() {
            return false;
        }
    }
    while reader.peek(1) == Some(0) && reader.consume(1).is_ok() {}
    reader.peek(1).is_some() && reader.consume(1).is_ok()
}

/// Decodes rows that EOLs separate, up to two EOLs in a row. Whether a row ends early.
fn group3(reader: &mut impl BitReader, rows: &mut Rows<'_>) -> Result<bool, Error> {
    let mut damaged = false;
    let mut goes_on = !is_line_end(reader) || skip_line_end(reader);
    while goes_on {
        let (row, is_whole) = run_length_row(reader, rows.width);
        let has_end = skip_line_end(reader);
        // The last row may lack the code that ends it.
        if (!is_whole && !has_end) || !rows.push(&row)? {
            break;
        }
        damaged |= !is_whole;
        goes_on = has_end && !is_line_end(reader);
    }
    Ok(damaged)
}

/// The positions at which the colour of a two-dimensional row changes, from those of the row above
/// (T.6, section 2.2, with its names). None: an invalid code, or the last.
fn group4_row(reader: &mut impl BitReader, above: &[u16], width: u16) -> Option<Vec<u16>> {
    let mut transitions = Vec::new();
    let (mut a0, mut is_black, mut begins) = (0u16, false, true);
    // The first change above that is to the right of a0, or at the row's first pixel.
    let mut index = 0;
    while a0 < width {
        while above.get(index).is_some_and(|&at| at < a0 || (at == a0 && !begins)) {
            index += 1;
        }
        // b1 is a change to the other colour: above, black begins at even indices.
        let b1 = index + usize::from((index % 2 == 1) != is_black);
        let at = |index: usize| above.get(index).copied().unwrap_or(width);
        match mode::decode(reader)? {
            Mode::Pass => a0 = at(b1 + 1),
            Mode::Vertical(distance) => {
                let a1 = at(b1).checked_add_signed(distance.into())?;
                if !(a0..=width).contains(&a1) {
                    return None;
                }
                a0 = a1;
                toggle(&mut transitions, a0, width);
                is_black = !is_black;
            }
            Mode::Horizontal => {
                for is_black in [is_black, !is_black] {
                    a0 = a0.saturating_add(run(reader, is_black)?).min(width);
                    toggle(&mut transitions, a0, width);
                }
            }
            Mode::Extension | Mode::EOF => return None,
        }
        begins = false;
    }
    Some(transitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_lengths_begin_at_bytes() {
        // White 2, black 3, white 3; then white 8: 0111 10 1000, 10011.
        let data = [0b0111_1010, 0b0000_0000, 0b1001_1000];
        let decompress = |data| {
            decompress(Fax::RunLength, data, 2, 8, &Limits::default()).expect("no deadline").0
        };
        assert_eq!(decompress(&data), [0b0011_1000, 0]);
        assert_eq!(decompress(&data[..2]), [0b0011_1000]);
    }

    #[test]
    fn rows_end_at_end_of_line_codes() {
        // Of 8 pixels: EOL; white 2, black 3, white 3; EOL; white 2; EOL; white 8; two EOLs.
        let eol = "000000000001";
        let codes = [eol, "0111", "10", "1000", eol, "0111", eol, "10011", eol, eol].concat();
        let byte = |bits: &[u8]| {
            let bit = |(index, &bit)| u8::from(bit == b'1') << (7 - index);
            bits.iter().enumerate().map(bit).sum::<u8>()
        };
        let data: Vec<u8> = codes.as_bytes().chunks(8).map(byte).collect();
        let decompress = |size| {
            decompress(Fax::Group3, &data, size, 8, &Limits::default()).expect("no deadline")
        };
        assert_eq!(decompress(9), (vec![0b0011_1000, 0, 0], true));
        assert_eq!(decompress(1), (vec![0b0011_1000], false));
    }
}
