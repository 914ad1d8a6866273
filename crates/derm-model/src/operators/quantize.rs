//! `QuantizeLinear` and `DequantizeLinear` of 8 bits, as operators of the engine's: tract's divide by
//! multiplying with a reciprocal, and make float32 weights of 8-bit ones. What is not of 8 bits is made of
//! other operators: [`super::arithmetic`].

use super::body::{ByBody, WriteBody};
use super::expansion::{Expansion, Rule};
use super::{Read, arithmetic, single};
use crate::budget::Shared;
use derm_engine::graph_ops::{Dequantize, Quantize};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::TypedOp;

/// `QuantizeLinear`.
pub(super) fn read_quantize(context: &ParsingContext<'_>, node: &NodeProto) -> Read {
    read(context, node, quantize, arithmetic::quantize)
}

/// `DequantizeLinear`.
pub(super) fn read_dequantize(context: &ParsingContext<'_>, node: &NodeProto) -> Read {
    read(context, node, dequantize, arithmetic::dequantize)
}

fn read(context: &ParsingContext<'_>, node: &NodeProto, of: Make, body: WriteBody) -> Read {
    let constants = Constants::of(node)?;
    let otherwise = ByBody::new(context, node, body);
    Ok((Box::new(Expansion::new(EightBits { constants, of, otherwise })), Vec::new()))
}

/// Makes the operator of 8 bits for these operands; `None` where they are of other types.
type Make = fn(&Constants, &[TypedFact]) -> TractResult<Option<Box<dyn TypedOp>>>;

/// The rule of either operator: of 8 bits one of the engine's, else a body.
#[derive(Debug)]
struct EightBits {
    constants: Constants,
    of: Make,
    otherwise: ByBody,
}

impl Rule for EightBits {
    fn name(&self) -> String {
        self.otherwise.name()
    }

    fn outputs(&self) -> usize {
        self.otherwise.outputs()
    }

    fn graph(&self, operands: &[TypedFact], budget: &Shared) -> TractResult<TypedModel> {
        let Some(op) = (self.of)(&self.constants, operands)? else {
            return self.otherwise.graph(operands, budget);
        };
        budget.nodes(1)?;
        single::graph(op, operands, 1)
    }
}

/// `QuantizeLinear` of float32 with one scale.
fn quantize(
    constants: &Constants,
    operands: &[TypedFact],
) -> TractResult<Option<Box<dyn TypedOp>>> {
    let to = constants.zero_point(operands).map(|fact| fact.datum_type);
    let is_one = |fact: &TypedFact| fact.shape.volume().is_one();
    let has_one =
        is_one(operand(operands, 1)?) && constants.zero_point(operands).is_none_or(is_one);
    let is_wide = to.is_some_and(|to| arithmetic::sixteen_bits(to).is_some());
    if is_wide || !has_one || operand(operands, 0)?.datum_type != DatumType::F32 {
        return Ok(None);
    }
    let (scales, zeros) = constants.values(operands)?;
    let is_signed = to == Some(DatumType::I8);
    ensure!(is_signed || to.is_none_or(|to| to == DatumType::U8), "not of 8 bits");
    Ok(Some(Box::new(Quantize::new(scales[0], zeros[0], is_signed)?)))
}

/// `DequantizeLinear` of integers of 8 or 32 bits.
fn dequantize(
    constants: &Constants,
    operands: &[TypedFact],
) -> TractResult<Option<Box<dyn TypedOp>>> {
    let fact = operand(operands, 0)?;
    if !matches!(fact.datum_type, DatumType::U8 | DatumType::I8 | DatumType::I32) {
        return Ok(None);
    }
    let (scales, zeros) = constants.values(operands)?;
    let shape = fact.shape.as_concrete().context("a size is not fixed")?;
    let axis = if scales.len() == 1 { 0 } else { constants.axis(shape.len())? };
    Ok(Some(Box::new(Dequantize::new(scales, zeros, axis, shape)?)))
}

fn operand(operands: &[TypedFact], number: usize) -> TractResult<&TypedFact> {
    operands.get(number).with_context(|| format!("input {number} is missing"))
}

/// The constant operands of either operator.
#[derive(Debug)]
struct Constants {
    has_zero_point: bool,
    axis: i64,
    is_blocked: bool,
}

impl Constants {
    fn of(node: &NodeProto) -> TractResult<Constants> {
        let has_zero_point = node.input.get(2).is_some_and(|name| !name.is_empty());
        let axis = node.get_attr_opt("axis")?.unwrap_or(1);
        let is_blocked = node.get_attr_opt::<i64>("block_size")?.unwrap_or(0) != 0;
        Ok(Constants { has_zero_point, axis, is_blocked })
    }

    fn zero_point<'a>(&self, operands: &'a [TypedFact]) -> Option<&'a TypedFact> {
        operands.get(2).filter(|_| self.has_zero_point)
    }

    /// Scales, and as many zero points.
    fn values(&self, operands: &[TypedFact]) -> TractResult<(Vec<f32>, Vec<i32>)> {
        ensure!(!self.is_blocked, "block_size is not supported");
        let constant = |number: usize| {
            let constant = operand(operands, number)?.konst.as_ref();
            constant.with_context(|| format!("input {number} is not constant"))
        };
        let scales = constant(1)?.try_as_plain_ram()?;
        let scales = scales.as_slice::<f32>()?;
        let zeros = if self.has_zero_point {
            constant(2)?.cast_to::<i32>()?.try_as_plain_ram()?.as_slice::<i32>()?.to_vec()
        } else {
            vec![0; scales.len()]
        };
        let longer = scales.len().max(zeros.len());
        ensure!(!scales.is_empty() && !zeros.is_empty(), "no scale");
        let filled = |count: usize| count == longer || count == 1;
        ensure!(filled(scales.len()) && filled(zeros.len()), "scales and zero points differ");
        let scales = (0..longer).map(|index| scales[index % scales.len()]).collect();
        let zeros = (0..longer).map(|index| zeros[index % zeros.len()]).collect();
        Ok((scales, zeros))
    }

    fn axis(&self, rank: usize) -> TractResult<usize> {
        let axis = if self.axis < 0 { self.axis + rank as i64 } else { self.axis };
        let axis = usize::try_from(axis).ok().filter(|&axis| axis < rank.max(1));
        axis.with_context(|| format!("no axis {}", self.axis))
    }
}
