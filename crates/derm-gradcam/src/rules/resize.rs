//! Resizing, nearest, linear or cubic: linear in its input and one axis after the other, so that
//! the gradient goes back by the transposed matrix of each axis.

use super::{Call, Gradients, Rule};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxesMapping, TractErrorContext};
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::resize::{NearestUpsample, Resize};
use tract_onnx_opl::resize::Resize as OnnxResize;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    let known = op.is::<Resize>() || op.is::<NearestUpsample>() || op.is::<OnnxResize>();
    known.then_some(Rule(gradient))
}

fn gradient(call: &mut Call) -> TractResult<Gradients> {
    let (from, to) = (call.operand_shape(0)?, call.output_shape()?);
    let mut gradient = call.gradient;
    for axis in (0..from.len()).filter(|&axis| from[axis] != to[axis]) {
        let matrix = matrix(call, &from, axis)?;
        let matrix = call.tape.constant(matrix)?;
        let letters: String = ('a'..).take(from.len()).collect();
        let back = letters.replacen(letters.as_bytes()[axis] as char, "z", 1);
        let pair = format!("{}z", letters.as_bytes()[axis] as char);
        let axes = AxesMapping::from_strs(&[letters.as_str(), &pair], &[back.as_str()])?;
        gradient = call.wire(EinSum::new(axes, DatumType::F32), &[gradient, matrix])?;
    }
    Ok(call.first(gradient))
}

/// `[output place, input place]` along `axis`: what the operator makes of a picture that is 1 at
/// one place of the axis, all along the others.
fn matrix(call: &mut Call, from: &[usize], axis: usize) -> TractResult<Tensor> {
    let to = call.output_shape()?[axis];
    let mut matrix = ndarray::Array2::<f32>::zeros((to, from[axis]));
    for place in 0..from[axis] {
        let mut input = ndarray::ArrayD::<f32>::zeros(from);
        input.index_axis_mut(ndarray::Axis(axis), place).fill(1.0);
        let mut operands = tvec!(Tensor::from(input).into_tvalue());
        for &other in &call.node.inputs[1..] {
            let constant = call.tape.constant_value(other)?;
            operands.push(constant.into_tvalue());
        }
        let outputs = call.node.op.eval_out_of_plan(operands)?;
        let outputs = outputs.context("a resize can be evaluated by itself")?;
        let output = outputs[0].to_plain_array_view::<f32>()?;
        let first = output.lanes(ndarray::Axis(axis)).into_iter().next();
        matrix.column_mut(place).assign(&first.context("an output of no place")?);
    }
    Ok(Tensor::from(matrix))
}
