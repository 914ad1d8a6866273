//! Depthwise convolution: against the definition.

use crate::reference::running::{run, run_in_parts};
use crate::reference::weights::{Weights, forms};
use crate::reference::{axis, cases, close, convolve, numbers, size};
use derm_kernels::{ConvGeometry, Epilogue, Isa, PackedConv, Precision, Unary};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn depthwise(
        rows in axis(), columns in axis(), channels in 2usize..size(70), seed in any::<u32>(),
        form in forms(), cut in 0usize..8,
    ) {
        let geometry = ConvGeometry::new([rows, columns], channels, channels, channels).unwrap();
        let input = numbers(geometry.input_len(), seed);
        let weights = Weights::new(form, &geometry, seed ^ 1);
        let bias = numbers(channels, seed ^ 2);
        let plain = convolve(&geometry, &input, &bias, |o, i, tap| weights.at(o, i, tap));
        for isa in Isa::available() {
            let conv = weights.pack(isa).with_bias(Some(&bias));
            let output = run_in_parts(conv.clone(), &geometry, &input, &[], cut);
            close(&output, &plain, 1e-4)?;
            // An epilogue that does not fit registers.
            let mut activated = output;
            Unary::Silu.apply(isa, &mut activated);
            let output = run(conv, &geometry, &input, &[Epilogue::Unary(Unary::Silu)]);
            close(&output, &activated, 1e-5)?;
        }
    }

    #[test]
    fn input_gradient(
        rows in axis(), columns in axis(), channels in 2usize..size(70), seed in any::<u32>(),
    ) {
        let geometry = ConvGeometry::new([rows, columns], channels, channels, channels).unwrap();
        let Some(transposed) = geometry.transposed() else { return Ok(()) };
        let taps = geometry.taps();
        let gradient = numbers(geometry.output_len(), seed);
        let weights = numbers(channels * taps, seed ^ 1);
        let weight = |channel: usize, _: usize, tap: usize| weights[channel * taps + tap];
        let plain = crate::reference::input_gradient(&geometry, &gradient, weight);
        for isa in Isa::available() {
            let conv = PackedConv::new(isa, Precision::F16, &geometry, None, weight);
            let conv = conv.transposed(&geometry).unwrap();
            close(&run(conv, &transposed, &gradient, &[]), &plain, 1e-4)?;
        }
    }
}
