//! Vector-Jacobian products: given an operator and the gradient of the logit with respect to its
//! output, nodes that compute the gradient with respect to each operand.
//!
//! One file a family of operators. Each rule is checked against finite differences, evaluated by
//! tract and by the engine that serves.

mod arithmetic;
mod array;
mod axis;
mod conv;
mod einsum;
mod elementwise;
mod lrn;
mod norm;
mod pool;
mod reduce;
mod resize;
mod select;
mod softmax;

#[cfg(test)]
mod check;

use crate::tape::Tape;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

/// What a rule is given.
pub(crate) struct Call<'t, 'm> {
    pub(crate) tape: &'t mut Tape<'m>,
    /// The operator, in the graph that is differentiated.
    pub(crate) node: &'m TypedNode,
    /// Of the output's shape.
    pub(crate) gradient: OutletId,
    /// Which operands' gradients are of use.
    pub(crate) wanted: &'t [bool],
}

/// One gradient for each operand, of its shape; `None` where it is not wanted.
pub(crate) type Gradients = TVec<Option<OutletId>>;

/// A vector-Jacobian product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule(fn(&mut Call) -> TractResult<Gradients>);

impl Rule {
    pub(crate) fn apply(self, call: &mut Call) -> TractResult<Gradients> {
        (self.0)(call)
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
        lrn::rule,
        norm::rule,
        pool::rule,
        reduce::rule,
        resize::rule,
        select::rule,
        softmax::rule,
    ]
    .iter()
    .find_map(|family| family(op))
}

impl Call<'_, '_> {
    /// The operator, which `rule` has seen to be of this type.
    fn op<T: TypedOp>(&self) -> &T {
        self.node.op_as::<T>().expect("the rule was chosen by this type")
    }

    /// An operand's value.
    fn operand(&mut self, place: usize) -> TractResult<OutletId> {
        self.tape.value(self.node.inputs[place])
    }

    /// The output's value.
    fn output(&mut self) -> TractResult<OutletId> {
        self.tape.value(self.node.id.into())
    }

    fn operand_shape(&self, place: usize) -> TractResult<TVec<usize>> {
        self.tape.shape(self.node.inputs[place])
    }

    fn output_shape(&self) -> TractResult<TVec<usize>> {
        self.tape.shape(self.node.id.into())
    }

    fn wire(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        self.tape.wire(op, inputs)
    }

    /// One number, of this rank.
    fn number(&mut self, value: f32, rank: usize) -> TractResult<OutletId> {
        self.tape.constant(Tensor::from_shape(&vec![1; rank], &[value])?)
    }

    /// The sum over axes, which stay, with one place each.
    fn sum(&mut self, value: OutletId, axes: TVec<usize>) -> TractResult<OutletId> {
        if axes.is_empty() {
            return Ok(value);
        }
        self.wire(Reduce { axes, reducer: Reducer::Sum }, &[value])
    }

    /// Axes of one place repeated to this shape.
    fn broadcast(&mut self, value: OutletId, shape: &[usize]) -> TractResult<OutletId> {
        if self.tape.graph.outlet_fact(value)?.shape.as_concrete() == Some(shape) {
            return Ok(value);
        }
        self.wire(MultiBroadcastTo { shape: shape.into() }, &[value])
    }

    /// Sums over the axes that broadcasting stretched: the gradient of a broadcast. Its operand has
    /// `shape`; where that has fewer axes, those in front are missing.
    fn unbroadcast(&mut self, gradient: OutletId, shape: &[usize]) -> TractResult<OutletId> {
        let fact = self.tape.graph.outlet_fact(gradient)?;
        let from: TVec<usize> = fact.shape.as_concrete().unwrap_or_default().into();
        let missing = from.len() - shape.len();
        let wanted = |axis: usize| if axis < missing { 1 } else { shape[axis - missing] };
        let stretched = |axis: &usize| wanted(*axis) == 1 && from[*axis] != 1;
        let axes: TVec<usize> = (0..from.len()).filter(stretched).collect();
        let mut sum = self.sum(gradient, axes)?;
        for _ in 0..missing {
            sum = self.wire(AxisOp::Rm(0), &[sum])?;
        }
        Ok(sum)
    }

    /// `gradient(place)` for each operand that is wanted.
    fn each(
        &mut self,
        mut gradient: impl FnMut(&mut Self, usize) -> TractResult<OutletId>,
    ) -> TractResult<Gradients> {
        let wanted = self.wanted.iter().enumerate();
        wanted.map(|(place, wanted)| wanted.then(|| gradient(self, place)).transpose()).collect()
    }

    /// The gradient for the first operand alone.
    fn first(&self, gradient: OutletId) -> Gradients {
        let mut gradients: Gradients = self.node.inputs.iter().map(|_| None).collect();
        gradients[0] = Some(gradient);
        gradients
    }
}
