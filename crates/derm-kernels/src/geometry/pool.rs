//! The geometry of a pooling.

use super::error::{GeometryError, check_work, checked_len, positive};
use super::window::WindowAxis;

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
    /// If there are no channels, a length would wrap, or there are as many operations as
    /// [`crate::ConvGeometry::new`] refuses.
    pub fn new(
        [rows, columns]: [WindowAxis; 2],
        channels: usize,
    ) -> Result<PoolGeometry, GeometryError> {
        positive(channels, "the number of channels")?;
        checked_len(&[rows.input(), columns.input(), channels])?;
        let output = checked_len(&[rows.output(), columns.output(), channels])?;
        let taps = checked_len(&[rows.kernel(), columns.kernel()])?;
        check_work(&[output, taps])?;
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
        self.rows.input() * self.columns.input() * self.channels
    }

    /// Output elements.
    pub const fn output_len(&self) -> usize {
        self.rows.output() * self.columns.output() * self.channels
    }
}
