use tract_onnx::prelude::tract_ndarray::Zip;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::broadcast::multi_broadcast;
use tract_onnx::tract_core::internal::*;

/// What is asked of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// a > b.
    Larger,
    /// a = b.
    Equal,
}

/// The gradient where the relation of two values holds, else 0: `(gradient, a, b)`, all three
/// broadcast to one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where(pub Relation);

impl Op for Where {
    fn name(&self) -> StaticName {
        format!("Where{:?}", self.0).into()
    }
    op_as_typed_op!();
}

impl EvalOp for Where {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let shapes = inputs.iter().map(|input| input.shape());
        let shape = multi_broadcast(&shapes.collect::<TVec<_>>())?;
        let [gradient, a, b] = [0, 1, 2].map(|i| inputs[i].to_plain_array_view::<f32>());
        let (gradient, a, b) = (gradient?, a?, b?);
        let mut result = gradient.broadcast(&*shape).context("shapes that broadcast")?.to_owned();
        Zip::from(&mut result).and_broadcast(a).and_broadcast(b).for_each(|result, a, b| {
            let holds = match self.0 {
                Relation::Larger => a > b,
                Relation::Equal => a == b,
            };
            if !holds {
                *result = 0.0;
            }
        });
        Ok(tvec!(result.into_tvalue()))
    }
}

impl TypedOp for Where {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shapes: TVec<&[TDim]> = inputs.iter().map(|input| &*input.shape).collect();
        let shape = multi_broadcast(&shapes)?;
        Ok(tvec!(inputs[0].datum_type.fact(shape)))
    }
    as_op!();
}
