//! Coefficients to samples: the inverse discrete cosine transform of 8x8 blocks.
//!
//! One dimension after the other, each by the factorisation of Arai, Agui and Nakajima (1988),
//! in float32; what that factorisation multiplies each coefficient with is part of the
//! quantisation ([`scaled`]).

/// cos(k pi / 16) * sqrt 2 for k > 0; 1 for k = 0.
const SCALE: [f32; 8] =
    [1.0, 1.387_039_8, 1.306_563, 1.175_875_6, 1.0, 0.785_694_96, 0.541_196_1, 0.275_899_4];

/// Quantisation with the transform's own factors in it.
pub(super) fn scaled(mut quantisation: [f32; 64]) -> [f32; 64] {
    for (place, value) in quantisation.iter_mut().enumerate() {
        *value *= SCALE[place / 8] * SCALE[place % 8] / 8.0;
    }
    quantisation
}

type Line = [f32; 8];

#[inline(always)]
fn zip(a: Line, b: Line, f: impl Fn(f32, f32) -> f32) -> Line {
    let mut c = [0.0; 8];
    for i in 0..8 {
        c[i] = f(a[i], b[i]);
    }
    c
}

#[inline(always)]
fn add(a: Line, b: Line) -> Line {
    zip(a, b, |a, b| a + b)
}

#[inline(always)]
fn sub(a: Line, b: Line) -> Line {
    zip(a, b, |a, b| a - b)
}

#[inline(always)]
fn times(a: Line, factor: f32) -> Line {
    zip(a, a, |a, _| a * factor)
}

/// Eight transforms at once: line k holds the k-th coefficient of each.
#[inline(always)]
fn transform(x: [Line; 8]) -> [Line; 8] {
    const ROOT_2: f32 = std::f32::consts::SQRT_2;
    // The even coefficients.
    let (a, b) = (add(x[0], x[4]), sub(x[0], x[4]));
    let c = add(x[2], x[6]);
    let d = sub(times(sub(x[2], x[6]), ROOT_2), c);
    let even = [add(a, c), add(b, d), sub(b, d), sub(a, c)];
    // The odd ones.
    let (e, f) = (add(x[5], x[3]), sub(x[5], x[3]));
    let (g, h) = (add(x[1], x[7]), sub(x[1], x[7]));
    let last = add(g, e);
    let middle = times(sub(g, e), ROOT_2);
    let turned = times(add(f, h), 1.847_759);
    let first = sub(times(h, 1.082_392_2), turned);
    let second = add(times(f, -2.613_126), turned);
    let o6 = sub(second, last);
    let o5 = sub(middle, o6);
    let o4 = add(first, o5);
    [
        add(even[0], last),
        add(even[1], o6),
        add(even[2], o5),
        sub(even[3], o4),
        add(even[3], o4),
        sub(even[2], o5),
        sub(even[1], o6),
        sub(even[0], last),
    ]
}

#[inline(always)]
fn transposed(x: [Line; 8]) -> [Line; 8] {
    let mut y = [[0.0; 8]; 8];
    for (i, line) in x.iter().enumerate() {
        for (j, value) in line.iter().enumerate() {
            y[j][i] = *value;
        }
    }
    y
}

/// Writes the block's samples to eight rows of `to` that start `stride` apart, and clears it.
/// `last`: place of the last coefficient that is not zero, in the file's order.
pub(super) fn inverse(block: &mut [f32; 64], last: usize, to: &mut [u8], stride: usize) {
    if last == 0 {
        let sample = level(block[0]);
        for row in to.chunks_mut(stride).take(8) {
            row[..8].fill(sample);
        }
        block[0] = 0.0;
        return;
    }
    let mut lines = [[0.0; 8]; 8];
    for (line, values) in lines.iter_mut().zip(block.chunks_exact(8)) {
        line.copy_from_slice(values);
    }
    block.fill(0.0);
    let lines = transposed(transform(transposed(transform(lines))));
    for (row, line) in to.chunks_mut(stride).zip(lines) {
        let mut samples = [0; 8];
        for i in 0..8 {
            samples[i] = level(line[i]);
        }
        row[..8].copy_from_slice(&samples);
    }
}

/// The transform's values lie around zero, samples around 128.
#[inline(always)]
fn level(value: f32) -> u8 {
    // The cast cuts off: halves go up, and what is outside is held.
    (value + 128.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    /// The definition (ITU-T T.81, A.3.3).
    fn defined(block: &[f32; 64]) -> Vec<f64> {
        let c = |k: usize| if k == 0 { 0.5f64.sqrt() } else { 1.0 };
        let cosine = |x: usize, u: usize| ((2 * x + 1) as f64 * u as f64 * PI / 16.0).cos();
        (0..64)
            .map(|place| {
                let (y, x) = (place / 8, place % 8);
                let sum: f64 = (0..64)
                    .map(|k| {
                        let (v, u) = (k / 8, k % 8);
                        c(u) * c(v) * f64::from(block[k]) * cosine(x, u) * cosine(y, v)
                    })
                    .sum();
                sum / 4.0 + 128.0
            })
            .collect()
    }

    #[test]
    fn every_coefficient_does_what_the_standard_says() {
        for place in 0..64 {
            for value in [-700.0, 90.0, 400.0] {
                let mut block = [0.0; 64];
                block[0] = 50.0;
                block[place] = value;
                let expected = defined(&block);
                let factors = scaled([1.0; 64]);
                block.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
                let mut samples = [0; 64];
                inverse(&mut block, if place == 0 { 0 } else { 63 }, &mut samples, 8);
                for (sample, expected) in samples.iter().zip(expected) {
                    let expected = expected.clamp(0.0, 255.0);
                    assert!((f64::from(*sample) - expected).abs() <= 0.51, "{place} {value}");
                }
                assert!(block.iter().all(|value| *value == 0.0));
            }
        }
    }
}
