//! Resize (nearest, linear, cubic): a separable linear map, so the gradient is multiplied by the
//! transposed matrix of each resized axis.

use super::{Gradients, Rule, RuleContext};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxesMapping, TractErrorContext};
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::resize::{NearestUpsample, Resize};
use tract_onnx_opl::resize::Resize as OnnxResize;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    let known = op.is::<Resize>() || op.is::<NearestUpsample>() || op.is::<OnnxResize>();
    known.then_some(Rule(gradient))
}

fn gradient(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let (from, to) = (ctx.operand_shape(0)?, ctx.output_shape()?);
    let mut gradient = ctx.gradient;
    for axis in (0..from.len()).filter(|&axis| from[axis] != to[axis]) {
        let matrix = matrix(ctx, &from, axis)?;
        let matrix = ctx.builder.constant(matrix)?;
        let letters: String = ('a'..).take(from.len()).collect();
        let back = letters.replacen(letters.as_bytes()[axis] as char, "z", 1);
        let pair = format!("{}z", letters.as_bytes()[axis] as char);
        let axes = AxesMapping::from_strs(&[letters.as_str(), &pair], &[back.as_str()])?;
        gradient = ctx.wire(EinSum::new(axes, DatumType::F32), &[gradient, matrix])?;
    }
    Ok(ctx.first(gradient))
}

/// The operator's matrix along `axis`, `[output index, input index]`: column `i` is its output for an
/// input that is 1 at index `i` of the axis and 0 elsewhere.
fn matrix(ctx: &mut RuleContext, from: &[usize], axis: usize) -> TractResult<Tensor> {
    let to = ctx.output_shape()?[axis];
    let mut matrix = ndarray::Array2::<f32>::zeros((to, from[axis]));
    for index in 0..from[axis] {
        let mut input = ndarray::ArrayD::<f32>::zeros(from);
        input.index_axis_mut(ndarray::Axis(axis), index).fill(1.0);
        let mut operands = tvec!(Tensor::from(input).into_tvalue());
        for &other in &ctx.node.inputs[1..] {
            let constant = ctx.builder.constant_value(other)?;
            operands.push(constant.into_tvalue());
        }
        let outputs = ctx.node.op.eval_out_of_plan(operands)?;
        let outputs = outputs.context("a resize is evaluated out of plan")?;
        let output = outputs[0].to_plain_array_view::<f32>()?;
        let first = output.lanes(ndarray::Axis(axis)).into_iter().next();
        matrix.column_mut(index).assign(&first.context("the output is empty")?);
    }
    Ok(Tensor::from(matrix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, check_tensors, values};
    use tract_onnx::tract_core::ops::nn::resize::{CoordTransformer, Interpolator, Nearest};

    #[test]
    fn nearest_upsampling_by_whole_factors() {
        let op = NearestUpsample { scales: tvec!(1, 1, 2, 3) };
        check(&op, &[values(&[1, 2, 3, 2], 1)], &[true]);
    }

    #[test]
    fn every_interpolation_up_and_down() {
        for interpolator in [Interpolator::Nearest, Interpolator::Linear, Interpolator::Cubic] {
            for coord_transformer in [CoordTransformer::HalfPixel, CoordTransformer::AlignCorners] {
                let op = Resize {
                    coord_transformer: coord_transformer.clone(),
                    interpolator: interpolator.clone(),
                    nearest: Nearest::Floor,
                    optional_scales_input: None,
                    optional_sizes_input: Some(1),
                };
                let operands = [values(&[1, 2, 3, 5], 1).into(), tensor1(&[1i64, 2, 7, 4])];
                check_tensors(&op, &operands, &[true, false]);
            }
        }
    }
}
