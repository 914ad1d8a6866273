//! What is done to the float network before it is quantised: constants are computed, and padding and
//! batch normalisation become part of the convolutions beside them, means one operator. Its answers stay.

use crate::graph::{View, attribute, float, float_tensor, int, integers, text, volume};
use crate::product::Product;
use crate::{Error, constants, means};
use derm_onnx::message::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, TensorProto,
};
use derm_onnx::{floats, names_in_use, unused};
use std::collections::HashSet;

/// # Errors
/// [`Error::AlreadyQuantized`], [`Error::Opset`], [`Error::Constants`], [`Error::File`].
pub(crate) fn prepare(model: &mut ModelProto) -> Result<(), Error> {
    refuse(model)?;
    constants::fold(model)?;
    let mut names = names_in_use(model);
    let graph = model.graph.mut_or_insert_default();
    fold_paddings(graph);
    fold_normalisations(graph, &mut names)?;
    means::replace(graph, &mut names);
    constants::remove_unread(graph);
    Ok(())
}

fn refuse(model: &ModelProto) -> Result<(), Error> {
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    for node in nodes.chain(model.functions.iter().flat_map(|function| &function.node)) {
        let op = node.op_type.as_str();
        let is_integer = matches!(
            op,
            "QuantizeLinear"
                | "DequantizeLinear"
                | "DynamicQuantizeLinear"
                | "ConvInteger"
                | "MatMulInteger"
        );
        if is_integer || op.starts_with("QLinear") || matches!(op, "QGemm" | "MatMulNBits") {
            return Err(Error::AlreadyQuantized(op.to_owned()));
        }
    }
    let standard = model.opset_import.iter().find(|set| matches!(&*set.domain, "" | "ai.onnx"));
    match standard.map_or(1, |set| set.version) {
        version if version < 13 => Err(Error::Opset(version)),
        _ => Ok(()),
    }
}

/// Whether the file has float16 weights.
pub(crate) fn has_half_weights(model: &ModelProto) -> bool {
    let is_half =
        |tensor: &TensorProto| tensor.data_type == DataType::FLOAT16 as i32 && volume(tensor) > 1;
    let graphs = || model.graph.iter();
    let attributes = graphs().flat_map(|graph| &graph.node).flat_map(|node| &node.attribute);
    graphs().flat_map(|graph| &graph.initializer).any(is_half)
        || attributes.flat_map(|attribute| attribute.t.iter()).any(is_half)
}

/// Padding with zeros before a convolution is its own padding.
fn fold_paddings(graph: &mut GraphProto) {
    let view = View::of(graph);
    let mut folded = Vec::new();
    for (index, node) in graph.node.iter().enumerate() {
        if let Some((conv, pads)) = padding(&view, node) {
            folded.push((index, conv, pads));
        }
    }
    let mut removed = HashSet::new();
    for (pad, conv, pads) in folded {
        let input = graph.node[pad].input[0].clone();
        let conv = &mut graph.node[conv];
        conv.input[0] = input;
        conv.attribute.retain(|attribute| attribute.name != "pads");
        conv.attribute.push(AttributeProto {
            name: "pads".to_owned(),
            type_: AttributeType::INTS.into(),
            ints: pads,
            ..AttributeProto::default()
        });
        removed.insert(pad);
    }
    remove(graph, &removed);
}

/// The convolution that alone reads a `Pad`, and what it then pads with.
fn padding(view: &View<'_>, pad: &NodeProto) -> Option<(usize, Vec<i64>)> {
    let is_constant = text(pad, "mode").is_none_or(|mode| mode == b"constant");
    let has = |slot: usize| pad.input.get(slot).is_some_and(|name| !name.is_empty());
    if pad.op_type != "Pad" || !is_constant || has(3) {
        return None;
    }
    let is_zero = |tensor| floats(tensor).is_ok_and(|values| values == [0.0]);
    if has(2) && !view.float_input(pad, 2).is_some_and(is_zero) {
        return None;
    }
    let added = integers(view.constant(pad.input.get(1)?)?)?;
    let (index, slot) = view.sole_reader(pad.output.first()?)?;
    let conv = view.node(index);
    let is_explicit = text(conv, "auto_pad").is_none_or(|mode| mode == b"NOTSET");
    let rank = view.float_input(conv, 1)?.dims.len();
    if conv.op_type != "Conv" || slot != 0 || !is_explicit || added.len() != 2 * rank {
        return None;
    }
    let (before, after) = added.split_at(rank);
    let is_spatial = [before, after].iter().all(|half| half.starts_with(&[0, 0]));
    if !is_spatial || added.iter().any(|&length| length < 0) {
        return None;
    }
    let own = attribute(conv, "pads").map(|attribute| attribute.ints.clone());
    let mut pads = own.unwrap_or_else(|| vec![0; 2 * (rank - 2)]);
    let added = before[2..].iter().chain(&after[2..]);
    pads.iter_mut().zip(added).for_each(|(own, added)| *own += added);
    Some((index, pads))
}

