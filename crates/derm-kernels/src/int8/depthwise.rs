//! Depthwise convolution: each channel by itself.
//!
//! Four rows of a column of the window are interleaved, so that the four bytes of a channel are what
//! one dot product takes; a column that several output pixels see is interleaved once for them. The
//! sums come in the order of two interleavings, which packing them undoes.

use super::call::ConvCall;
use super::dispatch::dispatch_int8;
use super::epilogue::apply;
use super::requantize::Requantize;
use super::vector::Int8Simd;
use super::weights::row_quads;
use crate::simd::unroll::unrolled;
use std::ops::Range;

/// Output pixels that are computed together.
const PIXELS: usize = 4;

/// Bytes of padding that are read beyond the input: a vector.
pub(super) const PADDING: usize = 64;

/// Computes some rows.
///
/// # Safety
/// The output must be valid for writes to them, which nobody else may touch.
pub(super) unsafe fn run(call: &ConvCall<'_>, rows: Range<usize>) {
    // SAFETY: the operands were checked; the rest is the contract of this function.
    unsafe { run_rows(call.kind, call, rows) }
}

dispatch_int8! {
    /// # Safety
    /// As [`run`].
    unsafe fn run_rows = rows_kernel(call: &ConvCall<'_>, rows: Range<usize>)
}

/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn rows_kernel<S: Int8Simd>(call: &ConvCall<'_>, rows: Range<usize>) {
    let channels = call.geometry.outputs();
    let columns = call.geometry.columns();
    let padding = [call.input_zero; PADDING];
    let mut lines = vec![None; 4 * row_quads(call.geometry)];
    for row in rows {
        for (tap, line) in lines.iter_mut().enumerate() {
            let is_tap = tap < call.geometry.rows().kernel();
            let row = is_tap.then(|| call.geometry.rows().input_index(row, tap)).flatten();
            *line = row.map(|row| row * columns.input() * channels);
        }
        let tile = Tile { row, lines: &lines, padding: &padding };
        for block in (0..channels).step_by(S::BYTES) {
            // SAFETY: tiles lie inside the row.
            unsafe {
                let count = columns.output();
                if count < PIXELS || columns.dilation() != 1 {
                    (0..count).for_each(|column| pixels::<S, 1>(call, &tile, block, column));
                    continue;
                }
                let mut column = 0;
                while column < count {
                    // The last tile computes some pixels of the one before again.
                    let first = column.min(count - PIXELS);
                    pixels::<S, PIXELS>(call, &tile, block, first);
                    column = first + PIXELS;
                }
            }
        }
    }
}

/// What the tiles of a row have in common.
struct Tile<'a> {
    row: usize,
    /// Where the input row of each tap begins; none in the padding and for taps that only fill up.
    lines: &'a [Option<usize>],
    padding: &'a [u8; PADDING],
}

/// `P` pixels from `column` on of the block of channels that begins at `block`.
///
/// # Safety
/// As [`run`]; `P` is 1 if the columns are dilated.
#[inline(always)]
unsafe fn pixels<S: Int8Simd, const P: usize>(
    call: &ConvCall<'_>,
    tile: &Tile<'_>,
    block: usize,
    column: usize,
) {
    let (geometry, columns) = (call.geometry, call.geometry.columns());
    let channels = geometry.outputs();
    let count = S::BYTES.min(channels - block);
    let quads = row_quads(geometry);
    // Positions of the window's columns that any of the pixels sees.
    let seen = (P - 1) * columns.stride() + columns.kernel();
    // SAFETY: an input position is inside the input, and `count` channels are left from `block` on;
    // the padding has a whole vector. Weights, bias and scales have whole blocks.
    unsafe {
        let mut sums = [[S::splat(0); 4]; P];
        unrolled!(v below 4, {
            let bias = S::load(call.bias.as_ptr().add(block + v * S::LANES).cast());
            unrolled!(p below P, {
                sums[p][v] = bias;
            });
        });
        let weights = call.weights.as_ptr().add(block * 4 * quads * columns.kernel());
        for position in 0..seen {
            let at = column * columns.stride() + position * columns.dilation();
            let at = at.checked_sub(columns.before()).filter(|&at| at < columns.input());
            for quad in 0..quads {
                let load = |row: usize| match (tile.lines[4 * quad + row], at) {
                    (Some(line), Some(at)) => {
                        let from = call.input.as_ptr().add(line + at * channels + block);
                        S::load_first(from, count)
                    }
                    _ => S::load(tile.padding.as_ptr()),
                };
                let [a, b] = S::interleave_bytes(load(0), load(1));
                let [c, d] = S::interleave_bytes(load(2), load(3));
                let [v0, v1] = S::interleave_pairs(a, c);
                let [v2, v3] = S::interleave_pairs(b, d);
                let values = [v0, v1, v2, v3];
                unrolled!(p below P, {
                    let tap = position.wrapping_sub(p * columns.stride());
                    if tap < columns.kernel() {
                        let weights = weights.add((tap * quads + quad) * 4 * S::BYTES);
                        unrolled!(v below 4, {
                            let w = S::load(weights.add(v * S::BYTES));
                            sums[p][v] = S::dot(sums[p][v], values[v], w);
                        });
                    }
                });
            }
        }
        let Requantize { zero_point, low, high } = *call.requantize;
        let [zero_point, low, high] = [zero_point, low, high].map(i32::from);
        let index = (tile.row * columns.output() + column) * channels + block;
        unrolled!(p below P, {
            let mut lanes = sums[p];
            unrolled!(v below 4, {
                let scales = call.scales.as_ptr().add(block + v * S::LANES);
                lanes[v] = S::requantize(lanes[v], scales, zero_point, low, high);
            });
            let index = index + p * channels;
            S::store_first(call.output.add(index), S::pack(lanes), count);
        });
        if !call.epilogue.is_empty() {
            for p in 0..P {
                let index = index + p * channels;
                apply(call.epilogue, call.output.add(index), index, count);
            }
        }
    }
}
