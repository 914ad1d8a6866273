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
use super::weights::{blocks, row_quads};
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
    let (geometry, columns) = (call.geometry, call.geometry.columns());
    let (channels, kernel) = (geometry.outputs(), [geometry.rows().kernel(), columns.kernel()]);
    let padding = [call.input_zero; PADDING];
    let mut lines = vec![Line::of(&padding); 4 * row_quads(geometry)];
    for row in rows {
        for (tap, line) in lines.iter_mut().enumerate().take(kernel[0]) {
            *line = match geometry.rows().input_index(row, tap) {
                Some(row) => Line {
                    start: call.input[row * columns.input() * channels..].as_ptr(),
                    mask: usize::MAX,
                },
                None => Line::of(&padding),
            };
        }
        let tile = Tile { row, lines: &lines, padding: &padding };
        for block in blocks(call.kind, channels) {
            // SAFETY: tiles lie inside the row; each kind of block has its own vectors.
            unsafe {
                if block.lanes == S::LANES {
                    columns_of::<S>(call, &tile, block.channel, kernel);
                } else {
                    columns_of::<S::Half>(call, &tile, block.channel, kernel);
                }
            }
        }
    }
}

/// A block of a row, by windows that are known when compiling, or any. Windows of 5 by 5 taps are no faster so.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn columns_of<S: Int8Simd>(
    call: &ConvCall<'_>,
    tile: &Tile<'_>,
    block: usize,
    kernel: [usize; 2],
) {
    let columns = call.geometry.columns();
    // SAFETY: the contract of this function.
    unsafe {
        if columns.output() < PIXELS || columns.dilation() != 1 {
            (0..columns.output())
                .for_each(|column| pixels::<S, 1, 0, 0, 0>(call, tile, block, column));
            return;
        }
        match (kernel, columns.stride()) {
            ([3, 3], 1) => tiles::<S, 3, 1, 6>(call, tile, block),
            ([3, 3], 2) => tiles::<S, 3, 2, 9>(call, tile, block),
            _ => tiles::<S, 0, 0, 0>(call, tile, block),
        }
    }
}

/// # Safety
/// As [`pixels`], with as many pixels in a row as a tile has at least.
#[inline(always)]
unsafe fn tiles<S: Int8Simd, const K: usize, const STRIDE: usize, const SEEN: usize>(
    call: &ConvCall<'_>,
    tile: &Tile<'_>,
    block: usize,
) {
    let count = call.geometry.columns().output();
    for column in (0..count).step_by(PIXELS) {
        // The last tile computes some pixels of the one before again.
        let first = column.min(count - PIXELS);
        // SAFETY: the contract of this function.
        unsafe { pixels::<S, PIXELS, K, STRIDE, SEEN>(call, tile, block, first) };
    }
}

/// What the tiles of a row have in common.
struct Tile<'a> {
    row: usize,
    /// For each row of the window, filled up to whole groups of four.
    lines: &'a [Line],
    padding: &'a [u8; PADDING],
}

/// An input row, or padding: where byte `index` of it is read, `start + (index & mask)`.
#[derive(Clone, Copy)]
struct Line {
    start: *const u8,
    mask: usize,
}

impl Line {
    /// A row of padding, which is one vector of it again and again.
    fn of(padding: &[u8; PADDING]) -> Line {
        Line { start: padding.as_ptr(), mask: 0 }
    }
}

/// Tile: computes `P` pixels from `column` on of the block of channels that begins at `block`. The window is of `K` by `K` taps with
/// the stride `STRIDE`, and `SEEN` of its columns are seen by any of the pixels; 0: what the geometry says.
///
/// # Safety
/// As [`run`]; `P` is 1 if the columns are dilated.
#[inline(always)]
unsafe fn pixels<
    S: Int8Simd,
    const P: usize,
    const K: usize,
    const STRIDE: usize,
    const SEEN: usize,
>(
    call: &ConvCall<'_>,
    tile: &Tile<'_>,
    block: usize,
    column: usize,
) {
    let (geometry, columns) = (call.geometry, call.geometry.columns());
    let channels = geometry.outputs();
    let count = S::BYTES.min(channels - block);
    let (quads, kernel, stride) = match K {
        0 => (row_quads(geometry), columns.kernel(), columns.stride()),
        _ => (K.div_ceil(4), K, STRIDE),
    };
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
        let window = Window { quads, kernel, stride, channel: block, column, count };
        if K == 0 {
            for position in 0..(P - 1) * stride + kernel {
                add_position::<S, P, K>(call, tile, window, position, &mut sums);
            }
        } else {
            unrolled!(position below SEEN, {
                add_position::<S, P, K>(call, tile, window, position, &mut sums);
            });
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

/// What the window's columns of a tile have in common.
#[derive(Clone, Copy)]
struct Window {
    /// Its rows in groups of four, its columns, and their stride.
    quads: usize,
    kernel: usize,
    stride: usize,
    /// The first channel, and how many there are.
    channel: usize,
    count: usize,
    /// The first output column.
    column: usize,
}

/// Adds the products of one column of the input that any of `P` pixels sees to the sums of those that do.
///
/// # Safety
/// As [`pixels`].
#[inline(always)]
unsafe fn add_position<S: Int8Simd, const P: usize, const K: usize>(
    call: &ConvCall<'_>,
    tile: &Tile<'_>,
    window: Window,
    position: usize,
    sums: &mut [[S::V; 4]; P],
) {
    let Window { quads, kernel, stride, channel, column, count } = window;
    let (columns, channels) = (call.geometry.columns(), call.geometry.outputs());
    let at = column * stride + position * columns.dilation();
    let at = at.checked_sub(columns.before()).filter(|&at| at < columns.input());
    // SAFETY: the contract of this function: a line has all columns of the input, and there are four lines for each
    // of the groups; weights have whole blocks.
    unsafe {
        let weights = call.weights.as_ptr().add(channel * 4 * quads * kernel);
        for quad in 0..quads {
            let load = |row: usize| match at {
                // Its weights are 0.
                _ if K > 0 && 4 * quad + row >= K => S::splat(0),
                Some(at) => {
                    let Line { start, mask } = *tile.lines.get_unchecked(4 * quad + row);
                    S::load_first(start.add((at * channels + channel) & mask), count)
                }
                None => S::load(tile.padding.as_ptr()),
            };
            let [a, b] = S::interleave_bytes(load(0), load(1));
            let [c, d] = S::interleave_bytes(load(2), load(3));
            let [v0, v1] = S::interleave_pairs(a, c);
            let [v2, v3] = S::interleave_pairs(b, d);
            let values = [v0, v1, v2, v3];
            unrolled!(p below P, {
                let tap = position.wrapping_sub(p * stride);
                if tap < kernel {
                    let weights = weights.add((tap * quads + quad) * 4 * S::BYTES);
                    unrolled!(v below 4, {
                        let w = S::load(weights.add(v * S::BYTES));
                        sums[p][v] = S::dot(sums[p][v], values[v], w);
                    });
                }
            });
        }
    }
}
