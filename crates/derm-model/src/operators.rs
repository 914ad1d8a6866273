//! ONNX operators that tract evaluates without their attributes, read as operators of the engine.

use derm_engine::Unary;
use derm_engine::graph_ops::Function;
use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::InferenceOp;
use tract_onnx::tract_hir::ops::element_wise::ElementWiseIntoHir;

/// What a reader of a node returns: the operator, and the names of missing inputs.
type Read = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// tract's reader of ONNX, with these operators in place of its own.
pub(crate) fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    onnx.op_register.insert("Celu", celu);
    onnx.op_register.insert("Swish", swish);
    onnx
}

/// `Celu-12`: tract leaves out the factor `alpha`.
fn celu(_: &ParsingContext, node: &NodeProto) -> Read {
    read(Unary::Celu(node.get_attr_opt("alpha")?.unwrap_or(1.0)))
}

/// `Swish-24`: tract takes `alpha` for 1.
fn swish(_: &ParsingContext, node: &NodeProto) -> Read {
    read(Unary::Swish(node.get_attr_opt("alpha")?.unwrap_or(1.0)))
}

fn read(function: Unary) -> Read {
    Ok((Function::elementwise(function).into_hir(), Vec::new()))
}
