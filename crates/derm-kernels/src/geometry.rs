//! Geometry: the sizes of what convolutions and poolings read and write.
//!
//! Every type here is made by a constructor that checks it, so that no length, index or operation
//! count that kernels derive from it can wrap. Kernels index by it without checking again.

use std::fmt;
use std::ops::Range;

/// Multiply-adds of a convolution, at most. Costs are compared in multiples of them; with this
/// bound no such multiple wraps.
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
fn checked_len(lengths: &[usize]) -> Result<usize, GeometryError> {
    // A length of zero makes the product zero, whatever the others are.
    if lengths.contains(&0) {
        return Ok(0);
    }
    let product = lengths.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    product.filter(|&len| len <= isize::MAX as usize / 4).ok_or(GeometryError::TooLarge)
}

/// The number of elements of a tensor of these axes.
///
/// # Panics
/// If it would wrap, or exceed what can be addressed.
pub(crate) fn element_count(axes: &[usize]) -> usize {
    checked_len(axes).expect("too large a tensor")
}

fn positive(size: usize, name: &'static str) -> Result<(), GeometryError> {
    if size == 0 { Err(GeometryError::Zero(name)) } else { Ok(()) }
}

/// A window that slides along one axis: the sizes that [`WindowAxis::new`] checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Input positions.
    pub input: usize,
    /// Output positions.
    pub output: usize,
    /// Kernel positions (taps).
    pub kernel: usize,
    /// Input positions from one output position to the next.
    pub stride: usize,
    /// Input positions from one tap to the next.
    pub dilation: usize,
    /// Padding before the first input position.
    pub before: usize,
}

/// One spatial axis of a convolution or a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowAxis {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    /// Distance of input positions, with zeros between them: 1, except in the backward-data
    /// convolution of a strided one (a transposed, or fractionally strided, convolution).
    spread: usize,
}

impl WindowAxis {
    /// One position, read as it is.
    pub const ONE: WindowAxis = WindowAxis::unchecked_pointwise(1);

    /// Checks the sizes of a window.
    ///
    /// # Errors
    /// If the kernel, stride or dilation is zero, or an index would wrap.
    pub fn new(window: Window) -> Result<WindowAxis, GeometryError> {
        let Window { input, output, kernel, stride, dilation, before } = window;
        let axis = WindowAxis { input, output, kernel, stride, dilation, before, spread: 1 };
        axis.checked()
    }

    /// A kernel of one tap at each of `positions`.
    ///
    /// # Errors
    /// If there are more than can be addressed.
    pub fn pointwise(positions: usize) -> Result<WindowAxis, GeometryError> {
        WindowAxis::unchecked_pointwise(positions).checked()
    }

    const fn unchecked_pointwise(positions: usize) -> WindowAxis {
        WindowAxis {
            input: positions,
            output: positions,
            kernel: 1,
            stride: 1,
            dilation: 1,
            before: 0,
            spread: 1,
        }
    }

    fn checked(self) -> Result<WindowAxis, GeometryError> {
        positive(self.kernel, "the kernel")?;
        positive(self.stride, "the stride")?;
        positive(self.dilation, "the dilation")?;
        // The largest position, of the padded input, that any method below computes.
        let reach = checked_len(&[self.kernel - 1, self.dilation])?;
        let outputs = checked_len(&[self.output, self.stride])?;
        let inputs = checked_len(&[self.input, self.spread])?;
        let last = [reach, outputs, inputs, self.before, self.stride];
        let last = last.iter().try_fold(1usize, |sum, &part| sum.checked_add(part));
        last.filter(|&last| last <= isize::MAX as usize).ok_or(GeometryError::TooLarge)?;
        Ok(self)
    }

    /// Input positions.
    #[inline(always)]
    pub const fn input(self) -> usize {
        self.input
    }

    /// Output positions.
    #[inline(always)]
    pub const fn output(self) -> usize {
        self.output
    }

    /// Kernel positions (taps).
    #[inline(always)]
    pub const fn kernel(self) -> usize {
        self.kernel
    }

