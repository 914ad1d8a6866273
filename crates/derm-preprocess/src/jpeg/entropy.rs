//! Bits to coefficients (ITU-T T.81, annex F.2).

use super::header::ZIGZAG;

/// Bits that are looked up at once.
const FAST: u32 = 9;

/// A Huffman code.
pub(super) struct HuffmanTable {
    /// For each run of `FAST` bits: length << 8 | symbol, or 0 where the code is longer.
    fast: [u16; 1 << FAST],
    /// For each length: one more than the largest code, at 16 bits.
    limits: [u32; 17],
    /// For each length: the symbol's place less the code.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl HuffmanTable {
    /// From how many codes there are of each length. None where they are too many.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<HuffmanTable> {
        let mut table = HuffmanTable {
            fast: [0; 1 << FAST],
            limits: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = u32::from(counts[length as usize - 1]);
            table.offsets[length as usize] = place as i32 - code as i32;
            if code + count > 1 << length {
                return None;
            }
            for _ in 0..count {
                if length <= FAST {
                    let first = (code << (FAST - length)) as usize;
                    let entry = (length << 8) as u16 | u16::from(symbols[place]);
                    table.fast[first..first + (1 << (FAST - length))].fill(entry);
                }
                code += 1;
                place += 1;
            }
            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }
}

/// The bits of a scan.
pub(super) struct Bits<'a> {
    rest: &'a [u8],
    /// Bits that were read, from the top.
    buffer: u64,
    count: u32,
    /// Bits that were made up after the end.
    missing: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Bits<'a> {
        Bits { rest: data, buffer: 0, count: 0, missing: 0 }
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
                // A marker: the scan, or the part up to a restart, is over.
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

    #[inline]
    fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.count -= count;
    }

    #[inline]
    fn symbol(&mut self, table: &HuffmanTable) -> Option<u8> {
        let entry = table.fast[(self.buffer >> (64 - FAST)) as usize];
        if entry != 0 {
            self.skip(u32::from(entry >> 8));
            return Some(entry as u8);
        }
        let next = (self.buffer >> 48) as u32;
        let length = (FAST as usize + 1..=16).find(|&length| next < table.limits[length])?;
        self.skip(length as u32);
        let place = (next >> (16 - length)) as i32 + table.offsets[length];
        table.symbols.get(usize::try_from(place).ok()?).copied()
    }

    /// A number of `size` bits whose first bit tells the sign (F.2.2.1).
    #[inline]
    fn number(&mut self, size: u32) -> i32 {
        if size == 0 {
            return 0;
        }
        let bits = (self.buffer >> (64 - size)) as i32;
        self.skip(size);
        if bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits }
    }

    /// One block's coefficients, multiplied with their quantisation, in their places. `predictor`
    /// is the last block's first one. Returns the place of the last that is not zero in the order
    /// of the file. None: damaged, or cut short.
    #[inline]
    pub(super) fn block(
        &mut self,
        (dc, ac): (&HuffmanTable, &HuffmanTable),
        quantisation: &[f32; 64],
        predictor: &mut i32,
        block: &mut [f32; 64],
    ) -> Option<usize> {
        if self.count < 32 {
            self.refill();
        }
        let size = u32::from(self.symbol(dc)?);
        if size > 11 {
            return None;
        }
        *predictor = predictor.wrapping_add(self.number(size));
        block[0] = *predictor as f32 * quantisation[0];
        let (mut place, mut last) = (1, 0);
        while place < 64 {
            if self.count < 32 {
                self.refill();
            }
            let symbol = self.symbol(ac)?;
            let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 {
                if zeros < 15 {
                    break;
                }
                place += 16;
                continue;
            }
            place += zeros;
            let at = usize::from(*ZIGZAG.get(place)?);
            block[at] = self.number(size) as f32 * quantisation[at];
            last = place;
            place += 1;
        }
        // Bits that were made up are in the buffer's tail; were any of them used?
        (self.missing <= self.count).then_some(last)
    }

    /// Goes on after the restart marker that must come here.
    pub(super) fn restart(&mut self) -> Option<()> {
        while let Some((&0xff, rest)) = self.rest.split_first() {
            self.rest = rest;
            match rest.first()? {
                0xd0..=0xd7 => {
                    *self = Bits::new(&rest[1..]);
                    return Some(());
                }
                0xff => {}
                _ => return None,
            }
        }
        None
    }
}
