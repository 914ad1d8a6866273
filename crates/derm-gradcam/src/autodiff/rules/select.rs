//! Where (select): the gradient goes to the value that was selected. PReLU, ELU, SELU and the like are
//! composed of it.

use super::{Gradients, Rule, RuleContext};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::logic::Iff;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    op.is::<Iff>().then_some(Rule(gradients))
}

fn gradients(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let condition = ctx.operand(0)?;
    let rank = ctx.output_shape()?.len();
    ctx.each(|ctx, index| {
        let zero = ctx.number(0.0, rank)?;
        let values = if index == 1 { [ctx.gradient, zero] } else { [zero, ctx.gradient] };
        let selected = ctx.wire(Iff, &[condition, values[0], values[1]])?;
        let shape = ctx.operand_shape(index)?;
        ctx.unbroadcast(selected, &shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check_tensors, values};

    #[test]
    fn the_selected_value_gets_the_gradient() {
        let condition = Tensor::from(values(&[2, 3], 7).mapv(|value| value > 0.0));
        let operands = [condition, values(&[2, 3], 1).into(), values(&[1, 3], 2).into()];
        check_tensors(&Iff, &operands, &[false, true, true]);
    }
}