    /// Input positions from one output position to the next.
    #[inline(always)]
    pub const fn stride(self) -> usize {
        self.stride
    }

    /// Input positions from one tap to the next.
    #[inline(always)]
    pub const fn dilation(self) -> usize {
        self.dilation
    }

    /// Padding before the first input position.
    #[inline(always)]
    pub const fn before(self) -> usize {
        self.before
    }

    /// Distance of input positions; more than 1 only where [`ConvGeometry::transposed`] made it.
    #[inline(always)]
    pub(crate) const fn spread(self) -> usize {
        self.spread
    }

    /// Whether every output position reads its own input position and no other.
    pub fn is_pointwise(self) -> bool {
        self.kernel == 1
            && self.stride == 1
            && self.before == 0
            && self.spread == 1
            && self.input == self.output
    }

    /// The input positions that the output positions `wanted` read, without the padding.
    pub fn needed(self, wanted: &Range<usize>) -> Range<usize> {
        let wanted = wanted.start.min(self.output)..wanted.end.min(self.output);
        let reach = (self.kernel - 1) * self.dilation;
        let first = (wanted.start * self.stride).saturating_sub(self.before);
        let end = (wanted.end * self.stride + reach + 1).saturating_sub(self.stride + self.before);
        let end = end.div_ceil(self.spread).min(self.input);
        (first / self.spread).min(end)..end
    }

    /// The axis of the backward-data convolution: from output to input positions, taps in the
    /// opposite order. None where the padding is wider than the kernel, or for an axis that is
    /// transposed already.
    fn transposed(self) -> Option<WindowAxis> {
        if self.spread != 1 {
            return None;
        }
        let axis = WindowAxis {
            input: self.output,
            output: self.input,
            kernel: self.kernel,
            stride: 1,
            dilation: self.dilation,
            before: (self.dilation * (self.kernel - 1)).checked_sub(self.before)?,
            spread: self.stride,
        };
        axis.checked().ok()
    }

    /// The input position under tap `tap` of output position `output`; none in the padding.
    #[inline]
    pub(crate) fn input_index(self, output: usize, tap: usize) -> Option<usize> {
        let index = (output * self.stride + tap * self.dilation).checked_sub(self.before)?;
        if self.spread == 1 {
            return (index < self.input).then_some(index);
        }
        let hits = index.is_multiple_of(self.spread) && index / self.spread < self.input;
        hits.then_some(index / self.spread)
    }
}

/// What a convolution reads and writes: `[rows, columns, inputs]` to `[rows, columns, outputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    rows: WindowAxis,
    columns: WindowAxis,
    inputs: usize,
    outputs: usize,
    groups: usize,
}

