//! Winograd convolution: against the definition, whichever of weights and pixels is kept, in parts.

use crate::reference::running::{run, run_in_parts};
use crate::reference::weights::{Weights, forms};
use crate::reference::{axis_of_3, cases, close, convolve, numbers, sizes};
use derm_kernels::{ConvGeometry, ConvPlan, Epilogue, Isa, PackedConv, Precision, Unary};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn winograd(
        rows in sizes(9, 30), columns in sizes(9, 30), before in 0usize..3, after in 0usize..3,
        inputs in sizes(12, 80), outputs in sizes(12, 80), seed in any::<u32>(), form in forms(),
        cut in 0usize..3, silu in any::<bool>(),
    ) {
        let axes = [rows, columns].map(|input| axis_of_3(input, before, after));
        let geometry = ConvGeometry::new(axes, inputs, outputs, 1).unwrap();
        let input = numbers(geometry.input_len(), seed);
        let weights = Weights::new(form, &geometry, seed ^ 1);
        let bias = numbers(outputs, seed ^ 2);
        let added = numbers(geometry.output_len(), seed ^ 3);
        let mut plain = convolve(&geometry, &input, &bias, |o, i, tap| weights.at(o, i, tap));
        let function = if silu { Unary::Silu } else { Unary::Clamp(0.0, 6.0) };
        for (sum, add) in plain.iter_mut().zip(&added) {
            let x = *sum + add;
            *sum = if silu { x / (1.0 + (-x).exp()) } else { x.clamp(0.0, 6.0) };
        }
        let epilogue = [Epilogue::Add(&added), Epilogue::Unary(function)];
        for isa in Isa::available() {
            let conv = weights.pack(isa).with_bias(Some(&bias));
            let output = run_in_parts(conv, &geometry, &input, &epilogue, cut);
            // Sums of up to 720 terms, 9 on average; at points they lose three to four bits more.
            close(&output, &plain, 1e-3)?;
        }
    }

    /// The backward-data convolution of one that is done by Winograd's method is one, too.
    #[test]
    fn input_gradient(
        side in sizes(12, 30), before in 0usize..3, inputs in sizes(12, 80), outputs in sizes(12, 80),
        seed in any::<u32>(), form in forms(),
    ) {
        let axis = axis_of_3(side, before, before);
        let geometry = ConvGeometry::new([axis, axis], inputs, outputs, 1).unwrap();
        let transposed = geometry.transposed().unwrap();
        let gradient = numbers(transposed.input_len(), seed);
        let weights = Weights::new(form, &geometry, seed ^ 1);
        let rotated = |i: usize, o: usize, tap: usize| weights.at(o, i, 8 - tap);
        let plain = convolve(&transposed, &gradient, &vec![0.0; inputs], rotated);
        for isa in Isa::available() {
            let conv = weights.pack(isa).transposed(&geometry).unwrap();
            let output = run(conv, &transposed, &gradient, &[]);
            close(&output, &plain, 1e-3)?;
        }
    }
}

#[test]
fn large_convolutions_are_done_by_winograd() {
    let axis = axis_of_3(56, 1, 1);
    for (inputs, outputs) in [(16, 64), (64, 64)] {
        let geometry = ConvGeometry::new([axis, axis], inputs, outputs, 1).unwrap();
        let conv = PackedConv::new(Isa::best(), Precision::F16, &geometry, None, |_, _, _| 0.0);
        let plan = ConvPlan::new(conv, &geometry);
        assert_eq!(plan.to_string(), format!("Winograd 3x3/1 {inputs}>{outputs} at 3136"));
        assert!(!plan.can_run_by_rows());
    }
}
