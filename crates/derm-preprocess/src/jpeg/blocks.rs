//! Entropy-coded blocks to coefficients (ITU-T T.81, annexes F.2.2 and G.2).

use super::bits::Bits;
use super::huffman::HuffmanTable;
use super::tables::ZIGZAG;

/// A block of a sequential scan: its coefficients times their quantisation. `predictor` is the DC
/// coefficient of the component's previous block. Returns the index of the last coefficient that is
/// not zero, in the order of the file.
#[inline]
pub(super) fn sequential(
    bits: &mut Bits<'_>,
    (dc, ac): (&HuffmanTable, &HuffmanTable),
    quantisation: &[f32; 64],
    predictor: &mut i32,
    block: &mut [f32; 64],
) -> usize {
    bits.ensure();
    let size = u32::from(bits.symbol(dc) & 15);
    *predictor = predictor.wrapping_add(bits.signed(size));
    block[0] = *predictor as f32 * quantisation[0];
    let (mut index, mut last) = (1, 0);
    while index < 64 {
        bits.ensure();
        let symbol = bits.symbol(ac);
        let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if zeros < 15 {
                break;
            }
            index += 16;
            continue;
        }
        index += zeros;
        let value = bits.signed(size);
        let Some(&at) = ZIGZAG.get(index) else {
            bits.damaged = true;
            break;
        };
        let at = usize::from(at);
        block[at] = value as f32 * quantisation[at];
        last = index;
        index += 1;
    }
    last
}

/// The coefficients of a block, in the order of [`ZIGZAG`]'s values.
pub(super) type Block = [i16; 64];

/// The first bits of a DC coefficient (G.1.2.1).
pub(super) fn dc_first(
    bits: &mut Bits<'_>,
    dc: &HuffmanTable,
    low: u32,
    predictor: &mut i32,
    block: &mut Block,
) {
    bits.ensure();
    let size = u32::from(bits.symbol(dc) & 15);
    *predictor = predictor.wrapping_add(bits.signed(size));
    block[0] = (*predictor << low) as i16;
}

/// One more bit of a DC coefficient.
pub(super) fn dc_refine(bits: &mut Bits<'_>, low: u32, block: &mut Block) {
    bits.ensure();
    block[0] |= (bits.unsigned(1) << low) as i16;
}

/// The first bits of AC coefficients (G.1.2.2). `band`: first and last coefficient. `end_run`: blocks
/// that have no coefficients in the band, from this one on.
pub(super) fn ac_first(
    bits: &mut Bits<'_>,
    ac: &HuffmanTable,
    (first, last): (usize, usize),
    low: u32,
    end_run: &mut u32,
    block: &mut Block,
) {
    if *end_run > 0 {
        *end_run -= 1;
        return;
    }
    let mut index = first;
    while index <= last {
        bits.ensure();
        let symbol = bits.symbol(ac);
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 && zeros < 15 {
            *end_run = (1 << zeros) + bits.unsigned(zeros) - 1;
            return;
        }
        index += zeros as usize;
        if size > 0 {
            let value = bits.signed(size) << low;
            match ZIGZAG.get(index) {
                Some(&at) if index <= last => block[usize::from(at)] = value as i16,
                _ => bits.damaged = true,
            }
        }
        index += 1;
    }
}

/// One more bit of AC coefficients, and coefficients that become non-zero by it (G.1.2.3).
pub(super) fn ac_refine(
    bits: &mut Bits<'_>,
    ac: &HuffmanTable,
    (first, last): (usize, usize),
    low: u32,
    end_run: &mut u32,
    block: &mut Block,
) {
    let bit = 1 << low;
    let mut index = first;
    while *end_run == 0 && index <= last {
        bits.ensure();
        let symbol = bits.symbol(ac);
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        let mut value = 0;
        if size > 0 {
            // The size of a new coefficient is always 1.
            bits.damaged |= size != 1;
            value = if bits.unsigned(1) == 1 { bit } else { -bit };
        } else if zeros < 15 {
            *end_run = (1 << zeros) + bits.unsigned(zeros);
            break;
        }
        index = refine_until(bits, (index, last), zeros, bit, block);
        if value != 0
            && let Some(&at) = ZIGZAG.get(index)
            && index <= last
        {
            block[usize::from(at)] = value;
        } else if value != 0 {
            bits.damaged = true;
        }
        index += 1;
    }
    if *end_run > 0 {
        refine_until(bits, (index, last), u32::MAX, bit, block);
        *end_run -= 1;
    }
}

/// Refines the coefficients that are not zero, up to a zero that `zeros` zeros precede; gives its
/// index.
fn refine_until(
    bits: &mut Bits<'_>,
    (mut index, last): (usize, usize),
    mut zeros: u32,
    bit: i16,
    block: &mut Block,
) -> usize {
    while index <= last {
        let value = &mut block[usize::from(ZIGZAG[index])];
        if *value == 0 {
            if zeros == 0 {
                break;
            }
            zeros -= 1;
        } else {
            bits.ensure();
            if bits.unsigned(1) == 1 && *value & bit == 0 {
                *value = value.wrapping_add(if *value > 0 { bit } else { -bit });
            }
        }
        index += 1;
    }
    index
}
