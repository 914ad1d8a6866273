//! Depthwise convolution: each channel by itself.

mod scattered;
mod window;

use crate::after::{After, Finish};
use crate::conv::MOST_LANES;
use crate::isa::{Isa, dispatch};
use crate::rows::Rows;
use crate::simd::Simd;
use crate::widen::widened;
use crate::{ConvShape, Precision, Ring, Weights};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

/// Output pixels whose sums are held in registers at once, at most.
const MOST_PIXELS: usize = 7;

/// The weights of a depthwise convolution, `[tap][channel]`. Clones, and the convolution that goes
/// the other way ([`Depthwise::turned`]), share them.
#[derive(Debug, Clone)]
pub struct Depthwise {
    isa: Isa,
    weights: Arc<Weights>,
    /// Whether the taps are read from the last to the first.
    is_turned: bool,
    bias: Vec<f32>,
}

impl Depthwise {
    /// Whether `shape` is a depthwise convolution with one output channel for each input channel.
    pub fn fits(shape: &ConvShape) -> bool {
        shape.groups == shape.inputs && shape.outputs == shape.inputs
    }

    /// Packs weights. `value(channel, tap)` gives the weight of a channel at kernel place `tap`
    /// (row by row).
    pub fn new(
        isa: Isa,
        precision: Precision,
        shape: &ConvShape,
        bias: Option<&[f32]>,
        value: impl Fn(usize, usize) -> f32,
    ) -> Depthwise {
        assert!(Depthwise::fits(shape));
        let channels = shape.inputs;
        let taps = shape.rows.kernel * shape.columns.kernel;
        let mut weights = Weights::with_capacity(precision, taps * channels);
        for tap in 0..taps {
            weights.extend((0..channels).map(|channel| value(channel, tap)));
        }
        let (weights, is_turned) = (Arc::new(weights), false);
        Depthwise { isa, weights, is_turned, bias: vec![0.0; channels] }.with_bias(bias)
    }

