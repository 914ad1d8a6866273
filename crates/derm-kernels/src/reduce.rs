//! Reduction along one axis of `[outer, length, inner]`.

use crate::geometry::error::element_count;
use crate::simd::dispatch::dispatch;
use crate::simd::isa::Isa;
use crate::simd::vector::Simd;

/// What the values along the axis become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their maximum.
    Max,
    /// The mean of their squares.
    MeanOfSquares,
}

/// Reduces `input`, `[outer, length, inner]`, to `output`, `[outer, inner]`.
///
/// # Panics
/// If the slices do not have these lengths, or there are more elements than can be addressed.
pub fn reduce(
    isa: Isa,
    reduction: Reduction,
    [outer, length, inner]: [usize; 3],
    input: &[f32],
    output: &mut [f32],
) {
    assert_eq!(input.len(), element_count(&[outer, length, inner]));
    assert_eq!(output.len(), element_count(&[outer, inner]));
    let (from, to) = (input.as_ptr(), output.as_mut_ptr());
    // SAFETY: both lengths were just checked.
    unsafe { reduce_all(isa, reduction, outer, length, inner, from, to) }
}

dispatch! {
    unsafe fn reduce_all = reduce_kernel(
        reduction: Reduction,
        outer: usize,
        length: usize,
        inner: usize,
        input: *const f32,
        output: *mut f32,
    )
}

/// # Safety
/// `input` must be valid for `[outer, length, inner]`, `output` for `[outer, inner]`; they must not
/// overlap.
#[inline(always)]
unsafe fn reduce_kernel<S: Simd>(
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
        // SAFETY: `o`, `l` and `i` are below the lengths of their axes, and no more than `inner - i`
        // elements are touched from `i` on.
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
