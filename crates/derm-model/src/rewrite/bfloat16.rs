//! bfloat16 weights become float32; computing in bfloat16 is refused.

use super::message::number;
use super::{called, inside_mut};
use crate::Error;
use std::collections::HashSet;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, TensorProto};

/// Widens every bfloat16 tensor of a graph and of the graphs inside it.
///
/// # Errors
/// [`Error::Graph`] if a node rounds values to bfloat16, or such a tensor is in another file.
pub(super) fn widen(graph: &mut GraphProto) -> Result<(), Error> {
    let mut widened = HashSet::new();
    for tensor in &mut graph.initializer {
        if widen_tensor(tensor)? {
            widened.insert(tensor.name.clone());
        }
    }
    for node in &mut graph.node {
        let is_cast = number(node, "to") == Some(DataType::Bfloat16 as i64);
        let is_like = node.op_type == "CastLike"
            && node.input.get(1).is_some_and(|name| widened.contains(name));
        if node.op_type == "Cast" && is_cast || is_like {
            let what = format!("{}: computing in bfloat16 is not supported", called(node));
            return Err(Error::Graph(what));
        }
        for tensor in node.attribute.iter_mut().filter_map(|attribute| attribute.t.as_mut()) {
            if widen_tensor(tensor)? {
                widened.extend(node.output.iter().cloned());
            }
        }
        for graph in inside_mut(node) {
            widen(graph)?;
        }
    }
    Ok(())
}

/// Whether it was bfloat16.
fn widen_tensor(tensor: &mut TensorProto) -> Result<bool, Error> {
    if tensor.data_type != DataType::Bfloat16 as i32 {
        return Ok(false);
    }
    if tensor.data_location == Some(DataLocation::External as i32) {
        let name = &tensor.name;
        let what = format!("tensor {name}: bfloat16 in another file is not supported");
        return Err(Error::Graph(what));
    }
    // The upper half of a float32: the lower one is zero.
    let raw = tensor.raw_data.chunks_exact(2).flat_map(|two| [0, 0, two[0], two[1]]);
    let listed = tensor.int32_data.iter().flat_map(|&bits| ((bits as u32) << 16).to_le_bytes());
    tensor.raw_data = raw.chain(listed).collect();
    tensor.int32_data.clear();
    tensor.data_type = DataType::Float as i32;
    Ok(true)
}
