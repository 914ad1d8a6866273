//! Finite differences: what every rule is held against.

use crate::tape::differentiate;
use derm_engine::{Bytes, Engine, Kernels, Settings, StoredWeights};
use ndarray::{ArrayD, Dimension};
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::identity::Identity;

const STEP: f32 = 1e-2;

/// Asserts that the rule's gradients equal central differences of `sum(output * weights)`, for
/// the operands marked in `wanted`; the weights are fixed and irregular. Operands that are not
/// wanted are constants of the graph.
pub(crate) fn check(op: &dyn TypedOp, operands: &[ArrayD<f32>], wanted: &[bool]) {
    let operands: Vec<Tensor> = operands.iter().map(|a| Tensor::from(a.clone())).collect();
    check_tensors(op, &operands, wanted);
}

/// As [`check`], with operands that need not be float.
pub(crate) fn check_tensors(op: &dyn TypedOp, operands: &[Tensor], wanted: &[bool]) {
    let eval = |tensors: &[Tensor]| -> Tensor {
        let values = tensors.iter().map(|t| t.clone().into_tvalue()).collect();
        let outputs = op.eval_out_of_plan(values).unwrap().unwrap();
        outputs.into_iter().next().unwrap().into_tensor()
    };
    let output = eval(operands);
    let weights = ArrayD::from_shape_fn(output.shape(), |index| {
        let mixed = index.slice().iter().fold(3usize, |hash, &i| hash * 31 + i * 7 + 1);
        (mixed % 17) as f32 / 8.0 - 1.0
    });
    let weighted = |tensors: &[Tensor]| -> f64 {
        let output = eval(tensors);
        let output = output.to_plain_array_view::<f32>().unwrap();
        output.iter().zip(&weights).map(|(o, w)| f64::from(*o) * f64::from(*w)).sum()
    };
    for place in (0..operands.len()).filter(|&place| wanted[place]) {
        let operand = operands[place].to_plain_array_view::<f32>().unwrap();
        let expected: Vec<f64> = (0..operand.len())
            .map(|flat| {
                let moved = |by: f32| {
                    let mut moved = operands.to_vec();
                    let mut values = operand.to_owned();
                    *values.iter_mut().nth(flat).unwrap() += by;
                    moved[place] = Tensor::from(values);
                    weighted(&moved)
                };
                (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP)
            })
            .collect();
        for (by, found) in gradients(op, operands, wanted, place, &weights) {
            assert_eq!(found.shape(), operands[place].shape());
            for (flat, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                assert!(
                    error <= 5e-3 * (1.0 + expected.abs()),
                    "{} operand {place} element {flat}: {found} by the rule ({by}), {expected} \
                     measured",
                    op.name(),
                );
            }
        }
    }
}

struct NoFile;

impl Bytes for NoFile {
    fn bytes(&self) -> &[u8] {
        &[]
    }
    fn release(&self, _: std::ops::Range<usize>) {}
}

/// The gradient with respect to operand `place`, of the graph of this one operator, as tract
/// evaluates it and as the engine does.
fn gradients(
    op: &dyn TypedOp,
    operands: &[Tensor],
    wanted: &[bool],
    place: usize,
    seed: &ArrayD<f32>,
) -> Vec<(&'static str, ArrayD<f32>)> {
    let mut model = TypedModel::default();
    // All operands that vary come out of one input, as in a network.
    let varying: Vec<usize> = (0..operands.len()).filter(|&i| wanted[i]).collect();
    let flat: Vec<f32> = varying
        .iter()
        .flat_map(|&i| operands[i].to_plain_array_view::<f32>().unwrap().into_iter().copied())
        .collect();
    let source = model.add_source("input", f32::fact([flat.len()])).unwrap();
    let mut start = 0;
    let mut outlets = Vec::new();
    for (number, operand) in operands.iter().enumerate() {
        if !wanted[number] {
            outlets.push(model.add_const(format!("constant{number}"), operand.clone()).unwrap());
            continue;
        }
        let slice = Slice::new(0, start, start + operand.len());
        let part = model.wire_node(format!("part{number}"), slice, &[source]).unwrap()[0];
        let shape: TVec<TDim> = operand.shape().iter().map(|side| side.to_dim()).collect();
        let reshape = AxisOp::Reshape(0, tvec!(operand.len().to_dim()), shape);
        outlets.push(model.wire_node(format!("operand{number}"), reshape, &[part]).unwrap()[0]);
        start += operand.len();
    }
    let op: Box<dyn TypedOp> = tract_onnx::tract_core::dyn_clone::clone_box(op);
    let output = model.wire_node("op", op, &outlets).unwrap()[0];
    // So that a softmax is not taken for the end of the network.
    let output = model.wire_node("end", Identity, &[output]).unwrap()[0];
    model.select_output_outlets(&[output]).unwrap();
    let weights = StoredWeights::new(Arc::new(NoFile), HashMap::new()).unwrap();
    let target = outlets[place];
    let model = differentiate(&model, &weights, target, &[], usize::MAX).unwrap();

    let input = tensor1(&flat);
    let plan = model.clone().into_runnable().unwrap();
    let inputs = tvec!(input.into_tvalue(), Tensor::from(seed.clone()).into_tvalue());
    let by_tract = plan.run(inputs).unwrap()[0].to_plain_array_view::<f32>().unwrap().to_owned();

    let mut kernels = Kernels::default();
    let engine = Engine::new(&model, &weights, &[0], Settings::default(), &mut kernels).unwrap();
    let mut arena = engine.arena();
    engine.run(&mut arena, 0, |to| to.copy_from_slice(&flat)).unwrap();
    let seed: Vec<f32> = seed.iter().copied().collect();
    engine.run(&mut arena, 1, |to| to.copy_from_slice(&seed)).unwrap();
    let once = engine.output(&arena, 0).to_owned();
    // The last phase can be run again.
    engine.run(&mut arena, 1, |to| to.copy_from_slice(&seed)).unwrap();
    let twice = engine.output(&arena, 0).to_owned();
    assert_eq!(once, twice);
    vec![("tract", by_tract), ("the engine", once)]
}

