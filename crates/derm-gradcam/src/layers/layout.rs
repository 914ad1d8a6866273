//! Spatial layout: along which axes of a value the rows and columns of the input lie.

use crate::Error;
use ndarray::{ArrayD, ArrayViewD, Axis, CowArray, Ix3, Slice as AxisSlice};

/// Where a value has rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpatialLayout {
    /// Rows and columns are these two axes.
    FeatureMap([usize; 2]),
    /// Rows and columns are flattened, row by row, into one axis from index `first` on: the tokens
    /// of a vision transformer, after those that stand for no position (class token, registers).
    Tokens { axis: usize, first: usize, rows: usize, columns: usize },
}

impl SpatialLayout {
    /// The value of one picture as `[channels, rows, columns]`; the non-spatial axes are flattened
    /// into channels. A view where the strides allow it.
    pub(crate) fn channels_first(
        self,
        values: ArrayViewD<'_, f32>,
    ) -> Result<CowArray<'_, f32, Ix3>, Error> {
        let malformed = |error: ndarray::ShapeError| Error::Failed(error.to_string());
        let (last, [rows, columns], mut values) = match self {
            SpatialLayout::FeatureMap([row, column]) => {
                let lengths = [values.len_of(Axis(row)), values.len_of(Axis(column))];
                (vec![row, column], lengths, values)
            }
            SpatialLayout::Tokens { axis, first, rows, columns } => {
                let mut tokens = values;
                let slice = AxisSlice::from(first..first + rows * columns);
                tokens.slice_axis_inplace(Axis(axis), slice);
                (vec![axis], [rows, columns], tokens)
            }
        };
        let others = (0..values.ndim()).filter(|axis| !last.contains(axis));
        let order: Vec<usize> = others.chain(last.iter().copied()).collect();
        values = values.permuted_axes(order);
        while values.ndim() > 1 + last.len()
            && let Some(axis) =
                (0..values.ndim() - last.len()).find(|&axis| values.len_of(Axis(axis)) == 1)
        {
            values = values.index_axis_move(Axis(axis), 0);
        }
        if last.len() == 2 && values.ndim() == 3 {
            return Ok(values.into_dimensionality::<Ix3>().map_err(malformed)?.into());
        }
        let channels = values.len() / (rows * columns);
        let values = values.as_standard_layout().into_owned();
        let shaped = values.into_shape_with_order((channels, rows, columns));
        Ok(shaped.map_err(malformed)?.into())
    }

    /// Sets one channel, as [`SpatialLayout::channels_first`] numbers them, to zero everywhere.
    pub(crate) fn zero_channel(self, value: &mut ArrayD<f32>, channel: usize) {
        let spatial = match self {
            SpatialLayout::FeatureMap(axes) => axes.to_vec(),
            SpatialLayout::Tokens { axis, .. } => vec![axis],
        };
        let mut view = value.view_mut();
        let mut rest = channel;
        // The channel's index along each non-spatial axis, fastest axis first.
        for axis in (0..view.ndim()).rev().filter(|axis| !spatial.contains(axis)) {
            let length = view.len_of(Axis(axis));
            let index = rest % length;
            view.slice_axis_inplace(Axis(axis), AxisSlice::from(index..index + 1));
            rest /= length;
        }
        view.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array;

    const TOKENS: SpatialLayout = SpatialLayout::Tokens { axis: 1, first: 1, rows: 2, columns: 3 };

    #[test]
    fn channels_come_first_whatever_the_axes() {
        // `[batch, rows, columns, channels]` and `[batch, tokens, channels]`, a class token in front.
        let map =
            Array::from_shape_fn(vec![1, 2, 3, 4], |i| (i[3] * 100 + i[1] * 10 + i[2]) as f32);
        let tokens = Array::from_shape_fn(vec![1, 7, 4], |i| {
            // The class token gets the value of the first position.
            let position = i[1].saturating_sub(1);
            (i[2] * 100 + position / 3 * 10 + position % 3) as f32
        });
        for (layout, value) in [(SpatialLayout::FeatureMap([1, 2]), map), (TOKENS, tokens)] {
            let found = layout.channels_first(value.view()).unwrap();
            assert_eq!(found.dim(), (4, 2, 3), "{layout:?}");
            for ((channel, row, column), value) in found.indexed_iter() {
                assert_eq!(*value, (channel * 100 + row * 10 + column) as f32, "{layout:?}");
            }
        }
    }

    #[test]
    fn a_zeroed_channel_is_that_of_channels_first() {
        for (layout, shape) in [
            (SpatialLayout::FeatureMap([2, 3]), vec![1, 4, 2, 3]),
            (SpatialLayout::FeatureMap([1, 2]), vec![1, 2, 3, 4]),
            (SpatialLayout::FeatureMap([1, 3]), vec![2, 2, 2, 3]),
            (TOKENS, vec![1, 7, 4]),
        ] {
            for channel in 0..4 {
                let mut value = ArrayD::<f32>::ones(shape.clone());
                layout.zero_channel(&mut value, channel);
                let found = layout.channels_first(value.view()).unwrap();
                for (number, values) in found.outer_iter().enumerate() {
                    let expected = if number == channel { 0.0 } else { 1.0 };
                    assert!(values.iter().all(|&v| v == expected), "{layout:?} {channel}");
                }
            }
        }
    }
}
