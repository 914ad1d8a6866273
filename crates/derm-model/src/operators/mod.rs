//! ONNX operators that tract lacks or computes otherwise than the standard says: read as other
//! operators, or refused by name.

mod arithmetic;
mod attention;
mod bilinear;
mod body;
mod control;
mod deform_conv;
mod einsum;
mod expansion;
mod normalization;
mod pad;
mod pool;
mod quantize;
mod recurrent;
mod roi_align;
mod single;
mod spatial;
mod verified;

pub(crate) use expansion::Expansion;
pub(crate) use verified::{check_supported, unverified};

use crate::rewrite::FAKE_QUANTIZE;
use derm_engine::Unary;
use derm_engine::graph_ops::{FakeQuantize, Function};
use tract_onnx::model::{Onnx, OnnxOpRegister, ParsingContext};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{InferenceOp, format_err};
use tract_onnx::tract_hir::ops::element_wise::ElementWiseIntoHir;

/// What a reader of a node returns: the operator, and the names of missing inputs.
type Read = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// The operators of tract's that are replaced here. They stay under `derm.NAME`, for the graphs that
/// replace them.
const REPLACED: [&str; 18] = [
    "AveragePool",
    "BatchNormalization",
    "ConstantOfShape",
    "ConvTranspose",
    "DequantizeLinear",
    "Einsum",
    "GRU",
    "GridSample",
    "IsInf",
    "LSTM",
    "MaxPool",
    "Mod",
    "Pad",
    "QuantizeLinear",
    "RNN",
    "Range",
    "Resize",
    "Squeeze",
];

/// tract's reader of ONNX, with these operators in place of its own.
pub(crate) fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let own = &mut onnx.op_register;
    for name in REPLACED {
        if let Some(&reader) = own.0.get(name) {
            own.0.insert(format!("derm.{name}"), reader);
        }
    }
    own.insert("DequantizeLinear", quantize::read_dequantize);
    own.insert("QuantizeLinear", quantize::read_quantize);
    own.insert(FAKE_QUANTIZE, |_, _| single::read(FakeQuantize));
    own.insert("Celu", celu);
    own.insert("ConstantOfShape", constant_of_shape);
    own.insert("Swish", swish);
    own.insert("BatchNormalization", normalization::batch_normalization);
    own.insert("DeformConv", deform_conv::read);
    own.insert("RoiAlign", roi_align::read);
    own.insert("ConvTranspose", spatial::read_conv_transpose);
    own.insert("GridSample", spatial::grid_sample);
    own.insert("Resize", spatial::read_resize);
    own.insert("GRU", recurrent::read);
    own.insert("LSTM", recurrent::read);
    own.insert("RNN", recurrent::read);
    own.insert("If", control::read_if);
    own.insert("Loop", control::read_loop);
    insert_bodies(own);
    onnx
}

fn insert_bodies(to: &mut OnnxOpRegister) {
    to.insert("AffineGrid", |c, node| body::read(c, node, spatial::affine_grid));
    to.insert("Attention", |c, node| body::read(c, node, attention::attention));
    to.insert("AveragePool", |c, node| body::read(c, node, pool::pool));
    to.insert("CenterCropPad", |c, node| body::read(c, node, pad::center_crop_pad));
    to.insert("Col2Im", |c, node| body::read(c, node, spatial::col2im));
    to.insert("Compress", |c, node| body::read(c, node, normalization::compress));
    to.insert("Einsum", |c, node| body::read(c, node, einsum::einsum));
    to.insert("GlobalLpPool", |c, node| body::read(c, node, pool::global_lp_pool));
    to.insert("IsInf", |c, node| body::read(c, node, arithmetic::is_inf));
    to.insert("LpPool", |c, node| body::read(c, node, pool::lp_pool));
    to.insert("MaxPool", |c, node| body::read(c, node, pool::pool));
    to.insert("MaxUnpool", |c, node| body::read(c, node, pool::max_unpool));
    to.insert("Mod", |c, node| body::read(c, node, arithmetic::modulo));
    to.insert("Pad", |c, node| body::read(c, node, pad::pad));
    to.insert("Range", |c, node| body::read(c, node, arithmetic::range));
    to.insert("Squeeze", |c, node| body::read(c, node, arithmetic::squeeze));
    to.insert("Upsample", |c, node| body::read(c, node, spatial::upsample));
}

/// `Celu-12`: tract leaves out the factor `alpha`.
fn celu(_: &ParsingContext<'_>, node: &NodeProto) -> Read {
    read(Unary::Celu(node.get_attr_opt("alpha")?.unwrap_or(1.0)))
}

/// `ConstantOfShape`: without a value the standard says zeros of float32, and tract makes float64.
fn constant_of_shape(context: &ParsingContext<'_>, node: &NodeProto) -> Read {
    let mut node = node.clone();
    if node.attribute.iter().all(|attribute| attribute.name != "value") {
        let zero = TensorProto {
            dims: vec![1],
            data_type: DataType::Float as i32,
            float_data: vec![0.0],
            ..TensorProto::default()
        };
        node.attribute.push(AttributeProto {
            name: "value".to_owned(),
            r#type: AttributeType::Tensor as i32,
            t: Some(zero),
            ..AttributeProto::default()
        });
    }
    let own = context.framework.op_register.0.get("derm.ConstantOfShape");
    own.ok_or_else(|| format_err!("ConstantOfShape"))?(context, &node)
}

/// `Swish-24`: tract takes `alpha` for 1.
fn swish(_: &ParsingContext<'_>, node: &NodeProto) -> Read {
    read(Unary::Swish(node.get_attr_opt("alpha")?.unwrap_or(1.0)))
}

fn read(function: Unary) -> Read {
    Ok((Function::elementwise(function).into_hir(), Vec::new()))
}
