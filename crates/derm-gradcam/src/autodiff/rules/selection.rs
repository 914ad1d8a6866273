//! Selections (Tile, GatherElements, GatherND, ScatterElements, ScatterND, TopK, Trilu, reflecting and
//! repeating Pad): each element's gradient goes back to where it came from.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::SelectionInputGradient;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::dyn_clone::clone_box;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::{
    GatherElements, GatherNd, Pad, PadMode, ScatterElements, ScatterNd, ScatterReduction, Tile,
    Topk, Trilu,
};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    if let Some(reduction) = scatter_reduction(op) {
        return match reduction {
            ScatterReduction::None => Some(Rule(|ctx| selected_from(ctx, &[0, 2]))),
            ScatterReduction::Add => Some(Rule(scatter_sum)),
            _ => None,
        };
    }
    let repeats = op.downcast_ref::<Pad>().is_some_and(|pad| is_repeating(&pad.mode));
    if repeats
        || op.is::<Tile>()
        || op.is::<GatherElements>()
        || op.is::<GatherNd>()
        || op.is::<Trilu>()
    {
        return Some(Rule(|ctx| selected_from(ctx, &[0])));
    }
    op.is::<Topk>().then_some(Rule(top_k))
}

fn is_repeating(mode: &PadMode) -> bool {
    matches!(mode, PadMode::Reflect | PadMode::Edge)
}

fn scatter_reduction(op: &dyn TypedOp) -> Option<ScatterReduction> {
    let elements = op.downcast_ref::<ScatterElements>().map(|op| op.reduction);
    elements.or(op.downcast_ref::<ScatterNd>().map(|op| op.reduction))
}

/// The gradients of a selection from the operands `from`.
fn selected_from(ctx: &mut RuleContext, from: &[usize]) -> TractResult<Gradients> {
    let mut selected = tvec!();
    for &operand in from {
        selected.push((operand, ctx.operand_shape(operand)?));
    }
    let mut inputs: TVec<OutletId> = tvec!(ctx.gradient);
    for operand in (0..ctx.node.inputs.len()).filter(|operand| !from.contains(operand)) {
        inputs.push(ctx.operand(operand)?);
    }
    let mut gradients = ctx.none();
    for (of, &operand) in from.iter().enumerate() {
        if ctx.needs_gradient[operand] {
            let (op, selected) = (clone_box(ctx.node.op.as_ref()), selected.clone());
            let gradient = ctx.wire(SelectionInputGradient { op, selected, of }, &inputs)?;
            gradients[operand] = Some(gradient);
        }
    }
    Ok(gradients)
}

/// Updates that are added: the operand's gradient passes, an update's is that of its target.
fn scatter_sum(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let gather: Box<dyn TypedOp> = match ctx.node.op_as::<ScatterElements>() {
        Some(op) => Box::new(GatherElements { axis: op.axis }),
        None => Box::new(GatherNd { batch_dims: 0 }),
    };
    let mut gradients = ctx.first(ctx.gradient);
    if ctx.needs_gradient[2] {
        let indices = ctx.operand(1)?;
        gradients[2] = Some(ctx.wire(gather, &[ctx.gradient, indices])?);
    }
    Ok(gradients)
}

/// The largest or smallest values are those that their indices gather.
fn top_k(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let op = Box::new(GatherElements { axis: ctx.op::<Topk>().axis });
    let indices = ctx.builder.value(OutletId::new(ctx.node.id, 1))?;
    let selected = tvec!((0, ctx.operand_shape(0)?));
    let op = SelectionInputGradient { op, selected, of: 0 };
    let gradient = ctx.wire(op, &[ctx.gradient, indices])?;
    Ok(ctx.first(gradient))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, check_tensors, values};

    #[test]
    fn repeated_elements_sum_their_gradients() {
        let x = || values(&[2, 3], 1);
        check(&Tile { multipliers: tvec!(1.to_dim(), 3.to_dim()) }, &[x()], &[true]);
        check(&Tile { multipliers: tvec!(2.to_dim(), 2.to_dim()) }, &[x()], &[true]);
        for mode in [PadMode::Reflect, PadMode::Edge] {
            check(&Pad { pads: vec![(0, 0), (1, 2)], mode }, &[x()], &[true]);
        }
    }

    #[test]
    fn gathered_elements_get_the_gradients_of_all_their_copies() {
        let x = || Tensor::from(values(&[2, 3, 2], 1));
        let indices = tensor3(&[[[2i64, 0], [-1, 1]], [[0, 0], [1, 2]]]);
        check_tensors(&GatherElements { axis: 1 }, &[x(), indices], &[true, false]);
        let indices = tensor2(&[[1i64, 2], [0, 1], [1, 2]]);
        check_tensors(&GatherNd { batch_dims: 0 }, &[x(), indices], &[true, false]);
        let indices = tensor2(&[[2i64], [0]]);
        check_tensors(&GatherNd { batch_dims: 1 }, &[x(), indices], &[true, false]);
    }

    #[test]
    fn scattered_updates_replace_or_are_added() {
        let data = || Tensor::from(values(&[3, 4], 1));
        for reduction in [ScatterReduction::None, ScatterReduction::Add] {
            for needs_gradient in [[true, false, true], [true, false, false], [false, false, true]]
            {
                let (indices, updates) = (tensor2(&[[1i64, -1]]), Tensor::from(values(&[1, 2], 9)));
                let op = ScatterElements { axis: 1, reduction };
                check_tensors(&op, &[data(), indices, updates], &needs_gradient);
                let (indices, updates) = (tensor2(&[[2i64], [0]]), values(&[2, 4], 9));
                let op = ScatterNd { reduction };
                check_tensors(&op, &[data(), indices, updates.into()], &needs_gradient);
            }
        }
    }

    #[test]
    fn the_largest_get_the_gradient() {
        for (largest, axis) in [(true, 1), (false, 1), (true, 0)] {
            let op = Topk { axis, largest, fallback_k: 2.to_dim() };
            let operands = [values(&[3, 4], 1).into(), tensor0(2i64)];
            check_tensors(&op, &operands, &[true, false]);
        }
    }

    #[test]
    fn a_triangle_passes_inside() {
        for (upper, k) in [(true, 0i64), (false, 0), (true, 1), (false, -1)] {
            let operands = [values(&[2, 3, 4], 1).into(), tensor0(k)];
            check_tensors(&Trilu { upper }, &operands, &[true, false]);
        }
    }
}
