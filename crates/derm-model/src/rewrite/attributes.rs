//! Attributes: bounds of the numbers that a graph's sizes are computed from (lengths of a window, its strides, pads)
//! and of axes, which operators are expanded along.

use super::{called, inside};
use crate::Error;
use std::ops::RangeInclusive;
use tract_onnx::pb::GraphProto;

/// The numbers that an attribute of this name may be. Lengths have 32 bits, so that sums and products of a
/// few of them do not overflow; no tensor has more than 64 axes. `None`: any number.
fn bounds(name: &str) -> Option<RangeInclusive<i64>> {
    match name {
        "dilations" | "kernel_shape" | "output_padding" | "output_shape" | "pads" | "paddings"
        | "strides" => Some(i32::MIN.into()..=i32::MAX.into()),
        "axes" | "axis" => Some(-64..=63),
        _ => None,
    }
}

/// Checks the numbers of attributes.
///
/// # Errors
/// [`Error::Graph`] names the node, the attribute and its numbers.
pub(super) fn check(graph: &GraphProto) -> Result<(), Error> {
    for node in &graph.node {
        for attribute in &node.attribute {
            let name = attribute.name.as_str();
            let Some(bounds) = bounds(name) else { continue };
            let numbers = match &attribute.ints[..] {
                [] => std::slice::from_ref(&attribute.i),
                numbers => numbers,
            };
            if !numbers.iter().all(|number| bounds.contains(number)) {
                let (node, numbers) = (called(node), &numbers[..numbers.len().min(4)]);
                return Err(Error::Graph(format!("{node}: {name} is {numbers:?}")));
            }
        }
        inside(node).try_for_each(check)?;
    }
    Ok(())
}
