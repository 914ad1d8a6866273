//! Plain loops that the kernels are compared with, and how they are compared.

pub(crate) mod running;
pub(crate) mod weights;

use derm_kernels::{ConvGeometry, Window, WindowAxis};
use half::f16;
use proptest::prelude::*;

/// Cases of a property; few under Miri, which runs some thousand times slower.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    let mut config = ProptestConfig::with_cases(if cfg!(miri) { 2 } else { count });
    if cfg!(miri) {
        // Miri has no file system.
        config.failure_persistence = None;
    }
    config
}

/// A size for the range of a property; under Miri, a tenth of it.
pub(crate) const fn size(usual: usize) -> usize {
    if cfg!(miri) { usual.div_ceil(10) + 1 } else { usual }
}

/// The range of a size of a property; under Miri, its two smallest.
pub(crate) const fn sizes(low: usize, high: usize) -> std::ops::Range<usize> {
    if cfg!(miri) { low..low + 2 } else { low..high }
}

/// Numbers in -1..1 that look random, and are float16 exactly.
pub(crate) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            f16::from_f32((state % 2048) as f32 / 1024.0 - 1.0).to_f32()
        })
        .collect()
}

/// Every number within the tolerance, relative above 1 and absolute below.
pub(crate) fn close(ours: &[f32], plain: &[f32], tolerance: f32) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.len(), plain.len());
    for (index, (a, b)) in ours.iter().zip(plain).enumerate() {
        let bound = tolerance * b.abs().max(1.0);
        prop_assert!((a - b).abs() <= bound, "at {}: {} instead of {}", index, a, b);
    }
    Ok(())
}

/// An axis of small odd sizes, padding on both sides.
pub(crate) fn axis() -> impl Strategy<Value = WindowAxis> {
    (1usize..size(20), 1usize..6, 1usize..4, 1usize..3, 0usize..3, 0usize..3).prop_filter_map(
        "the kernel is larger than the padded input",
        |(input, kernel, stride, dilation, before, after)| {
            let reach = (kernel - 1) * dilation + 1;
            let room = (input + before + after).checked_sub(reach)?;
            let output = room / stride + 1;
            let window = Window { input, output, kernel, stride, dilation, before };
            Some(WindowAxis::new(window).unwrap())
        },
    )
}

/// A kernel of 3 taps, stride 1.
pub(crate) fn axis_of_3(input: usize, before: usize, after: usize) -> WindowAxis {
    let output = input + before + after - 2;
    WindowAxis::new(Window { input, output, kernel: 3, stride: 1, dilation: 1, before }).unwrap()
}

/// The input index under a tap, by definition; none in the padding. Of a transposed axis (`spread`
/// above 1), inputs lie that far apart.
pub(crate) fn input_index(axis: WindowAxis, output: usize, tap: usize) -> Option<usize> {
    let index = (output * axis.stride() + tap * axis.dilation()).checked_sub(axis.before())?;
    (index < axis.input()).then_some(index)
}

/// Convolution by definition, in float64. `weight(output, input of the group, tap)`.
pub(crate) fn convolve(
    geometry: &ConvGeometry,
    input: &[f32],
    bias: &[f32],
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Vec<f32> {
    let (rows, columns) = (geometry.rows(), geometry.columns());
    let (depth, group) = (geometry.depth(), geometry.outputs() / geometry.groups());
    let mut output = Vec::new();
    for row in 0..rows.output() {
        for column in 0..columns.output() {
            for (o, &bias) in bias.iter().enumerate() {
                let mut sum = f64::from(bias);
                for tap in 0..geometry.taps() {
                    let y = input_index(rows, row, tap / columns.kernel());
                    let x = input_index(columns, column, tap % columns.kernel());
                    let (Some(y), Some(x)) = (y, x) else { continue };
                    let pixel = (y * columns.input() + x) * geometry.inputs() + o / group * depth;
                    for i in 0..depth {
                        sum += f64::from(input[pixel + i]) * f64::from(weight(o, i, tap));
                    }
                }
                output.push(sum as f32);
            }
        }
    }
    output
}

/// The input's gradient of `sum(gradient * convolution(input))`, which is linear in the input, by
/// definition.
pub(crate) fn input_gradient(
    geometry: &ConvGeometry,
    gradient: &[f32],
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Vec<f32> {
    let (rows, columns) = (geometry.rows(), geometry.columns());
    let (depth, group) = (geometry.depth(), geometry.outputs() / geometry.groups());
    let mut result = vec![0f64; geometry.input_len()];
    for (index, &value) in gradient.iter().enumerate() {
        let (pixel, o) = (index / geometry.outputs(), index % geometry.outputs());
        for tap in 0..geometry.taps() {
            let y = input_index(rows, pixel / columns.output(), tap / columns.kernel());
            let x = input_index(columns, pixel % columns.output(), tap % columns.kernel());
            let (Some(y), Some(x)) = (y, x) else { continue };
            for i in 0..depth {
                let to = (y * columns.input() + x) * geometry.inputs() + o / group * depth + i;
                result[to] += f64::from(value) * f64::from(weight(o, i, tap));
            }
        }
    }
    result.into_iter().map(|value| value as f32).collect()
}