/// Irregular values in -1.5..1.5, none nearer to 0 or to each other than a finite difference.
pub(crate) fn values(shape: &[usize], seed: usize) -> ArrayD<f32> {
    let count: usize = shape.iter().product();
    let prime = 7919;
    let flat = (0..count).map(|i| {
        let rank = ((i + seed) * prime) % (count * 2 + 1);
        ((rank as f32 + 0.5) / (count * 2 + 1) as f32 - 0.5) * 3.0
    });
    ArrayD::from_shape_vec(shape, flat.collect()).unwrap()
}

mod tests {
    use super::{check, values};
    use ndarray::ArrayD;
    use proptest::prelude::*;
    use tract_onnx::prelude::*;
    use tract_onnx::tract_core::ops::math;
    use tract_onnx::tract_core::ops::nn::{self, Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Rules over shapes and numbers of chance; which places are broadcast, too.
        #[test]
        fn shapes_and_numbers_of_chance(
            shape in prop::collection::vec(1usize..4, 1..4),
            stretched in prop::collection::vec(any::<bool>(), 3),
            seeds in (0usize..1000, 0usize..1000),
            which in 0usize..14,
        ) {
            let x = values(&shape, seeds.0);
            let narrow: Vec<usize> =
                shape.iter().zip(&stretched).map(|(&n, &one)| if one { 1 } else { n }).collect();
            // Away from the first operand's values, which are odd multiples of another step.
            let y = values(&narrow, seeds.1).mapv(|v| v + 0.037);
            let axis = seeds.0 % shape.len();
            let both = |op: tract_onnx::tract_core::ops::binary::TypedBinOp, y: ArrayD<f32>, x: ArrayD<f32>| {
                check(&op, &[x, y], &[true, true]);
            };
            match which {
                0 => both(math::add(), y, x),
                1 => both(math::sub(), y, x),
                2 => both(math::mul(), y, x),
                3 => both(math::div(), y.mapv(|v| v.abs() + 0.5), x),
                4 => both(math::pow(), y, x.mapv(|v| v.abs() + 0.5)),
                5 => check(&nn::sigmoid(), &[x], &[true]),
                6 => check(&nn::silu::silu(), &[x], &[true]),
                7 => check(&nn::gelu_exact::gelu_exact(), &[x], &[true]),
                8 => check(&math::tanh(), &[x], &[true]),
                9 => {
                    let axes = tvec!(axis);
                    let op = Softmax { axes, quant_output_dt: None, kind: SoftmaxKind::Softmax };
                    check(&op, &[x], &[true]);
                }
                10 => {
                    let axes = tvec!(axis);
                    let op = Softmax { axes, quant_output_dt: None, kind: SoftmaxKind::LogSoftmax };
                    check(&op, &[x], &[true]);
                }
                11 => check(&Reduce { axes: tvec!(axis), reducer: Reducer::Sum }, &[x], &[true]),
                12 => {
                    let reducer = Reducer::MeanOfSquares;
                    check(&Reduce { axes: tvec!(axis), reducer }, &[x], &[true]);
                }
                _ => {
                    let eps = tensor0(1e-1f32).into_arc_tensor();
                    check(&RmsNorm { axis, eps }, &[x], &[true]);
                }
            }
        }
    }
}
