//! What follows on a convolution's sums while they are in the cache.

use crate::Isa;
use crate::activation::{Activation, activate_rows};
use crate::binary::add_rows;
use crate::derivative::differentiate_rows;

/// What follows on the sums, in order.
#[derive(Debug, Clone, Copy)]
pub enum After<'a> {
    /// A function of each value.
    Activate(Activation),
    /// A value of the output's shape is added.
    Add(&'a [f32]),
    /// The sums are gradients: times the derivative of a function of values of the output's shape.
    Differentiate(Activation, &'a [f32]),
}

impl After<'_> {
    /// Whether what is added is as long as the output.
    pub(crate) fn fits(&self, length: usize) -> bool {
        match self {
            After::Activate(_) => true,
            After::Add(other) | After::Differentiate(_, other) => other.len() == length,
        }
    }
}

/// Does it to `rows` rows of `width` values, `stride` apart, the first one at `place` of the output.
///
/// # Safety
/// The rows must lie inside the output, and all of `after` must fit it.
#[inline(always)]
pub(crate) unsafe fn finish(
    isa: Isa,
    after: &[After<'_>],
    output: *mut f32,
    place: usize,
    [rows, width, stride]: [usize; 3],
) {
    for after in after {
        // SAFETY: the caller's contract.
        unsafe {
            let to = output.add(place);
            match after {
                After::Activate(activation) => {
                    activate_rows(isa, *activation, to, rows, width, stride);
                }
                After::Differentiate(activation, values) => {
                    let values = values.as_ptr().add(place);
                    differentiate_rows(isa, *activation, values, to, rows, width, stride);
                }
                After::Add(other) => {
                    add_rows(isa, to, other.as_ptr().add(place), rows, width, stride);
                }
            }
        }
    }
}
