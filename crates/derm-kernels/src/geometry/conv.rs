//! The geometry of a convolution.

use super::error::{GeometryError, check_work, checked_len, positive};
use super::window::WindowAxis;

/// What a convolution reads and writes: `[rows, columns, inputs]` to `[rows, columns, outputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
        checked_len(&[rows.input(), columns.input(), inputs])?;
        let output = checked_len(&[rows.output(), columns.output(), outputs])?;
        let taps = checked_len(&[rows.kernel(), columns.kernel()])?;
        // The last panel of a group is padded to two vectors, 32 values at most.
        let padding = groups.checked_mul(32);
        let padded = padding.and_then(|padding| padding.checked_add(outputs));
        checked_len(&[taps, inputs / groups, padded.ok_or(GeometryError::TooLarge)?])?;
        // Of one position at least, so that the bound holds for the weights, too.
        check_work(&[output.max(outputs), taps, inputs / groups])?;
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
        self.rows.input() * self.columns.input() * self.inputs
    }

    /// Output elements.
    pub const fn output_len(&self) -> usize {
        self.rows.output() * self.columns.output() * self.outputs
    }

    /// Taps of the kernel, rows by columns.
    pub const fn taps(&self) -> usize {
        self.rows.kernel() * self.columns.kernel()
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
            let positions = self.rows.input() * self.columns.input();
            self.columns = WindowAxis::unchecked_pointwise(positions);
            self.rows = WindowAxis::ONE;
        }
        self
    }
}
