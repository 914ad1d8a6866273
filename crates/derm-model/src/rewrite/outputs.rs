//! Results that nothing reads: exporters keep the batch statistics of a `BatchNormalization`.

use super::inside;
use std::collections::HashSet;
use tract_onnx::pb::GraphProto;

/// Leaves out the last results of each `BatchNormalization` that nothing reads.
pub(super) fn leave_out_unread(graph: &mut GraphProto) {
    let mut read = HashSet::new();
    collect(graph, &mut read);
    for node in graph.node.iter_mut().filter(|node| node.op_type == "BatchNormalization") {
        while node.output.len() > 1 && node.output.last().is_some_and(|name| !read.contains(name)) {
            node.output.pop();
        }
    }
}

/// Adds every name that a graph reads, in the graphs inside it, too.
fn collect(graph: &GraphProto, read: &mut HashSet<String>) {
    read.extend(graph.output.iter().map(|output| output.name.clone()));
    for node in &graph.node {
        read.extend(node.input.iter().cloned());
        inside(node).for_each(|graph| collect(graph, read));
    }
}
