//! The packed weights of a convolution.

use crate::program::{Resident, Work};
use derm_kernels::{After, ConvShape, Depthwise, PackedConv, Ring};
use std::ops::Range;

/// The packed weights of a convolution and its bias; clones share the weights.
#[derive(Debug, Clone)]
pub(crate) enum ConvWeights {
    Dense(PackedConv),
    Depthwise(Depthwise),
}

impl ConvWeights {
    pub(crate) fn resident(&self) -> Resident {
        match self {
            ConvWeights::Dense(conv) => {
                Resident { identity: conv.identity(), bytes: conv.bytes() }
            }
            ConvWeights::Depthwise(conv) => {
                Resident { identity: conv.identity(), bytes: conv.bytes() }
            }
        }
    }

    /// The same weights with another bias.
    pub(crate) fn with_bias(self, bias: Option<&[f32]>) -> ConvWeights {
        match self {
            ConvWeights::Dense(conv) => ConvWeights::Dense(conv.with_bias(bias)),
            ConvWeights::Depthwise(conv) => ConvWeights::Depthwise(conv.with_bias(bias)),
        }
    }

    pub(crate) fn add_bias(&mut self, more: &[f32]) {
        match self {
            ConvWeights::Dense(conv) => conv.add_bias(more),
            ConvWeights::Depthwise(conv) => conv.add_bias(more),
        }
    }

    /// The transposed weights, for backward data; `shape` is the forward one.
    pub(crate) fn transposed(&self, shape: &ConvShape) -> Option<ConvWeights> {
        Some(match self {
            ConvWeights::Dense(conv) => ConvWeights::Dense(conv.turned(shape)?),
            ConvWeights::Depthwise(conv) => ConvWeights::Depthwise(conv.turned()),
        })
    }

    /// # Safety
    /// As for [`PackedConv::run_part`].
    pub(crate) unsafe fn run_part(
        &self,
        shape: &ConvShape,
        input: &[f32],
        output: *mut f32,
        after: &[After<'_>],
        scratch: &mut [f32],
        part: Range<usize>,
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                ConvWeights::Dense(conv) => {
                    conv.run_part(shape, input, output, after, scratch, part)
                }
                ConvWeights::Depthwise(conv) => {
                    conv.run_part(shape, input, output, after, scratch, part)
                }
            }
        }
    }

    /// # Safety
    /// As for [`PackedConv::run_rows`].
    pub(crate) unsafe fn run_rows(
        &self,
        shape: &ConvShape,
        input: Ring<&[f32]>,
        output: Ring<*mut f32>,
        after: &[After<'_>],
        scratch: &mut [f32],
        rows: Range<usize>,
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                ConvWeights::Dense(conv) => {
                    conv.run_rows(shape, input, output, after, scratch, rows)
                }
                ConvWeights::Depthwise(conv) => {
                    conv.run_rows(shape, input, output, after, scratch, rows)
                }
            }
        }
    }

    pub(crate) fn units(&self, shape: &ConvShape) -> usize {
        match self {
            ConvWeights::Dense(conv) => conv.units(shape),
            ConvWeights::Depthwise(_) => shape.rows.output,
        }
    }

    pub(crate) fn work(&self, shape: &ConvShape) -> Work {
        let ConvShape { rows, columns, inputs, outputs, groups } = shape;
        let window = rows.kernel * columns.kernel;
        let flops = 2 * shape.output_len() * window * (inputs / groups);
        let name = match self {
            ConvWeights::Depthwise(_) => "depthwise",
            ConvWeights::Dense(_) if window == 1 => "product",
            ConvWeights::Dense(conv) if conv.is_winograd(shape) => "Winograd",
            ConvWeights::Dense(_) => "convolution",
        };
        let positions = rows.output * columns.output;
        let (r, c, stride) = (rows.kernel, columns.kernel, rows.stride);
        let kind = format!("{name} {r}x{c}/{stride} {inputs}>{outputs} at {positions}");
        Work { kind, flops }
    }

    pub(crate) fn scratch(&self, shape: &ConvShape) -> usize {
        match self {
            ConvWeights::Dense(conv) => conv.scratch(shape),
            ConvWeights::Depthwise(conv) => conv.scratch(),
        }
    }

    pub(crate) fn scratch_of_rows(&self) -> usize {
        match self {
            ConvWeights::Dense(conv) => conv.scratch_of_rows(),
            ConvWeights::Depthwise(conv) => conv.scratch(),
        }
    }

    /// Whether some rows at a time cost about what all together do.
    pub(crate) fn runs_by_rows(&self, shape: &ConvShape) -> bool {
        match self {
            ConvWeights::Dense(conv) => !conv.is_winograd(shape) && !conv.is_turned(),
            ConvWeights::Depthwise(_) => true,
        }
    }
}
