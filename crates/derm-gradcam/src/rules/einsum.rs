//! Products of two tensors summed over shared axes. The gradient with respect to one operand is
//! such a product itself: of the output's gradient and the other operand.

use super::{Call, Gradients, Rule};
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

fn gradients(call: &mut Call) -> TractResult<Gradients> {
    let labels = Labels::of(&call.op::<EinSum>().axes)?;
    call.each(|call, place| {
        let (wanted, other) = (&labels.inputs[place], &labels.inputs[1 - place]);
        let known = |label: &char| labels.output.contains(*label) || other.contains(*label);
        let reached: String = wanted.chars().filter(known).collect();
        let axes = AxesMapping::from_strs(&[labels.output.as_str(), other], &[reached.as_str()])?;
        let operand = call.operand(1 - place)?;
        let product = EinSum::new(axes, DatumType::F32);
        let mut result = call.wire(product, &[call.gradient, operand])?;
        // An axis that only this operand has was summed: its gradient is the same all along it.
        for (axis, _) in wanted.chars().enumerate().filter(|(_, label)| !known(label)) {
            result = call.wire(AxisOp::Add(axis), &[result])?;
        }
        let shape = call.operand_shape(place)?;
        call.broadcast(result, &shape)
    })
}

/// A product as in Einstein's notation, `inputs[0],inputs[1]->output`, one letter an axis.
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
    use crate::rules::check::{check, values};

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
            for wanted in [[true, true], [true, false], [false, true]] {
                check(&op, &[values(&a, 1), values(&b, 4)], &wanted);
            }
        }
    }
}
