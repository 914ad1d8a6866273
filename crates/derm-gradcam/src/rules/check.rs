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
    let model = differentiate(&model, &weights, &[target], &[], usize::MAX).unwrap();

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
