//! Names of nodes: the standard lets several nodes have the same, or that of a weight; tract does not.

use super::inside_mut;
use std::collections::HashSet;
use tract_onnx::pb::GraphProto;

/// Renames each node whose name is taken before, in each graph by itself.
pub(super) fn make_unique(graph: &mut GraphProto) {
    let inputs = graph.input.iter().map(|input| input.name.clone());
    let constants = graph.initializer.iter().map(|tensor| tensor.name.clone());
    let mut taken: HashSet<String> = inputs.chain(constants).collect();
    for (number, node) in graph.node.iter_mut().enumerate() {
        // A node without a name is called by its first result.
        let own = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
        let own = own.cloned().unwrap_or_default();
        if !own.is_empty() && !taken.insert(own.clone()) {
            node.name = format!("{own}#{number}");
            taken.insert(node.name.clone());
        }
        inside_mut(node).for_each(make_unique);
    }
}
