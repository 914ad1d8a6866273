//! Heatmap: values in 0..=1, scaled, averaged and resized.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// How the values of a map become those of a heatmap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// From the map's minimum, which becomes 0, to its maximum, which becomes 1. A map that is nearly
    /// constant is stretched to full contrast.
    #[default]
    MinMax,
    /// Divided by the maximum: zero stays zero, and what is negative becomes zero.
    Max,
}

/// The least and the largest value of a map before it was scaled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MapRange {
    /// The least value.
    pub min: f32,
    /// The largest value.
    pub max: f32,
}

impl MapRange {
    /// The contrast below which a heatmap says little: [`Scale::MinMax`] makes a hot spot of a
    /// variation that small.
    pub const LOW_CONTRAST: f32 = 0.1;

    fn of(map: &Array2<f32>) -> MapRange {
        let (min, max) = map
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), &v| (min.min(v), max.max(v)));
        MapRange { min, max }
    }

    /// The difference of the two, as a share of the larger magnitude: 0 of a constant map, 1 of one
    /// that begins at zero, up to 2 where they have different signs.
    pub fn contrast(self) -> f32 {
        let largest = self.max.abs().max(self.min.abs());
        if largest > 0.0 { (self.max - self.min) / largest } else { 0.0 }
    }
}

/// How much each position of a layer supports a class: `[rows, columns]`, values in 0..=1.
#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap {
    values: Array2<f32>,
    range: MapRange,
    scale: Scale,
}

impl Heatmap {
    /// Scales a map from its minimum to its maximum.
    pub fn from_map(map: Array2<f32>) -> Heatmap {
        let (range, scale) = (MapRange::of(&map), Scale::MinMax);
        Heatmap { values: scaled(map, scale), range, scale }
    }

    /// The mean of heatmaps of one size and scale, scaled once more; its range is the mean of theirs.
    /// `None` of an empty list.
    ///
    /// # Panics
    /// If their sizes differ.
    pub fn mean(heatmaps: &[Heatmap]) -> Option<Heatmap> {
        let (first, others) = heatmaps.split_first()?;
        let Heatmap { mut values, mut range, scale } = first.clone();
        for other in others {
            values += &other.values;
            range = MapRange { min: range.min + other.range.min, max: range.max + other.range.max };
        }
        let count = heatmaps.len() as f32;
        let range = MapRange { min: range.min / count, max: range.max / count };
        Some(Heatmap { values: scaled(values, scale), range, scale })
    }

    /// The values, `[rows, columns]`.
    pub fn values(&self) -> &Array2<f32> {
        &self.values
    }

    /// The values themselves.
    pub fn into_values(self) -> Array2<f32> {
        self.values
    }

    /// The range of the map that it was made of.
    pub fn range(&self) -> MapRange {
        self.range
    }

    /// The same map in another scale. What [`Scale::Max`] has clipped does not come back.
    pub fn with_scale(self, scale: Scale) -> Heatmap {
        let Heatmap { values, range, scale: before } = self;
        let values = match (before, scale) {
            (Scale::MinMax, Scale::Max) => {
                let map = values.mapv(|value| range.min + value * (range.max - range.min));
                scaled(map, scale)
            }
            _ => scaled(values, scale),
        };
        Heatmap { values, range, scale }
    }

    /// The heatmap whose positions lie elsewhere; its values and their range stay.
    pub fn moved(self, positions: impl FnOnce(&Array2<f32>) -> Array2<f32>) -> Heatmap {
        Heatmap { values: positions(&self.values), ..self }
    }

    /// Resizes bilinearly (half-pixel centres, edges repeated: OpenCV's `INTER_LINEAR`) and
    /// scales to 0..=1 again.
    pub fn resized(&self, width: u32, height: u32) -> Heatmap {
        let (rows, columns) = self.values.dim();
        let down = Taps::new(rows, height as usize);
        let across = Taps::new(columns, width as usize);
        let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
        let mut values = Array2::zeros((height as usize, width as usize));
        for (mut row, &(top, bottom, v)) in values.rows_mut().into_iter().zip(&down.0) {
            let (top, bottom) = (self.values.row(top), self.values.row(bottom));
            for (value, &(left, right, h)) in row.iter_mut().zip(&across.0) {
                let upper = mix(top[left], top[right], h);
                let lower = mix(bottom[left], bottom[right], h);
                *value = mix(upper, lower, v);
            }
        }
        Heatmap { values: scaled(values, self.scale), range: self.range, scale: self.scale }
    }
}

