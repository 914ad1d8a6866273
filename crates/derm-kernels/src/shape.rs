//! What convolutions and poolings read and write.

use crate::After;
use std::ops::Range;

/// One spatial axis of a convolution or a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Input places.
    pub input: usize,
    /// Output places.
    pub output: usize,
    /// Kernel places.
    pub kernel: usize,
    /// Input places from one output place to the next.
    pub stride: usize,
    /// Input places from one kernel place to the next.
    pub dilation: usize,
    /// Places before the first.
    pub before: usize,
    /// Places from one input place to the next, zeros between them: 1, but for the gradient of a
    /// strided window.
    pub spread: usize,
}

impl Axis {
    /// One place, read as it is.
    pub const ONE: Axis = Axis::pointwise(1);

    /// Every place by itself.
    pub const fn pointwise(places: usize) -> Axis {
        Axis {
            input: places,
            output: places,
            kernel: 1,
            stride: 1,
            dilation: 1,
            before: 0,
            spread: 1,
        }
    }

    pub(crate) fn is_pointwise(self) -> bool {
        self.kernel == 1
            && self.stride == 1
            && self.before == 0
            && self.spread == 1
            && self.input == self.output
    }

    /// The input places that the output places `wanted` need, padding left out.
    pub fn needed(self, wanted: &Range<usize>) -> Range<usize> {
        let reach = (self.kernel - 1) * self.dilation;
        let first = (wanted.start * self.stride).saturating_sub(self.before);
        let end = (wanted.end * self.stride + reach + 1).saturating_sub(self.stride + self.before);
        let end = end.div_ceil(self.spread).min(self.input);
        (first / self.spread).min(end)..end
    }

    /// The axis of the input's gradient: from the output's places to the input's, kernel places in
    /// the opposite order. None where the window reaches nothing but padding.
    pub(crate) fn turned(self) -> Option<Axis> {
        assert_eq!(self.spread, 1, "a gradient of a gradient");
        Some(Axis {
            input: self.output,
            output: self.input,
            kernel: self.kernel,
            stride: 1,
            dilation: self.dilation,
            before: (self.dilation * (self.kernel - 1)).checked_sub(self.before)?,
            spread: self.stride,
        })
    }

    /// The input place under kernel place `tap` of output place `at`, where it is not padding.
    pub(crate) fn place(self, at: usize, tap: usize) -> Option<usize> {
        let place = (at * self.stride + tap * self.dilation).checked_sub(self.before)?;
        if self.spread == 1 {
            return (place < self.input).then_some(place);
        }
        let hits = place.is_multiple_of(self.spread) && place / self.spread < self.input;
        hits.then_some(place / self.spread)
    }
}

/// A value of which only some rows are in memory at a time: row `r` lies where row `r % kept` of
/// them does.
#[derive(Debug, Clone, Copy)]
pub struct Ring<T> {
    /// The rows in memory, or where they are to be.
    pub values: T,
    /// How many there are.
    pub kept: usize,
}

/// What a convolution reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Rows.
    pub rows: Axis,
    /// Columns.
    pub columns: Axis,
    /// Input channels, all groups together.
    pub inputs: usize,
    /// Output channels, all groups together.
    pub outputs: usize,
    /// Groups; each output channel sees `inputs / groups` input channels.
    pub groups: usize,
}

impl ConvShape {
    /// The product of a `rows` x `inputs` matrix with an `inputs` x `outputs` one.
    pub fn product(rows: usize, inputs: usize, outputs: usize) -> ConvShape {
        let columns = Axis::pointwise(rows);
        ConvShape { rows: Axis::ONE, columns, inputs, outputs, groups: 1 }
    }

    /// Values read.
    pub fn input_len(&self) -> usize {
        self.rows.input * self.columns.input * self.inputs
    }

    /// Values written.
    pub fn output_len(&self) -> usize {
        self.rows.output * self.columns.output * self.outputs
    }

    /// The convolution that makes the input's gradient of the output's: the same kernel, turned
    /// by half a turn, from output to input channels. None where padding is wider than the kernel.
    pub fn turned(&self) -> Option<ConvShape> {
        Some(ConvShape {
            rows: self.rows.turned()?,
            columns: self.columns.turned()?,
            inputs: self.outputs,
            outputs: self.inputs,
            groups: self.groups,
        })
    }

    /// Whether rings can be those of a convolution of these output rows.
    ///
    /// # Panics
    /// If they cannot.
    pub(crate) fn check_rings(
        &self,
        input: &Ring<&[f32]>,
        output: &Ring<*mut f32>,
        after: &[After<'_>],
        rows: &Range<usize>,
    ) {
        assert!(rows.end <= self.rows.output && self.rows.needed(rows).len() <= input.kept);
        assert_eq!(input.values.len(), input.kept * self.columns.input * self.inputs);
        assert!(output.kept == self.rows.output || rows.len() <= output.kept);
        let whole = output.kept == self.rows.output;
        assert!(after.iter().all(|after| after.fits(whole.then(|| self.output_len()))));
    }

    pub(crate) fn taps(&self) -> usize {
        self.rows.kernel * self.columns.kernel
    }

    /// Rows and columns as one axis, where no place sees another.
    pub(crate) fn flattened(mut self) -> ConvShape {
        if self.rows.is_pointwise() && self.columns.is_pointwise() {
            self.columns = Axis::pointwise(self.rows.input * self.columns.input);
            self.rows = Axis::ONE;
        }
        self
    }
}
