//! Transformation of the input: tiles of 6x6 pixels to 36 points.

use super::tiling::{POINTS, REACH, SIDE, Tiling};
use crate::geometry::conv::ConvGeometry;
use crate::simd::dispatch::dispatch;
use crate::simd::vector::Simd;
use std::ops::Range;

/// Pixels of a strip of tiles, to be transformed to `[point][tile][input channel]`.
pub(super) struct Pixels<'a> {
    pub(super) tiling: &'a Tiling,
    pub(super) geometry: &'a ConvGeometry,
    pub(super) input: *const f32,
    /// As many zeros as there are input channels: what is read in the padding.
    pub(super) zeros: *const f32,
    /// The tiles, no more than the tiling's strip.
    pub(super) strip: Range<usize>,
}

dispatch! {
    /// # Safety
    /// `input` must be valid for the geometry's length, `zeros` for its input channels, and `to` for
    /// writes to 36 lists at a distance of the tiling's pixel stride.
    pub(super) unsafe fn transform_pixels = pixels_kernel(pixels: &Pixels<'_>, to: *mut f32)
}

/// # Safety
/// As [`transform_pixels`].
#[inline(always)]
unsafe fn pixels_kernel<S: Simd>(pixels: &Pixels<'_>, to: *mut f32) {
    let geometry = pixels.geometry;
    let (rows, columns, inputs) = (geometry.rows(), geometry.columns(), geometry.inputs());
    let (across, stride) = (pixels.tiling.tiles[1], pixels.tiling.pixel_stride());
    for (number, tile) in pixels.strip.clone().enumerate() {
        let (top, left) = (tile / across * SIDE, tile % across * SIDE);
        let mut from = [pixels.zeros; POINTS];
        for (point, pixel) in from.iter_mut().enumerate() {
            let row = (top + point / REACH).checked_sub(rows.before());
            let column = (left + point % REACH).checked_sub(columns.before());
            if let (Some(row), Some(column)) = (row, column)
                && row < rows.input()
                && column < columns.input()
            {
                // SAFETY: row and column are inside the input.
                *pixel = unsafe { pixels.input.add((row * columns.input() + column) * inputs) };
            }
        }
        for channel in (0..inputs).step_by(S::LANES) {
            let lanes = S::LANES.min(inputs - channel);
            // SAFETY: every pixel, and the zeros, have `inputs` values, of which `lanes` are left; a
            // point's list has `inputs` values for each tile of a strip.
            unsafe {
                let mut half = [[S::splat(0.0); REACH]; REACH];
                for x in 0..REACH {
                    let mut line = [S::splat(0.0); REACH];
                    for (y, value) in line.iter_mut().enumerate() {
                        *value = S::load_first(from[y * REACH + x].add(channel), lanes);
                    }
                    half[x] = transform_line::<S>(line);
                }
                for y in 0..REACH {
                    let mut line = [S::splat(0.0); REACH];
                    for (x, value) in line.iter_mut().enumerate() {
                        *value = half[x][y];
                    }
                    let line = transform_line::<S>(line);
                    for x in 0..REACH {
                        let point = to.add((y * REACH + x) * stride + number * inputs + channel);
                        S::store_first(point, line[x], lanes);
                    }
                }
            }
        }
    }
}

/// B^T of the paper's section 4.3 times a column of six.
#[inline(always)]
unsafe fn transform_line<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: no memory is touched; the instruction set is that of the caller.
    unsafe {
        let (minus_4, minus_5) = (S::splat(-4.0), S::splat(-5.0));
        let (four, two) = (S::splat(4.0), S::splat(2.0));
        let even = S::fma(d[2], minus_4, d[4]);
        let odd = S::fma(d[1], minus_4, d[3]);
        let even_2 = S::sub(d[4], d[2]);
        let odd_2 = S::mul(S::sub(d[3], d[1]), two);
        [
            S::fma(d[0], four, S::fma(d[2], minus_5, d[4])),
            S::add(even, odd),
            S::sub(even, odd),
            S::add(even_2, odd_2),
            S::sub(even_2, odd_2),
            S::fma(d[1], four, S::fma(d[3], minus_5, d[5])),
        ]
    }
}
