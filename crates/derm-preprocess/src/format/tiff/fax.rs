//! CCITT compression (ITU-T T.4 and T.6): black runs to bits.

use fax::decoder::{DecodeStatus, Group3Decoder, Group4Decoder};
use fax::maps::{black, white};
use fax::{BitReader, ByteReader};
use std::convert::Infallible;
use std::iter::repeat_n;

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

/// Rows of bits, black is 1.
struct Rows {
    bits: Vec<u8>,
    /// Bytes of all rows.
    size: usize,
    width: u16,
}

impl Rows {
    /// Appends a row from the positions at which its colour changes; it begins white. Whether more
    /// rows are wanted.
    fn push(&mut self, transitions: &[u16]) -> bool {
        let (start, row) = (self.bits.len(), usize::from(self.width).div_ceil(8));
        if start + row > self.size {
            return false;
        }
        self.bits.resize(start + row, 0);
        for run in transitions.chunks(2) {
            let end = run.get(1).map_or(self.width, |&end| end.min(self.width));
            for x in run[0]..end {
                self.bits[start + usize::from(x / 8)] |= 0x80 >> (x % 8);
            }
        }
        true
    }
}

/// Decompresses into at most `size` bytes; gives fewer where the data ends early.
pub(super) fn decompress(kind: Fax, data: &[u8], size: usize, width: usize) -> Vec<u8> {
    let Ok(width) = u16::try_from(width) else { return Vec::new() };
    let mut rows = Rows { bits: Vec::with_capacity(size), size, width };
    // The decoder looks at more bits than a code has.
    let input = data.iter().copied().chain(repeat_n(0, 4)).map(Ok::<u8, Infallible>);
    match kind {
        Fax::RunLength => {
            let Ok(mut reader) = ByteReader::new(input);
            while let Some(row) = run_length_row(&mut reader, width)
                && rows.push(&row)
            {
                let padding = reader.bits_to_byte_boundary();
                let Ok(()) = reader.consume(padding);
            }
        }
        Fax::Group3 => {
            let Ok(mut decoder) = Group3Decoder::new(input) else { return rows.bits };
            loop {
                let status = decoder.advance();
                let row = decoder.transitions();
                // The last row may lack the code that ends it.
                let is_whole = status.is_ok() || row.last().is_some_and(|&end| end >= width);
                let goes_on = matches!(status, Ok(DecodeStatus::Incomplete));
                if !is_whole || !rows.push(row) || !goes_on {
                    break;
                }
            }
        }
        Fax::Group4 => {
            let Ok(mut decoder) = Group4Decoder::new(input, width);
            while let Ok(DecodeStatus::Incomplete) = decoder.advance()
                && rows.push(decoder.transition())
            {}
        }
    }
    rows.bits
}

/// The positions at which a row's colour changes. None: no code.
fn run_length_row(reader: &mut impl BitReader, width: u16) -> Option<Vec<u16>> {
    let (mut transitions, mut position, mut is_black) = (Vec::new(), 0u16, false);
    while position < width {
        loop {
            let run = if is_black { black::decode(reader)? } else { white::decode(reader)? };
            position = position.checked_add(run)?;
            // Longer runs have several codes; the last is below 64.
            if run < 64 {
                break;
            }
        }
        transitions.push(position);
        is_black = !is_black;
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
        assert_eq!(decompress(Fax::RunLength, &data, 2, 8), [0b0011_1000, 0]);
        assert_eq!(decompress(Fax::RunLength, &data[..2], 2, 8), [0b0011_1000]);
    }
}
