//! What a graph's nodes read and write, by name.

use derm_onnx::message::{AttributeProto, DataType, GraphProto, NodeProto, TensorProto};
use std::collections::HashMap;

/// A reader: the node and which of its inputs; `None` outside the graph's own nodes (an output of the
/// graph, a subgraph).
type Reader = Option<(usize, usize)>;

/// A graph with an index of its names.
pub(crate) struct View<'a> {
    pub(crate) graph: &'a GraphProto,
    constants: HashMap<&'a str, &'a TensorProto>,
    producers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, Vec<Reader>>,
}

impl<'a> View<'a> {
    pub(crate) fn of(graph: &'a GraphProto) -> View<'a> {
        let constants = graph.initializer.iter().map(|one| (one.name.as_str(), one)).collect();
        let mut producers = HashMap::new();
        let mut readers: HashMap<&str, Vec<Reader>> = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            producers.extend(node.output.iter().map(|name| (name.as_str(), index)));
            for (slot, name) in node.input.iter().enumerate() {
                readers.entry(name).or_default().push(Some((index, slot)));
            }
            let mut inner = |name: &'a str| readers.entry(name).or_default().push(None);
            subgraphs(node).for_each(|graph| for_each_read(graph, &mut inner));
        }
        for output in &graph.output {
            readers.entry(&output.name).or_default().push(None);
        }
        View { graph, constants, producers, readers }
    }

    pub(crate) fn node(&self, index: usize) -> &'a NodeProto {
        &self.graph.node[index]
    }

    pub(crate) fn constant(&self, name: &str) -> Option<&'a TensorProto> {
        self.constants.get(name).copied()
    }

    /// The float32 constant that a node reads as this input.
    pub(crate) fn float_input(&self, node: &NodeProto, slot: usize) -> Option<&'a TensorProto> {
        let tensor = self.constant(node.input.get(slot)?)?;
        (tensor.data_type == DataType::FLOAT as i32).then_some(tensor)
    }

    pub(crate) fn producer(&self, name: &str) -> Option<usize> {
        self.producers.get(name).copied()
    }

    pub(crate) fn is_read(&self, name: &str) -> bool {
        self.readers.contains_key(name)
    }

    /// The nodes of the graph that read a value.
    pub(crate) fn readers(&self, name: &str) -> impl Iterator<Item = (usize, usize)> {
        self.readers.get(name).into_iter().flatten().flatten().copied()
    }

    /// The one reader of a value, and as which input it reads it; `None` where there are others.
    pub(crate) fn sole_reader(&self, name: &str) -> Option<(usize, usize)> {
        match self.readers.get(name)?[..] {
            [reader] => reader,
            _ => None,
        }
    }

    /// How many read a value, of whatever kind.
    pub(crate) fn reader_count(&self, name: &str) -> usize {
        self.readers.get(name).map_or(0, Vec::len)
    }

    /// Whether only this graph's one node reads a constant.
    pub(crate) fn is_private(&self, name: &str) -> bool {
        self.sole_reader(name).is_some()
    }

    /// The inputs of a node that are no constants.
    pub(crate) fn activations(&self, node: &'a NodeProto) -> impl Iterator<Item = &'a str> {
        let names = node.input.iter().map(String::as_str);
        names.filter(|name| !name.is_empty() && self.constant(name).is_none())
    }
}

fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

fn for_each_read<'a>(graph: &'a GraphProto, visit: &mut dyn FnMut(&'a str)) {
    graph.output.iter().for_each(|output| visit(&output.name));
    for node in &graph.node {
        node.input.iter().for_each(|name| visit(name));
        subgraphs(node).for_each(|graph| for_each_read(graph, visit));
    }
}

/// Whether a node is of the standard's own operators.
pub(crate) fn is_standard(node: &NodeProto) -> bool {
    matches!(node.domain.as_str(), "" | "ai.onnx")
}

pub(crate) fn has_subgraphs(node: &NodeProto) -> bool {
    subgraphs(node).next().is_some()
}

pub(crate) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

pub(crate) fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |attribute| attribute.i)
}

pub(crate) fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    attribute(node, name).map_or(default, |attribute| attribute.f)
}

/// A text, `None` where the attribute is not there.
pub(crate) fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [u8]> {
    attribute(node, name).map(|attribute| &attribute.s[..])
}

/// The numbers of an int64 tensor.
pub(crate) fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != DataType::INT64 as i32 {
        return None;
    }
    if tensor.raw_data.is_empty() {
        return Some(tensor.int64_data.clone());
    }
    let eight = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).ok();
    tensor.raw_data.chunks(8).map(eight).collect()
}

/// Number of elements of the shape.
pub(crate) fn volume(tensor: &TensorProto) -> usize {
    tensor.dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).product()
}

/// A tensor of numbers in raw bytes.
pub(crate) fn tensor(name: &str, kind: DataType, dims: &[i64], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: kind as i32,
        dims: dims.to_vec(),
        raw_data: bytes,
        ..TensorProto::default()
    }
}

pub(crate) fn float_tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, DataType::FLOAT, dims, bytes)
}

/// A node without attributes, for graphs of tests.
#[cfg(test)]
pub(crate) fn test_node(op_type: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op_type.to_owned(),
        input: input.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}
