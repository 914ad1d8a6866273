//! Placement: which values become 8-bit numbers.
//!
//! An operator that has an integer form reads 8-bit values and gives one: products, additions and
//! multiplications of two values, pooling, means over rows and columns, concatenation. A `Relu` or
//! `Clip` behind it, and an addition of constants behind a product, are part of it. Functions of one
//! value are not rounded between: they become one table. Operators that only move values keep
//! the scale of what they read.

use crate::graph::{View, int, is_standard, volume};
use crate::product::Product;
use derm_onnx::message::{DataType, GraphProto, NodeProto};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Operators that compute each value from one value.
const FUNCTIONS: [&str; 20] = [
    "Abs",
    "Celu",
    "Clip",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "Neg",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tanh",
];
/// Operators that move values.
const LAYOUTS: [&str; 8] =
    ["Dropout", "Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];
/// Operators whose results are no float32 values of the picture.
const NOT_FLOAT: [&str; 12] = [
    "ArgMax",
    "ArgMin",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "NonZero",
    "Shape",
    "Size",
];

/// What is quantised.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placement {
    /// Values, in the order in which they are computed.
    pub(crate) values: Vec<Placed>,
    /// Operators with an integer form, in order.
    pub(crate) layers: Vec<Layer>,
}

/// A value that becomes 8-bit numbers.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) name: String,
    /// The value whose scale it has, where it is not its own.
    pub(crate) like: Option<String>,
    channels: Option<Channels>,
}

/// Where the input channels of the product that reads a value lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    Second,
    Last,
}

impl Channels {
    pub(crate) fn axis(self, rank: usize) -> Option<usize> {
        let axis = if self == Channels::Second { 1 } else { rank.saturating_sub(1) };
        (axis < rank).then_some(axis)
    }
}

/// An operator with an integer form.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) node: usize,
    /// Its output: how it is named where it stays in float.
    pub(crate) name: String,
    /// The value that it gives with what is part of it.
    pub(crate) result: String,
    pub(crate) operator: String,
    pub(crate) is_product: bool,
    /// The constants that are added to a product by the operator behind it: node, input.
    pub(crate) added: Option<(usize, usize)>,
}

impl Placement {
    /// Places everything that leads to the scores, but the layers that stay in float, by name.
    /// `uncertain` is the output that is left alone.
    pub(crate) fn of(
        graph: &GraphProto,
        uncertain: Option<&str>,
        in_float: &BTreeSet<String>,
    ) -> Placement {
        let view = View::of(graph);
        let needed = ancestors(&view, uncertain);
        let mut work = Work::new(&view, in_float);
        for index in (0..graph.node.len()).filter(|index| needed.contains(index)) {
            work.visit(index);
        }
        work.spread(&needed);
        work.placement(&needed)
    }

    pub(crate) fn channels(&self, name: &str) -> Option<Channels> {
        self.values.iter().find(|value| value.name == name)?.channels
    }

    /// The value that a value has its scale from.
    pub(crate) fn origin<'a>(&'a self, name: &'a str) -> &'a str {
        let mut name = name;
        while let Some(like) =
            self.values.iter().find(|value| value.name == name).and_then(|v| v.like.as_deref())
        {
            name = like;
        }
        name
    }
}

/// The nodes that outputs other than `uncertain` depend on.
fn ancestors(view: &View<'_>, uncertain: Option<&str>) -> HashSet<usize> {
    let outputs = view.graph.output.iter().map(|output| output.name.as_str());
    let mut open: Vec<&str> = outputs.filter(|name| Some(*name) != uncertain).collect();
    let mut found = HashSet::new();
    while let Some(name) = open.pop() {
        let Some(index) = view.producer(name) else { continue };
        if found.insert(index) {
            open.extend(view.node(index).input.iter().map(String::as_str));
        }
    }
    found
}

struct Work<'a> {
    view: &'a View<'a>,
    in_float: &'a BTreeSet<String>,
    /// The value that a value is a function of; itself, if it is not listed.
    roots: HashMap<&'a str, &'a str>,
    not_float: HashSet<&'a str>,
    /// Values to quantise.
    wanted: HashSet<&'a str>,
    like: HashMap<&'a str, &'a str>,
    channels: HashMap<&'a str, Channels>,
    layers: Vec<Layer>,
}