    /// The same weights with another bias, a value for each channel, or none.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn with_bias(mut self, bias: Option<&[f32]>) -> Depthwise {
        self.bias.fill(0.0);
        if let Some(bias) = bias {
            self.add_bias(bias);
        }
        self
    }

    /// The convolution of [`ConvShape::turned`], without bias: the input's gradient of the
    /// output's.
    pub fn turned(&self) -> Depthwise {
        Depthwise { is_turned: !self.is_turned, ..self.clone() }.with_bias(None)
    }

    /// Adds to the bias; a value for each channel.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn add_bias(&mut self, more: &[f32]) {
        assert_eq!(self.bias.len(), more.len());
        self.bias.iter_mut().zip(more).for_each(|(bias, more)| *bias += more);
    }

    /// Bytes of weights that stay in memory.
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// The same for all that share their weights, different for others.
    pub fn identity(&self) -> usize {
        Arc::as_ptr(&self.weights).addr()
    }

    /// Float32 values of scratch that [`Depthwise::run_part`] wants.
    pub fn scratch(&self) -> usize {
        self.weights.len() + self.bias.len()
    }

    /// Convolves.
    ///
    /// # Panics
    /// As [`Depthwise::run_part`].
    pub fn run(
        &self,
        shape: &ConvShape,
        input: &[f32],
        output: &mut [f32],
        after: &[After<'_>],
        scratch: &mut [f32],
    ) {
        assert_eq!(output.len(), shape.output_len());
        let all = 0..shape.rows.output;
        // SAFETY: the output is ours alone, and all of it.
        unsafe { self.run_part(shape, input, output.as_mut_ptr(), after, scratch, all) }
    }

    /// Convolves the output rows `part`.
    ///
    /// # Safety
    /// `output` must have the length of the shape, and nobody else may touch those rows meanwhile.
    ///
    /// # Panics
    /// If a slice has not the length that `shape` and [`Depthwise::scratch`] ask for, or `shape` is
    /// not the one that was packed for.
    pub unsafe fn run_part(
        &self,
        shape: &ConvShape,
        input: &[f32],
        output: *mut f32,
        after: &[After<'_>],
        scratch: &mut [f32],
        part: Range<usize>,
    ) {
        let input = Ring { values: input, kept: shape.rows.input };
        let output = Ring { values: output, kept: shape.rows.output };
        // SAFETY: the caller's contract.
        unsafe { self.run_rows(shape, input, output, after, scratch, part) };
    }

    /// Convolves some rows of the output, where only some rows of input and output are in memory.
    ///
    /// # Safety
    /// Of the input, the rows must be there that [`crate::Axis::needed`] names; the output must have
    /// room for those it keeps, and nobody else may touch them meanwhile.
    ///
    /// # Panics
    /// As [`Depthwise::run_part`], and if something is to be added to an output that is not whole.
    pub unsafe fn run_rows(
        &self,
        shape: &ConvShape,
        input: Ring<&[f32]>,
        output: Ring<*mut f32>,
        after: &[After<'_>],
        scratch: &mut [f32],
        rows: Range<usize>,
    ) {
        assert!(Depthwise::fits(shape));
        shape.check_rings(&input, &output, after, &rows);
        let taps = shape.rows.kernel * shape.columns.kernel;
        assert_eq!(self.weights.len(), taps * shape.inputs);
        assert_eq!(self.bias.len(), shape.inputs);
        assert!(scratch.len() >= self.scratch());
        let (zeros, scratch) = scratch.split_at_mut(shape.inputs);
        zeros.fill(0.0);
        let weights = widened(self.isa, &self.weights, 0..self.weights.len(), scratch);
        let channels = shape.inputs;
        let (first_tap, tap_step) = if self.is_turned {
            ((taps - 1) * channels, -(channels as isize))
        } else {
            (0, channels as isize)
        };
        let call = Call {
            shape,
            input: Ring { values: input.values.as_ptr(), kept: input.kept },
            kept: output.kept,
            zeros: zeros.as_ptr(),
            weights: weights[first_tap..].as_ptr(),
            tap_step,
            bias: self.bias.as_ptr(),
            finish: Finish::new(self.isa, after),
            rows,
        };
        // SAFETY: lengths were checked above; the rows are the caller's.
        unsafe { run_rows(self.isa, &call, output.values) };
    }
}

/// Some rows of a depthwise convolution.
struct Call<'a> {
    shape: &'a ConvShape,
    input: Ring<*const f32>,
    /// Rows of the output that are in memory.
    kept: usize,
    /// As many zeros as there are channels.
    zeros: *const f32,
    /// The first tap's, and how far it is to the next tap's.
    weights: *const f32,
    tap_step: isize,
    bias: *const f32,
    finish: Finish<'a>,
    rows: Range<usize>,
}

impl Call<'_> {
    /// The weights of a tap, one a channel.
    ///
    /// # Safety
    /// The tap must be one of the kernel's.
    #[inline(always)]
    unsafe fn tap(&self, tap: usize) -> *const f32 {
        // SAFETY: the caller's contract.
        unsafe { self.weights.offset(tap as isize * self.tap_step) }
    }
}

dispatch! {
    unsafe fn run_rows = rows_with(call: &Call<'_>, output: *mut f32)
}

#[inline(always)]
unsafe fn rows_with<S: Simd>(call: &Call<'_>, output: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        if !window::rows::<S>(call, output) {
            scattered::rows::<S>(call, output);
        }
    }
}

/// Does what follows on the sums of neighbouring pixels, the first at `place` of the output.
///
/// # Safety
/// `size` (pixels, channels) of them must lie inside the output.
#[inline(always)]
unsafe fn store<S: Simd, const P: usize>(
    call: &Call<'_>,
    sums: [S::V; P],
    place: usize,
    [count, lanes]: [usize; 2],
    output: *mut f32,
) {
    let stride = call.shape.outputs;
    let mut buffer = MaybeUninit::<[f32; MOST_PIXELS * MOST_LANES]>::uninit();
    let buffer = Rows { at: buffer.as_mut_ptr().cast::<f32>(), stride: S::LANES };
    // SAFETY: the caller's contract; the buffer has room for `P` vectors, and is written before it
    // is read.
    unsafe {
        let to =
            if call.finish.is_short() { Rows { at: output.add(place), stride } } else { buffer };
        for (p, sum) in sums.into_iter().enumerate() {
            if p < count {
                let value = call.finish.in_registers::<S>(sum, place + p * stride, lanes);
                S::store_first(to.row(p), value, lanes);
            }
        }
        if !call.finish.is_short() {
            call.finish.buffered(buffer, output, (place, stride), [count, lanes]);
        }
    }
}
