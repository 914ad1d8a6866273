//! Checked products of sizes, and why sizes are refused.

use std::fmt;

/// Multiply-adds of a convolution or pooling, at most. The largest multiples of them are the costs by
/// which Winograd's method is chosen, below 2^10 of each; with this bound none wraps.
const MAX_MULTIPLY_ADDS: u64 = 1 << 52;

/// Why sizes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeometryError {
    /// A size that must be positive is zero; its name.
    Zero(&'static str),
    /// The groups do not divide the input channels and the output channels.
    Groups,
    /// A length, an index or the number of operations would exceed what the machine can count.
    TooLarge,
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GeometryError::Zero(name) => write!(f, "{name} is zero"),
            GeometryError::Groups => write!(f, "the groups do not divide the channels"),
            GeometryError::TooLarge => write!(f, "the sizes are too large"),
        }
    }
}

impl std::error::Error for GeometryError {}

/// The product of lengths; an error where it, in bytes of float32, exceeds what can be addressed.
pub(super) fn checked_len(lengths: &[usize]) -> Result<usize, GeometryError> {
    // A length of zero makes the product zero, whatever the others are.
    if lengths.contains(&0) {
        return Ok(0);
    }
    let product = lengths.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    product.filter(|&len| len <= isize::MAX as usize / 4).ok_or(GeometryError::TooLarge)
}

/// Checks the product of lengths as a number of multiply-adds.
pub(super) fn check_work(lengths: &[usize]) -> Result<(), GeometryError> {
    let work = checked_len(lengths)?;
    if work as u64 > MAX_MULTIPLY_ADDS { Err(GeometryError::TooLarge) } else { Ok(()) }
}

/// The number of elements of a tensor of these axes.
///
/// # Panics
/// If it would wrap, or exceed what can be addressed.
pub(crate) fn element_count(axes: &[usize]) -> usize {
    checked_len(axes).expect("too large a tensor")
}

pub(super) fn positive(size: usize, name: &'static str) -> Result<(), GeometryError> {
    if size == 0 { Err(GeometryError::Zero(name)) } else { Ok(()) }
}
