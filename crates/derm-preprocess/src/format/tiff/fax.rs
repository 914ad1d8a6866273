//! CCITT compression (ITU-T T.4 and T.6): black runs to bits. Rows are decoded here, codes by the
//! `fax` crate: its own rows take time that is quadratic in the number of empty runs.

use crate::error::Error;
use crate::limits::Limits;
use fax::maps::{Mode, black, mode, white};
use fax::{BitReader, ByteReader};
use std::convert::Infallible;
use std::iter::repeat_n;
use std::mem::swap;

/// Rows after which the time is checked.
const ROWS_BETWEEN_CHECKS: usize = 64;

/// The variants of the compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fax {
    /// One-dimensional, rows begin at bytes, no codes between rows (TIFF 6.0, section 10).
    RunLength,
    /// T.4: rows are one-dimensional, or a bit before each one tells whether it is.
    Group3 { two_dimensional: bool },
    /// T.6: all rows are two-dimensional.
    Group4,
}

/// The most colour changes of a row. Rows with as many as pixels exist; more are of empty runs.
fn most_changes(width: u16) -> usize {
    2 * usize::from(width) + 64
}

/// Bytes that decoding holds beside the decoded rows: the colour changes of two rows.
pub(super) fn memory(width: usize) -> u64 {
    let width = u16::try_from(width).unwrap_or(u16::MAX);
    2 * (most_changes(width) * size_of::<u16>()) as u64 + 1024
}

/// A row, as the positions at which its colour changes; it begins white. Positions do not fall. Two are
/// equal where a run is empty: both count, as in libtiff, because encoders refer to them.
struct Row {
    width: u16,
    changes: Vec<u16>,
}

impl Row {
    fn new(width: u16) -> Row {
        Row { width, changes: Vec::with_capacity(most_changes(width)) }
    }

    fn is_black(&self) -> bool {
        self.changes.len() % 2 == 1
    }

    /// Changes the colour. Whether there may be one more change.
    fn change(&mut self, at: u16) -> bool {
        let has_room = self.changes.len() < most_changes(self.width);
        if has_room {
            self.changes.push(at);
        }
        has_room
    }

    /// Makes the rest of a damaged row white.
    fn end(&mut self, at: u16) {
        if self.is_black() {
            self.change(at);
        }
    }
}

/// Rows of bits, black is 1.
struct Rows<'a> {
    bits: Vec<u8>,
    /// Bytes of all rows, and of one.
    size: usize,
    row_bytes: usize,
    limits: &'a Limits,
    /// Rows that end early or have an invalid code, and the bits that precede the first of them.
    damaged: usize,
    undamaged: usize,
}

