//! Fake quantisation, against the definition of `DynamicQuantizeLinear-11`.

use crate::reference::{cases, numbers, size};
use derm_kernels::{Isa, fake_quantize};
use proptest::prelude::*;

/// What the standard's operator makes of values, and what these numbers stand for.
fn plain(values: &[f32]) -> Vec<f32> {
    let largest = values.iter().copied().fold(0.0, f32::max);
    let smallest = values.iter().copied().fold(0.0, f32::min);
    let scale = if largest > smallest { (largest - smallest) / 255.0 } else { 1.0 };
    let zero = (-smallest / scale).clamp(0.0, 255.0).round_ties_even();
    let number = |value: &f32| ((value / scale).round_ties_even() + zero).clamp(0.0, 255.0);
    values.iter().map(|value| (number(value) - zero) * scale).collect()
}

#[test]
fn a_range_without_zero_begins_or_ends_there() {
    for isa in Isa::available() {
        for values in [vec![3.0, 5.1, 4.0], vec![-3.0, -5.1, -4.0], vec![0.0; 40], vec![]] {
            let mut found = values.clone();
            fake_quantize(isa, &mut found);
            assert_eq!(found, plain(&values), "{isa:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn values_are_those_of_their_numbers(
        length in 1usize..size(200), factor in 0.01f32..100.0, offset in -3f32..3.0, seed in any::<u32>(),
    ) {
        let values: Vec<f32> =
            numbers(length, seed).iter().map(|value| (value + offset) * factor).collect();
        for isa in Isa::available() {
            let mut found = values.clone();
            fake_quantize(isa, &mut found);
            prop_assert_eq!(&found, &plain(&values));
        }
    }
}
