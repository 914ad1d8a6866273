//! Transformation of the weights: 3x3 taps to 36 points.

use super::tiling::REACH;
use crate::conv::packed::{PackedWeights, Panel};
use crate::conv::storage::{Int8Scales, WeightStorage};
use crate::conv::widen::load_scaled;
use crate::simd::dispatch::dispatch;
use crate::simd::vector::Simd;
use std::ops::Range;

/// Transforms the weights from input channels `chunk` to a panel into `points`, lists
/// `[point][input channel][output channel]` at a distance of `stride`. Weights that have to be
/// transposed go to `taps` first.
///
/// # Panics
/// If `points`, or `taps` if the weights are transposed, is too short.
pub(super) fn transform_weights(
    weights: &PackedWeights,
    panel: &Panel,
    chunk: Range<usize>,
    taps: &mut [f32],
    (points, stride): (&mut [f32], usize),
) {
    assert_eq!(weights.taps(), 9);
    let (isa, depth) = (weights.isa(), weights.depth());
    let width = panel.width(isa);
    let vectors = chunk.len() * panel.vectors;
    assert!(points.len() >= (REACH * REACH - 1) * stride + chunk.len() * width);
    let to = points.as_mut_ptr();
    if weights.is_transposed() {
        let tap = chunk.len() * width;
        let taps = &mut taps[..9 * tap];
        for (number, to) in taps.chunks_exact_mut(tap).enumerate() {
            weights.transpose(panel, number * depth + chunk.start..number * depth + chunk.end, to);
        }
        let shape = Shape { tap, vectors, width, stride };
        // SAFETY: `taps` has nine taps of `vectors` vectors at a distance of `tap`; `points` has room
        // for 36 lists of as many vectors, as was just asserted.
        unsafe { transform_f32(isa, shape, taps.as_ptr(), to) };
        return;
    }
    let shape = Shape { tap: depth * width, vectors, width, stride };
    let first = panel.start + chunk.start * width;
    let used = first..panel.start + (8 * depth + chunk.end) * width;
    // SAFETY: as above: `used` is from the first weight of the first tap to the last one of the last;
    // there is a scale and a zero point for each of the panel's columns.
    unsafe {
        match weights.stored() {
            WeightStorage::F16(list) => transform_f16(isa, shape, list[used].as_ptr(), to),
            WeightStorage::F32(list) => transform_f32(isa, shape, list[used].as_ptr(), to),
            WeightStorage::Int8(int8) => {
                let scales = int8.columns(weights.column(panel), width);
                transform_int8(isa, shape, int8.values[used].as_ptr(), scales, to);
            }
        }
    }
}

/// The layout of weights and points.
#[derive(Clone, Copy)]
struct Shape {
    /// Values from one tap to the next.
    tap: usize,
    /// Vectors of a tap, and of a point's list.
    vectors: usize,
    /// Values of an input channel.
    width: usize,
    /// Values from one point to the next.
    stride: usize,
}

dispatch! {
    unsafe fn transform_f16 = f16_kernel(shape: Shape, from: *const u16, to: *mut f32)
}
dispatch! {
    unsafe fn transform_f32 = f32_kernel(shape: Shape, from: *const f32, to: *mut f32)
}
dispatch! {
    unsafe fn transform_int8 = int8_kernel(shape: Shape, from: *const i8, scales: Int8Scales<'_>, to: *mut f32)
}

/// The transformation; `$load` loads a vector of weights from index `$index` on, the first of them in
/// column `$column` of the panel.
macro_rules! transform {
    ($simd:ident, $shape:ident, $to:ident, |$index:ident, $column:ident| $load:expr) => {
        for vector in 0..$shape.vectors {
            let lane = vector * $simd::LANES;
            let $column = lane % $shape.width;
            let mut half = [[$simd::splat(0.0); REACH]; 3];
            for x in 0..3 {
                let mut line = [$simd::splat(0.0); 3];
                for (y, value) in line.iter_mut().enumerate() {
                    let $index = (y * 3 + x) * $shape.tap + lane;
                    *value = $load;
                }
                half[x] = transform_line::<$simd>(line);
            }
            for y in 0..REACH {
                let line = transform_line::<$simd>([half[0][y], half[1][y], half[2][y]]);
                for x in 0..REACH {
                    $simd::store($to.add((y * REACH + x) * $shape.stride + lane), line[x]);
                }
            }
        }
    };
}

/// # Safety
/// `from` must be valid for nine taps of the shape, `to` for writes to 36 lists of it.
#[inline(always)]
unsafe fn f16_kernel<S: Simd>(shape: Shape, from: *const u16, to: *mut f32) {
    // SAFETY: taps are below nine, points below 36, vectors below those of a tap.
    unsafe { transform!(S, shape, to, |index, _column| S::load_half(from.add(index))) }
}

/// # Safety
/// As [`f16_kernel`].
#[inline(always)]
unsafe fn f32_kernel<S: Simd>(shape: Shape, from: *const f32, to: *mut f32) {
    // SAFETY: as in `f16_kernel`.
    unsafe { transform!(S, shape, to, |index, _column| S::load(from.add(index))) }
}

/// # Safety
/// As [`f16_kernel`]; `scales` must have as many columns as the shape is wide.
#[inline(always)]
unsafe fn int8_kernel<S: Simd>(
    shape: Shape,
    from: *const i8,
    scales: Int8Scales<'_>,
    to: *mut f32,
) {
    // SAFETY: as in `f16_kernel`; the width is whole vectors, so that one begins at each column.
    unsafe {
        transform!(S, shape, to, |index, column| {
            load_scaled::<S>(from.add(index), scales.load::<S>(column))
        });
    }
}

/// G of the paper's section 4.3 times a column of three.
#[inline(always)]
unsafe fn transform_line<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
    // SAFETY: no memory is touched; the instruction set is that of the caller.
    unsafe {
        let sixth = S::splat(-1.0 / 6.0);
        let outer = S::mul(S::add(g[0], g[2]), sixth);
        let outer_2 = S::fma(g[0], S::splat(1.0 / 24.0), S::mul(g[2], S::splat(1.0 / 6.0)));
        let (middle, middle_2) = (S::mul(g[1], sixth), S::mul(g[1], S::splat(1.0 / 12.0)));
        [
            S::mul(g[0], S::splat(0.25)),
            S::add(outer, middle),
            S::sub(outer, middle),
            S::add(outer_2, middle_2),
            S::sub(outer_2, middle_2),
            g[2],
        ]
    }
}
