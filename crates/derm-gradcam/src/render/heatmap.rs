//! Heatmap: values in 0..=1, normalised, averaged and resized.

use ndarray::Array2;

/// How much each position of a layer supports a class: `[rows, columns]`, values in 0..=1.
#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap(Array2<f32>);

impl Heatmap {
    /// Normalises a map of any scale to 0..=1.
    pub fn from_map(map: Array2<f32>) -> Heatmap {
        Heatmap(normalised(map))
    }

    /// The mean of heatmaps of one size, normalised to 0..=1; `None` of an empty list.
    ///
    /// # Panics
    /// If their sizes differ.
    pub fn mean(heatmaps: &[Heatmap]) -> Option<Heatmap> {
        let (first, others) = heatmaps.split_first()?;
        let mut sum = first.0.clone();
        others.iter().for_each(|other| sum += &other.0);
        Some(Heatmap(normalised(sum)))
    }

    /// The values, `[rows, columns]`.
    pub fn values(&self) -> &Array2<f32> {
        &self.0
    }

    /// Resizes bilinearly (half-pixel centres, edges repeated: OpenCV's `INTER_LINEAR`) and
    /// normalises to 0..=1 again.
    pub fn resized(&self, width: u32, height: u32) -> Heatmap {
        let (rows, columns) = self.0.dim();
        let down = Taps::new(rows, height as usize);
        let across = Taps::new(columns, width as usize);
        let values = Array2::from_shape_fn((height as usize, width as usize), |(y, x)| {
            let ((top, bottom, v), (left, right, h)) = (down.0[y], across.0[x]);
            let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
            let upper = mix(self.0[[top, left]], self.0[[top, right]], h);
            let lower = mix(self.0[[bottom, left]], self.0[[bottom, right]], h);
            mix(upper, lower, v)
        });
        Heatmap(normalised(values))
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

/// Min-max normalisation; all zero where all values are equal.
fn normalised(mut values: Array2<f32>) -> Array2<f32> {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = largest - least;
    values.mapv_inplace(|value| if range > 0.0 { (value - least) / range } else { 0.0 });
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
        let heatmap = Heatmap(array![[0.0, 1.0]]).resized(4, 1);
        let expected = array![[0.0, 0.25, 0.75, 1.0]];
        assert!((heatmap.values() - &expected).iter().all(|d| d.abs() < 1e-5));
    }
}
