//! Functions of two values with broadcasting.

use crate::reference::{cases, close, numbers};
use derm_kernels::{BinaryOp, BroadcastAxis, Isa, binary, broadcast};
use proptest::prelude::*;

#[test]
fn an_outer_axis_of_length_zero_writes_nothing() {
    let axes = broadcast(&[0, 3, 2], &[1, 3, 1]);
    for isa in Isa::available() {
        // Canaries on both sides of the empty output.
        let mut memory = [1.0f32; 64];
        binary(isa, BinaryOp::Add, &axes, Some(&[]), Some(&[1.0, 2.0, 3.0]), &mut memory[32..32]);
        assert_eq!(memory, [1.0; 64], "{isa:?}");
    }
}

#[test]
fn an_axis_of_length_zero_broadcasts_to_length_zero() {
    let lengths: Vec<usize> = broadcast(&[0, 2], &[1, 2]).iter().map(|axis| axis.length).collect();
    assert_eq!(lengths.iter().product::<usize>(), 0);
}

/// 2^33 times 2^31 elements are 2^64, which wraps to 0.
#[test]
#[should_panic(expected = "too large")]
fn lengths_whose_product_overflows_are_refused() {
    let axes = [
        BroadcastAxis { length: 1 << 33, left: 0, right: 0 },
        BroadcastAxis { length: 1 << 31, left: 0, right: 0 },
    ];
    binary(Isa::best(), BinaryOp::Add, &axes, Some(&[1.0]), Some(&[1.0]), &mut []);
}

/// An operand in the output's place must have the output's layout, not only its length.
#[test]
#[should_panic(expected = "is_contiguous")]
fn a_permuted_operand_in_place_is_refused() {
    let axes = [
        BroadcastAxis { length: 2, left: 1, right: 0 },
        BroadcastAxis { length: 2, left: 2, right: 0 },
    ];
    binary(Isa::best(), BinaryOp::Add, &axes, None, Some(&[1.0]), &mut [0.0; 4]);
}

#[test]
#[should_panic(expected = "last_index")]
fn a_short_operand_is_refused() {
    let axes = [BroadcastAxis { length: 5, left: 1, right: 0 }];
    binary(Isa::best(), BinaryOp::Add, &axes, Some(&[1.0; 4]), Some(&[1.0]), &mut [0.0; 5]);
}

/// The rule of the vector instructions, in whole vectors and in their remainder: the right operand
/// where either is NaN.
#[test]
fn maximum_and_minimum_treat_nan_alike_everywhere() {
    let axes = [BroadcastAxis { length: 37, left: 1, right: 1 }];
    for isa in Isa::available() {
        for op in [BinaryOp::Max, BinaryOp::Min] {
            let (nan, two) = ([f32::NAN; 37], [2.0; 37]);
            let mut output = [0.0; 37];
            binary(isa, op, &axes, Some(&nan), Some(&two), &mut output);
            assert_eq!(output, two, "{op:?} {isa:?}");
            binary(isa, op, &axes, Some(&two), Some(&nan), &mut output);
            assert!(output.iter().all(|value| value.is_nan()), "{op:?} {isa:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn broadcasting(
        axes in prop::collection::vec((1usize..7, 0usize..3), 1..5), seed in any::<u32>(),
    ) {
        let shape = |which: usize| -> Vec<usize> {
            axes.iter().map(|&(length, lacks)| if lacks == which { 1 } else { length }).collect()
        };
        let (a, b) = (shape(1), shape(2));
        let full: Vec<usize> = a.iter().zip(&b).map(|(a, b)| *a.max(b)).collect();
        let left = numbers(a.iter().product(), seed);
        let right: Vec<f32> =
            numbers(b.iter().product(), seed ^ 1).into_iter().map(|v| v + 3.0).collect();
        let element = |shape: &[usize], values: &[f32], mut index: usize| {
            let (mut offset, mut step) = (0, 1);
            for (&length, &whole) in shape.iter().zip(&full).rev() {
                offset += if length == 1 { 0 } else { index % whole * step };
                step *= length;
                index /= whole;
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
            let expected: Vec<f32> = (0..total)
                .map(|index| plain(element(&a, &left, index), element(&b, &right, index)))
                .collect();
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
}
