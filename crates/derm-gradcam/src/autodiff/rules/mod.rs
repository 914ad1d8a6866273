//! Differentiation rules (vector-Jacobian products): given an operator and the gradient with respect
//! to its output, nodes that compute the gradient with respect to each operand.
//!
//! One file per operator family. Each rule is tested against finite differences, evaluated by tract
//! and by derm-engine.

mod arithmetic;
mod array;
mod axis;
mod conv;
mod cumsum;
mod deconv;
mod einsum;
mod elementwise;
mod grid_sample;
mod lrn;
mod norm;
mod pool;
mod quantize;
mod reduce;
mod resize;
mod select;
mod selection;
mod softmax;

#[cfg(test)]
mod check;

use super::builder::GraphBuilder;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

/// The arguments of a rule.
pub(crate) struct RuleContext<'t, 'm> {
    pub(crate) builder: &'t mut GraphBuilder<'m>,
    /// The operator, in the graph that is differentiated.
    pub(crate) node: &'m TypedNode,
    /// The gradient with respect to the output, of the output's shape.
    pub(crate) gradient: OutletId,
    /// For each operand, whether its gradient is used.
    pub(crate) needs_gradient: &'t [bool],
}

/// The gradient with respect to each operand, of its shape; `None` where it is not needed, or not
/// known.
pub(crate) type Gradients = TVec<Option<OutletId>>;

/// A differentiation rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule(fn(&mut RuleContext) -> TractResult<Gradients>);

impl Rule {
    pub(crate) fn apply(self, ctx: &mut RuleContext) -> TractResult<Gradients> {
        (self.0)(ctx)
    }
}

/// The rule for this operator, if there is one.
pub(crate) fn rule_for(op: &dyn TypedOp) -> Option<Rule> {
    [
        arithmetic::rule,
        array::rule,
        axis::rule,
        conv::rule,
        cumsum::rule,
        deconv::rule,
        einsum::rule,
        elementwise::rule,
        grid_sample::rule,
        lrn::rule,
        norm::rule,
        pool::rule,
        quantize::rule,
        reduce::rule,
        resize::rule,
        select::rule,
        selection::rule,
        softmax::rule,
    ]
    .iter()
    .find_map(|family| family(op))
}

impl RuleContext<'_, '_> {
    /// The operator, whose type `rule` has checked.
    fn op<T: TypedOp>(&self) -> &T {
        self.node.op_as::<T>().expect("the rule was chosen by this type")
    }

    /// The value of an operand.
    fn operand(&mut self, index: usize) -> TractResult<OutletId> {
        self.builder.value(self.node.inputs[index])
    }

    /// The value of the output.
    fn output(&mut self) -> TractResult<OutletId> {
        self.builder.value(self.node.id.into())
    }

    fn operand_shape(&self, index: usize) -> TractResult<TVec<usize>> {
        self.builder.shape(self.node.inputs[index])
    }

    fn output_shape(&self) -> TractResult<TVec<usize>> {
        self.builder.shape(self.node.id.into())
    }

    fn wire(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        self.builder.wire(op, inputs)
    }

    /// A scalar constant of this rank, every dimension 1.
    fn number(&mut self, value: f32, rank: usize) -> TractResult<OutletId> {
        self.builder.number(value, rank)
    }

    /// The sum over axes, which stay with length 1.
    fn sum(&mut self, value: OutletId, axes: TVec<usize>) -> TractResult<OutletId> {
        if axes.is_empty() {
            return Ok(value);
        }
        self.wire(Reduce { axes, reducer: Reducer::Sum }, &[value])
    }

    /// Broadcasts axes of length 1 to this shape.
    fn broadcast(&mut self, value: OutletId, shape: &[usize]) -> TractResult<OutletId> {
        if self.builder.graph.outlet_fact(value)?.shape.as_concrete() == Some(shape) {
            return Ok(value);
        }
        self.wire(MultiBroadcastTo { shape: shape.into() }, &[value])
    }

    /// The gradient of a broadcast of an operand of `shape`: the sum over the axes that were broadcast.
    /// Where `shape` has fewer axes, the leading ones are missing.
    fn unbroadcast(&mut self, gradient: OutletId, shape: &[usize]) -> TractResult<OutletId> {
        let fact = self.builder.graph.outlet_fact(gradient)?;
        let from: TVec<usize> = fact.shape.as_concrete().unwrap_or_default().into();
        let missing = from.len() - shape.len();
        let length = |axis: usize| if axis < missing { 1 } else { shape[axis - missing] };
        let was_broadcast = |axis: &usize| length(*axis) == 1 && from[*axis] != 1;
        let axes: TVec<usize> = (0..from.len()).filter(was_broadcast).collect();
        let mut sum = self.sum(gradient, axes)?;
        for _ in 0..missing {
            sum = self.wire(AxisOp::Rm(0), &[sum])?;
        }
        Ok(sum)
    }

    /// `gradient(index)` for each operand whose gradient is needed.
    fn each(
        &mut self,
        mut gradient: impl FnMut(&mut Self, usize) -> TractResult<OutletId>,
    ) -> TractResult<Gradients> {
        let operands = self.needs_gradient.iter().enumerate();
        operands.map(|(index, needed)| needed.then(|| gradient(self, index)).transpose()).collect()
    }

    /// No gradient is known.
    fn none(&self) -> Gradients {
        self.node.inputs.iter().map(|_| None).collect()
    }

    /// The gradient for the first operand only.
    fn first(&self, gradient: OutletId) -> Gradients {
        let mut gradients = self.none();
        gradients[0] = Some(gradient);
        gradients
    }
}
