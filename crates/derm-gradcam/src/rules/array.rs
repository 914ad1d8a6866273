//! Operators that join, cut, pad or pick: each element's gradient goes back to where it came from.

use super::{Call, Gradients, Rule};
use ndarray::{ArrayD, Axis, Slice as Range};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::DimLike;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::{Gather, Pad, PadMode, Slice, TypedConcat};
use tract_onnx::tract_core::ops::downsample::Downsample;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    if op.is::<TypedConcat>() {
        Some(Rule(concat))
    } else if op.is::<Slice>() {
        Some(Rule(slice))
    } else if op.downcast_ref::<Downsample>().is_some_and(|down| down.stride > 0) {
        Some(Rule(downsample))
    } else if op.is::<Gather>() {
        Some(Rule(gather))
    } else if let Some(pad) = op.downcast_ref::<Pad>() {
        matches!(pad.mode, PadMode::Constant(_)).then_some(Rule(pad_constant))
    } else {
        None
    }
}

fn concat(call: &Call) -> TractResult<Gradients> {
    let axis = call.op::<TypedConcat>().axis;
    let ends = call.operands.iter().scan(0, |end, operand| {
        *end += operand.shape()[axis];
        Some(*end)
    });
    let ends: Vec<usize> = ends.collect();
    call.each(|place| {
        let start = ends[place] - call.operands[place].shape()[axis];
        Ok(call.gradient.slice_axis(Axis(axis), Range::from(start..ends[place])).to_owned())
    })
}

fn slice(call: &Call) -> TractResult<Gradients> {
    let op = call.op::<Slice>();
    let (start, end) = (op.start.to_usize()?, op.end.to_usize()?);
    let mut result = ArrayD::zeros(call.operands[0].shape());
    result.slice_axis_mut(Axis(op.axis), Range::from(start..end)).assign(&call.gradient);
    Ok(call.first(result))
}

fn downsample(call: &Call) -> TractResult<Gradients> {
    let op = call.op::<Downsample>();
    let mut result = ArrayD::zeros(call.operands[0].shape());
    let every = Range::new(op.modulo as isize, None, op.stride);
    result.slice_axis_mut(Axis(op.axis), every).assign(&call.gradient);
    Ok(call.first(result))
}

fn pad_constant(call: &Call) -> TractResult<Gradients> {
    let pads = &call.op::<Pad>().pads;
    let inner = call.gradient.slice_each_axis(|axis| {
        let (before, _) = pads[axis.axis.index()];
        let length = call.operands[0].shape()[axis.axis.index()];
        Range::from(before..before + length)
    });
    Ok(call.first(inner.to_owned()))
}

fn gather(call: &Call) -> TractResult<Gradients> {
    let axis = call.op::<Gather>().axis;
    let indices = call.operands[1].cast_to::<i64>()?;
    let indices = indices.to_plain_array_view::<i64>()?;
    let shape = call.operands[0].shape();
    // One axis for all indices, whatever their own shape is.
    let mut flat: Vec<usize> = shape.to_vec();
    flat[axis] = indices.len();
    let gradient = call.gradient.to_shape(flat)?;
    let mut result = ArrayD::zeros(shape);
    for (place, &index) in indices.iter().enumerate() {
        let index = if index < 0 { index + shape[axis] as i64 } else { index };
        let mut picked = result.index_axis_mut(Axis(axis), usize::try_from(index)?);
        picked += &gradient.index_axis(Axis(axis), place);
    }
    let mut gradients = call.first(result);
    gradients[1] = None;
    Ok(gradients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::check::{check, values};

    #[test]
    fn joined_cut_thinned_and_padded() {
        let x = || values(&[2, 5, 3], 1);
        check(&TypedConcat { axis: 1 }, &[x(), values(&[2, 2, 3], 9)], &[true, true]);
        check(&Slice::new(1, 1, 4), &[x()], &[true]);
        check(&Downsample { axis: 1, stride: 2, modulo: 1 }, &[x()], &[true]);
        let zero = tensor0(0f32).into_arc_tensor();
        let pads = vec![(0, 0), (1, 2), (3, 0)];
        check(&Pad { pads, mode: PadMode::Constant(zero) }, &[x()], &[true]);
    }

    #[test]
    fn a_place_that_is_picked_twice_gets_both_gradients() {
        let op = Gather { axis: 1, output_type: None };
        let data = Tensor::from(values(&[2, 3], 1));
        let indices = tensor2(&[[2i64, 0], [2, -1]]);
        let output_shape = [2, 2, 2];
        let gradient = values(&output_shape, 3);
        let output = Tensor::zero::<f32>(&output_shape).unwrap();
        let call = Call {
            op: &op,
            operands: &[&data, &indices],
            output: &output,
            gradient: gradient.clone(),
            wanted: &[true, false],
        };
        let result = gather(&call).unwrap()[0].clone().unwrap();
        for row in 0..2 {
            let g = |i: usize, j: usize| gradient[[row, i, j]];
            assert_eq!(result[[row, 0]], g(0, 1));
            assert_eq!(result[[row, 1]], 0.0);
            assert!((result[[row, 2]] - (g(0, 0) + g(1, 0) + g(1, 1))).abs() < 1e-6);
        }
    }
}
