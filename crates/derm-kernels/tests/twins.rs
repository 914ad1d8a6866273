//! Every kernel equals its plain-loop twin, with every instruction set of this machine, over odd
//! sizes, strides, paddings and channel counts.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_kernels::{
    Activation, After, Axis, BinaryOp, ConvShape, Depthwise, Isa, PackedConv, PoolShape, Pooling,
    Precision, Reduction, activate, binary, broadcast, differentiate, pool, pool_gradient, reduce,
    rms_norm, softmax, transpose,
};
use half::f16;
use proptest::prelude::*;

/// Numbers in -1..1 that look random, and are float16 exactly.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
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

fn close(ours: &[f32], plain: &[f32], tolerance: f32) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.len(), plain.len());
    for (place, (a, b)) in ours.iter().zip(plain).enumerate() {
        let bound = tolerance * b.abs().max(1.0);
        prop_assert!((a - b).abs() <= bound, "at {}: {} instead of {}", place, a, b);
    }
    Ok(())
}

fn axis() -> impl Strategy<Value = Axis> {
    (1usize..20, 1usize..6, 1usize..4, 1usize..3, 0usize..3, 0usize..3).prop_filter_map(
        "the kernel is larger than the padded input",
        |(input, kernel, stride, dilation, before, after)| {
            let reach = (kernel - 1) * dilation + 1;
            let room = (input + before + after).checked_sub(reach)?;
            let output = room / stride + 1;
            Some(Axis { input, output, kernel, stride, dilation, before, spread: 1 })
        },
    )
}

fn place(axis: Axis, at: usize, tap: usize) -> Option<usize> {
    let place = (at * axis.stride + tap * axis.dilation).checked_sub(axis.before)?;
    (place < axis.input).then_some(place)
}