impl ConvGeometry {
    /// A convolution of `inputs` to `outputs` channels (all groups together); each output channel
    /// sees `inputs / groups` input channels.
    ///
    /// # Errors
    /// If the channels or groups are zero, the groups do not divide the channels, or a length or
    /// the number of operations would wrap.
    pub fn new(
        [rows, columns]: [WindowAxis; 2],
        inputs: usize,
        outputs: usize,
        groups: usize,
    ) -> Result<ConvGeometry, GeometryError> {
        positive(inputs, "the number of input channels")?;
        positive(outputs, "the number of output channels")?;
        positive(groups, "the number of groups")?;
        if !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            return Err(GeometryError::Groups);
        }
        checked_len(&[rows.input, columns.input, inputs])?;
        let output = checked_len(&[rows.output, columns.output, outputs])?;
        let taps = checked_len(&[rows.kernel, columns.kernel])?;
        // Panels are padded to whole vectors, of which the longest is 32 values.
        let padded = outputs.checked_add(32 * groups).ok_or(GeometryError::TooLarge)?;
        checked_len(&[taps, inputs / groups, padded])?;
        let work = checked_len(&[output, taps, inputs / groups])?;
        if work as u64 > MAX_MULTIPLY_ADDS {
            return Err(GeometryError::TooLarge);
        }
        Ok(ConvGeometry { rows, columns, inputs, outputs, groups })
    }

    /// The product of a `rows` x `inputs` matrix with an `inputs` x `outputs` one: a convolution of
    /// one tap along a single row.
    ///
    /// # Errors
    /// As [`ConvGeometry::new`].
    pub fn product(
        rows: usize,
        inputs: usize,
        outputs: usize,
    ) -> Result<ConvGeometry, GeometryError> {
        ConvGeometry::new([WindowAxis::ONE, WindowAxis::pointwise(rows)?], inputs, outputs, 1)
    }

    /// The vertical axis.
    #[inline(always)]
    pub const fn rows(&self) -> WindowAxis {
        self.rows
    }

    /// The horizontal axis.
    #[inline(always)]
    pub const fn columns(&self) -> WindowAxis {
        self.columns
    }

    /// Input channels, all groups together.
    #[inline(always)]
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Output channels, all groups together.
    #[inline(always)]
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Groups.
    #[inline(always)]
    pub const fn groups(&self) -> usize {
        self.groups
    }

    /// Input elements.
    pub const fn input_len(&self) -> usize {
        self.rows.input * self.columns.input * self.inputs
    }

    /// Output elements.
    pub const fn output_len(&self) -> usize {
        self.rows.output * self.columns.output * self.outputs
    }

    /// Taps of the kernel, rows by columns.
    pub const fn taps(&self) -> usize {
        self.rows.kernel * self.columns.kernel
    }

    /// Input channels that an output channel sees.
    pub const fn depth(&self) -> usize {
        self.inputs / self.groups
    }

    /// Weights: taps by depth by output channels.
    pub const fn weights(&self) -> usize {
        self.taps() * self.depth() * self.outputs
    }

    /// Floating-point operations, two for each multiply-add; padding counts.
    pub const fn flops(&self) -> usize {
        2 * self.output_len() * self.taps() * self.depth()
    }

    /// Whether each of several channels is convolved by itself.
    pub const fn is_depthwise(&self) -> bool {
        self.groups == self.inputs && self.outputs == self.inputs && self.inputs > 1
    }

    /// The backward-data convolution: from the output's gradient to the input's, with the kernel
    /// rotated by 180 degrees and inputs and outputs exchanged. None where the padding is wider
    /// than the kernel.
    pub fn transposed(&self) -> Option<ConvGeometry> {
        let axes = [self.rows.transposed()?, self.columns.transposed()?];
        ConvGeometry::new(axes, self.outputs, self.inputs, self.groups).ok()
    }

    /// Rows and columns as one axis, where no position reads another.
    pub(crate) fn flattened(mut self) -> ConvGeometry {
        if self.rows.is_pointwise() && self.columns.is_pointwise() {
            // Positions are no more than input elements, which were checked.
            let positions = self.rows.input * self.columns.input;
            self.columns = WindowAxis::unchecked_pointwise(positions);
            self.rows = WindowAxis::ONE;
        }
        self
    }
}

/// What a pooling reads and writes: `[rows, columns, channels]` on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolGeometry {
    rows: WindowAxis,
    columns: WindowAxis,
    channels: usize,
}

impl PoolGeometry {
    /// A pooling of `channels` channels.
    ///
    /// # Errors
    /// If there are no channels, or a length would wrap.
    pub fn new(
        [rows, columns]: [WindowAxis; 2],
        channels: usize,
    ) -> Result<PoolGeometry, GeometryError> {
        positive(channels, "the number of channels")?;
        checked_len(&[rows.input, columns.input, channels])?;
        checked_len(&[rows.output, columns.output, channels])?;
        checked_len(&[rows.kernel, columns.kernel])?;
        Ok(PoolGeometry { rows, columns, channels })
    }

    /// The vertical axis.
    pub const fn rows(&self) -> WindowAxis {
        self.rows
    }

    /// The horizontal axis.
    pub const fn columns(&self) -> WindowAxis {
        self.columns
    }

    /// Channels.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Input elements.
    pub const fn input_len(&self) -> usize {
        self.rows.input * self.columns.input * self.channels
    }

    /// Output elements.
    pub const fn output_len(&self) -> usize {
        self.rows.output * self.columns.output * self.channels
    }
}
