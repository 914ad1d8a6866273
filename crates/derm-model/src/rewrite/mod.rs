//! Rewriting of an ONNX file's message, before tract reads it: what needs no types and shapes.

mod attributes;
mod bfloat16;
mod dynamic;
mod functions;
mod message;
mod names;
mod outputs;
mod qoperator;
mod taken;

pub(crate) use dynamic::{FAKE_QUANTIZE, replace as replace_dynamic};
pub(crate) use message::{integer, is_standard};

use crate::Error;
use crate::budget::Budget;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

/// Inlines the model's own functions, checks lengths and axes, widens bfloat16 weights, writes
/// operators of the QOperator format as those of the QDQ format, leaves out results that nothing reads, and gives every node a name of its own. `bytes` is what `model` was read from.
///
/// # Errors
/// [`Error::Graph`]: something is used in a way that is not supported, or the budget is used up.
pub(crate) fn rewrite(model: &mut ModelProto, bytes: &[u8], budget: &Budget) -> Result<(), Error> {
    functions::inline(model, bytes, budget)?;
    if let Some(graph) = &mut model.graph {
        attributes::check(graph)?;
        bfloat16::widen(graph)?;
        qoperator::replace(graph)?;
        outputs::leave_out_unread(graph);
        names::make_unique(graph);
    }
    Ok(())
}

/// The graphs inside a node.
pub(crate) fn inside(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// The graphs inside a node, to be changed.
fn inside_mut(node: &mut NodeProto) -> impl Iterator<Item = &mut GraphProto> {
    node.attribute
        .iter_mut()
        .flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs))
}

/// How messages call a node: by its name, or its first result's.
fn called(node: &NodeProto) -> String {
    let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    format!("{} ({})", name.map_or("", String::as_str), node.op_type)
}
