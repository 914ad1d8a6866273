use super::window::{Tap, Windows};
use tract_onnx::prelude::tract_ndarray::{ArrayD, ArrayViewD, Dimension};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{MaxPool, SumPool};

/// A pooling over any number of spatial axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pool {
    /// The largest value under a window.
    Max(MaxPool),
    /// The sum or mean.
    Sum(SumPool),
}

/// The input's gradient of a pooling: `(gradient, input)` for a maximum, of which the first of the
/// largest values under a window gets the gradient, as in PyTorch; `(gradient)` for a sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolInputGradient {
    /// The operator.
    pub pool: Pool,
    /// The shape of its input.
    pub input_shape: TVec<usize>,
}

impl Op for PoolInputGradient {
    fn name(&self) -> StaticName {
        "PoolInputGradient".into()
    }
    op_as_typed_op!();
}

impl EvalOp for PoolInputGradient {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let gradient = inputs[0].to_plain_array_view::<f32>()?;
        let result = match &self.pool {
            Pool::Max(pool) => self.max(pool, gradient, inputs[1].to_plain_array_view()?),
            Pool::Sum(pool) => self.sum(pool, gradient),
        };
        Ok(tvec!(result.into_tvalue()))
    }
}

impl TypedOp for PoolInputGradient {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(&*self.input_shape)))
    }
    as_op!();
}

impl PoolInputGradient {
    fn max(
        &self,
        pool: &MaxPool,
        gradient: ArrayViewD<f32>,
        input: ArrayViewD<f32>,
    ) -> ArrayD<f32> {
        let windows = Windows::new(&pool.pool_spec, input.shape());
        let spatial = windows.first_axis..windows.first_axis + windows.rank();
        let mut result = ArrayD::zeros(input.shape());
        for (index, &gradient) in gradient.indexed_iter() {
            let mut at = index.slice().to_vec();
            let mut best: Option<(f32, Tap)> = None;
            for tap in windows.under(&index.slice()[spatial.clone()]) {
                at[spatial.clone()].copy_from_slice(&tap.position);
                let value = input[&at[..]];
                if best.as_ref().is_none_or(|(largest, _)| value > *largest) {
                    best = Some((value, tap));
                }
            }
            if let Some((_, tap)) = best {
                at[spatial.clone()].copy_from_slice(&tap.position);
                result[&at[..]] += gradient;
            }
        }
        result
    }

    fn sum(&self, pool: &SumPool, gradient: ArrayViewD<f32>) -> ArrayD<f32> {
        let windows = Windows::new(&pool.pool_spec, &self.input_shape);
        let spatial = windows.first_axis..windows.first_axis + windows.rank();
        let mut result = ArrayD::zeros(&*self.input_shape);
        for (index, &gradient) in gradient.indexed_iter() {
            let mut at = index.slice().to_vec();
            let output = &index.slice()[spatial.clone()];
            let count = match (pool.normalize, pool.count_include_pad) {
                (false, _) => 1,
                (true, true) => windows.kernel_size(),
                (true, false) => windows.under(output).count().max(1),
            };
            for tap in windows.under(output) {
                at[spatial.clone()].copy_from_slice(&tap.position);
                result[&at[..]] += gradient / count as f32;
            }
        }
        result
    }
}
