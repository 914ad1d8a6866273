//! Weights of 8 bits that are computed with as float32: bit for bit as these numbers are.

use crate::reference::running::run;
use crate::reference::weights::{Form, Weights};
use crate::reference::{axis, axis_of_3, cases, numbers, size, sizes};
use derm_kernels::{ChannelScale, ConvGeometry, Isa, PackedConv, Precision};
use proptest::prelude::*;

/// The convolution and the gradient of its input with weights of 8 bits, and with the numbers that these
/// stand for.
fn compare(geometry: &ConvGeometry, seed: u32) -> Result<(), TestCaseError> {
    let weights = Weights::new(Form::Int8, geometry, seed);
    let input = numbers(geometry.input_len(), seed ^ 1);
    let gradient = numbers(geometry.output_len(), seed ^ 2);
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    for isa in Isa::available() {
        let value = |output, input, tap| weights.at(output, input, tap);
        let float = PackedConv::new(isa, Precision::F32, geometry, None, value);
        let int8 = weights.pack(isa);
        let both = [&int8, &float].map(|conv| bits(run(conv.clone(), geometry, &input, &[])));
        prop_assert_eq!(&both[0], &both[1]);
        let Some(transposed) = geometry.transposed() else { continue };
        let both = [int8, float].map(|conv| {
            let conv = conv.transposed(geometry).unwrap();
            bits(run(conv, &transposed, &gradient, &[]))
        });
        prop_assert_eq!(&both[0], &both[1]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn dense(
        rows in axis(), columns in axis(), groups in 1usize..4, depth in 1usize..size(40),
        outputs in 1usize..size(70), seed in any::<u32>(),
    ) {
        let channels = [groups * depth, groups * outputs];
        compare(&ConvGeometry::new([rows, columns], channels[0], channels[1], groups).unwrap(), seed)?;
    }

    #[test]
    fn depthwise(
        rows in axis(), columns in axis(), channels in 2usize..size(70), seed in any::<u32>(),
    ) {
        let geometry = ConvGeometry::new([rows, columns], channels, channels, channels).unwrap();
        compare(&geometry, seed)?;
    }

    #[test]
    fn winograd(
        side in sizes(12, 30), inputs in sizes(12, 80), outputs in sizes(12, 80), seed in any::<u32>(),
    ) {
        let axes = [axis_of_3(side, 1, 1); 2];
        compare(&ConvGeometry::new(axes, inputs, outputs, 1).unwrap(), seed)?;
    }
}

/// Every integer about every zero point.
#[test]
fn every_integer_stands_for_its_number() {
    let geometry = ConvGeometry::product(1, 1, 256).unwrap();
    let integer = |output: usize| (output as i32 - 128) as i8;
    for zero_point in if cfg!(miri) { -1..=0 } else { i8::MIN..=i8::MAX } {
        let scales = [ChannelScale { scale: 0.1, zero_point }; 256];
        let expected: Vec<f32> = (0..256)
            .map(|output| f32::from(i16::from(integer(output)) - i16::from(zero_point)) * 0.1)
            .collect();
        for isa in Isa::available() {
            let conv = PackedConv::int8(isa, &scales, &geometry, |output, _, _| integer(output));
            assert_eq!(run(conv, &geometry, &[1.0], &[]), expected);
        }
    }
}

#[test]
fn they_take_a_byte_each_and_five_for_a_channel() {
    let geometry = ConvGeometry::product(4, 64, 64).unwrap();
    let scales = [ChannelScale { scale: 1.0, zero_point: 0 }; 64];
    let conv = PackedConv::int8(Isa::best(), &scales, &geometry, |_, _, _| 0);
    assert_eq!(conv.bytes(), 64 * 64 + 5 * 64);
}

#[test]
#[should_panic(expected = "left == right")]
fn a_missing_scale_is_refused() {
    let geometry = ConvGeometry::product(4, 8, 8).unwrap();
    PackedConv::int8(Isa::best(), &[], &geometry, |_, _, _| 0);
}