/// A batch normalisation after a convolution is a factor of its weights, and a bias.
fn fold_normalisations(graph: &mut GraphProto, names: &mut HashSet<String>) -> Result<(), Error> {
    let view = View::of(graph);
    let mut folded = Vec::new();
    for (index, node) in graph.node.iter().enumerate() {
        if let Some((conv, tensors)) = normalisation(&view, node, names)? {
            folded.push((index, conv, tensors));
        }
    }
    let mut removed = HashSet::new();
    for (index, conv, [weights, bias]) in folded {
        let output = graph.node[index].output[0].clone();
        let conv = &mut graph.node[conv];
        let input = conv.input[0].clone();
        conv.input = vec![input, weights.name.clone(), bias.name.clone()];
        conv.output[0] = output;
        graph.initializer.extend([weights, bias]);
        removed.insert(index);
    }
    remove(graph, &removed);
    Ok(())
}

/// The convolution that a batch normalisation alone reads, and its weights and bias with it.
fn normalisation(
    view: &View<'_>,
    node: &NodeProto,
    names: &mut HashSet<String>,
) -> Result<Option<(usize, [TensorProto; 2])>, Error> {
    let is_training = int(node, "training_mode", 0) != 0;
    if node.op_type != "BatchNormalization" || node.output.len() != 1 || is_training {
        return Ok(None);
    }
    let found = view.producer(&node.input[0]).filter(|_| view.is_private(&node.input[0]));
    let Some(index) = found else { return Ok(None) };
    let conv = view.node(index);
    let product = Product::of(view, conv).filter(Product::is_convolution);
    let parameters = [1, 2, 3, 4].map(|slot| view.float_input(node, slot));
    let (Some(product), [Some(gain), Some(shift), Some(mean), Some(variance)]) =
        (product, parameters)
    else {
        return Ok(None);
    };
    let [gain, shift, mean, variance] = [gain, shift, mean, variance].map(floats);
    let (gain, shift, mean, variance) = (gain?, shift?, mean?, variance?);
    if [&gain, &shift, &mean, &variance].iter().any(|values| values.len() != product.outputs) {
        return Ok(None);
    }
    let epsilon = float(node, "epsilon", 1e-5);
    let factor = |channel: usize| gain[channel] / (variance[channel] + epsilon).sqrt();
    let mut weights = floats(product.weights)?;
    for (weight, (output, _)) in weights.iter_mut().zip(product.channels()) {
        *weight *= factor(output);
    }
    let own = product.bias.map(floats).transpose()?;
    let bias = |channel: usize| {
        let own = own.as_ref().map_or(0.0, |own| own[channel]);
        (own - mean[channel]) * factor(channel) + shift[channel]
    };
    let bias: Vec<f32> = (0..product.outputs).map(bias).collect();
    let name = |suffix: &str, names: &mut HashSet<String>| {
        unused(&format!("{}.{suffix}", node.output[0]), names)
    };
    let weights = float_tensor(&name("weight", names), &product.weights.dims, &weights);
    let bias = float_tensor(&name("bias", names), &[product.outputs as i64], &bias);
    Ok(Some((index, [weights, bias])))
}

fn remove(graph: &mut GraphProto, nodes: &HashSet<usize>) {
    let mut number = 0;
    graph.node.retain(|_| {
        number += 1;
        !nodes.contains(&(number - 1))
    });
}