impl Rows<'_> {
    /// Appends a row. Whether more rows are wanted.
    fn push(&mut self, row: &Row, is_whole: bool) -> Result<bool, Error> {
        let start = self.bits.len();
        if start + self.row_bytes > self.size {
            return Ok(false);
        }
        if (start / self.row_bytes).is_multiple_of(ROWS_BETWEEN_CHECKS) {
            self.limits.check_time()?;
        }
        if !is_whole {
            self.undamaged = if self.damaged == 0 { start } else { self.undamaged };
            self.damaged += 1;
        }
        self.bits.resize(start + self.row_bytes, 0);
        for run in row.changes.chunks(2) {
            for x in run[0]..*run.get(1).unwrap_or(&row.width) {
                self.bits[start + usize::from(x / 8)] |= 0x80 >> (x % 8);
            }
        }
        Ok(true)
    }

    /// The bits, and whether they are damaged. What follows the first damaged row is given up where most
    /// rows are.
    fn finish(mut self) -> (Vec<u8>, bool) {
        if 2 * self.damaged * self.row_bytes > self.bits.len() {
            self.bits.truncate(self.undamaged);
        }
        (self.bits, self.damaged > 0)
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
    let bits = Vec::with_capacity(size);
    let row_bytes = usize::from(width).div_ceil(8);
    let mut rows = Rows { bits, size, row_bytes, limits, damaged: 0, undamaged: 0 };
    // Codes are looked up by more bits than they have.
    let input = data.iter().copied().chain(repeat_n(0, 4)).map(Ok::<u8, Infallible>);
    let Ok(mut reader) = ByteReader::new(input);
    let mut row = Row::new(width);
    match kind {
        Fax::RunLength => {
            while run_length_row(&mut reader, &mut row) && rows.push(&row, true)? {
                let padding = reader.bits_to_byte_boundary();
                let Ok(()) = reader.consume(padding);
            }
        }
        Fax::Group3 { two_dimensional } => group3(&mut reader, two_dimensional, &mut rows, row)?,
        Fax::Group4 => {
            let mut above = Row::new(width);
            while let Some(is_whole) = two_dimensional_row(&mut reader, &above, &mut row)
                && rows.push(&row, is_whole)?
            {
                swap(&mut above, &mut row);
            }
        }
    }
    Ok(rows.finish())
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

/// Decodes a one-dimensional row. Whether it is whole: else its rest is white.
fn run_length_row(reader: &mut impl BitReader, row: &mut Row) -> bool {
    row.changes.clear();
    let mut position = 0u16;
    while position < row.width
        && !is_line_end(reader)
        && let Some(run) = run(reader, row.is_black())
    {
        position = position.saturating_add(run).min(row.width);
        if !row.change(position) {
            break;
        }
    }
    let is_whole = position == row.width;
    if !is_whole {
        row.end(position);
    }
    is_whole
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

/// Decodes rows that EOLs separate, up to two EOLs in a row.
fn group3(
    reader: &mut impl BitReader,
    two_dimensional: bool,
    rows: &mut Rows<'_>,
    mut row: Row,
) -> Result<(), Error> {
    let mut above = Row::new(row.width);
    // Rows that are all one-dimensional may lack the first EOL.
    let mut goes_on = (!two_dimensional && !is_line_end(reader)) || skip_line_end(reader);
    while goes_on {
        // The bit behind an EOL: 1 before a one-dimensional row.
        let is_two_dimensional = two_dimensional && reader.peek(1) == Some(0);
        if two_dimensional && reader.consume(1).is_err() || is_line_end(reader) {
            break;
        }
        let is_whole = match is_two_dimensional {
            true => two_dimensional_row(reader, &above, &mut row) == Some(true),
            false => run_length_row(reader, &mut row),
        };
        let has_end = skip_line_end(reader);
        // The last row may lack the code that ends it.
        if (!is_whole && !has_end) || !rows.push(&row, is_whole)? {
            break;
        }
        swap(&mut above, &mut row);
        goes_on = has_end;
    }
    Ok(())
}

/// Decodes a two-dimensional row from the row above (T.6, section 2.2, with its names). None: the end of the data. Else
/// whether the row is whole: if not, its rest is white, as in libtiff.
fn two_dimensional_row(reader: &mut impl BitReader, above: &Row, row: &mut Row) -> Option<bool> {
    row.changes.clear();
    let width = row.width;
    let at = |index: usize| above.changes.get(index).copied().unwrap_or(width);
    // b1 is the change above at this index: to the colour other than the present one.
    let (mut a0, mut b1) = (0u16, 0usize);
    while a0 < width {
        // It is the first of them to the right of a0, or at the row's first pixel.
        while !row.changes.is_empty() && at(b1) <= a0 {
            b1 += 2;
        }
        let is_valid = match mode::decode(reader)? {
            Mode::Pass => {
                a0 = at(b1 + 1);
                b1 += 2;
                true
            }
            Mode::Vertical(distance) => {
                let a1 = at(b1).checked_add_signed(distance.into());
                let a1 = a1.filter(|a1| (a0..=width).contains(a1));
                a0 = a1.unwrap_or(a0);
                // The next change above, or one before it: it may be to the right of a0, too.
                b1 = if distance < 0 && b1 > 0 { b1 - 1 } else { b1 + 1 };
                a1.is_some() && row.change(a0)
            }
            Mode::Horizontal => {
                let is_black = row.is_black();
                [is_black, !is_black].into_iter().all(|is_black| {
                    let run = run(reader, is_black);
                    a0 = a0.saturating_add(run.unwrap_or(0)).min(width);
                    run.is_some() && row.change(a0)
                })
            }
            Mode::Extension => false,
            Mode::EOF => return None,
        };
        if !is_valid {
            row.end(a0);
            return Some(false);
        }
    }
    Some(true)
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
            decompress(Fax::Group3 { two_dimensional: false }, &data, size, 8, &Limits::default())
                .expect("no deadline")
        };
        assert_eq!(decompress(9), (vec![0b0011_1000, 0, 0], true));
        assert_eq!(decompress(1), (vec![0b0011_1000], false));
    }
}
