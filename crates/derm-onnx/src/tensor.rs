//! Tensors of a model: visiting them, and reading their float32 values.

use crate::Error;
use crate::messages::tensor_proto::DataType;
use crate::messages::{GraphProto, ModelProto, NodeProto, TensorProto};

pub(crate) const FLOAT: i32 = DataType::FLOAT as i32;
pub(crate) const FLOAT16: i32 = DataType::FLOAT16 as i32;

/// Visits every initialiser and every tensor attribute, in subgraphs and functions too.
pub(crate) fn for_each_tensor(model: &mut ModelProto, visit: &mut dyn FnMut(&mut TensorProto)) {
    if let Some(graph) = model.graph.as_mut() {
        in_graph(graph, visit);
    }
    for function in &mut model.functions {
        in_nodes(&mut function.node, visit);
    }
}

fn in_graph(graph: &mut GraphProto, visit: &mut dyn FnMut(&mut TensorProto)) {
    graph.initializer.iter_mut().for_each(&mut *visit);
    in_nodes(&mut graph.node, visit);
}

fn in_nodes(nodes: &mut [NodeProto], visit: &mut dyn FnMut(&mut TensorProto)) {
    for attribute in nodes.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.t.as_mut().into_iter().chain(&mut attribute.tensors).for_each(&mut *visit);
        for graph in attribute.g.as_mut().into_iter().chain(&mut attribute.graphs) {
            in_graph(graph, visit);
        }
    }
}

/// Number of elements of the shape; `None` if a dimension is negative or the product overflows.
pub(crate) fn volume(tensor: &TensorProto) -> Option<usize> {
    tensor
        .dims
        .iter()
        .try_fold(1usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))
}

/// Bytes of the tensor's data, in whichever field of the message.
pub(crate) fn data_bytes(tensor: &TensorProto) -> usize {
    tensor.raw_data.len()
        + 4 * tensor.float_data.len()
        + 4 * tensor.int32_data.len()
        + 8 * tensor.int64_data.len()
        + 8 * tensor.double_data.len()
}

/// The values of a float32 tensor.
///
/// # Errors
/// [`Error::WrongLength`]: there are more or fewer than its shape says.
pub fn floats(tensor: &TensorProto) -> Result<Vec<f32>, Error> {
    let wrong = || Error::WrongLength(tensor.name.clone());
    let values: Vec<f32> = if tensor.raw_data.is_empty() {
        tensor.float_data.clone()
    } else {
        let chunks = tensor.raw_data.chunks_exact(4);
        if !chunks.remainder().is_empty() {
            return Err(wrong());
        }
        chunks.map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
    };
    if volume(tensor) == Some(values.len()) { Ok(values) } else { Err(wrong()) }
}
