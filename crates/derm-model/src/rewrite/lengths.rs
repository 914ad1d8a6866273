//! Attributes that are lengths of a window, steps of it, or pads: numbers that a graph's sizes are computed from.

use super::{called, inside};
use crate::Error;
use tract_onnx::pb::GraphProto;

const LENGTHS: [&str; 7] =
    ["dilations", "kernel_shape", "output_padding", "output_shape", "pads", "paddings", "strides"];

/// Checks that each has 32 bits, so that sums and products of a few of them do not overflow.
///
/// # Errors
/// [`Error::Graph`] names the node, the attribute and its numbers.
pub(super) fn check(graph: &GraphProto) -> Result<(), Error> {
    for node in &graph.node {
        let lengths = node.attribute.iter().filter(|it| LENGTHS.contains(&it.name.as_str()));
        for attribute in lengths {
            if attribute.ints.iter().any(|&number| i32::try_from(number).is_err()) {
                let numbers: Vec<i64> = attribute.ints.iter().copied().take(4).collect();
                let (node, name) = (called(node), &attribute.name);
                return Err(Error::Graph(format!("{node}: {name} is {numbers:?}")));
            }
        }
        inside(node).try_for_each(check)?;
    }
    Ok(())
}
