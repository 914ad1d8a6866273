//! Requantisation: from 32-bit sums to 8-bit values of another scale.

/// Above every bound of an 8-bit value, and exact as `i32`: no product converts beyond the range.
pub(crate) const LARGE: f32 = (1u32 << 20) as f32;

/// How the sums of a convolution or pooling become 8-bit values.
#[derive(Debug, Clone, PartialEq)]
pub struct Requantize {
    /// The value that stands for 0.
    pub zero_point: u8,
    /// The least value: more than 0 where an activation is folded in.
    pub low: u8,
    /// The largest value.
    pub high: u8,
}

impl Requantize {
    /// Without a bound beyond those of the type.
    pub fn to(zero_point: u8) -> Requantize {
        Requantize { zero_point, low: 0, high: 255 }
    }
}

/// `round(sum * scale) + zero_point`, not yet within bounds; halves round to even.
#[inline(always)]
pub(crate) fn requantize(sum: i32, scale: f32, zero_point: i32) -> i32 {
    // Below, the conversion saturates, and a zero point is not negative.
    (sum as f32 * scale).min(LARGE).round_ties_even() as i32 + zero_point
}
