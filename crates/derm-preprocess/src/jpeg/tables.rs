//! Tables and parameters that scans use (ITU-T T.81, annex B.2.4).

use super::huffman::HuffmanTable;

/// Index in a block of the i-th coefficient of the file (figure A.6 of the standard). Blocks are
/// stored column by column.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 8, 1, 2, 9, 16, 24, 17, 10, 3, 4, 11, 18, 25, 32, 40, 33, 26, 19, 12, 5, 6, 13, 20, 27, 34,
    41, 48, 56, 49, 42, 35, 28, 21, 14, 7, 15, 22, 29, 36, 43, 50, 57, 58, 51, 44, 37, 30, 23, 31,
    38, 45, 52, 59, 60, 53, 46, 39, 47, 54, 61, 62, 55, 63,
];

/// The tables that are in force at one point of the file.
#[derive(Clone)]
pub(super) struct Tables {
    /// As blocks are stored.
    pub(super) quantisation: [Option<[f32; 64]>; 4],
    pub(super) dc: [Option<HuffmanTable>; 4],
    pub(super) ac: [Option<HuffmanTable>; 4],
    /// MCUs from one restart marker to the next; 0: there are none.
    pub(super) restart_interval: usize,
}

impl Tables {
    pub(super) fn new() -> Tables {
        Tables {
            quantisation: [None; 4],
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            restart_interval: 0,
        }
    }

    /// Takes a segment that defines tables; ignores others. None: the segment is invalid.
    pub(super) fn read(&mut self, marker: u8, content: &[u8]) -> Option<()> {
        match marker {
            0xc4 => self.read_huffman(content),
            0xdb => self.read_quantisation(content),
            0xdd => {
                let interval = content.first_chunk::<2>()?;
                self.restart_interval = usize::from(u16::from_be_bytes(*interval));
                Some(())
            }
            _ => Some(()),
        }
    }

    fn read_quantisation(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = content.split_first() {
            let wide = usize::from(kind >> 4 != 0);
            let table = self.quantisation.get_mut(usize::from(kind & 15))?;
            let values = rest.get(..64 * (wide + 1))?;
            let mut found = [0.0; 64];
            for (index, value) in values.chunks_exact(wide + 1).enumerate() {
                let value = value.iter().fold(0u16, |all, &byte| all << 8 | u16::from(byte));
                found[usize::from(ZIGZAG[index])] = f32::from(value);
            }
            *table = Some(found);
            content = &rest[values.len()..];
        }
        Some(())
    }

    fn read_huffman(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = content.split_first() {
            let counts: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let symbols = rest.get(16..16 + total)?;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(kind & 15))? = Some(HuffmanTable::new(&counts, symbols)?);
            content = &rest[16 + total..];
        }
        Some(())
    }
}
