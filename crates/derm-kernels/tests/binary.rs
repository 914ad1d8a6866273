//! Functions of two values with broadcasting.

#![allow(clippy::unwrap_used, missing_docs)]

use derm_kernels::{BinaryOp, BroadcastAxis, Isa, binary, broadcast, reduce, Reduction};

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

#[test]
#[should_panic(expected = "too large")]
fn a_reduction_whose_length_overflows_is_refused() {
    reduce(Isa::best(), Reduction::Sum, [1 << 33, 1 << 31, 1], &[], &mut []);
}
