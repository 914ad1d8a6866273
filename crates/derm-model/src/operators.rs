//! ONNX operators that tract evaluates wrongly: read as operators of the engine, or refused.

use derm_engine::Unary;
use derm_engine::graph_ops::Function;
use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{bail, ensure};
use tract_onnx::tract_core::ops::array::Pad;
use tract_onnx::tract_hir::internal::InferenceOp;
use tract_onnx::tract_hir::ops::element_wise::ElementWiseIntoHir;

/// What a reader of a node returns: the operator, and the names of missing inputs.
type Read = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// tract's reader of ONNX, with these operators in place of its own.
pub(crate) fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    onnx.op_register.insert("Celu", celu);
    onnx.op_register.insert("Swish", swish);
    onnx.op_register.insert("GlobalLpPool", global_lp_pool);
    onnx
}

/// Refuses what tract reads and would compute wrongly.
///
/// # Errors
/// If a node pads by a negative number, which tract takes for a very large one.
pub(crate) fn check(model: &TypedModel) -> TractResult<()> {
    for node in model.nodes() {
        let Some(pad) = node.op_as::<Pad>() else { continue };
        let is_negative = |&length: &usize| isize::try_from(length).is_err();
        let is_cut =
            pad.pads.iter().any(|(before, after)| [before, after].into_iter().any(is_negative));
        ensure!(!is_cut, "{} (Pad): negative pads are not supported; use Slice", node.name);
    }
    Ok(())
}

/// `Celu-12`: tract leaves out the factor `alpha`.
fn celu(_: &ParsingContext, node: &NodeProto) -> Read {
    read(Unary::Celu(node.get_attr_opt("alpha")?.unwrap_or(1.0)))
}

/// `Swish-24`: tract takes `alpha` for 1.
fn swish(_: &ParsingContext, node: &NodeProto) -> Read {
    read(Unary::Swish(node.get_attr_opt("alpha")?.unwrap_or(1.0)))
}

/// `GlobalLpPool-2`: tract leaves out the root.
fn global_lp_pool(_: &ParsingContext, _: &NodeProto) -> Read {
    bail!("GlobalLpPool is not supported")
}

fn read(function: Unary) -> Read {
    Ok((Function::elementwise(function).into_hir(), Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::ops::array::PadMode;

    #[test]
    fn negative_pads_are_refused_by_the_name_of_the_node() {
        for (before, fits) in [(1isize, true), (-1, false)] {
            let mut model = TypedModel::default();
            let mode = PadMode::Constant(std::sync::Arc::new(tensor0(0f32)));
            let pad = Pad { pads: vec![(before as usize, 0)], mode };
            model.add_node("cut", pad, tvec!(f32::fact([4]))).unwrap();
            let found = check(&model);
            assert_eq!(found.is_ok(), fits, "{found:?}");
            assert!(fits || found.unwrap_err().to_string().contains("cut (Pad)"));
        }
    }
}
