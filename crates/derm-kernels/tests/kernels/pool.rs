//! Pooling and its backward data, against the definition.

use crate::reference::{axis, cases, close, input_index, numbers, size};
use derm_kernels::{Isa, PoolGeometry, Pooling, Window, WindowAxis, pool, pool_gradient};
use proptest::prelude::*;

const EVERY: [Pooling; 4] = [Pooling::Max, Pooling::Sum, Pooling::Mean, Pooling::MeanWithPadding];

/// Indices of the input values under the window of an output value.
fn window(geometry: &PoolGeometry, index: usize) -> Vec<usize> {
    let (rows, columns, channels) = (geometry.rows(), geometry.columns(), geometry.channels());
    let (pixel, channel) = (index / channels, index % channels);
    let taps = 0..rows.kernel() * columns.kernel();
    let index = |tap: usize| {
        let y = input_index(rows, pixel / columns.output(), tap / columns.kernel())?;
        let x = input_index(columns, pixel % columns.output(), tap % columns.kernel())?;
        Some((y * columns.input() + x) * channels + channel)
    };
    taps.filter_map(index).collect()
}

/// Memory is that of the pixels under a window, whatever the size of the kernel: with an entry for each
/// tap, this one would take 2^63 bytes. It has no output, so that no tap is visited.
#[test]
fn a_huge_kernel_takes_no_memory() {
    let kernel = 1 << 30;
    let axis = Window { input: 1, output: 0, kernel, stride: 1, dilation: 1, before: 0 };
    let axis = WindowAxis::new(axis).unwrap();
    let geometry = PoolGeometry::new([axis, axis], 1).unwrap();
    for isa in Isa::available() {
        pool(isa, Pooling::Mean, &geometry, &[3.0], &mut []);
    }
}

/// Padding on all sides of the only pixel.
#[test]
fn a_kernel_larger_than_the_input() {
    let axis = Window { input: 1, output: 1, kernel: 5, stride: 1, dilation: 1, before: 2 };
    let axis = WindowAxis::new(axis).unwrap();
    let geometry = PoolGeometry::new([axis, axis], 1).unwrap();
    for isa in Isa::available() {
        let mut output = [f32::NAN];
        pool(isa, Pooling::Mean, &geometry, &[3.0], &mut output);
        assert_eq!(output, [3.0]);
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn pooling(
        rows in axis(), columns in axis(), channels in 1usize..size(40), seed in any::<u32>(),
    ) {
        let geometry = PoolGeometry::new([rows, columns], channels).unwrap();
        let input = numbers(geometry.input_len(), seed);
        let kernel = (rows.kernel() * columns.kernel()) as f32;
        for pooling in EVERY {
            let values = (0..geometry.output_len()).map(|index| {
                let window = window(&geometry, index);
                let values = window.iter().map(|&index| input[index]);
                match pooling {
                    Pooling::Max => values.fold(f32::NEG_INFINITY, f32::max),
                    Pooling::Sum => values.sum(),
                    Pooling::Mean => values.sum::<f32>() / window.len().max(1) as f32,
                    Pooling::MeanWithPadding => values.sum::<f32>() / kernel,
                }
            });
            let plain: Vec<f32> = values.collect();
            for isa in Isa::available() {
                let mut output = vec![f32::NAN; plain.len()];
                pool(isa, pooling, &geometry, &input, &mut output);
                for (a, b) in output.iter().zip(&plain) {
                    prop_assert!(a == b || (a - b).abs() < 1e-5, "{} instead of {}", a, b);
                }
            }
        }
    }

    #[test]
    fn input_gradient(
        rows in axis(), columns in axis(), channels in 1usize..size(20), seed in any::<u32>(),
    ) {
        let geometry = PoolGeometry::new([rows, columns], channels).unwrap();
        let input = numbers(geometry.input_len(), seed);
        let gradient = numbers(geometry.output_len(), seed ^ 1);
        let kernel = (rows.kernel() * columns.kernel()) as f32;
        for pooling in EVERY {
            let mut found = vec![f32::NAN; input.len()];
            pool_gradient(pooling, &geometry, &input, &gradient, &mut found);
            let mut plain = vec![0f32; input.len()];
            for (index, &value) in gradient.iter().enumerate() {
                let under = window(&geometry, index);
                let share = match pooling {
                    Pooling::Max => {
                        let largest = under.iter().map(|&i| input[i]).fold(f32::NEG_INFINITY, f32::max);
                        if let Some(&first) = under.iter().find(|&&i| input[i] == largest) {
                            plain[first] += value;
                        }
                        continue;
                    }
                    Pooling::Sum => 1.0,
                    Pooling::Mean => 1.0 / under.len() as f32,
                    Pooling::MeanWithPadding => 1.0 / kernel,
                };
                under.iter().for_each(|&i| plain[i] += value * share);
            }
            close(&found, &plain, 1e-5)?;
        }
    }
}
