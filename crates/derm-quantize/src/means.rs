//! Means over rows and columns, which have several forms in files, become `GlobalAveragePool`: the one
//! form that has an integer kernel everywhere.

use crate::graph::{View, attribute, int, integers};
use derm_onnx::message::{GraphProto, NodeProto};
use derm_onnx::unused;
use std::collections::HashSet;

/// Operators between a convolution and its mean, at most.
const DEPTH: usize = 64;

/// Replaces each `ReduceMean` over the rows and columns of what convolutions give.
pub(crate) fn replace(graph: &mut GraphProto, names: &mut HashSet<String>) {
    let view = View::of(graph);
    let is_mean: Vec<bool> = graph.node.iter().map(|node| is_spatial(&view, node)).collect();
    let nodes = std::mem::take(&mut graph.node);
    for (node, is_mean) in nodes.into_iter().zip(is_mean) {
        if is_mean {
            graph.node.extend(pooling(node, names));
        } else {
            graph.node.push(node);
        }
    }
}

fn is_spatial<'a>(view: &View<'a>, node: &'a NodeProto) -> bool {
    if node.op_type != "ReduceMean" || rank(view, &node.input[0]) != Some(4) {
        return false;
    }
    let own = attribute(node, "axes").map(|attribute| attribute.ints.clone());
    let input = || integers(view.constant(node.input.get(1)?)?);
    let Some(mut axes) = own.or_else(input) else { return false };
    axes.iter_mut().filter(|axis| **axis < 0).for_each(|axis| *axis += 4);
    axes.sort_unstable();
    axes == [2, 3]
}

/// The number of axes of a value, where a convolution tells it.
fn rank<'a>(view: &View<'a>, mut name: &'a str) -> Option<usize> {
    for _ in 0..DEPTH {
        let node = view.node(view.producer(name)?);
        match node.op_type.as_str() {
            "Conv" => return Some(view.constant(node.input.get(1)?)?.dims.len()),
            "Add" | "AveragePool" | "BatchNormalization" | "Cast" | "Clip" | "Concat" | "Elu"
            | "HardSigmoid" | "HardSwish" | "LeakyRelu" | "MaxPool" | "Mul" | "Relu"
            | "Sigmoid" => {
                name = view.activations(node).next()?;
            }
            _ => return None,
        }
    }
    None
}

/// `GlobalAveragePool`, with the axes removed where the mean does not keep them.
fn pooling(mean: NodeProto, names: &mut HashSet<String>) -> Vec<NodeProto> {
    let output = &mean.output[0];
    let keeps = int(&mean, "keepdims", 1) != 0;
    let pooled = if keeps { output.clone() } else { unused(&format!("{output}.pooled"), names) };
    let node = |op: &str, name: String, input: String, output: String| NodeProto {
        op_type: op.to_owned(),
        name,
        input: vec![input],
        output: vec![output],
        ..NodeProto::default()
    };
    let flatten = (!keeps)
        .then(|| node("Flatten", format!("{output}.Flatten"), pooled.clone(), output.clone()));
    let pool = node("GlobalAveragePool", mean.name.clone(), mean.input[0].clone(), pooled);
    std::iter::once(pool).chain(flatten).collect()
}
