//! The default layer: the last feature map that the scores depend on; of a vision transformer, the
//! tokens that its last attention reads.

use super::layout::SpatialLayout;
use crate::reachability::{ancestors, descendants};
use std::collections::HashMap;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::InOut;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::Add;
use tract_onnx::tract_core::ops::nn::Softmax;

/// The value that is explained unless another is named; `None` where no value has a spatial layout.
pub(super) fn default_layer(
    model: &TypedModel,
    output: OutletId,
    layouts: &HashMap<OutletId, SpatialLayout>,
) -> TractResult<Option<OutletId>> {
    let needed = ancestors(model, output);
    let order: Vec<usize> =
        model.eval_order()?.into_iter().filter(|id| needed.contains(id)).collect();
    let source = model.input_outlets()?[0];
    let is_map =
        |outlet: &OutletId| matches!(layouts.get(outlet), Some(SpatialLayout::FeatureMap(_)));
    let outlets = order.iter().rev().map(|&id| OutletId::new(id, 0));
    let map = outlets.filter(|outlet| *outlet != source).find(is_map);
    let is_behind = |softmax: usize| {
        map.is_some_and(|map| descendants(model, softmax.into()).contains(&map.node))
    };
    let Some((softmax, product)) = last_attention(model, &order, output, layouts) else {
        return Ok(map);
    };
    if is_behind(softmax) {
        return Ok(map);
    }
    Ok(attention_input(model, &order, softmax, product, layouts).or(map))
}

fn is_tokens(outlet: &OutletId, layouts: &HashMap<OutletId, SpatialLayout>) -> bool {
    matches!(layouts.get(outlet), Some(SpatialLayout::Tokens { .. }))
}

/// The last softmax over tokens and the product of its weights with the values. An attention inside
/// windows, of which the tokens are the number, is none: each window is for itself.
fn last_attention(
    model: &TypedModel,
    order: &[usize],
    output: OutletId,
    layouts: &HashMap<OutletId, SpatialLayout>,
) -> Option<(usize, usize)> {
    let softmax = *order.iter().rev().find(|&&id| {
        model.node(id).op_is::<Softmax>()
            && id != output.node
            && is_tokens(&model.node(id).inputs[0].node.into(), layouts)
            && !is_within_tokens(model, id, layouts)
    })?;
    Some((softmax, product_after(model, softmax)?))
}

/// The tokens from which the last attention computes its queries, keys and values. After that
/// attention only the class token reaches the output, so no position has a gradient there. This is
/// `blocks[-1].norm1` in timm's networks, as pytorch-grad-cam advises.
fn attention_input(
    model: &TypedModel,
    order: &[usize],
    softmax: usize,
    product: usize,
    layouts: &HashMap<OutletId, SpatialLayout>,
) -> Option<OutletId> {
    let computed_from_softmax = descendants(model, softmax.into());
    let values = model
        .node(product)
        .inputs
        .iter()
        .find(|input| input.node != softmax && !computed_from_softmax.contains(&input.node))?;
    let (of_softmax, of_values) = (ancestors(model, softmax.into()), ancestors(model, *values));
    let common = |id: &&usize| {
        of_softmax.contains(*id)
            && of_values.contains(*id)
            && is_tokens(&OutletId::new(**id, 0), layouts)
    };
    let common = *order.iter().rev().find(common)?;
    Some(before_projection(model, common))
}

/// Whether the tokens are an axis of all operands of the product after a softmax and of its result:
/// attention within each token, not between them.
fn is_within_tokens(
    model: &TypedModel,
    softmax: usize,
    layouts: &HashMap<OutletId, SpatialLayout>,
) -> bool {
    let Some(product) = product_after(model, softmax).map(|id| model.node(id)) else {
        return false;
    };
    let computed_from_softmax = descendants(model, softmax.into());
    let is_weights =
        |input: &OutletId| input.node == softmax || computed_from_softmax.contains(&input.node);
    let Some(slot) = product.inputs.iter().position(is_weights) else { return false };
    let Some(SpatialLayout::Tokens { axis, .. }) = layouts.get(&product.inputs[slot]) else {
        return false;
    };
    let Some(einsum) = product.op_as::<EinSum>() else { return false };
    let label = einsum.axes.axis((InOut::In(slot), *axis));
    label.is_ok_and(|label| label.inputs.iter().chain(&label.outputs).all(|axes| !axes.is_empty()))
}