/// `weight(output, input of the group, tap)`.
fn plain_conv(
    shape: &ConvShape,
    input: &[f32],
    bias: &[f32],
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Vec<f32> {
    let (rows, columns) = (shape.rows, shape.columns);
    let (depth, group) = (shape.inputs / shape.groups, shape.outputs / shape.groups);
    let mut output = Vec::new();
    for row in 0..rows.output {
        for column in 0..columns.output {
            for o in 0..shape.outputs {
                let mut sum = f64::from(bias[o]);
                for tap in 0..rows.kernel * columns.kernel {
                    let at = (
                        place(rows, row, tap / columns.kernel),
                        place(columns, column, tap % columns.kernel),
                    );
                    let (Some(y), Some(x)) = at else { continue };
                    for i in 0..depth {
                        let value =
                            input[(y * columns.input + x) * shape.inputs + o / group * depth + i];
                        sum += f64::from(value) * f64::from(weight(o, i, tap));
                    }
                }
                output.push(sum as f32);
            }
        }
    }
    output
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolution(
        rows in axis(), columns in axis(), groups in 1usize..4, depth in 1usize..40,
        outputs in 1usize..70, seed in any::<u32>(), half in any::<bool>(),
    ) {
        let shape = ConvShape { rows, columns, inputs: groups * depth, outputs: groups * outputs, groups };
        let taps = rows.kernel * columns.kernel;
        let input = numbers(shape.input_len(), seed);
        let weights = numbers(shape.outputs * depth * taps, seed ^ 1);
        let bias = numbers(shape.outputs, seed ^ 2);
        let added = numbers(shape.output_len(), seed ^ 3);
        let weight = |o: usize, i: usize, tap: usize| weights[(o * depth + i) * taps + tap];
        let mut plain = plain_conv(&shape, &input, &bias, weight);
        plain.iter_mut().zip(&added).for_each(|(sum, add)| *sum = sum.max(0.0) + add);
        let precision = if half { Precision::F16 } else { Precision::F32 };
        for isa in Isa::available() {
            let packed = PackedConv::new(isa, precision, &shape, Some(&bias), weight);
            let mut output = vec![f32::NAN; shape.output_len()];
            let mut scratch = vec![f32::NAN; packed.scratch(&shape)];
            let relu = After::Activate(Activation::Clamp(0.0, f32::INFINITY));
            packed.run(&shape, &input, &mut output, &[relu, After::Add(&added)], &mut scratch);
            close(&output, &plain, 1e-4)?;
        }
    }

    /// Large enough to be done by points, whichever of weights and pixels is kept, and cut into parts.
    #[test]
    fn winograd(
        rows in 9usize..30, columns in 9usize..30, before in 0usize..3, after in 0usize..3,
        inputs in 12usize..80, outputs in 12usize..80, seed in any::<u32>(), half in any::<bool>(),
        cut in 0usize..3, silu in any::<bool>(),
    ) {
        let axis = |input: usize| Axis {
            input, output: input + before + after - 2, kernel: 3, stride: 1, dilation: 1, before, spread: 1,
        };
        let shape =
            ConvShape { rows: axis(rows), columns: axis(columns), inputs, outputs, groups: 1 };
        let input = numbers(shape.input_len(), seed);
        let weights = numbers(outputs * inputs * 9, seed ^ 1);
        let bias = numbers(outputs, seed ^ 2);
        let added = numbers(shape.output_len(), seed ^ 3);
        let weight = |o: usize, i: usize, tap: usize| weights[(o * inputs + i) * 9 + tap];
        let mut plain = plain_conv(&shape, &input, &bias, weight);
        let function = if silu { Activation::Silu } else { Activation::Clamp(0.0, 6.0) };
        for (sum, add) in plain.iter_mut().zip(&added) {
            let x = *sum + add;
            *sum = if silu { x / (1.0 + (-x).exp()) } else { x.clamp(0.0, 6.0) };
        }
        let after = [After::Add(&added), After::Activate(function)];
        let precision = if half { Precision::F16 } else { Precision::F32 };
        for isa in Isa::available() {
            let packed = PackedConv::new(isa, precision, &shape, Some(&bias), weight);
            let mut output = vec![f32::NAN; shape.output_len()];
            let mut scratch = vec![f32::NAN; packed.scratch(&shape)];
            let (units, cut) = (packed.units(&shape), cut.min(packed.units(&shape)));
            for part in [0..cut, cut..units] {
                let output = output.as_mut_ptr();
                // SAFETY: the output is as long as the shape says, and nobody else has it.
                unsafe { packed.run_part(&shape, &input, output, &after, &mut scratch, part) };
            }
            // Sums of up to 720 terms, 9 on average; by points they lose three to four bits more.
            close(&output, &plain, 1e-3)?;
        }
    }

    /// Deep enough for several blocks of scratch, and cut into parts as threads cut it.
    #[test]
    fn deep_products_in_parts(
        rows in 1usize..30, depth in 900usize..2500, outputs in 1usize..40, seed in any::<u32>(),
        cut in 0usize..30,
    ) {
        let shape = ConvShape::product(rows, depth, outputs);
        let input = numbers(shape.input_len(), seed);
        let weights = numbers(outputs * depth, seed ^ 1);
        let weight = |o: usize, i: usize, _| weights[o * depth + i];
        let plain = plain_conv(&shape, &input, &vec![0.0; outputs], weight);
        for isa in Isa::available() {
            let packed = PackedConv::new(isa, Precision::F16, &shape, None, weight);
            let mut output = vec![f32::NAN; shape.output_len()];
            let mut scratch = vec![0.0; packed.scratch(&shape)];
            let cut = cut.min(rows);
            for part in [0..cut, cut..packed.units(&shape)] {
                // SAFETY: the output is as long as the shape says, and nobody else has it.
                unsafe { packed.run_part(&shape, &input, output.as_mut_ptr(), &[], &mut scratch, part) };
            }
            close(&output, &plain, 2e-4)?;
        }
    }

    #[test]
    fn depthwise(
        rows in axis(), columns in axis(), channels in 1usize..70, seed in any::<u32>(),
        half in any::<bool>(),
    ) {
        let shape = ConvShape { rows, columns, inputs: channels, outputs: channels, groups: channels };
        let taps = rows.kernel * columns.kernel;
        let input = numbers(shape.input_len(), seed);
        let weights = numbers(channels * taps, seed ^ 1);
        let bias = numbers(channels, seed ^ 2);
        let plain = plain_conv(&shape, &input, &bias, |o, _, tap| weights[o * taps + tap]);
        let precision = if half { Precision::F16 } else { Precision::F32 };
        for isa in Isa::available() {
            let weight = |channel: usize, tap: usize| weights[channel * taps + tap];
            let packed = Depthwise::new(isa, precision, &shape, Some(&bias), weight);
            let mut output = vec![f32::NAN; shape.output_len()];
            let mut scratch = vec![0.0; packed.scratch()];
            // SAFETY: the output is as long as the shape says, and nobody else has it.
            unsafe {
                packed.run_part(&shape, &input, output.as_mut_ptr(), &[], &mut scratch, 0..rows.output);
            }
            close(&output, &plain, 1e-4)?;
        }
    }

    #[test]
    fn pooling(rows in axis(), columns in axis(), channels in 1usize..40, seed in any::<u32>()) {
        let shape = PoolShape { rows, columns, channels };
        let input = numbers(rows.input * columns.input * channels, seed);
        for pooling in [Pooling::Max, Pooling::Sum, Pooling::Mean, Pooling::MeanWithPadding] {
            let mut plain = Vec::new();
            for row in 0..rows.output {
                for column in 0..columns.output {
                    for channel in 0..channels {
                        let window: Vec<f32> = (0..rows.kernel * columns.kernel)
                            .filter_map(|tap| {
                                let y = place(rows, row, tap / columns.kernel)?;
                                let x = place(columns, column, tap % columns.kernel)?;
                                Some(input[(y * columns.input + x) * channels + channel])
                            })
                            .collect();
                        let sum: f32 = window.iter().sum();
                        plain.push(match pooling {
                            Pooling::Max => window.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                            Pooling::Sum => sum,
                            Pooling::Mean => sum / window.len().max(1) as f32,
                            Pooling::MeanWithPadding => sum / (rows.kernel * columns.kernel) as f32,
                        });
                    }
                }
            }
            for isa in Isa::available() {
                let mut output = vec![f32::NAN; plain.len()];
                pool(isa, pooling, &shape, &input, &mut output);
                for (a, b) in output.iter().zip(&plain) {
                    prop_assert!(a == b || (a - b).abs() < 1e-5, "{} instead of {}", a, b);
                }
            }
        }
    }

    #[test]
    fn broadcasting(
        axes in prop::collection::vec((1usize..7, 0usize..3), 1..5), seed in any::<u32>(),
    ) {
        let side = |which: usize| -> Vec<usize> {
            axes.iter().map(|&(length, lacks)| if lacks == which { 1 } else { length }).collect()
        };
        let (a, b) = (side(1), side(2));
        let full: Vec<usize> = a.iter().zip(&b).map(|(a, b)| *a.max(b)).collect();
        let left = numbers(a.iter().product(), seed);
        let right: Vec<f32> =
            numbers(b.iter().product(), seed ^ 1).into_iter().map(|v| v + 3.0).collect();
        let at = |shape: &[usize], values: &[f32], mut place: usize| {
            let (mut offset, mut step) = (0, 1);
            for (&side, &whole) in shape.iter().zip(&full).rev() {
                offset += if side == 1 { 0 } else { place % whole * step };
                step *= side;
                place /= whole;
            }
            values[offset]
        };
        let total: usize = full.iter().product();
        for (op, plain) in [
            (BinaryOp::Add, (|a, b| a + b) as fn(f32, f32) -> f32),
            (BinaryOp::Sub, |a, b| a - b),
            (BinaryOp::Mul, |a, b| a * b),
            (BinaryOp::Div, |a, b| a / b),
            (BinaryOp::Max, f32::max),
            (BinaryOp::Min, f32::min),
        ] {
            let expected: Vec<f32> =
                (0..total).map(|place| plain(at(&a, &left, place), at(&b, &right, place))).collect();
            for isa in Isa::available() {
                let axes = broadcast(&a, &b);
                let mut output = vec![f32::NAN; total];
                binary(isa, op, &axes, Some(&left), Some(&right), &mut output);
                close(&output, &expected, 1e-6)?;
                if left.len() == total {
                    output.copy_from_slice(&left);
                    binary(isa, op, &axes, None, Some(&right), &mut output);
                    close(&output, &expected, 1e-6)?;
                }
            }
        }
    }

    #[test]
    fn reductions(outer in 1usize..5, length in 1usize..40, inner in 1usize..40, seed in any::<u32>()) {
        let input = numbers(outer * length * inner, seed);
        for reduction in [Reduction::Sum, Reduction::Max, Reduction::MeanOfSquares] {
            let mut plain = Vec::new();
            for o in 0..outer {
                for i in 0..inner {
                    let values = (0..length).map(|l| input[(o * length + l) * inner + i]);
                    plain.push(match reduction {
                        Reduction::Sum => values.sum(),
                        Reduction::Max => values.fold(f32::NEG_INFINITY, f32::max),
                        Reduction::MeanOfSquares => values.map(|v| v * v).sum::<f32>() / length as f32,
                    });
                }
            }
            for isa in Isa::available() {
                let mut output = vec![f32::NAN; outer * inner];
                reduce(isa, reduction, [outer, length, inner], &input, &mut output);
                close(&output, &plain, 1e-5)?;
            }
        }
    }

    #[test]
    fn rows_normalised(rows in 1usize..5, width in 1usize..50, seed in any::<u32>()) {
        let input = numbers(rows * width, seed);
        for isa in Isa::available() {
            let (mut soft, mut norm) = (input.clone(), input.clone());
            softmax(isa, width, &mut soft);
            rms_norm(isa, width, 1e-5, &mut norm);
            let (mut plain_soft, mut plain_norm) = (Vec::new(), Vec::new());
            for row in input.chunks(width) {
                let sum: f32 = row.iter().map(|v| v.exp()).sum();
                plain_soft.extend(row.iter().map(|v| v.exp() / sum));
                let mean = row.iter().map(|v| v * v).sum::<f32>() / width as f32;
                plain_norm.extend(row.iter().map(|v| v / (mean + 1e-5).sqrt()));
            }
            close(&soft, &plain_soft, 1e-5)?;
            close(&norm, &plain_norm, 1e-5)?;
        }
    }

    #[test]
    fn transposition(shape in prop::collection::vec(1usize..9, 1..5), seed in any::<u64>()) {
        let mut order: Vec<usize> = (0..shape.len()).collect();
        order.sort_by_key(|&axis| seed.rotate_left(13 * axis as u32) % 97);
        let total: usize = shape.iter().product();
        let input: Vec<f32> = (0..total).map(|i| i as f32).collect();
        let mut output = vec![f32::NAN; total];
        transpose(&shape, &order, &input, &mut output);
        let sides: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        for (place, value) in output.iter().enumerate() {
            let mut at = vec![0; shape.len()];
            let mut rest = place;
            for (i, &axis) in order.iter().enumerate().rev() {
                at[axis] = rest % sides[i];
                rest /= sides[i];
            }
            let from = at.iter().zip(&shape).fold(0, |all, (at, side)| all * side + at);
            prop_assert_eq!(*value, from as f32);
        }
    }
}

/// Each function against its definition in float64.
#[test]
fn activations() {
    let points: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 40.0).collect();
    let erf = |x: f64| {
        // The Maclaurin series; 1 where it would lose its digits.
        if x.abs() > 4.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    type Definition = Box<dyn Fn(f64) -> f64>;
    let cases: [(Activation, Definition); 11] = [
        (Activation::Clamp(0.0, 6.0), Box::new(|x| x.clamp(0.0, 6.0))),
        (Activation::Sigmoid, Box::new(sigmoid)),
        (Activation::Silu, Box::new(move |x| x * sigmoid(x))),
        (
            Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Box::new(|x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
        ),
        (Activation::HardSwish, Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0))),
        (Activation::Tanh, Box::new(f64::tanh)),
        (Activation::Gelu, Box::new(move |x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt())))),
        (Activation::LeakyRelu(0.1), Box::new(|x| if x > 0.0 { x } else { f64::from(0.1f32) * x })),
        (Activation::Linear(2.0, -1.0), Box::new(|x| 2.0 * x - 1.0)),
        (Activation::Square, Box::new(|x| x * x)),
        (Activation::Neg, Box::new(|x| -x)),
    ];
    for isa in Isa::available() {
        for (activation, plain) in &cases {
            let mut values = points.clone();
            activate(isa, *activation, &mut values);
            for (x, y) in points.iter().zip(&values) {
                let expected = plain(f64::from(*x));
                let bound = 2e-6 * expected.abs().max(1.0);
                assert!(
                    (f64::from(*y) - expected).abs() <= bound,
                    "{activation:?} {isa:?} {x}: {y}, not {expected}"
                );
            }
        }
        for (activation, plain) in [
            (Activation::Sqrt, f32::sqrt as fn(f32) -> f32),
            (Activation::Rsqrt, |x| 1.0 / x.sqrt()),
            (Activation::Recip, |x| 1.0 / x),
            (Activation::Exp, f32::exp),
        ] {
            let positive: Vec<f32> = (1..2000).map(|i| i as f32 / 40.0).collect();
            let mut values = positive.clone();
            activate(isa, activation, &mut values);
            for (x, y) in positive.iter().zip(&values) {
                assert!((y / plain(*x) - 1.0).abs() < 1e-6, "{activation:?} {isa:?} {x}");
            }
        }
    }
}

