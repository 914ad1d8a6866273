//! Convolution and matrix product, direct: against the definition, over odd sizes, strides, paddings
//! and channel counts, for every instruction set of this machine.

use crate::reference::running::{run, run_in_parts};
use crate::reference::weights::{Weights, forms};
use crate::reference::{axis, cases, close, convolve, numbers, size, sizes};
use derm_kernels::{
    ConvCall, ConvGeometry, ConvPlan, Epilogue, Isa, OutputPart, PackedConv, Precision, Ring,
    RowsCall, SharedOutput, Unary, Window, WindowAxis,
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn convolution(
        rows in axis(), columns in axis(), groups in 1usize..4, depth in 1usize..size(40),
        outputs in 1usize..size(70), seed in any::<u32>(), form in forms(),
    ) {
        let geometry =
            ConvGeometry::new([rows, columns], groups * depth, groups * outputs, groups).unwrap();
        let input = numbers(geometry.input_len(), seed);
        let weights = Weights::new(form, &geometry, seed ^ 1);
        let bias = numbers(geometry.outputs(), seed ^ 2);
        let added = numbers(geometry.output_len(), seed ^ 3);
        let mut plain = convolve(&geometry, &input, &bias, |o, i, tap| weights.at(o, i, tap));
        plain.iter_mut().zip(&added).for_each(|(sum, add)| *sum = sum.max(0.0) + add);
        let relu = Epilogue::Unary(Unary::Clamp(0.0, f32::INFINITY));
        for isa in Isa::available() {
            let conv = weights.pack(isa).with_bias(Some(&bias));
            let output = run(conv, &geometry, &input, &[relu, Epilogue::Add(&added)]);
            close(&output, &plain, 1e-4)?;
        }
    }

    /// Deep enough for several blocks of scratch, and computed in parts as threads do.
    #[test]
    fn deep_products_in_parts(
        rows in 1usize..size(30), depth in sizes(900, 2500), outputs in 1usize..size(40),
        seed in any::<u32>(), cut in 0usize..30,
    ) {
        let geometry = ConvGeometry::product(rows, depth, outputs).unwrap();
        let input = numbers(geometry.input_len(), seed);
        let weights = numbers(outputs * depth, seed ^ 1);
        let weight = |o: usize, i: usize, _| weights[o * depth + i];
        let plain = convolve(&geometry, &input, &vec![0.0; outputs], weight);
        for isa in Isa::available() {
            let conv = PackedConv::new(isa, Precision::F16, &geometry, None, weight);
            let output = run_in_parts(conv, &geometry, &input, &[], cut);
            close(&output, &plain, 2e-4)?;
        }
    }

    /// Some rows at a time, from a ring of input rows to a ring of output rows.
    #[test]
    fn rows_over_rings(
        rows in axis(), columns in axis(), groups in 1usize..3, depth in 1usize..size(20),
        outputs in 1usize..size(40), seed in any::<u32>(), is_depthwise in any::<bool>(),
    ) {
        let (groups, depth, outputs) =
            if is_depthwise { (depth + 1, 1, 1) } else { (groups, depth, outputs) };
        let geometry =
            ConvGeometry::new([rows, columns], groups * depth, groups * outputs, groups).unwrap();
        let taps = geometry.taps();
        let input = numbers(geometry.input_len(), seed);
        let weights = numbers(geometry.weights(), seed ^ 1);
        let weight = |o: usize, i: usize, tap: usize| weights[(o * depth + i) * taps + tap];
        let plain = convolve(&geometry, &input, &vec![0.0; geometry.outputs()], weight);
        let line = columns.input() * geometry.inputs();
        let output_line = columns.output() * geometry.outputs();
        for isa in Isa::available() {
            let conv = PackedConv::new(isa, Precision::F16, &geometry, None, weight);
            let plan = ConvPlan::by_rows(conv, &geometry);
            let mut scratch = vec![f32::NAN; plan.scratch_len()];
            let held = ((rows.kernel() - 1) * rows.dilation() + 1).min(rows.input());
            let mut ring = vec![f32::NAN; held * line];
            let mut found = Vec::new();
            for row in 0..rows.output() {
                for needed in rows.needed(&(row..row + 1)) {
                    ring[needed % held * line..][..line]
                        .copy_from_slice(&input[needed * line..][..line]);
                }
                let mut output = vec![f32::NAN; output_line];
                plan.run_rows(RowsCall {
                    input: Ring { values: &ring, held_rows: held },
                    output: Ring { values: OutputPart::whole(&mut output), held_rows: 1 },
                    epilogue: &[],
                    scratch: &mut scratch,
                    rows: row..row + 1,
                });
                found.extend(output);
            }
            close(&found, &plain, 1e-4)?;
        }
    }
}