impl<'a> Work<'a> {
    fn new(view: &'a View<'a>, in_float: &'a BTreeSet<String>) -> Work<'a> {
        Work {
            view,
            in_float,
            roots: HashMap::new(),
            not_float: HashSet::new(),
            wanted: HashSet::new(),
            like: HashMap::new(),
            channels: HashMap::new(),
            layers: Vec::new(),
        }
    }

    fn root(&self, name: &'a str) -> &'a str {
        self.roots.get(name).copied().unwrap_or(name)
    }

    fn visit(&mut self, index: usize) {
        let node = self.view.node(index);
        let Some(output) = node.output.first().map(String::as_str) else { return };
        let inputs: Vec<&str> = self.view.activations(node).collect();
        let is_float = match node.op_type.as_str() {
            "Cast" => int(node, "to", 0) == i64::from(DataType::FLOAT as i32),
            op => !NOT_FLOAT.contains(&op) && inputs.iter().any(|i| !self.not_float.contains(i)),
        };
        if !is_float {
            self.not_float.extend(node.output.iter().map(String::as_str));
            return;
        }
        if inputs.iter().any(|input| self.not_float.contains(input)) || !is_standard(node) {
            return;
        }
        if let Some(root) = self.function_of(node, &inputs) {
            // What an integer operator gives with this function is a value of its own.
            if !self.wanted.contains(output) {
                self.roots.insert(output, root);
            }
            return;
        }
        let product = Product::of(self.view, node);
        if product.is_none() && !self.is_integer(node, &inputs) || self.in_float.contains(output) {
            return;
        }
        self.wanted.extend(&inputs);
        if let Some(product) = &product {
            let channels = if product.is_convolution() { Channels::Second } else { Channels::Last };
            self.channels.insert(inputs[0], channels);
        }
        let (result, added) = self.result(output, product.as_ref());
        self.wanted.insert(result);
        self.layers.push(Layer {
            node: index,
            name: output.to_owned(),
            result: result.to_owned(),
            operator: node.op_type.clone(),
            is_product: product.is_some(),
            added,
        });
    }

    /// The one value that a node is an elementwise function of.
    fn function_of(&self, node: &'a NodeProto, inputs: &[&'a str]) -> Option<&'a str> {
        let op = node.op_type.as_str();
        let is_binary = matches!(op, "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min");
        if !is_binary && !FUNCTIONS.contains(&op) {
            return None;
        }
        let constants = node.input.iter().filter_map(|name| self.view.constant(name));
        if constants.into_iter().any(|constant| volume(constant) != 1) {
            return None;
        }
        let root = self.root(inputs.first()?);
        inputs.iter().all(|input| self.root(input) == root).then_some(root)
    }

    fn is_integer(&self, node: &NodeProto, inputs: &[&str]) -> bool {
        let all_activations = node.input.len() == inputs.len();
        match node.op_type.as_str() {
            "Add" | "Mul" | "Concat" => all_activations && inputs.len() >= 2,
            "GlobalAveragePool" | "AveragePool" => true,
            "MaxPool" => node.output.len() == 1,
            _ => false,
        }
    }

    /// The value that an operator gives with what is part of it, and the constants added to a product.
    fn result(
        &self,
        output: &'a str,
        product: Option<&Product<'_>>,
    ) -> (&'a str, Option<(usize, usize)>) {
        let (mut result, mut added) = (output, None);
        while let Some((reader, slot)) = self.view.sole_reader(result) {
            let node = self.view.node(reader);
            let is_clamp = slot == 0
                && matches!(node.op_type.as_str(), "Relu" | "Clip")
                && self.view.activations(node).count() == 1;
            let constants = self.view.float_input(node, 1 - slot.min(1)).filter(|tensor| {
                let lengths = [1, product.map_or(1, |product| product.outputs)];
                result == output && product.is_some() && lengths.contains(&volume(tensor))
            });
            let is_bias = node.op_type == "Add" && constants.is_some();
            if !is_clamp && !is_bias {
                break;
            }
            if is_bias {
                added = Some((reader, 1 - slot));
            }
            result = &node.output[0];
        }
        (result, added)
    }

