//! Some rows of a depthwise convolution, and how sums are stored.

use crate::conv::epilogue::{Block, SplitEpilogue};
use crate::conv::packed::MAX_WIDTH;
use crate::geometry::conv::ConvGeometry;
use crate::ring::Ring;
use crate::rows::Rows;
use crate::simd::vector::Simd;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Output pixels whose sums are held in registers at once, at most.
pub(super) const MAX_PIXELS: usize = 7;

/// Some rows of a depthwise convolution.
///
/// Both kernels rely on this: `input` is valid for its held rows of the geometry's columns and
/// channels; `zeros`, the taps and `bias` have a value for each channel; `output` is valid for writes
/// to `rows`, which lie inside the geometry's output and which nobody else may touch; operands of the
/// epilogue have the output's length.
pub(super) struct Job<'a> {
    pub(super) geometry: &'a ConvGeometry,
    pub(super) input: Ring<*const f32>,
    pub(super) output: Ring<*mut f32>,
    /// As many zeros as there are channels: what is read in the padding.
    pub(super) zeros: *const f32,
    /// The weights of the first tap, and the distance to those of the next.
    pub(super) weights: *const f32,
    pub(super) tap_step: isize,
    pub(super) bias: *const f32,
    pub(super) epilogue: SplitEpilogue<'a>,
    pub(super) rows: Range<usize>,
}

impl Job<'_> {
    /// The weights of a tap, one a channel.
    ///
    /// # Safety
    /// The tap must be one of the kernel's.
    #[inline(always)]
    pub(super) unsafe fn tap(&self, tap: usize) -> *const f32 {
        // SAFETY: the taps lie at this distance.
        unsafe { self.weights.offset(tap as isize * self.tap_step) }
    }

    /// Applies the epilogue to the sums of the first `count` of `P` neighbouring pixels, and stores
    /// `lanes` channels of each. `index` is that of the first value in the output.
    ///
    /// # Safety
    /// They must be elements of the job's rows.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd, const P: usize>(
        &self,
        sums: [S::V; P],
        index: usize,
        [count, lanes]: [usize; 2],
    ) {
        const { assert!(P <= MAX_PIXELS) };
        let (stride, output) = (self.geometry.outputs(), self.output.values);
        let mut buffer = MaybeUninit::<[f32; MAX_PIXELS * MAX_WIDTH]>::uninit();
        let buffer = Rows { start: buffer.as_mut_ptr().cast::<f32>(), stride: S::LANES };
        // SAFETY: the values are elements of the job's rows; the buffer has room for `P` vectors, and
        // of it only what was written is read.
        unsafe {
            let to = if self.epilogue.is_in_registers() {
                Rows { start: output.add(index), stride }
            } else {
                buffer
            };
            for (p, sum) in sums.into_iter().enumerate() {
                if p < count {
                    let value = self.epilogue.in_registers::<S>(sum, index + p * stride, lanes);
                    S::store_first(to.row(p), value, lanes);
                }
            }
            if !self.epilogue.is_in_registers() {
                let block = Block { index, stride, size: [count, lanes] };
                self.epilogue.buffered(buffer, output, block);
            }
        }
    }
}