#[test]
fn float16_weights_take_half() {
    let shape = ConvShape::product(4, 64, 64);
    let bytes =
        |precision| PackedConv::new(Isa::best(), precision, &shape, None, |_, _, _| 0.0).bytes();
    assert_eq!(2 * bytes(Precision::F16), bytes(Precision::F32));
}

/// As deep as three taps of a panel of one vector fit a block, but only one of a panel of two: the
/// narrow panel's block is the larger one.
#[test]
fn a_deep_convolution_with_few_outputs() {
    for isa in Isa::available() {
        let depth = 32 * 1024 / isa.lanes() / 3;
        let rows =
            Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0, spread: 1 };
        let columns = Axis { input: 5, output: 3, kernel: 3, ..rows };
        let shape = ConvShape { rows, columns, inputs: depth, outputs: 3, groups: 1 };
        let input = numbers(shape.input_len(), 1);
        let weights = numbers(3 * depth * 3, 2);
        let weight = |o: usize, i: usize, tap: usize| weights[(o * depth + i) * 3 + tap];
        let plain = plain_conv(&shape, &input, &[0.0; 3], weight);
        let packed = PackedConv::new(isa, Precision::F16, &shape, None, weight);
        let mut output = vec![f32::NAN; shape.output_len()];
        let mut scratch = vec![f32::NAN; packed.scratch(&shape)];
        packed.run(&shape, &input, &mut output, &[], &mut scratch);
        close(&output, &plain, 1e-3).unwrap();
    }
}

