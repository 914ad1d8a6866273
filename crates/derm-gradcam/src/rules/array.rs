//! Operators that join, cut, pad or pick: each element's gradient goes back to where it came from.

use super::{Call, Gradients, Rule};
use derm_engine::ops::GatherInputGradient;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, DimLike};
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

fn concat(call: &mut Call) -> TractResult<Gradients> {
    let axis = call.op::<TypedConcat>().axis;
    let mut ends = Vec::new();
    for place in 0..call.node.inputs.len() {
        ends.push(ends.last().unwrap_or(&0) + call.operand_shape(place)?[axis]);
    }
    call.each(|call, place| {
        let start = if place == 0 { 0 } else { ends[place - 1] };
        call.wire(Slice::new(axis, start, ends[place]), &[call.gradient])
    })
}

/// Zeros around a value, `(before, after)` along one axis.
fn framed(
    call: &mut Call,
    value: OutletId,
    axis: usize,
    frame: (usize, usize),
) -> TractResult<OutletId> {
    if frame == (0, 0) {
        return Ok(value);
    }
    let mut pads = vec![(0, 0); call.tape.graph.outlet_fact(value)?.rank()];
    pads[axis] = frame;
    let zero = tensor0(0f32).into_arc_tensor();
    call.wire(Pad { pads, mode: PadMode::Constant(zero) }, &[value])
}

fn slice(call: &mut Call) -> TractResult<Gradients> {
    let op = call.op::<Slice>();
    let (axis, start, end) = (op.axis, op.start.to_usize()?, op.end.to_usize()?);
    let length = call.operand_shape(0)?[axis];
    let framed = framed(call, call.gradient, axis, (start, length - end))?;
    Ok(call.first(framed))
}

/// Each place becomes a row of `stride`, itself and zeros; the rows are laid end to end.
fn downsample(call: &mut Call) -> TractResult<Gradients> {
    let &Downsample { axis, stride, modulo } = call.op::<Downsample>();
    let stride = stride as usize;
    let (length, count) = (call.operand_shape(0)?[axis], call.output_shape()?[axis]);
    let rows = call.wire(AxisOp::Add(axis + 1), &[call.gradient])?;
    let rows = framed(call, rows, axis + 1, (0, stride - 1))?;
    let from = tvec!(count.to_dim(), stride.to_dim());
    let spread = AxisOp::Reshape(axis, from, tvec!((count * stride).to_dim()));
    let spread = call.wire(spread, &[rows])?;
    let wanted = length - modulo;
    let spread = if count * stride > wanted {
        call.wire(Slice::new(axis, 0, wanted), &[spread])?
    } else {
        framed(call, spread, axis, (0, wanted - count * stride))?
    };
    let spread = framed(call, spread, axis, (modulo, 0))?;
    Ok(call.first(spread))
}

fn pad_constant(call: &mut Call) -> TractResult<Gradients> {
    let pads = call.op::<Pad>().pads.clone();
    let mut inner = call.gradient;
    for (axis, length) in call.operand_shape(0)?.into_iter().enumerate() {
        let (before, after) = pads[axis];
        if (before, after) != (0, 0) {
            inner = call.wire(Slice::new(axis, before, before + length), &[inner])?;
        }
    }
    Ok(call.first(inner))
}

fn gather(call: &mut Call) -> TractResult<Gradients> {
    let op =
        GatherInputGradient { axis: call.op::<Gather>().axis, input_shape: call.operand_shape(0)? };
    let indices = call.operand(1)?;
    let gradient = call.wire(op, &[call.gradient, indices])?;
    Ok(call.first(gradient))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::check::{check, check_tensors, values};

    #[test]
    fn joined_cut_thinned_and_padded() {
        let x = || values(&[2, 5, 3], 1);
        check(&TypedConcat { axis: 1 }, &[x(), values(&[2, 2, 3], 9)], &[true, true]);
        check(&Slice::new(1, 1, 4), &[x()], &[true]);
        for (stride, modulo) in [(2, 1), (2, 0), (3, 0), (3, 2), (4, 1)] {
            check(&Downsample { axis: 1, stride, modulo }, &[x()], &[true]);
        }
        let zero = tensor0(0f32).into_arc_tensor();
        let pads = vec![(0, 0), (1, 2), (3, 0)];
        check(&Pad { pads, mode: PadMode::Constant(zero) }, &[x()], &[true]);
    }

    #[test]
    fn a_place_that_is_picked_twice_gets_both_gradients() {
        let op = Gather { axis: 1, output_type: None };
        let indices = tensor2(&[[2i64, 0], [2, -1]]);
        check_tensors(&op, &[values(&[2, 3], 1).into(), indices], &[true, false]);
    }
}
