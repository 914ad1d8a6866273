//! Parts of an ONNX message: what the rewriting reads and writes of nodes, attributes and tensors.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

/// Whether a domain is that of the standard's operators.
pub(crate) fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// Whether a node is this operator of the standard.
pub(super) fn is_operator(node: &NodeProto, name: &str) -> bool {
    node.op_type == name && is_standard(&node.domain)
}

/// A node with one result, by which it is called. Inputs that are left out at the end are "".
pub(super) fn new_node(
    operator: &str,
    mut inputs: Vec<String>,
    output: String,
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    while inputs.last().is_some_and(String::is_empty) {
        inputs.pop();
    }
    NodeProto {
        op_type: operator.to_owned(),
        name: format!("{output}:{operator}"),
        input: inputs,
        output: vec![output],
        attribute,
        ..NodeProto::default()
    }
}

/// An attribute that is a whole number.
pub(crate) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

/// The number that an attribute of this name is.
pub(super) fn number(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.i)
}

/// Constant: a float32 tensor, a scalar if it is one number, else a vector.
pub(super) fn constant(name: String, values: Vec<f32>) -> TensorProto {
    TensorProto {
        name,
        data_type: DataType::Float as i32,
        dims: if values.len() == 1 { Vec::new() } else { vec![values.len() as i64] },
        float_data: values,
        ..TensorProto::default()
    }
}

/// The numbers of a float32 tensor, as it stores them.
pub(super) fn floats(tensor: &TensorProto) -> Vec<f32> {
    let raw = tensor.raw_data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    raw.chain(tensor.float_data.iter().copied()).collect()
}
