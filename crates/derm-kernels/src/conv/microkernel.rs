//! Microkernel: the sums of a few output pixels by a panel of output channels, in registers.

use super::epilogue::{Block, SplitEpilogue};
use super::packed::{MAX_WIDTH, Panel};
use crate::geometry::conv::ConvGeometry;
use crate::ring::Ring;
use crate::rows::Rows;
use crate::simd::dispatch::dispatch;
use crate::simd::unroll::unrolled;
use crate::simd::vector::Simd;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Pixels of a tile, at most.
const MAX_ROWS: usize = 12;

/// One block of one panel's weights over all tiles.
pub(super) struct PanelCall<'a> {
    pub(super) geometry: &'a ConvGeometry,
    pub(super) input: Ring<*const f32>,
    pub(super) output: Ring<*mut f32>,
    /// As many zeros as the convolution is deep: what is read in the padding.
    pub(super) zeros: *const f32,
    /// Rows `first..end` of the panel, each `vectors` vectors of float32.
    pub(super) weights: *const f32,
    /// As many as the panel has channels.
    pub(super) bias: &'a [f32],
    pub(super) panel: Panel,
    /// Input channels that an output channel sees.
    pub(super) depth: usize,
    /// Rows of the panel: tap * depth + channel. Where `first` is not 0, the sums of earlier rows are
    /// in the output already.
    pub(super) first: usize,
    pub(super) end: usize,
    pub(super) epilogue: SplitEpilogue<'a>,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

/// The tap and input channel of a row of the panel.
#[derive(Clone, Copy)]
struct Tap {
    row: usize,
    column: usize,
    channel: usize,
}

