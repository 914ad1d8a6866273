//! Huffman codes (ITU-T T.81, annexes C and F.2.2.3).

/// Bits that are looked up at once.
pub(super) const LOOKUP_BITS: u32 = 9;

/// A Huffman code.
#[derive(Clone)]
pub(super) struct HuffmanTable {
    /// For each value of the next `LOOKUP_BITS` bits: length << 8 | symbol, or 0 for a longer code.
    pub(super) lookup: [u16; 1 << LOOKUP_BITS],
    /// For each length: one more than the largest code, left-aligned in 16 bits.
    limits: [u32; 17],
    /// For each length: index of a symbol less its code.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl HuffmanTable {
    /// From the number of codes of each length. None: there are more codes than a length allows.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<HuffmanTable> {
        let mut table = HuffmanTable {
            lookup: [0; 1 << LOOKUP_BITS],
            limits: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = u32::from(counts[length as usize - 1]);
            table.offsets[length as usize] = index as i32 - code as i32;
            if code + count > 1 << length {
                return None;
            }
            for _ in 0..count {
                if length <= LOOKUP_BITS {
                    let first = (code << (LOOKUP_BITS - length)) as usize;
                    let entry = (length << 8) as u16 | u16::from(*symbols.get(index)?);
                    table.lookup[first..first + (1 << (LOOKUP_BITS - length))].fill(entry);
                }
                code += 1;
                index += 1;
            }
            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    /// Length and symbol of a code longer than [`LOOKUP_BITS`], from the next 16 bits. None: no
    /// such code.
    pub(super) fn long_code(&self, bits: u32) -> Option<(u32, u8)> {
        let mut lengths = LOOKUP_BITS as usize + 1..=16;
        let length = lengths.find(|&length| bits < self.limits[length])?;
        let index = (bits >> (16 - length)) as i32 + self.offsets[length];
        let symbol = self.symbols.get(usize::try_from(index).ok()?)?;
        Some((length as u32, *symbol))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_codes_are_assigned_in_order() {
        // 00, 01, 10, 110, and ten bits: 1110000000, 1110000001.
        let mut counts = [0; 16];
        (counts[1], counts[2], counts[9]) = (3, 1, 2);
        let table = HuffmanTable::new(&counts, &[5, 6, 7, 8, 9, 10]).unwrap();
        for (bits, length, symbol) in [(0b00, 2, 5), (0b01, 2, 6), (0b10, 2, 7), (0b110, 3, 8)] {
            let entry = table.lookup[bits << (LOOKUP_BITS - length)];
            assert_eq!(entry, (length << 8) as u16 | symbol);
        }
        assert_eq!(table.lookup[0b1_1100_0000], 0);
        assert_eq!(table.long_code(0b1110_0000_0000_0000), Some((10, 9)));
        assert_eq!(table.long_code(0b1110_0000_0100_0000), Some((10, 10)));
        assert_eq!(table.long_code(0b1110_0000_1000_0000), None);
        assert_eq!(table.long_code(0xffff), None);
    }

    #[test]
    fn more_codes_than_fit_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(HuffmanTable::new(&counts, &[1, 2, 3]).is_none());
    }
}
