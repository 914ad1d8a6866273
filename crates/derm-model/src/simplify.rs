//! Simplification: the subset of tract's passes that the engine needs.

use crate::budget::{Fold, Shared};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, TypedModelPatch};
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::dummy::Dummy;
use tract_onnx::tract_core::optim::{Optimizer, OptimizerSession, TypedPass};

/// Passes of tract's that look for patterns which classifiers do not have (masks, regions of
/// interest, slices and splits to be moved), or that choose an order of axes, which the engine does
/// during lowering. Without them V2-S is simplified in a fifth of the time, with the same steps.
const LEFT_OUT: [&str; 7] = [
    "PropagateUniformTdim",
    "PropagateRoi",
    "FoldUniformMask",
    "PushSliceUp",
    "PushSplitDown",
    "ConcatThenEinsum",
    "ChangeAxes",
];

/// Folds constants, and lets every operator rewrite itself to simpler ones.
///
/// # Errors
/// If the budget is used up, or an operator cannot be computed.
pub(crate) fn simplify(model: &mut TypedModel, budget: &Shared) -> TractResult<()> {
    let mut optimizer = Optimizer::declutter();
    optimizer.passes.retain(|pass| {
        let name = format!("{pass:?}");
        !LEFT_OUT.iter().any(|left_out| name.starts_with(left_out))
    });
    for pass in &mut optimizer.passes {
        let name = format!("{pass:?}");
        if name == "declutter" {
            *pass = Box::new(Declutter { next: 0 });
        } else if name.starts_with("PropConst") {
            *pass = Box::new(Fold::new(Arc::clone(budget)));
        }
    }
    optimizer.optimize(model)
}

/// Declutter: as tract's pass of that name, but for [`is_stuck`].
#[derive(Debug, Clone)]
struct Declutter {
    /// The node to begin with.
    next: usize,
}

impl TypedPass for Declutter {
    fn reset(&mut self) -> TractResult<()> {
        self.next = 0;
        Ok(())
    }

    fn next(
        &mut self,
        session: &mut OptimizerSession<'_>,
        model: &TypedModel,
    ) -> TractResult<Option<TypedModelPatch>> {
        for node in &model.nodes()[self.next..] {
            if node.op_is::<Dummy>() || is_stuck(model, node) {
                continue;
            }
            if let Some(patch) = node.op.declutter_with_session(session, model, node)? {
                self.next = node.id + usize::from(patch.dont_apply_twice.is_some());
                return Ok(Some(patch));
            }
        }
        Ok(None)
    }
}

/// Whether a node takes every n-th value along an axis that a reshape makes: tract would move it
/// before the reshape, where there is no such axis, and fail.
fn is_stuck(model: &TypedModel, node: &TypedNode) -> bool {
    let Some(downsample) = node.op_as::<Downsample>() else { return false };
    let before = node.inputs.first().map(|input| model.node(input.node));
    let axis_op = before.and_then(|node| node.op_as::<AxisOp>());
    axis_op.is_some_and(|op| op.recip().transform_axis(downsample.axis).is_none())
}
