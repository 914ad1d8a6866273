//! Constants: what nodes compute of constants alone becomes a stored tensor.

use crate::Error;
use crate::graph::{View, has_subgraphs, is_standard, tensor};
use derm_onnx::message::{DataType, GraphProto, Message, MessageField, NodeProto, ValueInfoProto};
use derm_onnx::message::{ModelProto, TensorProto};
use std::collections::HashSet;
use tract_onnx::prelude::*;

/// Computes them once, and removes the nodes and the tensors that nothing reads then. Stored
/// tensors are no inputs of the graph afterwards.
pub(crate) fn fold(model: &mut ModelProto) -> Result<(), Error> {
    let mut graph = model.graph.take().unwrap_or_default();
    let stored: HashSet<String> = graph.initializer.iter().map(|one| one.name.clone()).collect();
    graph.input.retain(|input| !stored.contains(&input.name));
    let nodes = constant_nodes(&graph, stored);
    let needed = needed(&graph, &nodes);
    if !needed.is_empty() {
        let part = part(&graph, &nodes, &needed);
        let part = ModelProto { graph: MessageField::some(part), ..model.clone() };
        let found = evaluate(&part, &needed);
        graph.initializer.extend(found.map_err(|error| Error::Constants(format!("{error:#}")))?);
    }
    let mut number = 0;
    graph.node.retain(|_| {
        number += 1;
        !nodes.contains(&(number - 1))
    });
    remove_unread(&mut graph);
    model.graph = MessageField::some(graph);
    Ok(())
}

/// Removes tensors that nothing reads.
pub(crate) fn remove_unread(graph: &mut GraphProto) {
    let view = View::of(graph);
    let is_read = |tensor: &TensorProto| view.is_read(&tensor.name);
    let read: Vec<bool> = graph.initializer.iter().map(is_read).collect();
    let mut read = read.into_iter();
    graph.initializer.retain(|_| read.next().unwrap_or(true));
}

/// The nodes whose inputs are all constant, in order.
fn constant_nodes(graph: &GraphProto, mut known: HashSet<String>) -> HashSet<usize> {
    let mut nodes = HashSet::new();
    for (index, node) in graph.node.iter().enumerate() {
        let is_known = |name: &String| name.is_empty() || known.contains(name);
        if is_pure(node) && node.input.iter().all(is_known) {
            known.extend(node.output.iter().cloned());
            nodes.insert(index);
        }
    }
    nodes
}

/// Whether a node computes the same whenever it runs.
fn is_pure(node: &NodeProto) -> bool {
    let op = node.op_type.as_str();
    let is_random = op.starts_with("Random") || matches!(op, "Bernoulli" | "Multinomial");
    is_standard(node) && !is_random && !has_subgraphs(node)
}

/// What is read of those nodes by others, in order.
fn needed(graph: &GraphProto, nodes: &HashSet<usize>) -> Vec<String> {
    let view = View::of(graph);
    let is_read_by_others = |name: &&String| {
        let inside = view.readers(name).filter(|(node, _)| nodes.contains(node)).count();
        view.reader_count(name) > inside
    };
    let outputs = graph.node.iter().enumerate().filter(|(index, _)| nodes.contains(index));
    outputs.flat_map(|(_, node)| &node.output).filter(is_read_by_others).cloned().collect()
}

/// The graph of those nodes alone.
fn part(graph: &GraphProto, nodes: &HashSet<usize>, needed: &[String]) -> GraphProto {
    let numbered = graph.node.iter().enumerate();
    let node: Vec<NodeProto> =
        numbered.filter(|(index, _)| nodes.contains(index)).map(|(_, node)| node.clone()).collect();
    let read: HashSet<&String> = node.iter().flat_map(|node| &node.input).collect();
    let stored = graph.initializer.iter().filter(|tensor| read.contains(&tensor.name));
    let initializer = stored.cloned().collect();
    let output = |name: &String| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() };
    let output = needed.iter().map(output).collect();
    GraphProto { node, initializer, output, ..GraphProto::default() }
}

fn evaluate(part: &ModelProto, names: &[String]) -> TractResult<Vec<TensorProto>> {
    let bytes = part.write_to_bytes()?;
    let runnable =
        tract_onnx::onnx().model_for_read(&mut &bytes[..])?.into_typed()?.into_runnable()?;
    let values = runnable.run(tvec![])?;
    names.iter().zip(values).map(|(name, value)| stored(name, value.into_tensor())).collect()
}

fn stored(name: &str, value: Tensor) -> TractResult<TensorProto> {
    let value = if value.datum_type().is_tdim() {
        value.cast_to_dt(DatumType::I64)?.into_owned()
    } else {
        value
    };
    let kind = match value.datum_type() {
        DatumType::F32 => DataType::FLOAT,
        DatumType::F16 => DataType::FLOAT16,
        DatumType::I64 => DataType::INT64,
        DatumType::I32 => DataType::INT32,
        DatumType::I8 => DataType::INT8,
        DatumType::U8 => DataType::UINT8,
        DatumType::Bool => DataType::BOOL,
        other => {
            return Err(tract_onnx::tract_hir::internal::format_err!("{name}: a {other:?}"));
        }
    };
    let dims: Vec<i64> = value.shape().iter().map(|&dim| dim as i64).collect();
    Ok(tensor(name, kind, &dims, value.as_bytes().to_vec()))
}
