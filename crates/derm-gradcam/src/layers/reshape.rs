//! Reshape: where rows and columns are after adjacent axes were split and joined.

use super::layout::SpatialLayout;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::DimLike;

/// A reshape of some adjacent axes.
pub(super) struct Reshape {
    /// The first of them.
    at: usize,
    from: Vec<usize>,
    to: Vec<usize>,
}

impl Reshape {
    /// None where a length is not fixed.
    pub(super) fn of(at: usize, from: &[TDim], to: &[TDim]) -> Option<Reshape> {
        let fixed = |dims: &[TDim]| {
            dims.iter().map(|dim| dim.to_usize().ok()).collect::<Option<Vec<usize>>>()
        };
        Some(Reshape { at, from: fixed(from)?, to: fixed(to)? })
    }

    /// The result's layout.
    pub(super) fn layout(&self, layout: SpatialLayout) -> Option<SpatialLayout> {
        match layout {
            SpatialLayout::FeatureMap([row, column]) => {
                if let Some(tokens) = self.flattened(row, column) {
                    return Some(tokens);
                }
                let [row, column] = [self.leading(row)?, self.leading(column)?];
                (row != column).then_some(SpatialLayout::FeatureMap([row, column]))
            }
            SpatialLayout::Tokens { axis, first, rows, columns } => {
                if first == 0
                    && let Some(row) = self.unflattened(axis, [rows, columns])
                {
                    return Some(SpatialLayout::FeatureMap([row, row + 1]));
                }
                let moved = self.leading(axis)?;
                let keeps_length =
                    self.is_outside(axis) || self.from[axis - self.at] == self.to[moved - self.at];
                let tokens = SpatialLayout::Tokens { axis: moved, first, rows, columns };
                keeps_length.then_some(tokens)
            }
        }
    }

    fn is_outside(&self, axis: usize) -> bool {
        axis < self.at || axis >= self.at + self.from.len()
    }

    /// The axis of the result whose index begins with that of `axis`: itself, its coarse part where
    /// it is split (space to depth, windows), or the axis that it is joined into with finer ones
    /// behind it (depth to space).
    fn leading(&self, axis: usize) -> Option<usize> {
        if axis < self.at {
            return Some(axis);
        }
        if axis >= self.at + self.from.len() {
            return Some(axis + self.to.len() - self.from.len());
        }
        let (length, to) = (self.from[axis - self.at], self.result_axis(axis)?);
        let found = self.to[to];
        let keeps = found == length
            || length > 1 && (found.is_multiple_of(length) || length.is_multiple_of(found));
        keeps.then_some(self.at + to)
    }

    /// Rows and columns that become one axis, row by row.
    fn flattened(&self, row: usize, column: usize) -> Option<SpatialLayout> {
        if self.is_outside(row) || self.is_outside(column) || column != row + 1 {
            return None;
        }
        let (rows, columns) = (self.from[row - self.at], self.from[column - self.at]);
        let to = if rows > 1 { self.result_axis(row)? } else { self.result_axis(column)? };
        let axis = self.at + to;
        let tokens = SpatialLayout::Tokens { axis, first: 0, rows, columns };
        (self.to[to] == rows * columns).then_some(tokens)
    }

    /// The row axis where tokens become rows and columns again; the column axis follows it.
    fn unflattened(&self, axis: usize, sides: [usize; 2]) -> Option<usize> {
        if self.is_outside(axis) || self.from[axis - self.at] != sides[0] * sides[1] {
            return None;
        }
        let before = product(&self.from[..axis - self.at]);
        let starts =
            |&row: &usize| product(&self.to[..row]) == before && self.to[row..].starts_with(&sides);
        Some(self.at + (0..self.to.len()).find(starts)?)
    }

