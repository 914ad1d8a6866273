//! Integer convolution, sums, products, pooling and tables: equal to plain loops to the last integer,
//! for every instruction set of this machine.

use crate::reference::{axis, cases, input_index, size};
use derm_kernels::{
    AddInt8, ConvGeometry, Int8Call, Int8Epilogue, Int8Output, Int8Plan, Isa, MulInt8, OutputPart,
    PackedInt8, PoolGeometry, PoolingInt8, Requantize, SharedOutput, Table, dequantize, pool_int8,
    quantize,
};
use proptest::prelude::*;

/// Bytes that look random; the extremes are frequent.
fn bytes(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        match state >> 28 {
            0 => 0,
            1 => 255,
            2 => 128,
            3 => 127,
            _ => (state >> 8) as u8,
        }
    };
    (0..count).map(next).collect()
}

/// The sums of a convolution by definition; the padding is the input's zero point.
fn sums(
    geometry: &ConvGeometry,
    (input, zero): (&[u8], u8),
    bias: &[i32],
    weight: impl Fn(usize, usize, usize) -> i8,
) -> Vec<i32> {
    let (rows, columns) = (geometry.rows(), geometry.columns());
    let (depth, group) = (geometry.depth(), geometry.outputs() / geometry.groups());
    let mut sums = Vec::new();
    for pixel in 0..rows.output() * columns.output() {
        for (o, &bias) in bias.iter().enumerate() {
            let mut sum = bias;
            for tap in 0..geometry.taps() {
                let y = input_index(rows, pixel / columns.output(), tap / columns.kernel());
                let x = input_index(columns, pixel % columns.output(), tap % columns.kernel());
                let (Some(y), Some(x)) = (y, x) else { continue };
                let from = (y * columns.input() + x) * geometry.inputs() + o / group * depth;
                for i in 0..depth {
                    let value = i32::from(input[from + i]) - i32::from(zero);
                    sum += value * i32::from(weight(o, i, tap));
                }
            }
            sums.push(sum);
        }
    }
    sums
}

fn requantized(sum: i32, scale: f32, to: &Requantize) -> u8 {
    let value = f64::from((sum as f32 * scale).round_ties_even()) + f64::from(to.zero_point);
    value.clamp(f64::from(to.low), f64::from(to.high)) as u8
}