/// As deep as three taps of a panel of one vector fit a block, but only one of a panel of two: the
/// narrow panel's block is the larger one. Too much for Miri.
#[test]
#[cfg(not(miri))]
fn a_deep_convolution_with_few_outputs() {
    for isa in Isa::available() {
        let depth = 32 * 1024 / isa.lanes() / 3;
        let columns = Window { input: 5, output: 3, kernel: 3, stride: 1, dilation: 1, before: 0 };
        let axes = [WindowAxis::ONE, WindowAxis::new(columns).unwrap()];
        let geometry = ConvGeometry::new(axes, depth, 3, 1).unwrap();
        let input = numbers(geometry.input_len(), 1);
        let weights = numbers(3 * depth * 3, 2);
        let weight = |o: usize, i: usize, tap: usize| weights[(o * depth + i) * 3 + tap];
        let plain = convolve(&geometry, &input, &[0.0; 3], weight);
        let conv = PackedConv::new(isa, Precision::F16, &geometry, None, weight);
        close(&run(conv, &geometry, &input, &[]), &plain, 1e-3).unwrap();
    }
}

#[test]
fn float16_weights_take_half() {
    let geometry = ConvGeometry::product(4, 64, 64).unwrap();
    let bytes =
        |precision| PackedConv::new(Isa::best(), precision, &geometry, None, |_, _, _| 0.0).bytes();
    assert_eq!(2 * bytes(Precision::F16), bytes(Precision::F32));
}

/// NaN goes through a clamp in registers.
#[test]
fn nan_stays_nan() {
    let geometry = ConvGeometry::product(3, 2, 5).unwrap();
    let relu = [Epilogue::Unary(Unary::Clamp(0.0, f32::INFINITY))];
    for isa in Isa::available() {
        let conv = PackedConv::new(isa, Precision::F32, &geometry, None, |_, _, _| 1.0);
        let output = run(conv, &geometry, &[1.0, 2.0, f32::NAN, 1.0, 3.0, 4.0], &relu);
        let is_nan: Vec<bool> =
            output.chunks(5).map(|row| row.iter().all(|v| v.is_nan())).collect();
        assert_eq!(is_nan, [false, true, false]);
    }
}

/// Threads that divide an output write it at the same time; under Miri, a data race would be found.
#[test]
fn threads_share_an_output() {
    let rows = WindowAxis::new(Window {
        input: 6,
        output: 6,
        kernel: 3,
        stride: 1,
        dilation: 1,
        before: 1,
    });
    let axes = [rows.unwrap(), WindowAxis::pointwise(3).unwrap()];
    // Rows, panels, and the pixels of one row.
    for geometry in [
        ConvGeometry::new(axes, 4, 5, 1).unwrap(),
        ConvGeometry::product(3, 4, 300).unwrap(),
        ConvGeometry::product(9, 4, 5).unwrap(),
    ] {
        let input = numbers(geometry.input_len(), 1);
        let weights = numbers(geometry.weights(), 2);
        let weight = |o: usize, i: usize, tap: usize| weights[(o * 4 + i) * geometry.taps() + tap];
        let plain = convolve(&geometry, &input, &vec![0.0; geometry.outputs()], weight);
        for isa in Isa::available() {
            let conv = PackedConv::new(isa, Precision::F16, &geometry, None, weight);
            let plan = ConvPlan::new(conv, &geometry);
            let mut values = vec![f32::NAN; geometry.output_len()];
            let shared = SharedOutput::new(&mut values);
            std::thread::scope(|scope| {
                for unit in 0..plan.units() {
                    let (shared, plan, input) = (&shared, &plan, &input);
                    scope.spawn(move || {
                        // SAFETY: every thread has a unit of its own, all of one plan.
                        let output = unsafe { shared.part(unit..unit + 1) };
                        let scratch = &mut vec![f32::NAN; plan.scratch_len()];
                        plan.run(ConvCall { input, output, epilogue: &[], scratch });
                    });
                }
            });
            close(&values, &plain, 1e-4).unwrap();
        }
    }
}

