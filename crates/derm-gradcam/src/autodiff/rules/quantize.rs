//! QuantizeLinear and DequantizeLinear: straight through (Bengio et al., *Estimating or Propagating
//! Gradients Through Stochastic Neurons for Conditional Computation*, 2013, arXiv:1308.3432): rounding
//! has the derivative 1, saturation 0.

use super::{Gradients, Rule, RuleContext};
use derm_engine::graph_ops::{Dequantize, FakeQuantize, Quantize, Relation, Where};
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
    if op.is::<FakeQuantize>() {
        // No value is beyond the range that is made of them.
        return Some(Rule(|ctx| Ok(ctx.first(ctx.gradient))));
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
    use derm_engine::graph_ops::{Dequantize, FakeQuantize, Quantize};
    use derm_engine::{Engine, Options, PackedWeightCache};
    use tract_onnx::prelude::*;
    use tract_onnx::tract_core::ops::TypedOp;
    use tract_onnx::tract_core::ops::cnn::conv::KernelFormat;
    use tract_onnx::tract_core::ops::cnn::{Conv, PaddingSpec, PoolSpec};
    use tract_onnx::tract_core::ops::identity::Identity;
    use tract_onnx::tract_core::ops::konst::Const;
    use tract_onnx::tract_core::ops::nn::DataFormat;

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

    #[test]
    fn fake_quantisation_passes_all() {
        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact([3])).unwrap();
        let rounded = model.wire_node("rounded", FakeQuantize, &[source]).unwrap()[0];
        model.select_output_outlets(&[rounded]).unwrap();
        let graph = backward_graph(&model, &no_weights(), source, &[], usize::MAX).unwrap();
        let inputs = tvec!(tensor1(&[-2f32, 0.3, 5.0]).into(), tensor1(&[1f32, 2.0, 3.0]).into());
        let found = graph.into_runnable().unwrap().run(inputs).unwrap();
        assert_eq!(*found[0], tensor1(&[1f32, 2.0, 3.0]));
    }

    /// A convolution in integers; its gradient reads the same weights as float32.
    #[test]
    fn the_gradient_of_a_quantised_convolution_is_that_of_its_weights() {
        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact([1, 5, 4, 4])).unwrap();
        let mut wire = |name: &str, op: Box<dyn TypedOp>, inputs: &[OutletId]| {
            model.wire_node(name, op, inputs).unwrap()[0]
        };
        let dequantize = |scale: f32, zero: i32| -> Box<dyn TypedOp> {
            Dequantize::new(vec![scale], vec![zero], 0, &[]).unwrap().into()
        };
        let q = wire("q", Quantize::new(0.02, 128, false).unwrap().into(), &[source]);
        let x = wire("dq", dequantize(0.02, 128), &[q]);
        let numbers = (0..4 * 4 * 9).map(|n| ((n * 37) % 255) as u8 as i8).collect();
        let numbers = ndarray::Array4::<i8>::from_shape_vec([4, 4, 3, 3], numbers).unwrap();
        let numbers = wire("w", Box::new(Const::new(numbers.into_tensor().into()).unwrap()), &[]);
        let scales = vec![0.01, 0.02, 0.03, 0.015];
        let scales = Dequantize::new(scales, vec![0; 4], 0, &[4, 4, 3, 3]).unwrap();
        let weights = wire("dw", scales.into(), &[numbers]);
        let bias = wire("b", Box::new(Const::new(rctensor1(&[0f32; 4])).unwrap()), &[]);
        let padding = PaddingSpec::SameUpper;
        let spec = PoolSpec::new(DataFormat::NHWC, tvec!(3, 3), padding, None, None, 4, 4);
        let conv = Conv::new(spec, KernelFormat::OIHW, 1, None);
        let y = wire("conv", conv.into(), &[x, weights, bias]);
        let q = wire("q2", Quantize::new(0.15, 128, false).unwrap().into(), &[y]);
        let y = wire("dq2", dequantize(0.15, 128), &[q]);
        let end = wire("end", Box::new(Identity), &[y]);
        model.select_output_outlets(&[end]).unwrap();
        let graph = backward_graph(&model, &no_weights(), source, &[], usize::MAX).unwrap();
        let input: Vec<f32> = (0..80).map(|n| ((n * 29) % 97) as f32 / 40.0 - 1.2).collect();
        let seed: Vec<f32> = (0..80).map(|n| ((n * 13) % 23) as f32 / 10.0 - 1.0).collect();
        let tensor =
            |values: &[f32]| Tensor::from_shape(&[1, 5, 4, 4], values).unwrap().into_tvalue();
        let plan = graph.clone().into_runnable().unwrap();
        let expected = plan.run(tvec!(tensor(&input), tensor(&seed))).unwrap();
        let expected = expected[0].to_plain_array_view::<f32>().unwrap();

        let mut cache = PackedWeightCache::default();
        let (order, options) = ([0, 1, 2, 3], Options::default());
        let engine = Engine::compile(&graph, &no_weights(), &order, options, &mut cache).unwrap();
        let mut arena = engine.arena();
        engine.run(&mut arena, 0, |to| to.copy_from_slice(&input)).unwrap();
        engine.run(&mut arena, 1, |to| to.copy_from_slice(&seed)).unwrap();
        assert!(engine.operators().fallback.is_empty(), "{:?}", engine.operators());
        for (found, expected) in engine.output(&arena, 0).iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-4 * (1.0 + expected.abs()));
        }
    }
}
