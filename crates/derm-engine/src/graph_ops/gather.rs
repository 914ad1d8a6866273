use tract_onnx::prelude::tract_ndarray::{ArrayD, Axis};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// Adds each element's gradient to where [`Gather`](tract_onnx::tract_core::ops::array::Gather) took
/// it from: `(gradient, indices)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatherInputGradient {
    /// The axis along which elements were picked.
    pub axis: usize,
    /// What they were picked from.
    pub input_shape: TVec<usize>,
}

impl Op for GatherInputGradient {
    fn name(&self) -> StaticName {
        "GatherInputGradient".into()
    }
    op_as_typed_op!();
}

impl EvalOp for GatherInputGradient {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let indices = inputs[1].cast_to::<i64>()?;
        let indices = indices.to_plain_array_view::<i64>()?;
        // One axis for all indices, whatever their own shape is.
        let mut flat = self.input_shape.to_vec();
        flat[self.axis] = indices.len();
        let gradient = inputs[0].to_plain_array_view::<f32>()?;
        let gradient = gradient.to_shape(flat)?;
        let mut result = ArrayD::<f32>::zeros(&*self.input_shape);
        for (position, &index) in indices.iter().enumerate() {
            let length = self.input_shape[self.axis] as i64;
            let index = usize::try_from(if index < 0 { index + length } else { index })?;
            ensure!(index < self.input_shape[self.axis], "index {index} of {length}");
            let mut picked = result.index_axis_mut(Axis(self.axis), index);
            picked += &gradient.index_axis(Axis(self.axis), position);
        }
        Ok(tvec!(result.into_tvalue()))
    }
}

impl TypedOp for GatherInputGradient {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(&*self.input_shape)))
    }
    as_op!();
}
