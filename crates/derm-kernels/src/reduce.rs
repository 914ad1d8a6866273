//! Sums and the like along one axis of `[outer, length, inner]`, and what is built on them.

use crate::activation::exp;
use crate::isa::{Isa, dispatch};
use crate::simd::Simd;

/// What the values along the axis become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The mean of their squares.
    MeanOfSquares,
}

/// Reduces `input`, `[outer, length, inner]`, to `output`, `[outer, inner]`.
///
/// # Panics
/// If the lengths do not agree.
pub fn reduce(
    isa: Isa,
    reduction: Reduction,
    [outer, length, inner]: [usize; 3],
    input: &[f32],
    output: &mut [f32],
) {
    assert_eq!(input.len(), outer * length * inner);
    assert_eq!(output.len(), outer * inner);
    let (from, to) = (input.as_ptr(), output.as_mut_ptr());
    // SAFETY: lengths were just checked.
    unsafe { reduce_all(isa, reduction, outer, length, inner, from, to) }
}

dispatch! {
    unsafe fn reduce_all = reduce_with(
        reduction: Reduction,
        outer: usize,
        length: usize,
        inner: usize,
        input: *const f32,
        output: *mut f32,
    )
}

#[inline(always)]
unsafe fn reduce_with<S: Simd>(
    reduction: Reduction,
    outer: usize,
    length: usize,
    inner: usize,
    input: *const f32,
    output: *mut f32,
) {
    let start = if reduction == Reduction::Max { f32::NEG_INFINITY } else { 0.0 };
    let share = if reduction == Reduction::MeanOfSquares { 1.0 / length as f32 } else { 1.0 };
    macro_rules! step {
        ($sum:expr, $value:expr) => {
            match reduction {
                Reduction::Sum => S::add($sum, $value),
                Reduction::Max => S::max($sum, $value),
                Reduction::MeanOfSquares => S::fma($value, $value, $sum),
            }
        };
    }
    for o in 0..outer {
        // SAFETY: `[outer, length, inner]` is what the caller has.
        unsafe {
            let from = input.add(o * length * inner);
            let to = output.add(o * inner);
            if inner == 1 {
                let mut sum = S::splat(start);
                let whole = length - length % S::LANES;
                for i in (0..whole).step_by(S::LANES) {
                    sum = step!(sum, S::load(from.add(i)));
                }
                let is_max = reduction == Reduction::Max;
                let mut total = if is_max { S::largest(sum) } else { S::sum(sum) };
                for i in whole..length {
                    let value = *from.add(i);
                    total = match reduction {
                        Reduction::Sum => total + value,
                        Reduction::Max => total.max(value),
                        Reduction::MeanOfSquares => total + value * value,
                    };
                }
                *to = total * share;
                continue;
            }
            let mut i = 0;
            while i < inner {
                let lanes = S::LANES.min(inner - i);
                let mut sum = S::splat(start);
                for l in 0..length {
                    let value = S::load_first(from.add(l * inner + i), lanes);
                    sum = step!(sum, value);
                }
                S::store_first(to.add(i), S::mul(sum, S::splat(share)), lanes);
                i += lanes;
            }
        }
    }
}

/// Softmax of each row of `width` values, in place.
///
/// # Panics
/// If the values are not whole rows.
pub fn softmax(isa: Isa, width: usize, values: &mut [f32]) {
    assert!(values.len().is_multiple_of(width));
    // SAFETY: whole rows.
    unsafe { softmax_all(isa, values.as_mut_ptr(), values.len() / width, width) }
}

dispatch! {
    unsafe fn softmax_all = softmax_with(values: *mut f32, rows: usize, width: usize)
}

#[inline(always)]
unsafe fn softmax_with<S: Simd>(values: *mut f32, rows: usize, width: usize) {
    let whole = width - width % S::LANES;
    for row in 0..rows {
        // SAFETY: the caller has `rows` rows of `width` values.
        unsafe {
            let line = values.add(row * width);
            let mut most = S::splat(f32::NEG_INFINITY);
            for i in (0..whole).step_by(S::LANES) {
                most = S::max(most, S::load(line.add(i)));
            }
            let mut largest = S::largest(most);
            for i in whole..width {
                largest = largest.max(*line.add(i));
            }
            let mut sums = S::splat(0.0);
            for i in (0..whole).step_by(S::LANES) {
                let e = exp::<S>(S::sub(S::load(line.add(i)), S::splat(largest)));
                sums = S::add(sums, e);
                S::store(line.add(i), e);
            }
            let mut sum = S::sum(sums);
            for i in whole..width {
                let e = (*line.add(i) - largest).exp();
                sum += e;
                *line.add(i) = e;
            }
            let share = S::splat(1.0 / sum);
            let mut i = 0;
            while i < width {
                let lanes = S::LANES.min(width - i);
                S::store_first(
                    line.add(i),
                    S::mul(S::load_first(line.add(i), lanes), share),
                    lanes,
                );
                i += lanes;
            }
        }
    }
}

/// Divides each row of `width` values by the root of their squares' mean plus `epsilon`, in place
/// (Zhang and Sennrich 2019, arXiv:1910.07467, without the gain).
///
/// # Panics
/// If the values are not whole rows.
pub fn rms_norm(isa: Isa, width: usize, epsilon: f32, values: &mut [f32]) {
    assert!(values.len().is_multiple_of(width));
    for row in values.chunks_exact_mut(width) {
        let mut mean = [0.0];
        reduce(isa, Reduction::MeanOfSquares, [1, width, 1], row, &mut mean);
        let scale = 1.0 / (mean[0] + epsilon).sqrt();
        crate::activate(isa, crate::Activation::Linear(scale, 0.0), row);
    }
}
