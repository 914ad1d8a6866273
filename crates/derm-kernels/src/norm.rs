//! RMS normalisation.

use crate::elementwise::unary::Unary;
use crate::reduce::{Reduction, reduce};
use crate::simd::isa::Isa;

/// Divides each row of `width` values by the root of their squares' mean plus `epsilon`, in place
/// (Zhang and Sennrich 2019, arXiv:1910.07467, without the gain).
///
/// # Panics
/// If the values are not whole rows.
pub fn rms_norm(isa: Isa, width: usize, epsilon: f32, values: &mut [f32]) {
    assert!(values.len().is_multiple_of(width));
    for row in values.chunks_exact_mut(width.max(1)) {
        let mut mean = [0.0];
        reduce(isa, Reduction::MeanOfSquares, [1, width, 1], row, &mut mean);
        let scale = 1.0 / (mean[0] + epsilon).sqrt();
        Unary::Linear(scale, 0.0).apply(isa, row);
    }
}