/// The product of attention weights and values: the first `EinSum` that a softmax leads to.
fn product_after(model: &TypedModel, softmax: usize) -> Option<usize> {
    let mut id = softmax;
    loop {
        let [next] = model.outlet_successors(id.into()) else { return None };
        if model.node(next.node).op_is::<EinSum>() {
            return Some(next.node);
        }
        id = next.node;
    }
}

/// The input of a fused projection (queries, keys and values from one product); otherwise the node
/// itself.
fn before_projection(model: &TypedModel, id: usize) -> OutletId {
    let is_constant = |outlet: &&OutletId| {
        let node = model.node(outlet.node);
        node.inputs.is_empty() || node.inputs.iter().all(|i| model.node(i.node).inputs.is_empty())
    };
    let varying = |id: usize| {
        let inputs = &model.node(id).inputs;
        inputs.iter().find(|outlet| !is_constant(outlet)).or(inputs.first()).copied()
    };
    let mut current = id;
    loop {
        let node = model.node(current);
        let moves_axes = node.op_is::<AxisOp>() || node.op_is::<Slice>() || node.op_is::<Cast>();
        let adds = node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<Add>());
        let Some(input) = varying(current) else { return id.into() };
        if node.op_is::<EinSum>() {
            return input;
        }
        if !moves_axes && !adds {
            return id.into();
        }
        current = input.node;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::propagate::layouts;
    use tract_onnx::tract_core::internal::AxesMapping;
    use tract_onnx::tract_core::ops::TypedOp;
    use tract_onnx::tract_core::ops::math;
    use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, SoftmaxKind};

    struct Network(TypedModel);

    impl Network {
        fn wire(&mut self, name: &str, op: Box<dyn TypedOp>, inputs: &[OutletId]) -> OutletId {
            self.0.wire_node(name, op, inputs).unwrap()[0]
        }

        fn product(&mut self, name: &str, axes: [&str; 3], inputs: &[OutletId]) -> OutletId {
            let [first, second, output] = axes;
            let axes = AxesMapping::from_strs(&[first, second], &[output]).unwrap();
            self.wire(name, EinSum::new(axes, DatumType::F32).into(), inputs)
        }

        /// Its name.
        fn default_layer(&mut self, output: OutletId, axes: [usize; 2]) -> Option<String> {
            self.0.select_output_outlets(&[output]).unwrap();
            let layouts = layouts(&self.0, axes).unwrap();
            let found = default_layer(&self.0, output, &layouts).unwrap()?;
            Some(self.0.node(found.node).name.clone())
        }
    }

    fn pool(axes: TVec<usize>) -> Box<dyn TypedOp> {
        Reduce { axes, reducer: Reducer::Sum }.into()
    }

    #[test]
    fn the_last_feature_map_that_the_output_depends_on() {
        let mut network = Network(TypedModel::default());
        let input = network.0.add_source("input", f32::fact([1, 3, 2, 4])).unwrap();
        let first = network.wire("first", math::exp().into(), &[input]);
        let last = network.wire("last", math::square().into(), &[first]);
        network.wire("aside", math::abs().into(), &[last]);
        let output = network.wire("output", pool(tvec!(2, 3)), &[last]);
        assert_eq!(network.default_layer(output, [2, 3]).as_deref(), Some("last"));
    }

    #[test]
    fn a_graph_without_feature_maps_has_none() {
        let mut network = Network(TypedModel::default());
        let input = network.0.add_source("input", f32::fact([1, 3, 2, 4])).unwrap();
        let output = network.wire("output", pool(tvec!(2, 3)), &[input]);
        assert_eq!(network.default_layer(output, [2, 3]), None);
    }

    /// Queries, keys and values are three products of `normed`; after the attention comes a residual
    /// sum, whose tokens but the class token have no gradient.
    #[test]
    fn the_tokens_that_the_last_attention_reads() {
        let mut network = Network(TypedModel::default());
        let input = network.0.add_source("input", f32::fact([1, 2, 4, 3])).unwrap();
        let weights = Tensor::zero::<f32>(&[3, 3]).unwrap();
        let weights = network.0.add_const("weights", weights).unwrap();
        let flat = AxisOp::Reshape(1, tvec!(2.to_dim(), 4.to_dim()), tvec!(8.to_dim()));
        let tokens = network.wire("tokens", flat.into(), &[input]);
        let normed = network.wire("normed", math::exp().into(), &[tokens]);
        let project = ["btk", "kc", "btc"];
        let [queries, keys, values] = ["queries", "keys", "values"]
            .map(|name| network.product(name, project, &[normed, weights]));
        let scores = network.product("scores", ["bqc", "bkc", "bqk"], &[queries, keys]);
        let softmax = Softmax { axes: tvec!(2), quant_output_dt: None, kind: SoftmaxKind::Softmax };
        let attention = network.wire("attention", softmax.into(), &[scores]);
        let mixed = network.product("mixed", ["bqk", "bkc", "bqc"], &[attention, values]);
        let sum = network.wire("sum", math::add().into(), &[mixed, tokens]);
        let output = network.wire("output", pool(tvec!(1)), &[sum]);
        assert_eq!(network.default_layer(output, [1, 2]).as_deref(), Some("normed"));
    }

    /// Two rows of two windows, with an attention inside each.
    #[test]
    fn windows_are_no_tokens() {
        let mut network = Network(TypedModel::default());
        let input = network.0.add_source("input", f32::fact([2, 2, 4, 3])).unwrap();
        let map = network.wire("map", math::exp().into(), &[input]);
        let windows = AxisOp::Reshape(0, tvec!(2.to_dim(), 2.to_dim()), tvec!(4.to_dim()));
        let windows = network.wire("windows", windows.into(), &[map]);
        let scores = network.product("scores", ["bqc", "bkc", "bqk"], &[windows, windows]);
        let softmax = Softmax { axes: tvec!(2), quant_output_dt: None, kind: SoftmaxKind::Softmax };
        let attention = network.wire("attention", softmax.into(), &[scores]);
        let mixed = network.product("mixed", ["bqk", "bkc", "bqc"], &[attention, windows]);
        let output = network.wire("output", pool(tvec!(0, 1)), &[mixed]);
        assert_eq!(network.default_layer(output, [0, 1]).as_deref(), Some("map"));
    }

    /// A class token that attends to all positions, as in CaiT and XCiT: the tokens are what the
    /// product sums over.
    #[test]
    fn the_tokens_that_a_class_token_attends_to() {
        let mut network = Network(TypedModel::default());
        let input = network.0.add_source("input", f32::fact([1, 2, 4, 3])).unwrap();
        let map = network.wire("map", math::exp().into(), &[input]);
        let flat = AxisOp::Reshape(1, tvec!(2.to_dim(), 4.to_dim()), tvec!(8.to_dim()));
        let tokens = network.wire("tokens", flat.into(), &[map]);
        let query = network.wire("query", pool(tvec!(1)), &[tokens]);
        let scores = network.product("scores", ["bqc", "bkc", "bqk"], &[query, tokens]);
        let softmax = Softmax { axes: tvec!(2), quant_output_dt: None, kind: SoftmaxKind::Softmax };
        let attention = network.wire("attention", softmax.into(), &[scores]);
        let output = network.product("mixed", ["bqk", "bkc", "bqc"], &[attention, tokens]);
        assert_eq!(network.default_layer(output, [1, 2]).as_deref(), Some("tokens"));
    }

    /// A map behind the attention has a gradient at every position.
    #[test]
    fn a_map_behind_the_attention() {
        let mut network = Network(TypedModel::default());
        let input = network.0.add_source("input", f32::fact([1, 2, 4, 3])).unwrap();
        let flat = AxisOp::Reshape(1, tvec!(2.to_dim(), 4.to_dim()), tvec!(8.to_dim()));
        let tokens = network.wire("tokens", flat.into(), &[input]);
        let scores = network.product("scores", ["bqc", "bkc", "bqk"], &[tokens, tokens]);
        let softmax = Softmax { axes: tvec!(2), quant_output_dt: None, kind: SoftmaxKind::Softmax };
        let attention = network.wire("attention", softmax.into(), &[scores]);
        let mixed = network.product("mixed", ["bqk", "bkc", "bqc"], &[attention, tokens]);
        let back = AxisOp::Reshape(1, tvec!(8.to_dim()), tvec!(2.to_dim(), 4.to_dim()));
        let back = network.wire("back", back.into(), &[mixed]);
        let sum = network.wire("sum", math::add().into(), &[input, back]);
        let output = network.wire("output", pool(tvec!(1, 2)), &[sum]);
        assert_eq!(network.default_layer(output, [1, 2]).as_deref(), Some("sum"));
    }
}
