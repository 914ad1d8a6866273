//! Bits of entropy-coded data, and restart markers (ITU-T T.81, annexes F.2.2 and E.2.4).

use super::huffman::{HuffmanTable, LOOKUP_BITS};
use super::segments::find_marker;

/// The entropy-coded data of a scan, bit by bit. Behind its end, bits are 0, as libjpeg has it.
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    /// Bits that were read, left-aligned.
    buffer: u64,
    count: u32,
    /// Bits of the buffer that lie behind the end of the data, and those that were skipped.
    missing: u32,
    /// Whether the next restart marker is not the expected one: its interval is lost.
    lost: bool,
    /// Whether an invalid code, or bytes that belong to nothing, were met.
    pub(super) damaged: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Bits<'a> {
        Bits { rest: data, buffer: 0, count: 0, missing: 0, lost: false, damaged: false }
    }

    /// Whether more bits were used than there are up to the next marker: what follows is unknown.
    #[inline]
    pub(super) fn is_exhausted(&self) -> bool {
        self.missing > self.count || self.lost
    }

    /// The bytes behind the data that was used, from a marker on.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    fn refill(&mut self) {
        // Eight bytes at once where none of them is 0xff.
        if let Some(eight) = self.rest.first_chunk::<8>() {
            let word = u64::from_be_bytes(*eight);
            let inverted = !word;
            let has_ff =
                inverted.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
            if has_ff == 0 {
                let bytes = (64 - self.count) / 8;
                let kept =
                    if bytes == 8 { word } else { word >> (64 - 8 * bytes) << (64 - 8 * bytes) };
                self.buffer |= kept >> self.count;
                self.count += 8 * bytes;
                self.rest = &self.rest[bytes as usize..];
                return;
            }
        }
        while self.count <= 56 {
            let byte = match self.rest {
                [0xff, 0, rest @ ..] => {
                    self.rest = rest;
                    0xff
                }
                // Fill bytes: only the last 0xff counts.
                [0xff, 0xff, ..] => {
                    self.rest = &self.rest[1..];
                    continue;
                }
                // A marker: the scan, or its interval up to a restart, is over.
                [0xff, ..] | [] => {
                    self.missing += 8;
                    0
                }
                [byte, rest @ ..] => {
                    self.rest = rest;
                    *byte
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Makes sure that 32 bits are in the buffer: a code and its value.
    #[inline]
    pub(super) fn ensure(&mut self) {
        if self.count < 32 {
            self.refill();
        }
    }

    #[inline]
    fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.count -= count;
    }

    /// Decodes a symbol. An invalid code gives 0, as in libjpeg. Call [`Bits::ensure`] before.
    #[inline]
    pub(super) fn symbol(&mut self, table: &HuffmanTable) -> u8 {
        let entry = table.lookup[(self.buffer >> (64 - LOOKUP_BITS)) as usize];
        if entry != 0 {
            self.skip(u32::from(entry >> 8));
            return entry as u8;
        }
        match table.long_code((self.buffer >> 48) as u32) {
            Some((length, symbol)) => {
                self.skip(length);
                symbol
            }
            None => self.invalid_code(),
        }
    }

    #[cold]
    fn invalid_code(&mut self) -> u8 {
        // libjpeg gives up when it has read one bit more than the longest code.
        self.skip(17);
        self.damaged |= !self.is_exhausted();
        0
    }

    /// An unsigned number of at most 16 bits. Call [`Bits::ensure`] before.
    #[inline]
    pub(super) fn unsigned(&mut self, size: u32) -> u32 {
        if size == 0 {
            return 0;
        }
        let bits = (self.buffer >> (64 - size)) as u32;
        self.skip(size);
        bits
    }

    /// A number of `size` bits whose first bit tells the sign (F.2.2.1). Call [`Bits::ensure`]
    /// before the code that precedes it.
    #[inline]
    pub(super) fn signed(&mut self, size: u32) -> i32 {
        if size == 0 {
            return 0;
        }
        let bits = (self.buffer >> (64 - size)) as i32;
        self.skip(size);
        if bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits }
    }

    /// Goes on behind the restart marker whose number (0..=7) is `expected`. Where another marker
    /// comes, resynchronises as libjpeg does (`jpeg_resync_to_restart`): a marker that belongs to one
    /// of the next two intervals is kept and this interval is lost; one of the last two is skipped;
    /// any other is taken for the expected one.
    #[cold]
    pub(super) fn restart(&mut self, expected: u8) {
        (self.buffer, self.count, self.missing, self.lost) = (0, 0, 0, false);
        loop {
            let Some(at) = find_marker(self.rest) else {
                self.rest = &[];
                self.lost = true;
                return;
            };
            let marker = self.rest[at];
            // Fill bytes may precede a marker.
            self.damaged |= self.rest[..at].iter().any(|&byte| byte != 0xff);
            let ahead = marker.wrapping_sub(0xd0).wrapping_sub(expected) & 7;
            self.damaged |= ahead != 0;
            match (marker, ahead) {
                (0xd0..=0xd7, 1 | 2) | (0xc0..=0xcf | 0xd8..=0xfe, _) => {
                    self.rest = &self.rest[at - 1..];
                    self.lost = true;
                    return;
                }
                (0xd0..=0xd7, 6 | 7) | (..0xc0, _) => self.rest = &self.rest[at + 1..],
                _ => {
                    self.rest = &self.rest[at + 1..];
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first four bits behind the restart marker `expected`, and whether they are lost.
    fn after_restart(data: &[u8], expected: u8) -> (u32, bool) {
        let mut bits = Bits::new(data);
        bits.restart(expected);
        let lost = bits.is_exhausted();
        bits.ensure();
        (bits.unsigned(4), lost)
    }

    #[test]
    fn the_expected_restart_marker_is_found_behind_other_bytes() {
        assert_eq!(after_restart(&[0xff, 0xd3, 0x9a, 1], 3), (9, false));
        assert_eq!(after_restart(&[0xff, 0xff, 0xd3, 0x9a], 3), (9, false));
        assert_eq!(after_restart(&[1, 2, 0xff, 0, 7, 0xff, 0xd3, 0x9a], 3), (9, false));
    }

    #[test]
    fn other_restart_markers_resynchronise_as_in_libjpeg() {
        // One of the last two is skipped.
        assert_eq!(after_restart(&[0xff, 0xd2, 0x50, 0xff, 0xd3, 0x9a], 3), (9, false));
        assert_eq!(after_restart(&[0xff, 0xd7, 0x50, 0xff, 0xd1, 0x9a], 1), (9, false));
        // One of the next two: this interval is lost.
        assert_eq!(after_restart(&[0xff, 0xd4, 0x9a], 3), (0, true));
        assert_eq!(after_restart(&[0xff, 0xd0, 0x9a], 6), (0, true));
        // Any other is taken.
        assert_eq!(after_restart(&[0xff, 0xd6, 0x9a], 2), (9, false));
        // The end of the picture, or of the file.
        assert_eq!(after_restart(&[0xff, 0xd9, 0x9a], 2), (0, true));
        assert_eq!(after_restart(&[1, 2, 3], 2), (0, true));
    }

    #[test]
    fn bits_behind_the_end_are_zero_and_noticed() {
        let mut bits = Bits::new(&[0xff, 0, 0xab, 0xff, 0xd9]);
        bits.ensure();
        assert_eq!((bits.unsigned(8), bits.unsigned(8)), (0xff, 0xab));
        assert!(!bits.is_exhausted());
        assert_eq!(bits.unsigned(3), 0);
        assert!(bits.is_exhausted());
        assert_eq!(bits.rest(), [0xff, 0xd9]);
    }
}
