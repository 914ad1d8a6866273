//! Replay: the layers between an explained one and the logits, once more, for another value of that
//! layer.
//!
//! Quantisation is passed straight through, as in the gradient: values saturate, but they are not
//! rounded. What a single channel changes is often less than the step of an 8-bit value.

use super::builder::GraphBuilder;
use super::checkpoint::Checkpoints;
use super::logits;
use crate::Error;
use crate::reachability::nodes_between;
use derm_engine::graph_ops::{Dequantize, FakeQuantize, Quantize};
use derm_model::{Constants, StoredWeights};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

/// The graph, followed by a second copy of the nodes between `target` and the logits, for another
/// value of the target.
///
/// Inputs of the result: those of the graph, then the target's other value. Outputs: `outputs`, then
/// the logits of the second copy.
///
/// # Errors
/// [`Error::Failed`].
pub(crate) fn replay_graph(
    model: &TypedModel,
    weights: &StoredWeights,
    target: OutletId,
    outputs: &[OutletId],
) -> Result<TypedModel, Error> {
    let (constants, checkpoints) = (Constants::of(model, weights)?, Checkpoints::All);
    let mut builder = GraphBuilder::new(model, &constants, &checkpoints);
    builder.copy_forward()?;
    let logits = logits(model)?;
    let fact = model.outlet_fact(target)?.without_value();
    let source = builder.graph.add_source("replayed", fact)?;
    builder.replace(target, source);
    for id in nodes_between(model, target, logits)? {
        replay(&mut builder, model.node(id))?;
    }
    let replayed = builder.latest(logits);
    builder.select_outputs(outputs, replayed)?;
    Ok(builder.graph)
}

/// Appends a node's second copy, which reads the latest values; of one that quantises, what it computes
/// without rounding.
fn replay(builder: &mut GraphBuilder<'_>, node: &TypedNode) -> TractResult<()> {
    let straight = if let Some(quantize) = node.op_as::<Quantize>() {
        saturated(builder, node, quantize)?
    } else if let Some(dequantize) = node.op_as::<Dequantize>() {
        unquantized(builder, node, dequantize)?
    } else if node.op_is::<FakeQuantize>() {
        // No value is beyond the range that is made of them.
        Some(builder.latest(node.inputs[0]))
    } else {
        None
    };
    match straight {
        Some(outlet) => builder.replace(node.id.into(), outlet),
        None => builder.copy_again(node.id)?,
    }
    Ok(())
}

/// Saturation: `x / scale + zero point` within the bounds of the type, as float32.
fn saturated(
    builder: &mut GraphBuilder<'_>,
    node: &TypedNode,
    quantize: &Quantize,
) -> TractResult<Option<OutletId>> {
    let [low, high] = [*quantize.bounds().start(), *quantize.bounds().end()];
    let mut value = builder.latest(node.inputs[0]);
    value = with_number(builder, math::mul(), value, quantize.scale.recip())?;
    value = with_number(builder, math::add(), value, quantize.zero_point as f32)?;
    value = with_number(builder, math::max(), value, low as f32)?;
    value = with_number(builder, math::min(), value, high as f32)?;
    Ok(Some(value))
}

/// Dequantisation: `(q - zero point) * scale` of a `q` that [`saturated`] computed; `None` where `q` is
/// an integer.
fn unquantized(
    builder: &mut GraphBuilder<'_>,
    node: &TypedNode,
    dequantize: &Dequantize,
) -> TractResult<Option<OutletId>> {
    let q = builder.latest(node.inputs[0]);
    let is_float = builder.graph.outlet_fact(q)?.datum_type == DatumType::F32;
    let (true, Some((scale, zero_point))) = (is_float, dequantize.per_tensor()) else {
        return Ok(None);
    };
    let value = with_number(builder, math::add(), q, -(zero_point as f32))?;
    Ok(Some(with_number(builder, math::mul(), value, scale)?))
}

/// An operator of a value and a number.
fn with_number(
    builder: &mut GraphBuilder<'_>,
    op: impl Into<Box<dyn TypedOp>>,
    value: OutletId,
    number: f32,
) -> TractResult<OutletId> {
    let rank = builder.graph.outlet_fact(value)?.rank();
    let number = builder.number(number, rank)?;
    builder.wire(op, &[value, number])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::test_weights::no_weights;
    use tract_onnx::tract_core::ops::change_axes::AxisOp;
    use tract_onnx::tract_core::ops::identity::Identity;

    #[test]
    fn a_replay_saturates_and_does_not_round() {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([3])).unwrap();
        let mut wire = |name: &str, op: Box<dyn TypedOp>, input: OutletId| {
            model.wire_node(name, op, &[input]).unwrap()[0]
        };
        let layer = wire("layer", Box::new(Identity), x);
        // A step of 0.5 about zero point 2: -1 is the least of u8.
        let q = wire("q", Quantize::new(0.5, 2, false).unwrap().into(), layer);
        let q = wire("row", Box::new(AxisOp::Add(0)), q);
        let back = wire("dq", Dequantize::new(vec![0.5], vec![2], 0, &[1, 3]).unwrap().into(), q);
        let end = wire("end", Box::new(Identity), back);
        model.select_output_outlets(&[end]).unwrap();
        let graph = replay_graph(&model, &no_weights(), layer, &[end]).unwrap();
        let inputs = tvec!(tensor1(&[0.3f32, -3.0, 1.1]), tensor1(&[0.3f32, -3.0, 1.1]));
        let inputs = inputs.into_iter().map(Tensor::into_tvalue).collect();
        let found = graph.into_runnable().unwrap().run(inputs).unwrap();
        assert_eq!(*found[0], tensor2(&[[0.5f32, -1.0, 1.0]]));
        found[1].close_enough(&tensor2(&[[0.3f32, -1.0, 1.1]]), true).unwrap();
    }
}
