//! Noisy linear imputation of removed pixels (Rong et al. 2022, arXiv:2202.00449).

/// Iterations of successive over-relaxation; further changes are smaller than the noise.
const ROUNDS: usize = 120;
const RELAXATION: f32 = 1.8;
const NOISE: f32 = 0.01;
/// Weights of an edge neighbour and of a corner neighbour.
const NEAR: f32 = 1.0 / 6.0;
const FAR: f32 = 1.0 / 12.0;

/// The picture (`[rows, columns, 3]`) with each removed pixel replaced by the weighted mean of its eight
/// neighbours, solved for all of them together, plus noise.
pub(super) fn impute(
    picture: &[f32],
    rows: usize,
    columns: usize,
    removed: &[usize],
    seed: u64,
) -> Vec<f32> {
    let mut result = picture.to_vec();
    let mut is_removed = vec![false; rows * columns];
    removed.iter().for_each(|&pixel| is_removed[pixel] = true);
    let kept = || (0..rows * columns).filter(|&pixel| !is_removed[pixel]);
    let count = kept().count().max(1) as f32;
    for channel in 0..3 {
        let mean = kept().map(|pixel| picture[3 * pixel + channel]).sum::<f32>() / count;
        removed.iter().for_each(|&pixel| result[3 * pixel + channel] = mean);
    }
    let mut in_order = removed.to_vec();
    in_order.sort_unstable();
    for _ in 0..ROUNDS {
        for &pixel in &in_order {
            let (row, column) = ((pixel / columns) as isize, (pixel % columns) as isize);
            let (mut sums, mut weights) = ([0.0; 3], 0.0);
            for (dy, dx) in (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dy, dx))) {
                let (y, x) = (row + dy, column + dx);
                let inside = (0..rows as isize).contains(&y) && (0..columns as isize).contains(&x);
                if (dy, dx) == (0, 0) || !inside {
                    continue;
                }
                let weight = if dy == 0 || dx == 0 { NEAR } else { FAR };
                let at = 3 * (y as usize * columns + x as usize);
                weights += weight;
                for channel in 0..3 {
                    sums[channel] += weight * result[at + channel];
                }
            }
            for channel in 0..3 {
                let value = &mut result[3 * pixel + channel];
                *value += RELAXATION * (sums[channel] / weights - *value);
            }
        }
    }
    let mut random = fastrand::Rng::with_seed(seed);
    for &pixel in &in_order {
        for channel in 0..3 {
            result[3 * pixel + channel] += NOISE * (2.0 * random.f32() - 1.0);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_in_a_slope_is_filled_with_the_slope() {
        let slope: Vec<f32> = (0..20 * 20)
            .flat_map(|n| [(n % 20) as f32 / 20.0, 0.5, (n / 20) as f32 / 20.0])
            .collect();
        let hole: Vec<usize> = (0..400)
            .filter(|n| (5..15).contains(&(n % 20)) && (5..15).contains(&(n / 20)))
            .collect();
        let mut broken = slope.clone();
        hole.iter().for_each(|&pixel| broken[3 * pixel] = 9.0);
        let filled = impute(&broken, 20, 20, &hole, 1);
        let far = slope.iter().zip(&filled).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 0.03, "{far}");
    }
}
