//! Depthwise convolution: each channel is convolved by itself.

mod generic;
mod job;
mod window;

use self::job::Job;
use super::call::Operands;
use super::epilogue::SplitEpilogue;
use super::storage::{Form, Number, WeightStorage};
use super::widen::{WeightRows, widened};
use crate::geometry::conv::ConvGeometry;
use crate::ring::Ring;
use crate::simd::dispatch::dispatch;
use crate::simd::isa::Isa;
use crate::simd::vector::Simd;
use std::ops::Range;
use std::sync::Arc;

/// The weights of a depthwise convolution or of its backward-data convolution, `[tap][channel]`.
/// Clones, and the backward-data convolution, share them.
#[derive(Debug, Clone)]
pub(super) struct DepthwiseWeights {
    isa: Isa,
    weights: Arc<WeightStorage>,
    /// Whether the taps are read from the last to the first.
    is_transposed: bool,
    channels: usize,
}

impl DepthwiseWeights {
    /// Packs `value(channel, tap)`; see [`WeightStorage::fill`].
    pub(super) fn new<N: Number>(
        isa: Isa,
        form: Form<'_>,
        geometry: &ConvGeometry,
        value: impl Fn(usize, usize) -> N,
    ) -> DepthwiseWeights {
        let (channels, taps) = (geometry.inputs(), geometry.taps());
        let mut weights = WeightStorage::new(form, taps * channels, (0..channels).map(Some));
        let index = move |channel, _, tap| tap * channels + channel;
        weights.fill(0..channels, geometry, index, move |channel, _, tap| value(channel, tap));
        DepthwiseWeights { isa, weights: Arc::new(weights), is_transposed: false, channels }
    }

    /// The weights of the backward-data convolution; `geometry` is that of the forward one.
    ///
    /// # Panics
    /// If `geometry` is not the one that was packed for.
    pub(super) fn transposed(&self, geometry: &ConvGeometry) -> Option<DepthwiseWeights> {
        self.check(geometry);
        geometry.transposed().filter(|_| !self.is_transposed)?;
        Some(DepthwiseWeights { is_transposed: true, ..self.clone() })
    }

    /// A depthwise geometry has as many groups as channels.
    ///
    /// # Panics
    /// If the geometry is not the one that was packed for.
    pub(super) fn check(&self, geometry: &ConvGeometry) {
        assert_eq!(
            (geometry.is_depthwise(), self.channels, self.weights.len()),
            (true, geometry.inputs(), geometry.taps() * geometry.inputs()),
            "the geometry is not the one that the weights were packed for"
        );
    }

    /// Bytes of weights in memory, shared by all clones.
    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Equal for all that share their weights, different for others.
    pub(super) fn identity(&self) -> usize {
        Arc::as_ptr(&self.weights).addr()
    }

    /// Float32 values of scratch: the widened weights, and a pixel of zeros for the padding.
    pub(super) fn scratch_len(&self) -> usize {
        self.weights.len() + self.channels
    }

    /// Computes the output rows `rows`.
    ///
    /// # Safety
    /// Weights and operands must be those of the geometry, and the output valid for writes to these
    /// rows, which nobody else may touch.
    ///
    /// # Panics
    /// If the scratch is shorter than [`DepthwiseWeights::scratch_len`].
    pub(super) unsafe fn run(
        &self,
        geometry: &ConvGeometry,
        operands: &Operands<'_>,
        scratch: &mut [f32],
        rows: Range<usize>,
    ) {
        let (zeros, scratch) = scratch.split_at_mut(self.channels);
        zeros.fill(0.0);
        let all = WeightRows { start: 0, rows: geometry.taps(), width: self.channels, column: 0 };
        let weights = widened(self.isa, &self.weights, all, scratch);
        let step = self.channels as isize;
        // The kernel rotated by 180 degrees: the taps in the opposite order.
        let (first_tap, tap_step) = if self.is_transposed {
            ((geometry.taps() - 1) * self.channels, -step)
        } else {
            (0, step)
        };
        let input = operands.input;
        let job = Job {
            geometry,
            input: Ring { values: input.values.as_ptr(), held_rows: input.held_rows },
            output: operands.output,
            zeros: zeros.as_ptr(),
            weights: weights.as_ptr().wrapping_add(first_tap),
            tap_step,
            bias: operands.bias.as_ptr(),
            epilogue: SplitEpilogue::new(self.isa, operands.epilogue),
            rows,
        };
        // SAFETY: the operands are valid for the geometry, as are zeros and weights, which were just
        // made; the rows are this call's.
        unsafe { run_job(self.isa, &job) };
    }
}

dispatch! {
    unsafe fn run_job = job_kernel(job: &Job<'_>)
}

/// # Safety
/// The job must be as [`Job`] says.
#[inline(always)]
unsafe fn job_kernel<S: Simd>(job: &Job<'_>) {
    // SAFETY: both kernels require the same.
    unsafe {
        if !window::run::<S>(job) {
            generic::run::<S>(job);
        }
    }
}
