//! Dynamic quantisation: `DynamicQuantizeLinear` with `ConvInteger` and `MatMulInteger`, as onnxruntime's
//! `quantize_dynamic` and Hugging Face's exports write it.
//!
//! A convolution of the numbers about their zero point, times the scale, is the convolution of the values that they stand
//! for. So each group of one quantisation and the products that read it becomes `FakeQuantize` and `Conv` or `MatMul` of
//! weights that stay 8 bits, with a scale of 1 in place of that of the group.

use super::taken::Taken;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// `FakeQuantize`, as the reader of graphs knows it: no file may name it.
pub(crate) const FAKE_QUANTIZE: &str = "derm.FakeQuantize";

/// Rewrites the groups of a graph of which nothing else reads a number, a scale or a sum.
///
/// What the file says has been checked before: what is written here is in no standard.
/// `stored`: whether a weight of this name is in the file, though not in `graph`.
pub(crate) fn replace(graph: &mut GraphProto, stored: impl Fn(&str) -> bool) {
    if graph.node.iter().all(|node| node.op_type != "DynamicQuantizeLinear") {
        return;
    }
    let groups: Vec<Group> = {
        let readers = Readers::of(graph, &stored);
        (0..graph.node.len()).filter_map(|index| readers.group(index)).collect()
    };
    if groups.is_empty() {
        return;
    }
    let mut taken = Taken::of(graph);
    let one = taken.fresh("one");
    graph.initializer.push(scalar(one.clone(), 1.0));
    let mut weights = Vec::new();
    for Group { quantize, products } in groups {
        let node = &mut graph.node[quantize];
        node.op_type = FAKE_QUANTIZE.to_owned();
        node.domain = String::new();
        let scale = node.output.get(1).filter(|name| !name.is_empty()).cloned();
        node.output.truncate(1);
        graph.initializer.extend(scale.map(|scale| scalar(scale, 1.0)));
        for product in products {
            let node = &mut graph.node[product];
            let weight = taken.fresh(&node.output[0]);
            // The axis of the results, should there be a zero point for each.
            let axis = if node.op_type == "ConvInteger" { 0 } else { -1 };
            node.op_type = if axis == 0 { "Conv" } else { "MatMul" }.to_owned();
            let mut inputs = vec![node.input[1].clone(), one.clone()];
            inputs.extend(node.input.get(3).cloned());
            node.input = vec![node.input[0].clone(), weight.clone()];
            weights.push(NodeProto {
                op_type: "DequantizeLinear".to_owned(),
                name: weight.clone(),
                input: inputs,
                output: vec![weight],
                attribute: vec![integer("axis", axis)],
                ..NodeProto::default()
            });
        }
    }
    // Before what reads them.
    graph.node.splice(0..0, weights);
}

/// A `DynamicQuantizeLinear` and the products that read it, by their places among the nodes.
struct Group {
    quantize: usize,
    products: Vec<usize>,
}

/// Which nodes read each value, and as which input.
struct Readers<'a> {
    nodes: &'a [NodeProto],
    stored: &'a dyn Fn(&str) -> bool,
    readers: HashMap<&'a str, Vec<(usize, usize)>>,
    constants: HashSet<&'a str>,
    /// Results of the graph, and what graphs inside nodes may read.
    seen: HashSet<&'a str>,
}