/// Compares a convolution with its definition, whole and in two parts.
fn check(
    geometry: &ConvGeometry,
    seed: u32,
    zero: u8,
    to: &Requantize,
) -> Result<(), TestCaseError> {
    let (taps, depth, outputs) = (geometry.taps(), geometry.depth(), geometry.outputs());
    let input = bytes(geometry.input_len(), seed);
    let weights = bytes(geometry.weights(), seed ^ 1);
    let weight = |o: usize, i: usize, tap: usize| weights[(o * depth + i) * taps + tap] as i8;
    let bias: Vec<i32> =
        bytes(outputs, seed ^ 2).iter().map(|&b| 90 * i32::from(b) - 9000).collect();
    let spread = (taps * depth) as f32;
    let scale = |&b: &u8| (f32::from(b) + 1.0) / (3000.0 * spread.sqrt());
    let scales: Vec<f32> = bytes(outputs, seed ^ 3).iter().map(scale).collect();
    let other = bytes(geometry.output_len(), seed ^ 4);
    let table = Table::new(|value| 255 - value / 2);
    let add = AddInt8 { left_scale: 0.75, right_scale: 0.3, offset: -20.0, low: 3, high: 250 };
    let is_left = seed.is_multiple_of(2);
    let is_added_first = seed % 4 < 2;
    let added = |value: u8, index: usize| {
        let (value, other) = (f32::from(value), f32::from(other[index]));
        let [left, right] = if is_left { [other, value] } else { [value, other] };
        let sum = left.mul_add(0.75, right.mul_add(0.3, -20.0));
        sum.round_ties_even().clamp(3.0, 250.0) as u8
    };
    let plain = sums(geometry, (&input, zero), &bias, weight);
    let plain = plain.iter().enumerate().map(|(index, &sum)| {
        let value = requantized(sum, scales[index % outputs], to);
        if is_added_first { table.get(added(value, index)) } else { added(table.get(value), index) }
    });
    let plain: Vec<u8> = plain.collect();
    let mut epilogue =
        [Int8Epilogue::Table(&table), Int8Epilogue::Add { add: &add, other: &other, is_left }];
    if is_added_first {
        epilogue.reverse();
    }
    for isa in Isa::available() {
        let packed = PackedInt8::new(isa, geometry, weight);
        let output = Int8Output { input_zero: zero, bias: &bias, scales: &scales, requantize: to };
        let plan = Int8Plan::new(packed, geometry, output);
        let mut scratch = vec![0xa5; plan.scratch_len()];
        let mut whole = vec![0; geometry.output_len()];
        plan.run(Int8Call {
            input: &input,
            output: OutputPart::whole(&mut whole),
            epilogue: &epilogue,
            scratch: &mut scratch,
        });
        prop_assert!(whole == plain, "{:?} {}", isa, plan);
        let mut parts = vec![0; geometry.output_len()];
        let shared = SharedOutput::new(&mut parts);
        let cut = plan.units() / 3;
        for units in [0..cut, cut..plan.units()] {
            // SAFETY: the parts are used one after the other, with one plan.
            let output = unsafe { shared.part(units) };
            plan.run(Int8Call {
                input: &input,
                output,
                epilogue: &epilogue,
                scratch: &mut scratch,
            });
        }
        prop_assert!(parts == plain, "{:?} {} in parts", isa, plan);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn dense_and_grouped(
        rows in axis(), columns in axis(), groups in 1usize..4, depth in 1usize..size(40),
        outputs in 1usize..size(90), seed in any::<u32>(), zero in any::<u8>(), to in any::<u8>(),
        low in 0u8..100, high in 100u8..=255,
    ) {
        let geometry =
            ConvGeometry::new([rows, columns], groups * depth, groups * outputs, groups).unwrap();
        check(&geometry, seed, zero, &Requantize { zero_point: to, low, high })?;
    }

    #[test]
    fn depthwise(
        rows in axis(), columns in axis(), channels in 2usize..size(150),
        seed in any::<u32>(), zero in any::<u8>(), to in any::<u8>(),
    ) {
        let geometry = ConvGeometry::new([rows, columns], channels, channels, channels).unwrap();
        check(&geometry, seed, zero, &Requantize::to(to))?;
    }

    #[test]
    fn products(
        rows in 1usize..size(40), depth in 1usize..size(1400), outputs in 1usize..size(600),
        seed in any::<u32>(), zero in any::<u8>(),
    ) {
        let geometry = ConvGeometry::product(rows, depth, outputs).unwrap();
        check(&geometry, seed, zero, &Requantize::to(10))?;
    }

    #[test]
    fn pools(
        rows in axis(), columns in axis(), channels in 1usize..size(70), seed in any::<u32>(),
        zero in any::<u8>(), is_mean in any::<bool>(),
    ) {
        let geometry = PoolGeometry::new([rows, columns], channels).unwrap();
        let input = bytes(geometry.input_len(), seed);
        let to = Requantize { zero_point: 7, low: 5, high: 240 };
        let sum = PoolingInt8::Sum { input_zero: zero, scale: 0.31, is_mean, requantize: to.clone() };
        let (mut largest, mut sums) = (Vec::new(), Vec::new());
        for index in 0..geometry.output_len() {
            let (pixel, channel) = (index / channels, index % channels);
            let mut window = Vec::new();
            for tap in 0..rows.kernel() * columns.kernel() {
                let y = input_index(rows, pixel / columns.output(), tap / columns.kernel());
                let x = input_index(columns, pixel % columns.output(), tap % columns.kernel());
                if let (Some(y), Some(x)) = (y, x) {
                    window.push(input[(y * columns.input() + x) * channels + channel]);
                }
            }
            let total = window.iter().map(|&v| i32::from(v) - i32::from(zero)).sum::<i32>();
            let scale = if is_mean { 0.31 / window.len().max(1) as f32 } else { 0.31 };
            largest.push(window.iter().copied().max().unwrap_or(0));
            sums.push(requantized(total, scale, &to));
        }
        for isa in Isa::available() {
            for (pooling, expected) in [(&PoolingInt8::Max, &largest), (&sum, &sums)] {
                let mut output = vec![0; geometry.output_len()];
                pool_int8(isa, pooling, &geometry, &input, &mut output);
                prop_assert_eq!(&output, expected);
            }
        }
    }

    #[test]
    fn elementwise(count in 1usize..size(300), rows in 1usize..5, seed in any::<u32>()) {
        let (left, right) = (bytes(rows * count, seed), bytes(rows * count, seed ^ 1));
        let add = AddInt8 { left_scale: 1.3, right_scale: 0.01, offset: -7.5, low: 2, high: 200 };
        let mul = MulInt8 {
            left_zero: 3, right_zero: 200, scale: 0.011, zero_point: 9, low: 1, high: 255,
        };
        for isa in Isa::available() {
            let mut found = vec![0; rows * count];
            add.apply(isa, &left, &right, &mut found);
            for ((l, r), found) in left.iter().zip(&right).zip(&found) {
                let sum = f32::from(*l).mul_add(1.3, f32::from(*r).mul_add(0.01, -7.5));
                prop_assert_eq!(*found, sum.round_ties_even().clamp(2.0, 200.0) as u8);
            }
            mul.apply(isa, &left, &right[..count], &mut found);
            for (index, found) in found.iter().enumerate() {
                let product = (i32::from(left[index]) - 3) * (i32::from(right[index % count]) - 200);
                let expected = (product as f32 * 0.011 + 9.0).round_ties_even().clamp(1.0, 255.0);
                prop_assert_eq!(*found, expected as u8);
            }
            let mut wide = vec![0.0; rows * count];
            dequantize(isa, 0.37, 77, &left, &mut wide);
            let expected = left.iter().map(|&q| (i32::from(q) - 77) as f32 * 0.37);
            prop_assert!(wide.iter().copied().eq(expected));
            quantize(isa, 0.37, 77, &wide, &mut found);
            prop_assert_eq!(&found, &left);
        }
        let table = Table::new(|value| value.wrapping_mul(7) ^ 0x55);
        let mut found = left.clone();
        table.apply_in_place(&mut found);
        prop_assert!(found.iter().zip(&left).all(|(found, &from)| *found == table.get(from)));
    }
}

/// The values that `vpmaddubsw` would saturate, and sums as large as they get.
#[test]
fn extreme_products_are_exact() {
    for (value, weight) in [(255u8, -128i8), (255, 127), (0, -128)] {
        let geometry = ConvGeometry::product(3, 4096, 17).unwrap();
        let input = vec![value; geometry.input_len()];
        for isa in Isa::available() {
            let packed = PackedInt8::new(isa, &geometry, |_, _, _| weight);
            let sum = 4096 * i32::from(value) * i32::from(weight);
            // 100 above the sum, whatever that is.
            let bias = vec![100 - sum; 17];
            let output = Int8Output {
                input_zero: 0,
                bias: &bias,
                scales: &[1.0; 17],
                requantize: &Requantize::to(0),
            };
            let plan = Int8Plan::new(packed, &geometry, output);
            let mut output = vec![0; geometry.output_len()];
            let mut scratch = vec![0; plan.scratch_len()];
            plan.run(Int8Call {
                input: &input,
                output: OutputPart::whole(&mut output),
                epilogue: &[],
                scratch: &mut scratch,
            });
            assert!(output.iter().all(|&value| value == 100), "{isa:?}: {output:?}");
        }
    }
}

#[test]
fn rounding_is_to_even_and_saturates() {
    for isa in Isa::available() {
        let values = [0.5, 1.5, 2.5, -0.5, -1.5, 1e30, -1e30, f32::INFINITY, f32::NAN];
        let mut found = [1; 9];
        quantize(isa, 1.0, 10, &values, &mut found);
        assert_eq!(found, [10, 12, 12, 10, 8, 255, 0, 255, 0], "{isa:?}");
    }
}
