//! Rows of packed samples to 8 bits each.

use super::error::{undecodable, unsupported};
use crate::error::Error;
use crate::orientation::ByteOrder;

/// How samples are stored in a row.
#[derive(Debug)]
pub(super) struct Samples {
    bits: usize,
    /// Each sample is stored as the difference to the one before (TIFF 6.0, section 14).
    differences: bool,
    order: ByteOrder,
    /// Small samples are indices and keep their values; else they are scaled to 0..=255.
    is_index: bool,
}

impl Samples {
    pub(super) fn new(
        bits: u64,
        predictor: u64,
        order: ByteOrder,
        is_index: bool,
    ) -> Result<Samples, Error> {
        if !matches!(bits, 1 | 2 | 4 | 8 | 12 | 16) {
            return Err(unsupported(&format!("{bits} bits a sample")));
        }
        if predictor > 2 || (predictor == 2 && !matches!(bits, 8 | 16)) {
            return Err(undecodable(format!("predictor {predictor} with {bits} bits a sample")));
        }
        Ok(Samples { bits: bits as usize, differences: predictor == 2, order, is_index })
    }

    pub(super) fn bits(&self) -> usize {
        self.bits
    }

    /// Unpacks one row of pixels of `samples` samples.
    pub(super) fn unpack(&self, row: &[u8], samples: usize, to: &mut [u8]) {
        match self.bits {
            8 => {
                to.copy_from_slice(&row[..to.len()]);
                if self.differences {
                    for index in samples..to.len() {
                        to[index] = to[index].wrapping_add(to[index - samples]);
                    }
                }
            }
            12 => {
                for (index, to) in to.iter_mut().enumerate() {
                    let first = index * 3 / 2;
                    // The upper eight of twelve bits.
                    *to = match index % 2 {
                        0 => row[first],
                        _ => row[first] << 4 | row[first + 1] >> 4,
                    };
                }
            }
            16 => self.unpack_16(row, samples, to),
            bits => {
                let most = (1u16 << bits) - 1;
                for (index, to) in to.iter_mut().enumerate() {
                    let first = index * bits;
                    let value = u16::from(row[first / 8]) >> (8 - bits - first % 8) & most;
                    *to = if self.is_index { value } else { value * 255 / most } as u8;
                }
            }
        }
    }

    /// The upper bytes.
    fn unpack_16(&self, row: &[u8], samples: usize, to: &mut [u8]) {
        let value = |two: &[u8; 2]| match self.order {
            ByteOrder::Little => u16::from_le_bytes(*two),
            ByteOrder::Big => u16::from_be_bytes(*two),
        };
        let values = row.as_chunks::<2>().0.iter().map(value);
        if !self.differences {
            to.iter_mut().zip(values).for_each(|(to, value)| *to = (value >> 8) as u8);
            return;
        }
        let mut sums = vec![0u16; samples];
        for (index, (to, difference)) in to.iter_mut().zip(values).enumerate() {
            let sum = &mut sums[index % samples];
            *sum = sum.wrapping_add(difference);
            *to = (*sum >> 8) as u8;
        }
    }
}
