//! Einsum of two operands. The gradient with respect to one operand is an einsum of the output's
//! gradient and the other operand.

use super::{Gradients, Rule, RuleContext};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxesMapping, bail, ensure};
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::einsum::EinSum;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    let einsum = op.downcast_ref::<EinSum>()?;
    let plain = einsum.q_params.is_none() && Labels::of(&einsum.axes).is_ok();
    plain.then_some(Rule(gradients))
}

fn gradients(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let labels = Labels::of(&ctx.op::<EinSum>().axes)?;
    ctx.each(|ctx, index| {
        let (own, other) = (&labels.inputs[index], &labels.inputs[1 - index]);
        let known = |label: &char| labels.output.contains(*label) || other.contains(*label);
        let reached: String = own.chars().filter(known).collect();
        let axes = AxesMapping::from_strs(&[labels.output.as_str(), other], &[reached.as_str()])?;
        let operand = ctx.operand(1 - index)?;
        let product = EinSum::new(axes, DatumType::F32);
        let mut result = ctx.wire(product, &[ctx.gradient, operand])?;
        // An axis that only this operand has is summed: the gradient is broadcast along it.
        for (axis, _) in own.chars().enumerate().filter(|(_, label)| !known(label)) {
            result = ctx.wire(AxisOp::Add(axis), &[result])?;
        }
        let shape = ctx.operand_shape(index)?;
        ctx.broadcast(result, &shape)
    })
}

/// Einsum notation, `inputs[0],inputs[1]->output`, one letter per axis.
struct Labels {
    inputs: [String; 2],
    output: String,
}

impl Labels {
    fn of(axes: &AxesMapping) -> TractResult<Labels> {
        let (inputs, outputs) = axes.to_strs();
        let [first, second] = &inputs[..] else { bail!("not a product of two") };
        let repeated = |labels: &str| labels.chars().any(|l| labels.matches(l).count() > 1);
        ensure!(![first, second, &outputs[0]].iter().any(|l| repeated(l)), "a diagonal is taken");
        Ok(Labels { inputs: [first.clone(), second.clone()], output: outputs[0].clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, values};

    #[test]
    fn matrix_products_in_every_layout() {
        for (expression, a, b) in [
            ("mk,kn->mn", vec![2, 3], vec![3, 4]),
            ("mk,nk->mn", vec![2, 3], vec![4, 3]),
            ("nchw,oc->nohw", vec![1, 3, 2, 2], vec![4, 3]),
            ("bmk,bkn->bmn", vec![2, 2, 3], vec![2, 3, 2]),
            ("nchw,oc->no", vec![1, 3, 2, 2], vec![4, 3]),
            ("chw,oc->no", vec![3, 1, 1], vec![4, 3]),
        ] {
            let (inputs, output) = expression.split_once("->").unwrap();
            let inputs: Vec<&str> = inputs.split(',').collect();
            let axes = AxesMapping::from_strs(&inputs, &[output]).unwrap();
            let op = EinSum::new(axes, DatumType::F32);
            for needs_gradient in [[true, true], [true, false], [false, true]] {
                check(&op, &[values(&a, 1), values(&b, 4)], &needs_gradient);
            }
        }
    }
}
