//! GridSample: the gradient with respect to the sampled values and to the grid.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::GridSampleGradient;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::nn::grid_sample::GridSample;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    op.is::<GridSample>().then_some(Rule(gradients))
}

fn gradients(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let (input, grid) = (ctx.operand(0)?, ctx.operand(1)?);
    ctx.each(|ctx, index| {
        let (op, operand_shape) = (ctx.op::<GridSample>().clone(), ctx.operand_shape(index)?);
        let op = GridSampleGradient { op, of_grid: index == 1, operand_shape };
        ctx.wire(op, &[ctx.gradient, input, grid])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::rules::check::{check, values};
    use ndarray::ArrayD;
    use tract_onnx::tract_core::ops::nn::grid_sample::{InterpolationMode, PaddingMode};

    const MODES: [InterpolationMode; 3] =
        [InterpolationMode::Bilinear, InterpolationMode::Nearest, InterpolationMode::Bicubic];
    const PADDINGS: [PaddingMode; 3] =
        [PaddingMode::Zeros, PaddingMode::Border, PaddingMode::Reflection];

    /// A grid over `sizes` whose samples lie between pixels, some of them outside, none where a weight
    /// has a bend within the step of the differences.
    fn grid(samples: [usize; 2], sizes: [usize; 2], align_corners: bool) -> ArrayD<f32> {
        let shape = vec![1, samples[0], samples[1], 2];
        ArrayD::from_shape_fn(shape, |index| {
            let size = sizes[1 - index[3]] as f32;
            let step = (index[1] * 5 + index[2] * 3 + index[3] * 2) % (sizes[1 - index[3]] + 2);
            let pixel = step as f32 - 1.0 + [0.3, 0.7][(index[1] + index[2]) % 2];
            if align_corners {
                pixel * 2.0 / (size - 1.0) - 1.0
            } else {
                (pixel * 2.0 + 1.0) / size - 1.0
            }
        })
    }

    #[test]
    fn every_interpolation_and_padding() {
        for mode in MODES {
            for padding_mode in PADDINGS {
                for align_corners in [false, true] {
                    let op = GridSample {
                        mode: mode.clone(),
                        padding_mode: padding_mode.clone(),
                        align_corners,
                    };
                    let operands = [values(&[1, 2, 4, 5], 1), grid([3, 4], [4, 5], align_corners)];
                    for needs_gradient in [[true, true], [true, false], [false, true]] {
                        check(&op, &operands, &needs_gradient);
                    }
                }
            }
        }
    }
}
