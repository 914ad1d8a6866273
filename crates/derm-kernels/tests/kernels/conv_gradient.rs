//! Backward data of a dense convolution: the input's gradient, against the definition.

use crate::reference::running::{run, run_in_parts};
use crate::reference::weights::{Weights, forms};
use crate::reference::{axis, cases, close, input_gradient, numbers, size, sizes};
use derm_kernels::{ConvGeometry, Epilogue, Isa, PackedConv, Precision, Unary};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn of_a_convolution(
        rows in axis(), columns in axis(), groups in 1usize..4, depth in 1usize..size(70),
        outputs in 1usize..size(70), seed in any::<u32>(), form in forms(),
    ) {
        let geometry =
            ConvGeometry::new([rows, columns], groups * depth, groups * outputs, groups).unwrap();
        let Some(transposed) = geometry.transposed() else { return Ok(()) };
        let gradient = numbers(geometry.output_len(), seed);
        let weights = Weights::new(form, &geometry, seed ^ 1);
        let plain = input_gradient(&geometry, &gradient, |o, i, tap| weights.at(o, i, tap));
        for isa in Isa::available() {
            let conv = weights.pack(isa).transposed(&geometry).unwrap();
            let mut output = run(conv.clone(), &transposed, &gradient, &[]);
            close(&output, &plain, 1e-4)?;
            let values = numbers(output.len(), seed ^ 3);
            Unary::Silu.multiply_by_derivative(isa, &values, &mut output);
            let epilogue = [Epilogue::MultiplyByDerivative(Unary::Silu, &values)];
            close(&run(conv, &transposed, &gradient, &epilogue), &output, 1e-6)?;
        }
    }

    /// So deep that a block ends within a tap.
    #[test]
    fn of_a_deep_product(
        rows in 1usize..size(20), depth in 1usize..size(60), outputs in sizes(900, 2500),
        seed in any::<u32>(), cut in 0usize..4,
    ) {
        let geometry = ConvGeometry::product(rows, depth, outputs).unwrap();
        let gradient = numbers(geometry.output_len(), seed);
        let weights = numbers(outputs * depth, seed ^ 1);
        let weight = |o: usize, i: usize, _| weights[o * depth + i];
        let plain = input_gradient(&geometry, &gradient, weight);
        let transposed = geometry.transposed().unwrap();
        for isa in Isa::available() {
            let conv = PackedConv::new(isa, Precision::F16, &geometry, None, weight);
            let conv = conv.transposed(&geometry).unwrap();
            close(&run_in_parts(conv, &transposed, &gradient, &[], cut), &plain, 2e-4)?;
        }
    }
}

#[test]
fn a_gradient_of_a_gradient_is_refused() {
    let geometry = ConvGeometry::product(3, 4, 5).unwrap();
    let conv = PackedConv::new(Isa::best(), Precision::F16, &geometry, None, |_, _, _| 0.0);
    let backward = conv.transposed(&geometry).unwrap();
    assert!(backward.transposed(&geometry.transposed().unwrap()).is_none());
}
