//! Fresh names: names for new values, which no value of the graph has.

use std::collections::HashSet;
use tract_onnx::pb::GraphProto;

/// The names of a graph's values.
pub(super) struct Taken(HashSet<String>);

impl Taken {
    pub(super) fn of(graph: &GraphProto) -> Taken {
        let inputs = graph.input.iter().map(|input| input.name.clone());
        let constants = graph.initializer.iter().map(|tensor| tensor.name.clone());
        let computed = graph.node.iter().flat_map(|node| node.output.iter().cloned());
        Taken(inputs.chain(constants).chain(computed).collect())
    }

    /// A name that no value has yet, and that begins like this.
    pub(super) fn fresh(&mut self, first: &str) -> String {
        let mut name = format!("{first}:{}", self.0.len());
        while !self.0.insert(name.clone()) {
            name.push('\'');
        }
        name
    }
}
