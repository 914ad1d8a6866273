//! Depthwise convolution: each channel by itself.

use crate::after::{After, finish};
use crate::isa::{Isa, dispatch};
use crate::simd::Simd;
use crate::widen::widened;
use crate::{ConvShape, Precision, Weights};
use std::ops::Range;
use std::sync::Arc;

/// Output pixels whose sums are held in registers at once.
const PIXELS: usize = 6;

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
        let weights =
            Weights::from_fn(precision, taps * channels, |i| value(i % channels, i / channels));
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
        assert!(Depthwise::fits(shape) && part.end <= shape.rows.output);
        assert_eq!(input.len(), shape.input_len());
        let taps = shape.rows.kernel * shape.columns.kernel;
        assert_eq!(self.weights.len(), taps * shape.inputs);
        assert_eq!(self.bias.len(), shape.inputs);
        assert!(after.iter().all(|after| after.fits(shape.output_len())));
        assert!(scratch.len() >= self.scratch());
        let (zeros, scratch) = scratch.split_at_mut(shape.inputs);
        zeros.fill(0.0);
        let weights = widened(self.isa, &self.weights, 0..self.weights.len(), scratch);
        let call = Call {
            isa: self.isa,
            shape,
            input: input.as_ptr(),
            zeros: zeros.as_ptr(),
            weights: weights.as_ptr(),
            is_turned: self.is_turned,
            bias: self.bias.as_ptr(),
            after,
            rows: part,
        };
        // SAFETY: lengths were checked above; the rows are the caller's.
        unsafe { run_rows(self.isa, &call, output) };
    }
}

struct Call<'a> {
    isa: Isa,
    shape: &'a ConvShape,
    input: *const f32,
    zeros: *const f32,
    weights: *const f32,
    is_turned: bool,
    bias: *const f32,
    after: &'a [After<'a>],
    rows: Range<usize>,
}

dispatch! {
    unsafe fn run_rows = rows_with(call: &Call<'_>, output: *mut f32)
}

#[inline(always)]
unsafe fn rows_with<S: Simd>(call: &Call<'_>, output: *mut f32) {
    let (columns, channels) = (call.shape.columns, call.shape.inputs);
    let taps = call.shape.rows.kernel * columns.kernel;
    // Where the input pixel of each tap and each output pixel of a tile lies.
    let mut pixels = vec![[call.zeros; PIXELS]; taps];
    for row in call.rows.clone() {
        for column in (0..columns.output).step_by(PIXELS) {
            let count = PIXELS.min(columns.output - column);
            // SAFETY: rows and columns are those of the output, pixels are checked against the
            // input's size.
            unsafe {
                find(call, row, column, &mut pixels);
                let place = (row * columns.output + column) * channels;
                tile::<S>(call, &pixels, output.add(place), count);
                finish(call.isa, call.after, output, place, [1, count * channels, 0]);
            }
        }
    }
}

/// Finds the pixels of a tile; zeros where there is padding.
///
/// # Safety
/// The input must have the shape's length.
unsafe fn find(call: &Call<'_>, row: usize, column: usize, pixels: &mut [[*const f32; PIXELS]]) {
    let (rows, columns, channels) = (call.shape.rows, call.shape.columns, call.shape.inputs);
    for (tap, pixels) in pixels.iter_mut().enumerate() {
        let input_row = rows.place(row, tap / columns.kernel);
        for (p, pixel) in pixels.iter_mut().enumerate() {
            let place = columns.place(column + p, tap % columns.kernel);
            *pixel = match (input_row, place) {
                // SAFETY: `place` gives places inside the input.
                (Some(row), Some(place)) => unsafe {
                    call.input.add((row * columns.input + place) * channels)
                },
                _ => call.zeros,
            };
        }
    }
}

/// All channels of up to `PIXELS` neighbouring output pixels.
#[expect(clippy::needless_range_loop, reason = "several lists are walked at once")]
#[inline(always)]
unsafe fn tile<S: Simd>(
    call: &Call<'_>,
    pixels: &[[*const f32; PIXELS]],
    to: *mut f32,
    count: usize,
) {
    let (channels, taps) = (call.shape.inputs, pixels.len());
    let mut channel = 0;
    // SAFETY: every pixel has `channels` values; no lane beyond them is loaded or stored.
    unsafe {
        while channel + S::LANES <= channels {
            let bias = S::load(call.bias.add(channel));
            let mut sums = [bias; PIXELS];
            for (tap, pixels) in pixels.iter().enumerate() {
                let row = if call.is_turned { taps - 1 - tap } else { tap };
                let weight = S::load(call.weights.add(row * channels + channel));
                for p in 0..PIXELS {
                    sums[p] = S::fma(S::load(pixels[p].add(channel)), weight, sums[p]);
                }
            }
            for p in 0..PIXELS {
                if p < count {
                    S::store(to.add(p * channels + channel), sums[p]);
                }
            }
            channel += S::LANES;
        }
        if channel < channels {
            let rest = channels - channel;
            let bias = S::load_first(call.bias.add(channel), rest);
            let mut sums = [bias; PIXELS];
            for (tap, pixels) in pixels.iter().enumerate() {
                let row = if call.is_turned { taps - 1 - tap } else { tap };
                let weight = S::load_first(call.weights.add(row * channels + channel), rest);
                for p in 0..PIXELS {
                    let value = S::load_first(pixels[p].add(channel), rest);
                    sums[p] = S::fma(value, weight, sums[p]);
                }
            }
            for p in 0..PIXELS {
                if p < count {
                    S::store_first(to.add(p * channels + channel), sums[p], rest);
                }
            }
        }
    }
}
