//! Dynamic quantisation: `DynamicQuantizeLinear` with `ConvInteger` and `MatMulInteger`, as onnxruntime's
//! `quantize_dynamic` and Hugging Face's exports write it.
//!
//! A convolution of the numbers about their zero point, times the scale, is the convolution of the values that they stand
//! for. So each group of one quantisation and the products that read it becomes `FakeQuantize` and `Conv` or `MatMul` of
//! weights that stay 8 bits, with a scale of 1 in place of that of the group.

use super::inside;
use super::message::{constant, integer, is_operator, new_node, number};
use super::taken::Taken;
use std::collections::{BTreeSet, HashMap, HashSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto};

/// `FakeQuantize`, as the reader of graphs knows it: no file may name it.
pub(crate) const FAKE_QUANTIZE: &str = "derm.FakeQuantize";

/// Rewrites dynamic quantisation: the groups of a graph of which nothing else reads a number, a scale or a sum.
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
    graph.initializer.push(constant(one.clone(), vec![1.0]));
    let mut weights = Vec::new();
    for Group { quantize, products } in groups {
        let node = &mut graph.node[quantize];
        node.op_type = FAKE_QUANTIZE.to_owned();
        node.domain = String::new();
        graph
            .initializer
            .extend(node.output.drain(1..).take(1).map(|scale| constant(scale, vec![1.0])));
        for product in products {
            let node = &mut graph.node[product];
            let weight = taken.fresh(&node.output[0]);
            // The axis of the results, should there be a zero point for each.
            let (operator, axis) = match &*node.op_type {
                "ConvInteger" => ("Conv", 0),
                _ => ("MatMul", -1),
            };
            let zero_point = node.input.get(3).cloned().unwrap_or_default();
            let inputs = vec![node.input[1].clone(), one.clone(), zero_point];
            node.op_type = operator.to_owned();
            node.input.truncate(1);
            node.input.push(weight.clone());
            weights.push(new_node("DequantizeLinear", inputs, weight, vec![integer("axis", axis)]));
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

/// Def-use chains: for each value, the nodes that read it, and as which input.
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
            for inner in inside(node) {
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

    /// The group of the `DynamicQuantizeLinear` at this place, if it is one, and nothing else reads what is in between.
    fn group(&self, quantize: usize) -> Option<Group> {
        let node = &self.nodes[quantize];
        let [numbers, scale, zero_point] = &node.output[..] else { return None };
        let is_unnamed = node.output.iter().any(String::is_empty);
        if !is_operator(node, "DynamicQuantizeLinear") || is_unnamed {
            return None;
        }
        let products = self.products(numbers, zero_point)?;
        let (scales, multiplied_by_scale) = self.scaling(scale)?;
        let multiplied = self.multiplied(&products, &scales)?;
        (multiplied == multiplied_by_scale).then_some(Group { quantize, products })
    }

    /// The products that read the numbers about the zero point.
    fn products(&self, numbers: &str, zero_point: &str) -> Option<Vec<usize>> {
        let reads = self.of_value(numbers)?;
        let is_product = |&(index, position): &(usize, usize)| {
            let node = &self.nodes[index];
            let input = |place: usize| node.input.get(place).map_or("", String::as_str);
            let is_known = is_operator(node, "ConvInteger") || is_operator(node, "MatMulInteger");
            // Only the zero point of the weights may be left out.
            is_known
                && position == 0
                && input(2) == zero_point
                && self.is_constant(input(1))
                && (input(3).is_empty() || self.is_constant(input(3)))
        };
        if reads.is_empty() || !reads.iter().all(is_product) {
            return None;
        }
        let products: Vec<usize> = reads.iter().map(|(index, _)| *index).collect();
        let is_of_one =
            |(index, position): &(usize, usize)| *position == 2 && products.contains(index);
        self.of_value(zero_point)?.iter().all(is_of_one).then_some(products)
    }

    /// What sums may be multiplied by, the scale or its product with a constant, and which nodes multiply by one of these.
    fn scaling(&self, scale: &'a str) -> Option<(HashSet<&'a str>, BTreeSet<usize>)> {
        let (mut scales, mut multiplies) = (HashSet::from([scale]), BTreeSet::new());
        for &(index, _) in self.of_value(scale)? {
            let node = &self.nodes[index];
            if !is_operator(node, "Mul") {
                return None;
            }
            let others = || node.input.iter().filter(|name| *name != scale);
            if others().count() != 1 {
                // The square of the scale.
                return None;
            }
            if others().all(|name| self.is_constant(name)) {
                let result = node.output.first()?;
                scales.insert(result);
                multiplies.extend(self.of_value(result)?.iter().map(|(index, _)| *index));
            } else {
                multiplies.insert(index);
            }
        }
        Some((scales, multiplies))
    }

    /// The nodes that multiply the products' sums, as float32, by one of the scales: all that read them.
    fn multiplied(&self, products: &[usize], scales: &HashSet<&str>) -> Option<BTreeSet<usize>> {
        let mut multiplies = BTreeSet::new();
        for &index in products {
            for &(cast, _) in self.of_value(self.nodes[index].output.first()?)? {
                let node = &self.nodes[cast];
                let to_float = number(node, "to") == Some(DataType::Float as i64);
                if !is_operator(node, "Cast") || !to_float {
                    return None;
                }
                for &(multiply, _) in self.of_value(node.output.first()?)? {
                    let node = &self.nodes[multiply];
                    let has_scale = node.input.iter().any(|name| scales.contains(name.as_str()));
                    if !is_operator(node, "Mul") || !has_scale {
                        return None;
                    }
                    multiplies.insert(multiply);
                }
            }
        }
        Some(multiplies)
    }
}

/// Outer-scope values: adds every name that a graph inside a node reads.
fn seen_in<'a>(graph: &'a GraphProto, seen: &mut HashSet<&'a str>) {
    seen.extend(graph.output.iter().map(|value| value.name.as_str()));
    for node in &graph.node {
        seen.extend(node.input.iter().map(String::as_str));
        inside(node).for_each(|inner| seen_in(inner, seen));
    }
}
