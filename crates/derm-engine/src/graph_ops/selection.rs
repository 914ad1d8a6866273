use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// Adds each element's gradient to where a selection took the element from: `(gradient, others...)`,
/// the others being the selection's operands that it does not select from, in their order.
///
/// A selection is an operator whose output's elements are elements of its operands, or zero: Tile,
/// GatherND, ScatterElements, a triangle. It is evaluated on the elements' numbers in place of the
/// elements, which says where each comes from, whatever the operator's own arithmetic of indices is.
#[derive(Debug, Clone)]
pub struct SelectionInputGradient {
    /// The selection.
    pub op: Box<dyn TypedOp>,
    /// The operands that are selected from, in their order, with their shapes.
    pub selected: TVec<(usize, TVec<usize>)>,
    /// Which of `selected` the gradient belongs to.
    pub of: usize,
}

impl PartialEq for SelectionInputGradient {
    fn eq(&self, other: &Self) -> bool {
        *self.op == *other.op && self.selected == other.selected && self.of == other.of
    }
}

impl Eq for SelectionInputGradient {}

impl Op for SelectionInputGradient {
    fn name(&self) -> StaticName {
        format!("{}InputGradient", self.op.name()).into()
    }
    op_as_typed_op!();
}

impl EvalOp for SelectionInputGradient {
    op_out_of_plan!();
    fn eval(&self, ctx: &EvalContext, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let gradient = inputs.remove(0);
        // Elements are numbered from 1 on: a padding or the other half of a triangle is 0.
        let mut next = 1i64;
        let mut own = 0..0;
        for (of, (operand, shape)) in self.selected.iter().enumerate() {
            let first = next;
            next += shape.iter().product::<usize>() as i64;
            let numbers = tensor1(&(first..next).collect::<Vec<i64>>());
            inputs.insert(*operand, numbers.into_shape(shape)?.into_tvalue());
            if of == self.of {
                own = first..next;
            }
        }
        let numbers = self.op.eval(ctx, inputs)?.swap_remove(0);
        let mut result = Tensor::zero::<f32>(&self.selected[self.of].1)?;
        let mut plain = result.try_as_plain_ram_mut()?;
        let sums = plain.as_slice_mut::<f32>()?;
        let gradient = gradient.to_plain_array_view::<f32>()?;
        let numbers = numbers.to_plain_array_view::<i64>()?;
        ensure!(numbers.len() == gradient.len(), "the selection's shape is another");
        for (number, gradient) in numbers.iter().zip(gradient.iter()) {
            if own.contains(number) {
                sums[(number - own.start) as usize] += gradient;
            }
        }
        Ok(tvec!(result.into_tvalue()))
    }
}

impl TypedOp for SelectionInputGradient {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(&*self.selected[self.of].1)))
    }
    as_op!();
}