impl<'a> Readers<'a> {
    fn of(graph: &'a GraphProto, stored: &'a dyn Fn(&str) -> bool) -> Readers<'a> {
        let mut readers: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
        let mut seen: HashSet<&str> =
            graph.output.iter().map(|value| value.name.as_str()).collect();
        for (index, node) in graph.node.iter().enumerate() {
            for (position, name) in node.input.iter().enumerate() {
                readers.entry(name).or_default().push((index, position));
            }
            for inner in super::inside(node) {
                seen_in(inner, &mut seen);
            }
        }
        let constants = graph.initializer.iter().map(|tensor| tensor.name.as_str());
        Readers { nodes: &graph.node, stored, readers, constants: constants.collect(), seen }
    }

    /// The readers of a value; `None` if it is seen elsewhere.
    fn of_value(&self, name: &str) -> Option<&[(usize, usize)]> {
        if self.seen.contains(name) {
            return None;
        }
        Some(self.readers.get(name).map_or(&[], Vec::as_slice))
    }

    fn is_constant(&self, name: &str) -> bool {
        self.constants.contains(name) || (self.stored)(name)
    }

    /// The group of the `DynamicQuantizeLinear` at this place, if it is one, and all that it needs holds.
    fn group(&self, quantize: usize) -> Option<Group> {
        let node = &self.nodes[quantize];
        let [numbers, scale, zero_point] = &node.output[..] else { return None };
        if node.op_type != "DynamicQuantizeLinear" || !is_standard(node) {
            return None;
        }
        let products = self.of_value(numbers)?;
        let places: HashSet<usize> = products.iter().map(|(index, _)| *index).collect();
        let is_product = |&(index, position): &(usize, usize)| {
            let node = &self.nodes[index];
            let reads_zero_point = node.input.get(2) == Some(zero_point);
            let is_known = matches!(&*node.op_type, "ConvInteger" | "MatMulInteger");
            let constant = |place: usize| {
                let name = node.input.get(place).filter(|name| !name.is_empty());
                name.is_none_or(|name| self.is_constant(name))
            };
            is_known
                && is_standard(node)
                && position == 0
                && reads_zero_point
                && constant(1)
                && constant(3)
        };
        if products.is_empty() || !products.iter().all(is_product) {
            return None;
        }
        let reads = self.of_value(zero_point)?;
        if !reads.iter().all(|(index, position)| *position == 2 && places.contains(index)) {
            return None;
        }
        // What the sums are multiplied by: the scale, or a product of it.
        let mut scales = HashSet::from([scale.as_str()]);
        let mut read_by = HashSet::new();
        for &(index, _) in self.of_value(scale)? {
            let node = &self.nodes[index];
            if node.op_type != "Mul" || !is_standard(node) {
                return None;
            }
            if node.input.iter().all(|name| name == scale || self.is_constant(name)) {
                let result = node.output.first()?;
                scales.insert(result);
                read_by.extend(self.of_value(result)?.iter().map(|(index, _)| *index));
            } else {
                read_by.insert(index);
            }
        }
        let mut multiplied = HashSet::new();
        for &index in &places {
            for &(cast, _) in self.of_value(self.nodes[index].output.first()?)? {
                let node = &self.nodes[cast];
                let to = node.attribute.iter().find(|attribute| attribute.name == "to")?;
                if node.op_type != "Cast" || to.i != DataType::Float as i64 {
                    return None;
                }
                for &(multiply, _) in self.of_value(node.output.first()?)? {
                    let node = &self.nodes[multiply];
                    let has_scale = node.input.iter().any(|name| scales.contains(name.as_str()));
                    if node.op_type != "Mul" || !is_standard(node) || !has_scale {
                        return None;
                    }
                    multiplied.insert(multiply);
                }
            }
        }
        let products = places.into_iter().collect();
        (read_by == multiplied).then_some(Group { quantize, products })
    }
}

/// Adds every name that a graph inside a node reads.
fn seen_in<'a>(graph: &'a GraphProto, seen: &mut HashSet<&'a str>) {
    seen.extend(graph.output.iter().map(|value| value.name.as_str()));
    for node in &graph.node {
        seen.extend(node.input.iter().map(String::as_str));
        super::inside(node).for_each(|inner| seen_in(inner, seen));
    }
}

fn is_standard(node: &NodeProto) -> bool {
    matches!(&*node.domain, "" | "ai.onnx")
}

fn scalar(name: String, value: f32) -> TensorProto {
    TensorProto {
        name,
        data_type: DataType::Float as i32,
        float_data: vec![value],
        ..TensorProto::default()
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}
