//! Faithfulness: how the class's probability follows the heatmap (deletion, insertion, ROAD).

use super::impute::impute;
use ndarray::Array2;

/// Steps of the deletion and insertion curves.
pub(super) const STEPS: usize = 20;
/// Shares of the pixels that ROAD removes, each in turn.
const REMOVED: [f64; 4] = [0.2, 0.4, 0.6, 0.8];

/// Faithfulness of one heatmap.
pub(super) struct Faithfulness {
    /// Deletion curve: the probability while pixels are removed, most relevant first (Petsiuk et al. 2018,
    /// arXiv:1806.07421); `STEPS + 1` values, lower is better.
    pub(super) deletion: Vec<f64>,
    /// Insertion curve: the probability while they are inserted into a blurred picture; higher is better.
    pub(super) insertion: Vec<f64>,
    /// ROAD (Rong et al. 2022, arXiv:2202.00449): half the difference of the probability without the least
    /// relevant pixels and that without the most relevant ones, mean over [`REMOVED`]. Removed pixels are
    /// imputed from their neighbours, so that no edge reveals the removed shape.
    pub(super) road: f64,
}

impl Faithfulness {
    /// `input` and `blurred` are normalised inputs; `score` returns the class's probability.
    pub(super) fn of(
        heat: &Array2<f32>,
        input: &[f32],
        blurred: &[f32],
        seed: u64,
        score: impl Fn(&[f32]) -> anyhow::Result<f32>,
    ) -> anyhow::Result<Faithfulness> {
        let by_relevance = order(heat, seed);
        let count = by_relevance.len();
        let along = |start: &[f32], end: &dyn Fn(usize) -> f32| -> anyhow::Result<Vec<f64>> {
            let mut now = start.to_vec();
            let mut curve = vec![f64::from(score(&now)?)];
            for step in 0..STEPS {
                for &pixel in &by_relevance[count * step / STEPS..count * (step + 1) / STEPS] {
                    let channels = 3 * pixel..3 * pixel + 3;
                    channels.for_each(|index| now[index] = end(index));
                }
                curve.push(f64::from(score(&now)?));
            }
            Ok(curve)
        };
        // Zero is the mean colour of the training pictures.
        let deletion = along(input, &|_| 0.0)?;
        let insertion = along(blurred, &|index| input[index])?;
        let (rows, columns) = heat.dim();
        let mut road = 0.0;
        for share in REMOVED {
            let removed = (count as f64 * share) as usize;
            let without = |pixels: &[usize]| -> anyhow::Result<f64> {
                Ok(f64::from(score(&impute(input, rows, columns, pixels, seed))?))
            };
            let without_most = without(&by_relevance[..removed])?;
            let without_least = without(&by_relevance[count - removed..])?;
            road += (without_least - without_most) / 2.0 / REMOVED.len() as f64;
        }
        Ok(Faithfulness { deletion, insertion, road })
    }
}

/// Pixels in descending order of relevance; ties in random order.
fn order(heat: &Array2<f32>, seed: u64) -> Vec<usize> {
    let heat: Vec<f32> = heat.iter().copied().collect();
    let mut pixels: Vec<usize> = (0..heat.len()).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut pixels);
    pixels.sort_by(|&a, &b| heat[b].total_cmp(&heat[a]));
    pixels
}

/// The area under a curve over 0..=1, by the trapezoidal rule.
pub(super) fn area(curve: &[f64]) -> f64 {
    let parts = curve.windows(2).map(|two| (two[0] + two[1]) / 2.0);
    parts.sum::<f64>() / (curve.len() - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network that only looks at the left half.
    fn left_half(input: &[f32]) -> anyhow::Result<f32> {
        let pixels = input.chunks_exact(3).enumerate();
        let left: Vec<f32> = pixels.filter(|(n, _)| n % 16 < 8).map(|(_, p)| p[0]).collect();
        Ok(left.iter().sum::<f32>() / left.len() as f32)
    }

    #[test]
    fn a_true_heatmap_scores_better_than_a_false_one() {
        let input = vec![1.0; 16 * 16 * 3];
        let blurred = vec![0.0; input.len()];
        let of = |hot_left: bool| {
            let heat = Array2::from_shape_fn((16, 16), |(_, x)| f32::from((x < 8) == hot_left));
            Faithfulness::of(&heat, &input, &blurred, 1, left_half).unwrap()
        };
        let (good, bad) = (of(true), of(false));
        assert!((area(&good.deletion) - 0.25).abs() < 5e-3, "{}", area(&good.deletion));
        assert!((area(&bad.deletion) - 0.75).abs() < 5e-3);
        assert!((area(&good.insertion) - 0.75).abs() < 5e-3);
    }

    #[test]
    fn road_tells_the_place_that_matters() {
        // A bright disc on dark ground: the network sees how bright its middle is.
        let bright =
            |n: usize| f32::from((6..10).contains(&(n % 16)) && (6..10).contains(&(n / 16)));
        let input: Vec<f32> = (0..256).flat_map(|n| [bright(n); 3]).collect();
        let middle = |input: &[f32]| Ok(input[3 * (8 * 16 + 8)]);
        let of = |sign: f32| {
            let heat = Array2::from_shape_fn((16, 16), |(y, x)| sign * bright(16 * y + x));
            Faithfulness::of(&heat, &input, &input, 1, middle).unwrap().road
        };
        assert!(of(1.0) > 0.3, "{}", of(1.0));
        assert!(of(-1.0) < -0.3, "{}", of(-1.0));
    }
}
