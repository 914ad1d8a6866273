//! QuantizeLinear and DequantizeLinear: straight through (Bengio et al., *Estimating or Propagating
//! Gradients Through Stochastic Neurons for Conditional Computation*, 2013, arXiv:1308.3432): rounding
//! has the derivative 1, saturation 0.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::{Relation, Where};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::quant::{DequantizeLinearF32, QuantizeLinearI8, QuantizeLinearU8};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    if op.is::<DequantizeLinearF32>() {
        return Some(Rule(|ctx| {
            let scale = ctx.op::<DequantizeLinearF32>().scale;
            let gradient = scaled(ctx, ctx.gradient, scale)?;
            Ok(ctx.first(gradient))
        }));
    }
    Quantization::of(op).map(|_| Rule(quantize))
}

/// QuantizeLinear: `clamp(round(x / step) + zero_point, range)`.
pub(crate) struct Quantization {
    step: f32,
    zero_point: f32,
    range: [f32; 2],
}

impl Quantization {
    /// None of another operator.
    pub(crate) fn of(op: &dyn TypedOp) -> Option<Quantization> {
        let op = op.downcast_ref::<ElementWiseOp>()?;
        let of = |scale: f32, zero_point: f32, range| Quantization {
            step: scale.recip(),
            zero_point,
            range,
        };
        if let Some(op) = op.0.downcast_ref::<QuantizeLinearU8>() {
            return Some(of(op.scale, op.zero_point.into(), [0.0, 255.0]));
        }
        let op = op.0.downcast_ref::<QuantizeLinearI8>()?;
        Some(of(op.scale, op.zero_point.into(), [-128.0, 127.0]))
    }
}

fn quantize(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let op = Quantization::of(ctx.node.op.as_ref()).expect("`rule` returned it");
    let (x, rank) = (ctx.operand(0)?, ctx.output_shape()?.len());
    // What rounds to a bound is inside.
    let [low, high] = op.range;
    let low = ctx.number((low - 0.5 - op.zero_point) * op.step, rank)?;
    let high = ctx.number((high + 0.5 - op.zero_point) * op.step, rank)?;
    let gradient = ctx.wire(Where(Relation::Larger), &[ctx.gradient, x, low])?;
    let gradient = ctx.wire(Where(Relation::Larger), &[gradient, high, x])?;
    let gradient = scaled(ctx, gradient, op.step.recip())?;
    Ok(ctx.first(gradient))
}

fn scaled(ctx: &mut RuleContext, gradient: OutletId, by: f32) -> TractResult<OutletId> {
    let rank = ctx.output_shape()?.len();
    let by = ctx.number(by, rank)?;
    ctx.wire(math::mul(), &[gradient, by])
}

#[cfg(test)]
mod tests {
    use crate::autodiff::backward_graph;
    use crate::autodiff::test_weights::no_weights;
    use tract_onnx::prelude::*;
    use tract_onnx::tract_core::ops::TypedOp;
    use tract_onnx::tract_core::ops::identity::Identity;
    use tract_onnx::tract_core::ops::quant::{
        DequantizeLinearF32, quantize_linear_i8, quantize_linear_u8,
    };

    #[test]
    fn rounding_passes_and_saturation_does_not() {
        // A step of 0.5: 0..=255 about zero point 2 is -1..=126.5, -128..=127 about -100 -14..=113.5.
        let u8s: Box<dyn TypedOp> = quantize_linear_u8(2.0, 2).into();
        let i8s: Box<dyn TypedOp> = quantize_linear_i8(2.0, -100).into();
        for (quantize, zero_point, x, expected) in [
            (u8s, 2, [-1.3f32, -1.2, 0.1, 126.7, 127.0], [0.0f32, 1.0, 1.0, 1.0, 0.0]),
            (i8s, -100, [-14.3, -14.2, 3.3, 113.7, 113.8], [0.0, 1.0, 1.0, 1.0, 0.0]),
        ] {
            let mut model = TypedModel::default();
            let source = model.add_source("x", f32::fact([5])).unwrap();
            let quantized = model.wire_node("quantized", quantize, &[source]).unwrap()[0];
            let back = DequantizeLinearF32 { scale: 0.5, zero_point };
            let back = model.wire_node("back", back, &[quantized]).unwrap()[0];
            let end = model.wire_node("end", Identity, &[back]).unwrap()[0];
            model.select_output_outlets(&[end]).unwrap();
            let graph = backward_graph(&model, &no_weights(), source, &[], usize::MAX).unwrap();
            let seed = tensor1(&[1f32; 5]).into_tvalue();
            let inputs = tvec!(tensor1(&x).into_tvalue(), seed);
            let found = graph.into_runnable().unwrap().run(inputs).unwrap();
            let found = found[0].to_plain_array_view::<f32>().unwrap();
            assert_eq!(found.iter().copied().collect::<Vec<_>>(), expected);
        }
    }
}
