//! Inverse discrete cosine transform (IDCT) of 8x8 blocks: coefficients to samples.
//!
//! One dimension after the other, each by the factorisation of Arai, Agui and Nakajima (1988),
//! in float32; the factorisation's scale factors are part of the quantisation ([`scaled`]).

/// cos(k pi / 16) * sqrt 2 for k > 0; 1 for k = 0.
const SCALE: [f32; 8] =
    [1.0, 1.387_039_8, 1.306_563, 1.175_875_6, 1.0, 0.785_694_96, 0.541_196_1, 0.275_899_4];

/// The quantisation table times the transform's scale factors.
pub(super) fn scaled(mut quantisation: [f32; 64]) -> [f32; 64] {
    for (index, value) in quantisation.iter_mut().enumerate() {
        *value *= SCALE[index / 8] * SCALE[index % 8] / 8.0;
    }
    quantisation
}

/// Eight values, one of each of eight transforms.
trait Lanes: Copy {
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn times(self, factor: f32) -> Self;
}

/// Eight transforms at once: line k holds the k-th coefficient of each.
#[inline(always)]
fn transform<L: Lanes>(x: [L; 8]) -> [L; 8] {
    const ROOT_2: f32 = std::f32::consts::SQRT_2;
    // The even coefficients.
    let (a, b) = (x[0].add(x[4]), x[0].sub(x[4]));
    let c = x[2].add(x[6]);
    let d = x[2].sub(x[6]).times(ROOT_2).sub(c);
    let even = [a.add(c), b.add(d), b.sub(d), a.sub(c)];
    // The odd coefficients.
    let (e, f) = (x[5].add(x[3]), x[5].sub(x[3]));
    let (g, h) = (x[1].add(x[7]), x[1].sub(x[7]));
    let last = g.add(e);
    let middle = g.sub(e).times(ROOT_2);
    let rotated = f.add(h).times(1.847_759);
    let first = h.times(1.082_392_2).sub(rotated);
    let second = f.times(-2.613_126).add(rotated);
    let o6 = second.sub(last);
    let o5 = middle.sub(o6);
    let o4 = first.add(o5);
    [
        even[0].add(last),
        even[1].add(o6),
        even[2].add(o5),
        even[3].sub(o4),
        even[3].add(o4),
        even[2].sub(o5),
        even[1].sub(o6),
        even[0].sub(last),
    ]
}

/// Writes the block's samples to eight rows of `to` that start `stride` apart, and clears the block.
/// The block is stored column by column. `last`: index of the last coefficient that is not zero, in
/// the file's order; only 0 makes a difference.
///
/// # Panics
/// If `to` has not eight rows of eight samples.
pub(super) fn inverse(block: &mut [f32; 64], last: usize, to: &mut [u8], stride: usize) {
    if last == 0 {
        // The transform's values are centred at 0, samples at 128; the cast truncates and
        // saturates.
        let sample = (block[0] + 128.5) as u8;
        for row in to.chunks_mut(stride).take(8) {
            row[..8].fill(sample);
        }
        block[0] = 0.0;
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { avx2::inverse(block, to, stride) };
    }
    portable::inverse(block, to, stride);
}

mod portable {
    use super::{Lanes, transform};

    type Line = [f32; 8];

    impl Lanes for Line {
        #[inline(always)]
        fn add(self, other: Line) -> Line {
            std::array::from_fn(|i| self[i] + other[i])
        }
        #[inline(always)]
        fn sub(self, other: Line) -> Line {
            std::array::from_fn(|i| self[i] - other[i])
        }
        #[inline(always)]
        fn times(self, factor: f32) -> Line {
            self.map(|value| value * factor)
        }
    }

    pub(super) fn inverse(block: &mut [f32; 64], to: &mut [u8], stride: usize) {
        let lines = [0, 1, 2, 3, 4, 5, 6, 7].map(|i| block.as_chunks::<8>().0[i]);
        block.fill(0.0);
        let half = transform(lines);
        let transposed = std::array::from_fn(|i| half.map(|line| line[i]));
        for (row, line) in to.chunks_mut(stride).zip(transform(transposed)) {
            row[..8].copy_from_slice(&line.map(|value| (value + 128.5) as u8));
        }
    }
}