/// Rows of a ring share memory, so that threads may not.
#[test]
#[should_panic(expected = "is_whole")]
fn a_shared_ring_is_refused() {
    let axes = [WindowAxis::pointwise(4).unwrap(), WindowAxis::pointwise(2).unwrap()];
    let geometry = ConvGeometry::new(axes, 1, 1, 1).unwrap();
    let conv = PackedConv::new(Isa::best(), Precision::F32, &geometry, None, |_, _, _| 1.0);
    let plan = ConvPlan::by_rows(conv, &geometry);
    let mut output = [0.0; 4];
    let shared = SharedOutput::new(&mut output);
    plan.run_rows(RowsCall {
        input: Ring { values: &[0.0; 8], held_rows: 4 },
        // SAFETY: the only part.
        output: Ring { values: unsafe { shared.part(0..2) }, held_rows: 2 },
        epilogue: &[],
        scratch: &mut vec![0.0; plan.scratch_len()],
        rows: 0..2,
    });
}

#[test]
#[should_panic(expected = "units")]
fn a_part_with_units_that_the_plan_lacks_is_refused() {
    let geometry = ConvGeometry::product(3, 2, 5).unwrap();
    let conv = PackedConv::new(Isa::best(), Precision::F32, &geometry, None, |_, _, _| 1.0);
    let plan = ConvPlan::new(conv, &geometry);
    let mut output = [0.0; 15];
    let shared = SharedOutput::new(&mut output);
    // SAFETY: the only part.
    let output = unsafe { shared.part(0..plan.units() + 1) };
    let scratch = &mut vec![0.0; plan.scratch_len()];
    plan.run(ConvCall { input: &[0.0; 6], output, epilogue: &[], scratch });
}

#[test]
#[should_panic(expected = "packed for")]
fn weights_of_another_geometry_are_refused() {
    let geometry = ConvGeometry::product(3, 2, 5).unwrap();
    let conv = PackedConv::new(Isa::best(), Precision::F32, &geometry, None, |_, _, _| 1.0);
    ConvPlan::new(conv, &ConvGeometry::product(3, 2, 6).unwrap());
}

/// Plans a convolution of one group, with weights packed for `groups` groups of 4 input channels.
fn plan_with_weights_of_groups(groups: usize, make: fn(PackedConv, &ConvGeometry) -> ConvPlan) {
    let axes = [WindowAxis::pointwise(2).unwrap(), WindowAxis::ONE];
    let packed_for = ConvGeometry::new(axes, 4 * groups, 8, groups).unwrap();
    let conv = PackedConv::new(Isa::best(), Precision::F32, &packed_for, None, |_, _, _| 1.0);
    make(conv, &ConvGeometry::new(axes, 4, 8, 1).unwrap());
}

/// Taps, depth and outputs are the same, but the second group would read beyond the input.
#[test]
#[should_panic(expected = "packed for")]
fn weights_of_other_groups_are_refused() {
    plan_with_weights_of_groups(2, ConvPlan::new);
}

#[test]
#[should_panic(expected = "packed for")]
fn weights_of_other_groups_are_refused_by_rows() {
    plan_with_weights_of_groups(2, ConvPlan::by_rows);
}

#[test]
fn weights_of_the_same_groups_are_accepted() {
    plan_with_weights_of_groups(1, ConvPlan::new);
}

/// Depthwise weights of 8 channels have as many values as dense ones of 1 to 8, and the other way
/// round.
#[test]
fn depthwise_and_dense_weights_are_not_mistaken() {
    let axes = [WindowAxis::pointwise(2).unwrap(), WindowAxis::ONE];
    let depthwise = ConvGeometry::new(axes, 8, 8, 8).unwrap();
    let dense = ConvGeometry::new(axes, 1, 8, 1).unwrap();
    for (packed_for, planned) in [(depthwise, dense), (dense, depthwise)] {
        let conv = PackedConv::new(Isa::best(), Precision::F32, &packed_for, None, |_, _, _| 1.0);
        for make in [ConvPlan::new, ConvPlan::by_rows] {
            let conv = conv.clone();
            assert!(std::panic::catch_unwind(|| make(conv, &planned)).is_err());
        }
    }
}
