//! Attributes that are lengths of a window, steps of it, or pads: numbers that a graph's sizes are computed from; and
//! those that name axes, which operators are expanded along.

use super::{called, inside};
use crate::Error;
use tract_onnx::pb::GraphProto;

const LENGTHS: [&str; 7] =
    ["dilations", "kernel_shape", "output_padding", "output_shape", "pads", "paddings", "strides"];

const AXES: [&str; 2] = ["axes", "axis"];
/// More axes than any tensor has.
const MOST_AXES: i64 = 64;

/// Checks that each length has 32 bits, so that sums and products of a few of them do not overflow, and that no axis is
/// beyond those of a tensor.
///
/// # Errors
/// [`Error::Graph`] names the node, the attribute and its numbers.
pub(super) fn check(graph: &GraphProto) -> Result<(), Error> {
    for node in &graph.node {
        for attribute in &node.attribute {
            let name = attribute.name.as_str();
            let fits = |number: &i64| match name {
                _ if LENGTHS.contains(&name) => i32::try_from(*number).is_ok(),
                _ if AXES.contains(&name) => (-MOST_AXES..MOST_AXES).contains(number),
                _ => true,
            };
            let numbers = match &attribute.ints[..] {
                [] => std::slice::from_ref(&attribute.i),
                numbers => numbers,
            };
            if !numbers.iter().all(fits) {
                let (node, numbers) = (called(node), &numbers[..numbers.len().min(4)]);
                return Err(Error::Graph(format!("{node}: {name} is {numbers:?}")));
            }
        }
        inside(node).try_for_each(check)?;
    }
    Ok(())
}
