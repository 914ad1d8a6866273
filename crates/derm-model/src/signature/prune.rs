//! Pruning: the part of a graph that these values are computed from.

use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};

/// Makes `outputs` the graph's outputs, and keeps the nodes, inputs and stored tensors that they or
/// `roots` (names of values or of nodes) need. What else a file holds (labels as text, maps) is
/// not read.
pub(crate) fn prune(graph: &mut GraphProto, outputs: &[String], roots: &[&str]) {
    let kept = Needed::by(graph, outputs.iter().map(String::as_str).chain(roots.iter().copied()));
    let mut number = 0;
    graph.node.retain(|_| {
        number += 1;
        kept.nodes.contains(&(number - 1))
    });
    graph.input.retain(|input| kept.values.contains(&input.name));
    graph.initializer.retain(|tensor| kept.values.contains(&tensor.name));
    graph.sparse_initializer.retain(|tensor| {
        tensor.values.as_ref().is_some_and(|values| kept.values.contains(&values.name))
    });
    let declared = |name: &String| ValueInfoProto { name: name.clone(), ..Default::default() };
    graph.output = outputs.iter().map(declared).collect();
}

struct Needed {
    /// Indices of nodes.
    nodes: HashSet<usize>,
    values: HashSet<String>,
}

impl Needed {
    /// A worklist: any graph, cyclic ones too, takes linear time and constant stack.
    fn by<'a>(graph: &'a GraphProto, roots: impl Iterator<Item = &'a str>) -> Needed {
        let mut computed_by: HashMap<&str, usize> = HashMap::new();
        let mut named: HashMap<&str, usize> = HashMap::new();
        for (index, node) in graph.node.iter().enumerate() {
            named.insert(&node.name, index);
            computed_by.extend(node.output.iter().map(|output| (output.as_str(), index)));
        }
        let mut needed = Needed { nodes: HashSet::new(), values: HashSet::new() };
        let mut left: Vec<&str> = Vec::new();
        for root in roots {
            left.push(root);
            let node = named.get(root).filter(|_| !root.is_empty());
            left.extend(node.iter().flat_map(|&&index| &graph.node[index].output).map(|s| &**s));
        }
        while let Some(value) = left.pop() {
            if !needed.values.insert(value.to_owned()) {
                continue;
            }
            if let Some(&index) = computed_by.get(value)
                && needed.nodes.insert(index)
            {
                left.extend(reads(&graph.node[index]));
            }
        }
        needed
    }
}

/// The values that a node reads, those of the graphs in its attributes included (some of which
/// are values of those graphs themselves).
fn reads(node: &NodeProto) -> Vec<&str> {
    let mut found = Vec::new();
    let mut left = vec![node];
    while let Some(node) = left.pop() {
        found.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
        let graphs =
            node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
        for graph in graphs {
            left.extend(&graph.node);
            found.extend(graph.output.iter().map(|output| output.name.as_str()));
        }
    }
    found
}