dispatch! {
    /// Computes the panel's channels of the output pixels `rows` x `columns`.
    ///
    /// # Safety
    /// `input` must be valid for its held rows of the geometry's columns and input channels; `zeros`,
    /// `weights` and `bias` for what their fields say; and `output` for writes to the panel's
    /// channels of these pixels, which must lie inside the geometry's output and which nobody else
    /// may touch. Operands of the epilogue must have the output's length.
    pub(super) unsafe fn run_panel = panel_kernel(call: &PanelCall<'_>)
}

/// # Safety
/// As [`run_panel`].
#[inline(always)]
unsafe fn panel_kernel<S: Simd>(call: &PanelCall<'_>) {
    // Divided once here and not in each tile, the shortest of which take no longer than a division.
    let (tap, channel) = (call.first / call.depth, call.first % call.depth);
    let kernel = call.geometry.columns().kernel();
    let first = Tap { row: tap / kernel, column: tap % kernel, channel };
    // Tiles as equal as possible: 75 columns are 7 tiles of 11 or 10, not 6 of 12 and one of 3.
    let count = call.columns.len();
    let tiles = count.div_ceil(S::ROWS);
    for row in call.rows.clone() {
        let mut column = call.columns.start;
        for tile in 0..tiles {
            let size = (count * (tile + 1)).div_ceil(tiles) - (count * tile).div_ceil(tiles);
            // SAFETY: the tile lies inside `rows` x `columns`; the rest is the contract of this function.
            unsafe { tile_of_size::<S>(call, first, row, column, size) };
            column += size;
        }
    }
}

/// Calls the tile function of this size.
///
/// # Safety
/// As [`run_panel`], for `size` pixels from `column` on.
#[inline(always)]
unsafe fn tile_of_size<S: Simd>(
    call: &PanelCall<'_>,
    first: Tap,
    row: usize,
    column: usize,
    size: usize,
) {
    macro_rules! sizes {
        ($($size:literal)*) => {
            match (size, call.panel.vectors) {
                $(
                    ($size, 1) if $size <= S::ROWS => {
                        tile::<S, $size, 1>(call, first, row, column);
                    }
                    ($size, _) if $size <= S::ROWS => {
                        tile::<S, $size, 2>(call, first, row, column);
                    }
                )*
                _ => unreachable!("tiles have at most ROWS rows"),
            }
        };
    }
    // SAFETY: the tile has exactly `size` pixels.
    unsafe { sizes!(1 2 3 4 5 6 7 8 9 10 11 12) }
}

/// `M` neighbouring pixels of one output row by `N` vectors of channels.
///
/// # Safety
/// As [`run_panel`], for `M` pixels from `column` on.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    call: &PanelCall<'_>,
    first: Tap,
    row: usize,
    column: usize,
) {
    let geometry = call.geometry;
    let (rows, columns, stride) = (geometry.rows(), geometry.columns(), geometry.outputs());
    let inputs = geometry.inputs();
    let group = call.panel.group * call.depth;
    // Where no pixel is padding, the taps of a row of the kernel are contiguous in the input.
    let contiguous = call.depth == inputs
        && columns.dilation() == 1
        && columns.spread() == 1
        && columns.input_index(column, 0).is_some()
        && columns.input_index(column + M - 1, columns.kernel() - 1).is_some();
    // SAFETY: `input_index` gives positions inside the input, where every pixel has `inputs` values,
    // `depth` of them from the group's first on, and `count` of these from `channel` on; with
    // contiguous taps, the pixels of the last tap are inside, too, and so are all between. Padding
    // reads `zeros`. Each step of `weights` is one row of the block. The tile's pixels are inside the
    // output; of them, only the panel's channels are loaded or stored. The buffer has room for the
    // largest tile and is written before it is read.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        let mut weights = call.weights;
        let mut left = call.end - call.first;
        let mut next = first;
        while left > 0 {
            let tap = next;
            let taps = if contiguous { columns.kernel() - tap.column } else { 1 };
            let count = (taps * call.depth - tap.channel).min(left);
            left -= count;
            next = match tap.column + taps {
                end if end < columns.kernel() => Tap { column: end, channel: 0, ..tap },
                _ => Tap { row: tap.row + 1, column: 0, channel: 0 },
            };
            let Some(input_row) = rows.input_index(row, tap.row) else {
                weights = weights.add(count * N * S::LANES);
                continue;
            };
            let line = input_row % call.input.held_rows * columns.input() * inputs;
            let line = call.input.values.add(line + group + tap.channel);
            let mut pixels = [call.zeros; M];
            unrolled!(m below M, {
                if let Some(index) = columns.input_index(column + m, tap.column) {
                    pixels[m] = line.add(index * inputs);
                }
            });
            S::accumulate::<M, N>(&mut sums, &pixels, weights, count);
            weights = weights.add(count * N * S::LANES);
        }
        let index =
            (row % call.output.held_rows * columns.output() + column) * stride + call.panel.channel;
        let mut buffer = MaybeUninit::<[f32; MAX_ROWS * MAX_WIDTH]>::uninit();
        let buffer = Rows { start: buffer.as_mut_ptr().cast::<f32>(), stride: N * S::LANES };
        let output = call.output.values;
        let output_rows = Rows { start: output.add(index), stride };
        let to = if call.epilogue.is_in_registers() { output_rows } else { buffer };
        unrolled!(n below N, {
            let lane = n * S::LANES;
            let lanes = S::LANES.min(call.panel.channels - lane);
            let bias = S::load_first(call.bias.as_ptr().add(lane), lanes);
            unrolled!(m below M, {
                let before =
                    if call.first == 0 { bias } else { S::load_first(output_rows.row(m).add(lane), lanes) };
                let sum = S::add(sums[m][n], before);
                let value = call.epilogue.in_registers::<S>(sum, index + m * stride + lane, lanes);
                S::store_first(to.row(m).add(lane), value, lanes);
            });
        });
        if !call.epilogue.is_in_registers() {
            let block = Block { index, stride, size: [M, call.panel.channels] };
            call.epilogue.buffered(buffer, output, block);
        }
    }
}
