//! Finite differences, against which every rule is tested.

use crate::autodiff::backward_graph;
use crate::autodiff::test_weights::no_weights;
use derm_engine::{Engine, Options, PackedWeightCache};
use ndarray::{ArrayD, Dimension};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::identity::Identity;

const STEP: f32 = 1e-2;

/// Asserts that the rule's gradients equal central differences of `sum(output * weights)`, for the
/// operands marked in `needs_gradient`; the weights are fixed and irregular. Other operands are
/// constants of the graph.
pub(crate) fn check(op: &dyn TypedOp, operands: &[ArrayD<f32>], needs_gradient: &[bool]) {
    let operands: Vec<Tensor> = operands.iter().map(|a| Tensor::from(a.clone())).collect();
    check_tensors(op, &operands, needs_gradient);
}

/// As [`check`], with operands that need not be float.
pub(crate) fn check_tensors(op: &dyn TypedOp, operands: &[Tensor], needs_gradient: &[bool]) {
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
    for index in (0..operands.len()).filter(|&index| needs_gradient[index]) {
        let operand = operands[index].to_plain_array_view::<f32>().unwrap();
        let expected: Vec<f64> = (0..operand.len())
            .map(|flat| {
                let moved = |by: f32| {
                    let mut moved = operands.to_vec();
                    let mut values = operand.to_owned();
                    *values.iter_mut().nth(flat).unwrap() += by;
                    moved[index] = Tensor::from(values);
                    weighted(&moved)
                };
                (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP)
            })
            .collect();
        for (by, found) in gradients(op, operands, needs_gradient, index, &weights) {
            assert_eq!(found.shape(), operands[index].shape());
            for (flat, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                assert!(
                    error <= 5e-3 * (1.0 + expected.abs()),
                    "{} operand {index} element {flat}: {found} by the rule ({by}), {expected} \
                     measured",
                    op.name(),
                );
            }
        }
    }
}

/// The gradient with respect to operand `index` of a graph of this one operator, evaluated by tract
/// and by the engine.
fn gradients(
    op: &dyn TypedOp,
    operands: &[Tensor],
    needs_gradient: &[bool],
    index: usize,
    seed: &ArrayD<f32>,
) -> Vec<(&'static str, ArrayD<f32>)> {
    let mut model = TypedModel::default();
    // All operands that vary are slices of one input, as in a network.
    let varying: Vec<usize> = (0..operands.len()).filter(|&i| needs_gradient[i]).collect();
    let flat: Vec<f32> = varying
        .iter()
        .flat_map(|&i| operands[i].to_plain_array_view::<f32>().unwrap().into_iter().copied())
        .collect();
    let source = model.add_source("input", f32::fact([flat.len()])).unwrap();
    let mut start = 0;
    let mut outlets = Vec::new();
    for (number, operand) in operands.iter().enumerate() {
        if !needs_gradient[number] {
            outlets.push(model.add_const(format!("constant{number}"), operand.clone()).unwrap());
            continue;
        }
        let slice = Slice::new(0, start, start + operand.len());
        let part = model.wire_node(format!("part{number}"), slice, &[source]).unwrap()[0];
        let shape: TVec<TDim> = operand.shape().iter().map(|length| length.to_dim()).collect();
        let reshape = AxisOp::Reshape(0, tvec!(operand.len().to_dim()), shape);
        outlets.push(model.wire_node(format!("operand{number}"), reshape, &[part]).unwrap()[0]);
        start += operand.len();
    }
    let op: Box<dyn TypedOp> = tract_onnx::tract_core::dyn_clone::clone_box(op);
    let output = model.wire_node("op", op, &outlets).unwrap()[0];
    // So that a softmax is not mistaken for the final one of a network.
    let output = model.wire_node("end", Identity, &[output]).unwrap()[0];
    model.select_output_outlets(&[output]).unwrap();
    let weights = no_weights();
    let target = outlets[index];
    let model = backward_graph(&model, &weights, target, &[], usize::MAX).unwrap();

    let input = tensor1(&flat);
    let plan = model.clone().into_runnable().unwrap();
    let inputs = tvec!(input.into_tvalue(), Tensor::from(seed.clone()).into_tvalue());
    let by_tract = plan.run(inputs).unwrap()[0].to_plain_array_view::<f32>().unwrap().to_owned();

    let mut cache = PackedWeightCache::default();
    let engine = Engine::compile(&model, &weights, &[0], Options::default(), &mut cache).unwrap();
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

/// Irregular values in -1.5..1.5, none nearer to 0 or to another than the step of the differences.
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

        /// Random shapes and values, and random axes that are broadcast.
        #[test]
        fn random_shapes_and_values(
            shape in prop::collection::vec(1usize..4, 1..4),
            broadcast in prop::collection::vec(any::<bool>(), 3),
            seeds in (0usize..1000, 0usize..1000),
            which in 0usize..14,
        ) {
            let x = values(&shape, seeds.0);
            let narrow: Vec<usize> =
                shape.iter().zip(&broadcast).map(|(&n, &one)| if one { 1 } else { n }).collect();
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