/// Interpolation taps: for each index of the new axis the two old indices it lies between, and the
/// weight of the second.
struct Taps(Vec<(usize, usize, f32)>);

impl Taps {
    fn new(old: usize, new: usize) -> Taps {
        let scale = old as f32 / new as f32;
        let tap = |index: usize| {
            let centre = ((index as f32 + 0.5) * scale - 0.5).clamp(0.0, (old - 1) as f32);
            let first = centre.floor() as usize;
            (first, (first + 1).min(old - 1), centre - first as f32)
        };
        Taps((0..new).map(tap).collect())
    }
}

/// All zero where all values are equal ([`Scale::MinMax`]), or none is positive ([`Scale::Max`]).
fn scaled(mut values: Array2<f32>, scale: Scale) -> Array2<f32> {
    let MapRange { min, max } = MapRange::of(&values);
    let least = if scale == Scale::MinMax { min } else { 0.0 };
    let range = max - least;
    let scaled = |value: f32| if range > 0.0 { (value.max(least) - least) / range } else { 0.0 };
    values.mapv_inplace(scaled);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn zeros_stay_zeros() {
        let heatmap = Heatmap::from_map(Array2::zeros((3, 3))).resized(9, 9);
        assert!(heatmap.values().iter().all(|value| *value == 0.0));
    }

    #[test]
    fn resizing_uses_half_pixel_centres() {
        let heatmap = Heatmap::from_map(array![[0.0, 1.0]]).resized(4, 1);
        let expected = array![[0.0, 0.25, 0.75, 1.0]];
        assert!((heatmap.values() - &expected).iter().all(|d| d.abs() < 1e-5));
    }

    #[test]
    fn of_the_largest_value_zero_stays_zero() {
        let of = |map: Array2<f32>| Heatmap::from_map(map).with_scale(Scale::Max);
        assert_eq!(of(array![[0.0, 2.0, 1.0]]).values(), array![[0.0, 1.0, 0.5]]);
        // A variation of 3 % stays one.
        let nearly_constant = of(array![[0.97, 1.0]]);
        assert!((nearly_constant.values() - &array![[0.97, 1.0]]).iter().all(|d| d.abs() < 1e-6));
        let resized = nearly_constant.resized(4, 2);
        assert!(resized.values().iter().all(|&value| value > 0.96));
        let signed = of(array![[-4.0, 0.0, 4.0]]);
        assert!((signed.values() - &array![[0.0, 0.0, 1.0]]).iter().all(|d| d.abs() < 1e-6));
        for none in [array![[0.0, 0.0]], array![[-3.0, -1.0]]] {
            assert!(of(none).values().iter().all(|&value| value == 0.0));
        }
        // All equal: from minimum to maximum there is nothing, of the largest value all.
        assert_eq!(of(array![[2.0, 2.0]]).values(), array![[1.0, 1.0]]);
        assert_eq!(Heatmap::from_map(array![[2.0, 2.0]]).values(), array![[0.0, 0.0]]);
    }

    #[test]
    fn the_range_is_that_of_the_map() {
        let range = |min: f32, max: f32| MapRange { min, max };
        let heatmap = Heatmap::from_map(array![[0.97, 1.0]]);
        assert_eq!(heatmap.range(), range(0.97, 1.0));
        assert_eq!(heatmap.resized(8, 8).range(), range(0.97, 1.0));
        assert_eq!(heatmap.clone().with_scale(Scale::Max).range(), range(0.97, 1.0));
        let other = Heatmap::from_map(array![[3.0, 0.03]]);
        let mean = Heatmap::mean(&[heatmap, other]).unwrap();
        assert_eq!(mean.range(), range(0.5, 2.0));
    }

    #[test]
    fn contrast_is_a_share_of_the_largest_magnitude() {
        for (min, max, contrast) in [
            (0.97, 1.0, 0.03),
            (0.0, 5.0, 1.0),
            (-1.0, 1.0, 2.0),
            (-1.0, -0.95, 0.05),
            (0.0, 0.0, 0.0),
            (2.0, 2.0, 0.0),
        ] {
            let found = MapRange { min, max }.contrast();
            assert!((found - contrast).abs() < 1e-6, "{min}..{max}: {found}");
        }
    }
}
