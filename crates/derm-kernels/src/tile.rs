//! Sums of a few output pixels by a panel of output channels, in registers.

use crate::after::Finish;
use crate::conv::{MOST_LANES, Panel};
use crate::isa::dispatch;
use crate::rows::Rows;
use crate::simd::Simd;
use crate::unrolled::unrolled;
use crate::{ConvShape, Ring};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

/// Rows of a tile, at most.
const MOST_ROWS: usize = 12;

/// One block of one panel's weights over all tiles.
pub(crate) struct Call<'a> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) input: Ring<*const f32>,
    /// Rows of the output that are in memory.
    pub(crate) kept: usize,
    /// As many zeros as the convolution is deep.
    pub(crate) zeros: *const f32,
    /// Rows `first..end` of the panel, each `vectors` vectors of float32.
    pub(crate) weights: *const f32,
    /// As many as the panel has channels.
    pub(crate) bias: &'a [f32],
    pub(crate) panel: Panel,
    /// Input channels that an output channel sees.
    pub(crate) depth: usize,
    /// Rows of the panel: tap * depth + channel. Where `first` is not 0, sums of earlier rows are
    /// in the output already.
    pub(crate) first: usize,
    pub(crate) end: usize,
    pub(crate) finish: Finish<'a>,
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

/// Where in the kernel a row of the panel belongs.
#[derive(Clone, Copy)]
struct Tap {
    row: usize,
    column: usize,
    channel: usize,
}

dispatch! {
    /// # Safety
    /// What `call` points to must be as long as its shape says, and the output, too.
    pub(crate) unsafe fn run_panel = panel_with(call: &Call<'_>, output: *mut f32)
}

#[inline(always)]
unsafe fn panel_with<S: Simd>(call: &Call<'_>, output: *mut f32) {
    // Divided once here and not in each tile, of which the shortest take no longer than a division.
    let (tap, channel) = (call.first / call.depth, call.first % call.depth);
    let kernel = call.shape.columns.kernel;
    let first = Tap { row: tap / kernel, column: tap % kernel, channel };
    // Tiles as equal as can be: 75 columns are 7 tiles of 11 or 10, not 6 of 12 and one of 3.
    let count = call.columns.len();
    let tiles = count.div_ceil(S::ROWS);
    for row in call.rows.clone() {
        let mut column = call.columns.start;
        for tile in 0..tiles {
            let size = (count * (tile + 1)).div_ceil(tiles) - (count * tile).div_ceil(tiles);
            // SAFETY: the tile lies inside the output, as rows and columns do.
            unsafe { tile_of_size::<S>(call, first, row, column, output, size) };
            column += size;
        }
    }
}

/// Calls the tile function of this size.
#[inline(always)]
unsafe fn tile_of_size<S: Simd>(
    call: &Call<'_>,
    first: Tap,
    row: usize,
    column: usize,
    output: *mut f32,
    size: usize,
) {
    macro_rules! sizes {
        ($($size:literal)*) => {
            match (size, call.panel.vectors) {
                $(
                    ($size, 1) if $size <= S::ROWS => {
                        tile::<S, $size, 1>(call, first, row, column, output);
                    }
                    ($size, _) if $size <= S::ROWS => {
                        tile::<S, $size, 2>(call, first, row, column, output);
                    }
                )*
                _ => unreachable!("tiles have at most ROWS rows"),
            }
        };
    }
    // SAFETY: the caller's contract.
    unsafe { sizes!(1 2 3 4 5 6 7 8 9 10 11 12) }
}

/// `M` neighbouring pixels of one output row by `N` vectors of channels.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    call: &Call<'_>,
    first: Tap,
    row: usize,
    column: usize,
    output: *mut f32,
) {
    let shape = call.shape;
    let (rows, columns, stride) = (shape.rows, shape.columns, shape.outputs);
    let group = call.panel.group * call.depth;
    // Where no pixel is padding, the taps of a row of the kernel lie one after the other.
    let together = call.depth == shape.inputs
        && columns.dilation == 1
        && columns.spread == 1
        && columns.place(column, 0).is_some()
        && columns.place(column + M - 1, columns.kernel - 1).is_some();
    // SAFETY: pixels are checked against the input's size, channels are those of the panel; lanes
    // beyond the panel's channels are neither loaded nor stored.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        let mut weights = call.weights;
        let mut left = call.end - call.first;
        let mut next = first;
        while left > 0 {
            let tap = next;
            let taps = if together { columns.kernel - tap.column } else { 1 };
            let count = (taps * call.depth - tap.channel).min(left);
            left -= count;
            next = match tap.column + taps {
                end if end < columns.kernel => Tap { column: end, channel: 0, ..tap },
                _ => Tap { row: tap.row + 1, column: 0, channel: 0 },
            };
            let Some(input_row) = rows.place(row, tap.row) else {
                weights = weights.add(count * N * S::LANES);
                continue;
            };
            let line = input_row % call.input.kept * columns.input * shape.inputs;
            let line = call.input.values.add(line + group + tap.channel);
            let mut pixels = [call.zeros; M];
            unrolled!(m below M, {
                if let Some(place) = columns.place(column + m, tap.column) {
                    pixels[m] = line.add(place * shape.inputs);
                }
            });
            for k in 0..count {
                let mut w = [S::splat(0.0); N];
                unrolled!(n below N, {
                    w[n] = S::load(weights.add(n * S::LANES));
                });
                unrolled!(m below M, {
                    // Keeps the compiler from loading all rows' values first: with six of them beside the sums,
                    // AVX2's sixteen registers would not do.
                    compiler_fence(Ordering::SeqCst);
                    let value = S::splat(*pixels[m].add(k));
                    unrolled!(n below N, {
                        sums[m][n] = S::fma(value, w[n], sums[m][n]);
                    });
                });
                weights = weights.add(N * S::LANES);
            }
        }
        let place = (row % call.kept * columns.output + column) * stride + call.panel.channel;
        let mut buffer = MaybeUninit::<[f32; MOST_ROWS * MOST_LANES]>::uninit();
        let buffer = Rows { at: buffer.as_mut_ptr().cast::<f32>(), stride: N * S::LANES };
        let output_rows = Rows { at: output.add(place), stride };
        let to = if call.finish.is_short() { output_rows } else { buffer };
        unrolled!(n below N, {
            let lane = n * S::LANES;
            let lanes = S::LANES.min(call.panel.channels - lane);
            let bias = S::load_first(call.bias.as_ptr().add(lane), lanes);
            unrolled!(m below M, {
                let before =
                    if call.first == 0 { bias } else { S::load_first(output_rows.row(m).add(lane), lanes) };
                let sum = S::add(sums[m][n], before);
                let place = place + m * stride + lane;
                let value = call.finish.in_registers::<S>(sum, place, lanes);
                S::store_first(to.row(m).add(lane), value, lanes);
            });
        });
        if !call.finish.is_short() {
            let size = [M, call.panel.channels];
            call.finish.buffered(buffer, output, (place, stride), size);
        }
    }
}
