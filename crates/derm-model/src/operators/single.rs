//! An operator that tract lacks, as one of its own kind: evaluated as written here.

use super::expansion::{Expansion, Rule};
use crate::budget::Shared;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::TypedOp;

/// A node read as this operator.
pub(super) fn read(op: impl TypedOp + Clone) -> super::Read {
    Ok((Box::new(Expansion::new(Single(op))), Vec::new()))
}

#[derive(Debug)]
struct Single<T>(T);

impl<T: TypedOp + Clone> Rule for Single<T> {
    fn name(&self) -> String {
        self.0.name().to_string()
    }

    fn outputs(&self) -> usize {
        1
    }

    fn graph(&self, operands: &[TypedFact], _: &Shared) -> TractResult<TypedModel> {
        graph(self.0.clone(), operands, operands.len())
    }
}

/// A graph of one operator, which reads the first `read` operands.
///
/// # Errors
/// If the operator refuses them.
pub(super) fn graph(
    op: impl Into<Box<dyn TypedOp>>,
    operands: &[TypedFact],
    read: usize,
) -> TractResult<TypedModel> {
    let mut model = TypedModel::default();
    let mut sources = Vec::new();
    for (number, fact) in operands.iter().enumerate() {
        sources.push(model.add_source(format!("operand{number}"), fact.clone())?);
    }
    let results = model.wire_node("result", op, &sources[..read])?;
    model.select_output_outlets(&results)?;
    Ok(model)
}

/// The shape of an operand, `N` axes.
pub(super) fn shape<const N: usize>(fact: &TypedFact) -> TractResult<[usize; N]> {
    let shape = fact.shape.as_concrete().context("a size is not fixed")?;
    shape.try_into().with_context(|| format!("an operand of shape {shape:?}"))
}

/// The values of a float32 operand.
pub(super) fn floats(value: &TValue) -> TractResult<&[f32]> {
    value.to_plain_array_view::<f32>()?.to_slice().context("values that are not contiguous")
}
