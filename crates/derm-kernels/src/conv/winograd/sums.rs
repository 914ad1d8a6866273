//! Transformation of the sums: 36 points to 4x4 output pixels, and the epilogue.

use super::tiling::{REACH, SIDE, Tiling};
use crate::conv::epilogue::{Block, SplitEpilogue};
use crate::conv::packed::{MAX_WIDTH, Panel};
use crate::geometry::conv::ConvGeometry;
use crate::rows::Rows;
use crate::simd::dispatch::dispatch;
use crate::simd::vector::Simd;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Sums of a strip of tiles for a panel, `[point][tile][output channel]`.
pub(super) struct Sums<'a> {
    pub(super) tiling: &'a Tiling,
    pub(super) geometry: &'a ConvGeometry,
    pub(super) panel: &'a Panel,
    /// As many as the panel has channels.
    pub(super) bias: &'a [f32],
    pub(super) sums: *const f32,
    /// The tiles, no more than the tiling's strip.
    pub(super) strip: Range<usize>,
    pub(super) epilogue: SplitEpilogue<'a>,
}

dispatch! {
    /// # Safety
    /// `sums` must be valid for 36 lists at a distance of the tiling's sum stride, `output` for writes
    /// to the panel's channels of the tiles' pixels, which nobody else may touch. Operands of the
    /// epilogue must have the output's length.
    pub(super) unsafe fn transform_sums = sums_kernel(sums: &Sums<'_>, output: *mut f32)
}

/// # Safety
/// As [`transform_sums`].
#[inline(always)]
unsafe fn sums_kernel<S: Simd>(call: &Sums<'_>, output: *mut f32) {
    let (rows, columns) = (call.geometry.rows(), call.geometry.columns());
    let (outputs, across) = (call.geometry.outputs(), call.tiling.tiles[1]);
    let width = call.panel.vectors * S::LANES;
    let stride = call.tiling.sum_stride(width);
    let mut buffer = MaybeUninit::<[f32; SIDE * SIDE * MAX_WIDTH]>::uninit();
    let buffer = buffer.as_mut_ptr().cast::<f32>();
    for (number, tile) in call.strip.clone().enumerate() {
        let (top, left) = (tile / across * SIDE, tile % across * SIDE);
        let size = [SIDE.min(rows.output() - top), SIDE.min(columns.output() - left)];
        let index_of =
            |row: usize| ((top + row) * columns.output() + left) * outputs + call.panel.channel;
        // Where a row of the tile is stored first.
        let line_of = |row: usize| {
            if call.epilogue.is_in_registers() {
                Rows { start: output.wrapping_add(index_of(row)), stride: outputs }
            } else {
                Rows { start: buffer.wrapping_add(row * SIDE * width), stride: width }
            }
        };
        for n in 0..call.panel.vectors {
            let lane = n * S::LANES;
            let lanes = S::LANES.min(call.panel.channels - lane);
            // SAFETY: the sums of tile `number` are there, whole vectors of them; rows and columns of
            // the tile beyond the output are left out, as are lanes beyond the panel's channels; the
            // buffer has room for a tile.
            unsafe {
                let from = call.sums.add(number * width + lane);
                let mut half = [[S::splat(0.0); SIDE]; REACH];
                for x in 0..REACH {
                    let mut line = [S::splat(0.0); REACH];
                    for (y, value) in line.iter_mut().enumerate() {
                        *value = S::load(from.add((y * REACH + x) * stride));
                    }
                    half[x] = transform_line::<S>(line);
                }
                let bias = S::load_first(call.bias.as_ptr().add(lane), lanes);
                for y in 0..size[0] {
                    let mut line = [S::splat(0.0); REACH];
                    for (x, value) in line.iter_mut().enumerate() {
                        *value = half[x][y];
                    }
                    let line = transform_line::<S>(line);
                    let to = line_of(y);
                    for x in 0..SIDE {
                        if x < size[1] {
                            let index = index_of(y) + x * outputs + lane;
                            let sum = S::add(line[x], bias);
                            let value = call.epilogue.in_registers::<S>(sum, index, lanes);
                            S::store_first(to.row(x).add(lane), value, lanes);
                        }
                    }
                }
            }
        }
        if !call.epilogue.is_in_registers() {
            for y in 0..size[0] {
                let size = [size[1], call.panel.channels];
                let block = Block { index: index_of(y), stride: outputs, size };
                // SAFETY: the buffer holds this row of the tile, which lies inside the output.
                unsafe { call.epilogue.buffered(line_of(y), output, block) };
            }
        }
    }
}

/// A^T of the paper's section 4.3 times a column of six.
#[inline(always)]
unsafe fn transform_line<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: no memory is touched; the instruction set is that of the caller.
    unsafe {
        let (sum, difference) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_2, difference_2) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(S::add(m[0], sum), sum_2),
            S::fma(difference_2, S::splat(2.0), difference),
            S::fma(sum_2, S::splat(4.0), sum),
            S::add(S::fma(difference_2, S::splat(8.0), difference), m[5]),
        ]
    }
}