    /// Index into `to` of the axis whose elements are as far apart, counted from the front, as those
    /// of `axis`; axes of length 1 belong to axes of length 1.
    fn result_axis(&self, axis: usize) -> Option<usize> {
        let axis = axis - self.at;
        let before = product(&self.from[..axis]);
        let is_single = self.from[axis] == 1;
        (0..self.to.len())
            .find(|&to| product(&self.to[..to]) == before && (self.to[to] == 1) == is_single)
    }
}

fn product(lengths: &[usize]) -> usize {
    lengths.iter().fold(1, |product, &length| product.saturating_mul(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use SpatialLayout::{FeatureMap, Tokens};

    fn reshaped(
        at: usize,
        from: &[usize],
        to: &[usize],
        layout: SpatialLayout,
    ) -> Option<SpatialLayout> {
        Reshape { at, from: from.to_vec(), to: to.to_vec() }.layout(layout)
    }

    #[test]
    fn space_to_depth_keeps_the_coarse_positions() {
        // [1, c, 8, 8] as [1, c, 2, 4, 2, 4].
        let split = reshaped(2, &[8, 8], &[2, 4, 2, 4], FeatureMap([2, 3]));
        assert_eq!(split, Some(FeatureMap([2, 4])));
        let one = reshaped(2, &[8], &[2, 4], FeatureMap([2, 3]));
        assert_eq!(one, Some(FeatureMap([2, 4])));
    }

    #[test]
    fn depth_to_space_makes_finer_positions() {
        // [1, c, 4, 2, 6, 2] as [1, c, 8, 12].
        let joined = reshaped(2, &[4, 2, 6, 2], &[8, 12], FeatureMap([2, 4]));
        assert_eq!(joined, Some(FeatureMap([2, 3])));
        // In the other order, the block's row would lead.
        assert_eq!(reshaped(2, &[2, 4, 6, 2], &[8, 12], FeatureMap([3, 4])), None);
    }

    #[test]
    fn rows_and_columns_become_tokens() {
        let tokens = |axis| Some(Tokens { axis, first: 0, rows: 2, columns: 4 });
        assert_eq!(reshaped(2, &[2, 4], &[8], FeatureMap([2, 3])), tokens(2));
        assert_eq!(reshaped(0, &[1, 2, 4], &[8], FeatureMap([1, 2])), tokens(0));
        assert_eq!(reshaped(1, &[3, 2, 4], &[3, 8], FeatureMap([2, 3])), tokens(2));
        // Rows and columns that other axes are joined with are no tokens.
        assert_eq!(reshaped(1, &[2, 4, 3], &[24], FeatureMap([1, 2])), None);
        assert_eq!(reshaped(1, &[3, 2, 4], &[24], FeatureMap([2, 3])), None);
    }

    #[test]
    fn tokens_become_rows_and_columns_again() {
        let tokens = |axis, first| Tokens { axis, first, rows: 2, columns: 4 };
        assert_eq!(reshaped(1, &[8], &[2, 4], tokens(1, 0)), Some(FeatureMap([1, 2])));
        assert_eq!(reshaped(0, &[8, 3], &[1, 2, 4, 3], tokens(0, 0)), Some(FeatureMap([1, 2])));
        assert_eq!(reshaped(1, &[8], &[4, 2], tokens(1, 0)), None);
        assert_eq!(reshaped(1, &[9], &[3, 3], tokens(1, 1)), None);
    }

    #[test]
    fn tokens_keep_their_axis_and_number() {
        let tokens = |axis| Tokens { axis, first: 1, rows: 2, columns: 4 };
        assert_eq!(reshaped(0, &[1, 9], &[9], tokens(1)), Some(tokens(0)));
        assert_eq!(reshaped(2, &[12], &[3, 4], tokens(1)), Some(tokens(1)));
        assert_eq!(reshaped(0, &[6], &[2, 3], tokens(1)), Some(tokens(2)));
        assert_eq!(reshaped(1, &[9, 4], &[36], tokens(1)), None);
        assert_eq!(reshaped(1, &[9], &[3, 3], tokens(1)), None);
    }
}
