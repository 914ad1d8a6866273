//! Vector-Jacobian products: given an operator's operands, its output and the gradient of the
//! logit with respect to that output, the gradient with respect to each operand.
//!
//! One file a family of operators. Each rule is checked against finite differences.

mod arithmetic;
mod array;
mod axis;
mod conv;
mod einsum;
mod elementwise;
mod norm;
mod pool;
mod reduce;

#[cfg(test)]
mod check;

use ndarray::{ArrayD, ArrayViewD, Axis};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;

/// What a rule is given.
pub(crate) struct Call<'a> {
    pub(crate) op: &'a dyn TypedOp,
    pub(crate) operands: &'a [&'a Tensor],
    pub(crate) output: &'a Tensor,
    /// Of the output's shape.
    pub(crate) gradient: ArrayD<f32>,
    /// Which operands' gradients are of use.
    pub(crate) wanted: &'a [bool],
}

/// One gradient for each operand, of its shape; `None` where it is not wanted.
pub(crate) type Gradients = TVec<Option<ArrayD<f32>>>;

/// A vector-Jacobian product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule(fn(&Call) -> TractResult<Gradients>);

impl Rule {
    /// For an operator whose gradient is never asked for.
    pub(crate) const NONE: Rule = Rule(|call| Ok(call.operands.iter().map(|_| None).collect()));

    pub(crate) fn apply(self, call: Call) -> TractResult<Gradients> {
        (self.0)(&call)
    }
}

/// The rule for this operator, if there is one.
pub(crate) fn rule_for(op: &dyn TypedOp) -> Option<Rule> {
    [
        arithmetic::rule,
        array::rule,
        axis::rule,
        conv::rule,
        einsum::rule,
        elementwise::rule,
        norm::rule,
        pool::rule,
        reduce::rule,
    ]
    .iter()
    .find_map(|family| family(op))
}

impl Call<'_> {
    /// The operator, which `rule` has seen to be of this type.
    fn op<T: TypedOp>(&self) -> &T {
        self.op.downcast_ref::<T>().expect("the rule was chosen by this type")
    }

    fn operand(&self, place: usize) -> TractResult<ArrayViewD<'_, f32>> {
        self.operands[place].to_plain_array_view::<f32>()
    }

    fn output(&self) -> TractResult<ArrayViewD<'_, f32>> {
        self.output.to_plain_array_view::<f32>()
    }

    /// `gradient(place)` for each operand that is wanted.
    fn each(
        &self,
        mut gradient: impl FnMut(usize) -> TractResult<ArrayD<f32>>,
    ) -> TractResult<Gradients> {
        let wanted = self.wanted.iter().enumerate();
        wanted.map(|(place, wanted)| wanted.then(|| gradient(place)).transpose()).collect()
    }

    /// The gradient for the first operand alone.
    fn first(&self, gradient: ArrayD<f32>) -> Gradients {
        let mut gradients: Gradients = self.operands.iter().map(|_| None).collect();
        gradients[0] = Some(gradient);
        gradients
    }
}

/// Sums over the axes that broadcasting stretched: the gradient of a broadcast.
fn unbroadcast(mut gradient: ArrayD<f32>, shape: &[usize]) -> ArrayD<f32> {
    for (axis, &length) in shape.iter().enumerate() {
        if length == 1 && gradient.shape()[axis] != 1 {
            gradient = gradient.sum_axis(Axis(axis)).insert_axis(Axis(axis));
        }
    }
    gradient
}
