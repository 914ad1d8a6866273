use derm_kernels::Unary;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};

/// A function of the kernels as an operator of the graph: for functions that tract does not have, or
/// evaluates without their attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Function(pub Unary);

/// No attribute is NaN: a graph with such a node is another graph then.
impl Eq for Function {}

impl Function {
    /// The operator that applies it to every element.
    pub fn elementwise(function: Unary) -> ElementWiseOp {
        ElementWiseOp(Box::new(Function(function)), None)
    }
}

impl ElementWiseMiniOp for Function {
    fn name(&self) -> String {
        self.0.name().to_owned()
    }

    fn eval_in_place(&self, tensor: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        tensor.to_plain_array_view_mut::<f32>()?.mapv_inplace(|x| self.0.value(x));
        Ok(())
    }
}
