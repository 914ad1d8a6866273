//! QuantizeLinear and DequantizeLinear: straight through (Bengio et al., *Estimating or Propagating
//! Gradients Through Stochastic Neurons for Conditional Computation*, 2013, arXiv:1308.3432): rounding
//! has the derivative 1, saturation 0.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::{Dequantize, Quantize, Relation, Where};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TractErrorContext;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::math;

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    if op.downcast_ref::<Dequantize>().is_some_and(|op| op.per_tensor().is_some()) {
        return Some(Rule(|ctx| {
            let per_tensor = ctx.op::<Dequantize>().per_tensor();
            let (scale, _) = per_tensor.context("scales along an axis")?;
            let gradient = scaled(ctx, ctx.gradient, scale)?;
            Ok(ctx.first(gradient))
        }));
    }
    op.is::<Quantize>().then_some(Rule(quantize))
}

fn quantize(ctx: &mut RuleContext) -> TractResult<Gradients> {
    let op = ctx.op::<Quantize>().clone();
    let (x, rank) = (ctx.operand(0)?, ctx.output_shape()?.len());
    // What rounds to a bound is inside.
    let [low, high] = [*op.bounds().start(), *op.bounds().end()];
    let bound = |q: i32, half: f32| ((q - op.zero_point) as f32 + half) * op.scale;
    let low = ctx.number(bound(low, -0.5), rank)?;
    let high = ctx.number(bound(high, 0.5), rank)?;
    let gradient = ctx.wire(Where(Relation::Larger), &[ctx.gradient, x, low])?;
    let gradient = ctx.wire(Where(Relation::Larger), &[gradient, high, x])?;
    let gradient = scaled(ctx, gradient, op.scale.recip())?;
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
    use derm_engine::graph_ops::{Dequantize, Quantize};

    #[test]
    fn rounding_passes_and_saturation_does_not() {
        // A step of 0.5: 0..=255 about zero point 2 is -1..=126.5, -128..=127 about -100 -14..=113.5.
        let u8s: Box<dyn TypedOp> = Quantize::new(0.5, 2, false).unwrap().into();
        let i8s: Box<dyn TypedOp> = Quantize::new(0.5, -100, true).unwrap().into();
        for (quantize, zero_point, x, expected) in [
            (u8s, 2, [-1.3f32, -1.2, 0.1, 126.7, 127.0], [0.0f32, 1.0, 1.0, 1.0, 0.0]),
            (i8s, -100, [-14.3, -14.2, 3.3, 113.7, 113.8], [0.0, 1.0, 1.0, 1.0, 0.0]),
        ] {
            let mut model = TypedModel::default();
            let source = model.add_source("x", f32::fact([5])).unwrap();
            let quantized = model.wire_node("quantized", quantize, &[source]).unwrap()[0];
            let back = Dequantize::new(vec![0.5], vec![zero_point], 0, &[5]).unwrap();
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