/// dy/dx as a function of x.
type Derivative = fn(f64) -> f64;

/// `sum(gradient * convolution(input))` is linear in the input: its gradient, from the definition.
fn plain_input_gradient(
    shape: &ConvShape,
    gradient: &[f32],
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Vec<f32> {
    let (rows, columns) = (shape.rows, shape.columns);
    let (depth, group) = (shape.inputs / shape.groups, shape.outputs / shape.groups);
    let mut result = vec![0f64; shape.input_len()];
    for (at, &value) in gradient.iter().enumerate() {
        let (pixel, o) = (at / shape.outputs, at % shape.outputs);
        for tap in 0..rows.kernel * columns.kernel {
            let y = place(rows, pixel / columns.output, tap / columns.kernel);
            let x = place(columns, pixel % columns.output, tap % columns.kernel);
            let (Some(y), Some(x)) = (y, x) else { continue };
            for i in 0..depth {
                let to = (y * columns.input + x) * shape.inputs + o / group * depth + i;
                result[to] += f64::from(value) * f64::from(weight(o, i, tap));
            }
        }
    }
    result.into_iter().map(|value| value as f32).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn input_gradient_of_a_convolution(
        rows in axis(), columns in axis(), groups in 1usize..4, depth in 1usize..70,
        outputs in 1usize..70, seed in any::<u32>(), half in any::<bool>(),
    ) {
        let shape = ConvShape { rows, columns, inputs: groups * depth, outputs: groups * outputs, groups };
        let Some(turned) = shape.turned() else { return Ok(()) };
        let taps = rows.kernel * columns.kernel;
        let gradient = numbers(shape.output_len(), seed);
        let weights = numbers(shape.outputs * depth * taps, seed ^ 1);
        let weight = |o: usize, i: usize, tap: usize| weights[(o * depth + i) * taps + tap];
        let plain = plain_input_gradient(&shape, &gradient, weight);
        let precision = if half { Precision::F16 } else { Precision::F32 };
        for isa in Isa::available() {
            let packed = PackedConv::new(isa, precision, &shape, None, weight);
            let packed = packed.turned(&shape).unwrap();
            let mut output = vec![f32::NAN; turned.output_len()];
            let mut scratch = vec![0.0; packed.scratch(&turned)];
            packed.run(&turned, &gradient, &mut output, &[], &mut scratch);
            close(&output, &plain, 1e-4)?;
            let values = numbers(output.len(), seed ^ 3);
            differentiate(isa, Activation::Silu, &values, &mut output);
            let mut at_once = vec![f32::NAN; output.len()];
            let after = [After::Differentiate(Activation::Silu, &values)];
            packed.run(&turned, &gradient, &mut at_once, &after, &mut scratch);
            close(&at_once, &output, 1e-6)?;
        }
    }

    /// So deep that a block ends within a tap.
    /// The input's gradient of a convolution that is done by points is done by points, too.
    #[test]
    fn input_gradient_by_winograd(
        side in 12usize..30, before in 0usize..3, inputs in 12usize..80, outputs in 12usize..80,
        seed in any::<u32>(), half in any::<bool>(),
    ) {
        let axis = Axis {
            input: side, output: side + 2 * before - 2, kernel: 3, stride: 1, dilation: 1, before, spread: 1,
        };
        let shape = ConvShape { rows: axis, columns: axis, inputs, outputs, groups: 1 };
        let turned = shape.turned().unwrap();
        let gradient = numbers(turned.input_len(), seed);
        let weights = numbers(outputs * inputs * 9, seed ^ 1);
        let weight = |o: usize, i: usize, tap: usize| weights[(o * inputs + i) * 9 + tap];
        let plain = plain_conv(&turned, &gradient, &vec![0.0; inputs], |i, o, tap| weight(o, i, 8 - tap));
        let precision = if half { Precision::F16 } else { Precision::F32 };
        for isa in Isa::available() {
            let packed = PackedConv::new(isa, precision, &shape, None, weight).turned(&shape).unwrap();
            let mut output = vec![f32::NAN; turned.output_len()];
            let mut scratch = vec![f32::NAN; packed.scratch(&turned)];
            packed.run(&turned, &gradient, &mut output, &[], &mut scratch);
            close(&output, &plain, 1e-3)?;
        }
    }

    #[test]
    fn input_gradient_of_a_deep_product(
        rows in 1usize..20, depth in 1usize..60, outputs in 900usize..2500, seed in any::<u32>(),
    ) {
        let shape = ConvShape::product(rows, depth, outputs);
        let gradient = numbers(shape.output_len(), seed);
        let weights = numbers(outputs * depth, seed ^ 1);
        let weight = |o: usize, i: usize, _| weights[o * depth + i];
        let plain = plain_input_gradient(&shape, &gradient, weight);
        for isa in Isa::available() {
            let packed = PackedConv::new(isa, Precision::F16, &shape, None, weight);
            let packed = packed.turned(&shape).unwrap();
            let turned = shape.turned().unwrap();
            let mut output = vec![f32::NAN; turned.output_len()];
            let mut scratch = vec![0.0; packed.scratch(&turned)];
            packed.run(&turned, &gradient, &mut output, &[], &mut scratch);
            close(&output, &plain, 2e-4)?;
        }
    }

    #[test]
    fn input_gradient_of_a_depthwise_convolution(
        rows in axis(), columns in axis(), channels in 1usize..70, seed in any::<u32>(),
    ) {
        let shape = ConvShape { rows, columns, inputs: channels, outputs: channels, groups: channels };
        let Some(turned) = shape.turned() else { return Ok(()) };
        let taps = rows.kernel * columns.kernel;
        let gradient = numbers(shape.output_len(), seed);
        let weights = numbers(channels * taps, seed ^ 1);
        let plain = plain_input_gradient(&shape, &gradient, |o, _, tap| weights[o * taps + tap]);
        for isa in Isa::available() {
            let weight = |channel: usize, tap: usize| weights[channel * taps + tap];
            let packed = Depthwise::new(isa, Precision::F16, &shape, None, weight).turned();
            let mut output = vec![f32::NAN; turned.output_len()];
            let mut scratch = vec![0.0; packed.scratch()];
            let all = 0..turned.rows.output;
            // SAFETY: the output is as long as the shape says, and nobody else has it.
            unsafe {
                packed.run_part(&turned, &gradient, output.as_mut_ptr(), &[], &mut scratch, all);
            }
            close(&output, &plain, 1e-4)?;
        }
    }

    #[test]
    fn derivatives(values in prop::collection::vec(-6f32..6.0, 1..70)) {
        let functions: [(Activation, Derivative); 12] = [
            (Activation::Clamp(0.0, 3.0), |x| if x > 0.0 && x < 3.0 { 1.0 } else { 0.0 }),
            (Activation::Sigmoid, |x| { let s = 1.0 / (1.0 + (-x).exp()); s * (1.0 - s) }),
            (Activation::Silu, |x| { let s = 1.0 / (1.0 + (-x).exp()); s + x * s * (1.0 - s) }),
            (Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
                |x| if x > -2.5 && x < 2.5 { f64::from(0.2f32) } else { 0.0 }),
            (Activation::HardSwish,
                |x| if x <= -3.0 { 0.0 } else if x >= 3.0 { 1.0 } else { x / 3.0 + 0.5 }),
            (Activation::Tanh, |x| 1.0 - x.tanh().powi(2)),
            (Activation::Gelu, |x| {
                let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
                0.5 * (1.0 + libm::erf(x / 2f64.sqrt())) + x * density
            }),
            (Activation::LeakyRelu(0.1), |x| if x > 0.0 { 1.0 } else { f64::from(0.1f32) }),
            (Activation::Linear(2.0, 1.0), |_| 2.0),
            (Activation::Square, |x| 2.0 * x),
            (Activation::Exp, f64::exp),
            (Activation::Neg, |_| -1.0),
        ];
        // Away from corners, where one place more or less decides.
        let values: Vec<f32> = values.into_iter().map(|x| (x * 64.0).floor() / 64.0 + 0.003).collect();
        for isa in Isa::available() {
            for (activation, derivative) in functions {
                let mut gradients = numbers(values.len(), 5);
                let plain: Vec<f32> = values.iter().zip(&gradients)
                    .map(|(&x, &g)| (derivative(f64::from(x)) * f64::from(g)) as f32).collect();
                differentiate(isa, activation, &values, &mut gradients);
                close(&gradients, &plain, 2e-6)?;
            }
            let positive: Vec<f32> = values.iter().map(|x| x.abs() + 0.1).collect();
            let functions: [(Activation, Derivative); 3] = [
                (Activation::Sqrt, |x| 0.5 / x.sqrt()),
                (Activation::Rsqrt, |x| -0.5 * x.powf(-1.5)),
                (Activation::Recip, |x| -1.0 / (x * x)),
            ];
            for (activation, derivative) in functions {
                let mut gradients = numbers(values.len(), 6);
                let plain: Vec<f32> = positive.iter().zip(&gradients)
                    .map(|(&x, &g)| (derivative(f64::from(x)) * f64::from(g)) as f32).collect();
                differentiate(isa, activation, &positive, &mut gradients);
                close(&gradients, &plain, 1e-5)?;
            }
        }
    }

    #[test]
    fn input_gradient_of_a_pooling(
        rows in axis(), columns in axis(), channels in 1usize..20, seed in any::<u32>(),
    ) {
        let shape = PoolShape { rows, columns, channels };
        let input = numbers(rows.input * columns.input * channels, seed);
        let gradient = numbers(rows.output * columns.output * channels, seed ^ 1);
        for pooling in [Pooling::Max, Pooling::Sum, Pooling::Mean, Pooling::MeanWithPadding] {
            let mut found = vec![f32::NAN; input.len()];
            pool_gradient(pooling, &shape, &input, &gradient, &mut found);
            let mut plain = vec![0f32; input.len()];
            for (at, &value) in gradient.iter().enumerate() {
                let (pixel, c) = (at / channels, at % channels);
                let under: Vec<usize> = (0..rows.kernel * columns.kernel).filter_map(|tap| {
                    let y = place(rows, pixel / columns.output, tap / columns.kernel)?;
                    let x = place(columns, pixel % columns.output, tap % columns.kernel)?;
                    Some((y * columns.input + x) * channels + c)
                }).collect();
                match pooling {
                    Pooling::Max => {
                        let largest = under.iter().map(|&i| input[i]).fold(f32::NEG_INFINITY, f32::max);
                        if let Some(&first) = under.iter().find(|&&i| input[i] == largest) {
                            plain[first] += value;
                        }
                    }
                    Pooling::Sum => under.iter().for_each(|&i| plain[i] += value),
                    Pooling::Mean => {
                        under.iter().for_each(|&i| plain[i] += value / under.len() as f32);
                    }
                    Pooling::MeanWithPadding => {
                        let all = (rows.kernel * columns.kernel) as f32;
                        under.iter().for_each(|&i| plain[i] += value / all);
                    }
                }
            }
            close(&found, &plain, 1e-5)?;
        }
    }
}
