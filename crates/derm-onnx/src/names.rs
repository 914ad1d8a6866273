//! Names of values: a new one must differ from each.

use crate::messages::{GraphProto, ModelProto, NodeProto};
use std::collections::HashSet;

/// `wanted`, with underscores behind it where it is taken; it is taken from now on.
pub fn unused(wanted: &str, names: &mut HashSet<String>) -> String {
    let mut candidate = wanted.to_owned();
    while !names.insert(candidate.clone()) {
        candidate.push('_');
    }
    candidate
}

/// The names of all values, in subgraphs and functions too.
pub fn names_in_use(model: &ModelProto) -> HashSet<String> {
    let mut names = HashSet::new();
    model.graph.iter().for_each(|graph| of_graph(graph, &mut names));
    model.functions.iter().for_each(|function| of_nodes(&function.node, &mut names));
    names
}

fn of_graph(graph: &GraphProto, names: &mut HashSet<String>) {
    names.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
    names.extend(graph.input.iter().map(|value| value.name.clone()));
    of_nodes(&graph.node, names);
}

fn of_nodes(nodes: &[NodeProto], names: &mut HashSet<String>) {
    for node in nodes {
        names.extend(node.input.iter().chain(&node.output).cloned());
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).for_each(|graph| of_graph(graph, names));
        }
    }
}
