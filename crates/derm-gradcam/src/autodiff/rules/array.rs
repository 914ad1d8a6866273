//! Concat, Slice, Downsample, Gather and constant Pad: each element's gradient goes back to where it came from.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::GatherInputGradient;
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

fn concat(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let axis = ctx.op::<TypedConcat>().axis;
    let mut ends = Vec::new();
    for index in 0..ctx.node.inputs.len() {
        ends.push(ends.last().unwrap_or(&0) + ctx.operand_shape(index)?[axis]);
    }
    ctx.each(|ctx, index| {
        let start = if index == 0 { 0 } else { ends[index - 1] };
        ctx.wire(Slice::new(axis, start, ends[index]), &[ctx.gradient])
    })
}

/// Zero padding, `(before, after)` along one axis.
fn pad_zeros(
    ctx: &mut RuleContext,
    value: OutletId,
    axis: usize,
    padding: (usize, usize),
) -> TractResult<OutletId> {
    if padding == (0, 0) {
        return Ok(value);
    }
    let mut pads = vec![(0, 0); ctx.builder.graph.outlet_fact(value)?.rank()];
    pads[axis] = padding;
    let zero = tensor0(0f32).into_arc_tensor();
    ctx.wire(Pad { pads, mode: PadMode::Constant(zero) }, &[value])
}

fn slice(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let op = ctx.op::<Slice>();
    let (axis, start, end) = (op.axis, op.start.to_usize()?, op.end.to_usize()?);
    let length = ctx.operand_shape(0)?[axis];
    let padded = pad_zeros(ctx, ctx.gradient, axis, (start, length - end))?;
    Ok(ctx.first(padded))
}

/// Each element becomes a group of `stride`: itself and zeros. The groups are concatenated.
fn downsample(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let &Downsample { axis, stride, modulo } = ctx.op::<Downsample>();
    let stride = stride as usize;
    let (length, count) = (ctx.operand_shape(0)?[axis], ctx.output_shape()?[axis]);
    let rows = ctx.wire(AxisOp::Add(axis + 1), &[ctx.gradient])?;
    let rows = pad_zeros(ctx, rows, axis + 1, (0, stride - 1))?;
    let from = tvec!(count.to_dim(), stride.to_dim());
    let spread = AxisOp::Reshape(axis, from, tvec!((count * stride).to_dim()));
    let spread = ctx.wire(spread, &[rows])?;
    let spread_length = length - modulo;
    let spread = if count * stride > spread_length {
        ctx.wire(Slice::new(axis, 0, spread_length), &[spread])?
    } else {
        pad_zeros(ctx, spread, axis, (0, spread_length - count * stride))?
    };
    let spread = pad_zeros(ctx, spread, axis, (modulo, 0))?;
    Ok(ctx.first(spread))
}

fn pad_constant(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let pads = ctx.op::<Pad>().pads.clone();
    let mut inner = ctx.gradient;
    for (axis, length) in ctx.operand_shape(0)?.into_iter().enumerate() {
        let (before, after) = pads[axis];
        if (before, after) != (0, 0) {
            inner = ctx.wire(Slice::new(axis, before, before + length), &[inner])?;
        }
    }
    Ok(ctx.first(inner))
}

fn gather(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let op =
        GatherInputGradient { axis: ctx.op::<Gather>().axis, input_shape: ctx.operand_shape(0)? };
    let indices = ctx.operand(1)?;
    let gradient = ctx.wire(op, &[ctx.gradient, indices])?;
    Ok(ctx.first(gradient))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, check_tensors, values};

    #[test]
    fn concat_slice_downsample_and_pad() {
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
    fn gather_sums_the_gradients_of_an_index_that_occurs_twice() {
        let op = Gather { axis: 1, output_type: None };
        let indices = tensor2(&[[2i64, 0], [2, -1]]);
        check_tensors(&op, &[values(&[2, 3], 1).into(), indices], &[true, false]);
    }
}