    /// Values behind and before operators that move values: those are quantised as what they move.
    fn spread(&mut self, needed: &HashSet<usize>) {
        let nodes = || (0..self.view.graph.node.len()).filter(|index| needed.contains(index));
        let moved = |index: usize| {
            let node = self.view.node(index);
            let input = node.input.first()?.as_str();
            // The file may have an input of another type than float32.
            let is_cast = node.op_type == "Cast" && self.view.producer(input).is_some();
            let is_layout = LAYOUTS.contains(&node.op_type.as_str()) || is_cast;
            let is_layout = is_layout && node.output.len() == 1;
            let is_moved = is_layout
                && [input, &node.output[0]].iter().all(|name| !self.not_float.contains(name));
            (is_moved && self.view.constant(input).is_none())
                .then_some((input, node.output[0].as_str()))
        };
        let moved: Vec<(&str, &str)> = nodes().filter_map(moved).collect();
        for (input, output) in moved.iter().rev() {
            if self.wanted.contains(output) {
                self.wanted.insert(input);
            }
        }
        for (input, output) in &moved {
            if self.wanted.contains(input) && !self.in_float.contains(*output) {
                self.wanted.insert(output);
                self.like.insert(output, input);
            }
        }
    }

    fn placement(self, needed: &HashSet<usize>) -> Placement {
        let view = self.view;
        let inputs = view.graph.input.iter().map(|input| input.name.as_str());
        let nodes = view.graph.node.iter().enumerate().filter(|(index, _)| needed.contains(index));
        let outputs = nodes.flat_map(|(_, node)| node.output.iter().map(String::as_str));
        let placed = |name: &str| Placed {
            name: name.to_owned(),
            like: self.like.get(name).map(|like| (*like).to_owned()),
            channels: self.channels.get(name).copied(),
        };
        let names = inputs.chain(outputs).filter(|name| self.wanted.contains(name));
        Placement { values: names.map(placed).collect(), layers: self.layers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{float_tensor, test_node as node};
    use derm_onnx::message::ValueInfoProto;

    fn value(name: &str) -> ValueInfoProto {
        ValueInfoProto { name: name.to_owned(), ..ValueInfoProto::default() }
    }

    /// A convolution with SiLU, a residual sum with ReLU, and a flattened product.
    fn network() -> GraphProto {
        let weights = [1.0; 4];
        GraphProto {
            input: vec![value("x")],
            output: vec![value("y"), value("doubt")],
            node: vec![
                node("Conv", &["x", "w"], "a"),
                node("Sigmoid", &["a"], "gate"),
                node("Mul", &["a", "gate"], "silu"),
                node("Conv", &["silu", "w"], "b"),
                node("Add", &["b", "silu"], "sum"),
                node("Relu", &["sum"], "relu"),
                node("Flatten", &["relu"], "flat"),
                node("MatMul", &["flat", "m"], "product"),
                node("Add", &["product", "shift"], "y"),
                node("MatMul", &["flat", "m"], "doubt"),
            ],
            initializer: vec![
                float_tensor("w", &[2, 2, 1, 1], &weights),
                float_tensor("m", &[2, 2], &weights),
                float_tensor("shift", &[2], &weights[..2]),
            ],
            ..GraphProto::default()
        }
    }

    fn placed(in_float: &[&str]) -> Vec<String> {
        let in_float = in_float.iter().map(|name| (*name).to_owned()).collect();
        let placement = Placement::of(&network(), Some("doubt"), &in_float);
        placement.values.into_iter().map(|value| value.name).collect()
    }

    #[test]
    fn what_is_one_operation_has_no_pair_within() {
        assert_eq!(placed(&[]), ["x", "a", "silu", "b", "relu", "flat", "y"]);
        let placement = Placement::of(&network(), Some("doubt"), &BTreeSet::new());
        assert_eq!(placement.origin("flat"), "relu", "a layout keeps the scale");
        let layers: Vec<&str> = placement.layers.iter().map(|layer| &*layer.operator).collect();
        assert_eq!(layers, ["Conv", "Conv", "Add", "MatMul"]);
        assert_eq!(placement.layers[3].added, Some((8, 1)));
    }

    #[test]
    fn a_layer_in_float_is_read_and_gives_only_what_others_quantise() {
        assert_eq!(placed(&["a"]), ["silu", "b", "relu", "flat", "y"]);
        assert_eq!(placed(&["product"]), ["x", "a", "silu", "b", "relu", "flat"]);
    }
}