/// The compiler makes single moves of the portable loops' transposition, and the transform takes most
/// of the time of decoding a JPEG. `cargo bench -p derm-benches --bench preprocess` times it.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Lanes, transform};
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    struct Line(__m256);

    // Only `inverse`, which requires AVX2, uses these.
    impl Lanes for Line {
        #[inline(always)]
        fn add(self, other: Line) -> Line {
            // SAFETY: only `inverse` makes a `Line`, and it requires AVX2.
            Line(unsafe { _mm256_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn sub(self, other: Line) -> Line {
            // SAFETY: only `inverse` makes a `Line`, and it requires AVX2.
            Line(unsafe { _mm256_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn times(self, factor: f32) -> Line {
            // SAFETY: only `inverse` makes a `Line`, and it requires AVX2.
            Line(unsafe { _mm256_mul_ps(self.0, _mm256_set1_ps(factor)) })
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn inverse(block: &mut [f32; 64], to: &mut [u8], stride: usize) {
        let values = block.as_ptr();
        // SAFETY: the block has 64 values, and i is below 8.
        let line = |i: usize| unsafe { Line(_mm256_loadu_ps(values.add(8 * i))) };
        let half = transform([0, 1, 2, 3, 4, 5, 6, 7usize].map(line));
        block.fill(0.0);
        let lines = transform(transposed(half));
        let (low, high) = (_mm256_setzero_ps(), _mm256_set1_ps(255.0));
        for (row, line) in to.chunks_mut(stride).zip(lines) {
            let value = _mm256_add_ps(line.0, _mm256_set1_ps(128.5));
            let value = _mm256_cvttps_epi32(_mm256_min_ps(_mm256_max_ps(value, low), high));
            let pairs = (_mm256_castsi256_si128(value), _mm256_extracti128_si256::<1>(value));
            let words = _mm_packs_epi32(pairs.0, pairs.1);
            let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words));
            row[..8].copy_from_slice(&bytes.to_le_bytes());
        }
    }

    /// Transposes: exchanges pairs, then fours, then halves.
    #[target_feature(enable = "avx2")]
    fn transposed(x: [Line; 8]) -> [Line; 8] {
        let pair = |i: usize| {
            let (a, b) = (x[i].0, x[i + 1].0);
            (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b))
        };
        let ((a, b), (c, d), (e, f), (g, h)) = (pair(0), pair(2), pair(4), pair(6));
        let low = |a, b| _mm256_shuffle_ps::<0x44>(a, b);
        let high = |a, b| _mm256_shuffle_ps::<0xee>(a, b);
        let upper = [low(a, c), high(a, c), low(b, d), high(b, d)];
        let lower = [low(e, g), high(e, g), low(f, h), high(f, h)];
        let first = |i: usize| Line(_mm256_permute2f128_ps::<0x20>(upper[i], lower[i]));
        let second = |i: usize| Line(_mm256_permute2f128_ps::<0x31>(upper[i], lower[i]));
        [first(0), first(1), first(2), first(3), second(0), second(1), second(2), second(3)]
    }
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
            .map(|index| {
                let (y, x) = (index / 8, index % 8);
                let sum: f64 = (0..64)
                    .map(|k| {
                        let (u, v) = (k / 8, k % 8);
                        c(u) * c(v) * f64::from(block[k]) * cosine(x, u) * cosine(y, v)
                    })
                    .sum();
                sum / 4.0 + 128.0
            })
            .collect()
    }

    #[test]
    fn every_coefficient_does_what_the_standard_says() {
        for index in 0..64 {
            for value in [-700.0, 90.0, 400.0] {
                let mut block = [0.0; 64];
                block[0] = 50.0;
                block[index] = value;
                let expected = defined(&block);
                let factors = scaled([1.0; 64]);
                block.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
                let (mut samples, mut portable) = ([0; 64], [0; 64]);
                portable::inverse(&mut block.clone(), &mut portable, 8);
                inverse(&mut block, if index == 0 { 0 } else { 63 }, &mut samples, 8);
                assert_eq!(samples, portable, "{index} {value}");
                for (sample, expected) in samples.iter().zip(expected) {
                    let expected = expected.clamp(0.0, 255.0);
                    assert!((f64::from(*sample) - expected).abs() <= 0.51, "{index} {value}");
                }
                assert!(block.iter().all(|value| *value == 0.0));
            }
        }
    }
}
