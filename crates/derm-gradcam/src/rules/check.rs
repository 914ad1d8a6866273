//! Finite differences: what every rule is held against.

use super::{Call, rule_for};
use ndarray::{ArrayD, Dimension};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;

const STEP: f32 = 1e-2;

/// Asserts that the rule's gradients equal central differences of `sum(output * weights)`, for
/// the operands marked in `wanted`; the weights are fixed and irregular.
pub(crate) fn check(op: &dyn TypedOp, operands: &[ArrayD<f32>], wanted: &[bool]) {
    let tensors: Vec<Tensor> = operands.iter().map(|a| Tensor::from(a.clone())).collect();
    let eval = |tensors: &[Tensor]| -> Tensor {
        let values = tensors.iter().map(|t| t.clone().into_tvalue()).collect();
        let outputs = op.eval_out_of_plan(values).unwrap().unwrap();
        outputs.into_iter().next().unwrap().into_tensor()
    };
    let output = eval(&tensors);
    let weights = ArrayD::from_shape_fn(output.shape(), |index| {
        let mixed = index.slice().iter().fold(3usize, |hash, &i| hash * 31 + i * 7 + 1);
        (mixed % 17) as f32 / 8.0 - 1.0
    });
    let weighted = |tensors: &[Tensor]| -> f64 {
        let output = eval(tensors);
        let output = output.to_plain_array_view::<f32>().unwrap();
        output.iter().zip(&weights).map(|(o, w)| f64::from(*o) * f64::from(*w)).sum()
    };
    let refs: Vec<&Tensor> = tensors.iter().collect();
    let call = Call { op, operands: &refs, output: &output, gradient: weights.clone(), wanted };
    let gradients = rule_for(op).expect("a rule").apply(call).unwrap();
    for (place, gradient) in gradients.iter().enumerate() {
        let Some(gradient) = gradient else {
            assert!(!wanted[place], "operand {place} has no gradient");
            continue;
        };
        assert_eq!(gradient.shape(), operands[place].shape());
        for (flat, &found) in gradient.iter().enumerate() {
            let moved = |by: f32| {
                let mut moved = operands.to_vec();
                *moved[place].iter_mut().nth(flat).unwrap() += by;
                weighted(&moved.into_iter().map(Tensor::from).collect::<Vec<_>>())
            };
            let expected = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
            let error = (f64::from(found) - expected).abs();
            assert!(
                error <= 5e-3 * (1.0 + expected.abs()),
                "{} operand {place} element {flat}: {found} by the rule, {expected} measured",
                op.name(),
            );
        }
    }
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
