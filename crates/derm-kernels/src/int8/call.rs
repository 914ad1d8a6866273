//! A call of an integer convolution's kernel.

use super::epilogue::Int8Epilogue;
use super::isa::Int8Kind;
use super::requantize::Requantize;
use crate::geometry::conv::ConvGeometry;

/// A convolution whose operands were checked.
pub(super) struct ConvCall<'a> {
    pub(super) kind: Int8Kind,
    /// Of a dense convolution flattened, if no pixel reads another.
    pub(super) geometry: &'a ConvGeometry,
    pub(super) input: &'a [u8],
    pub(super) input_zero: u8,
    pub(super) output: *mut u8,
    pub(super) weights: &'a [u8],
    /// As the scales, in the order of the packed weights, filled up to whole vectors.
    pub(super) bias: &'a [i32],
    pub(super) scales: &'a [f32],
    pub(super) requantize: &'a Requantize,
    pub(super) epilogue: &'a [Int8Epilogue<'a>],
}
