//! `QuantizeLinear` and `DequantizeLinear` of 8 bits, as operators of the engine's: tract's divide by
//! multiplying with a reciprocal, and make float32 weights of 8-bit ones.

use super::Read;
use derm_engine::graph_ops::{Dequantize, Quantize};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

/// The constant operands of either operator.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Operands {
    has_zero_point: bool,
    axis: i64,
}

impl Operands {
    fn of(node: &NodeProto) -> TractResult<Operands> {
        let block_size = node.get_attr_opt::<i64>("block_size")?.unwrap_or(0);
        ensure!(block_size == 0, "block_size is not supported");
        let has_zero_point = node.input.get(2).is_some_and(|name| !name.is_empty());
        Ok(Operands { has_zero_point, axis: node.get_attr_opt("axis")?.unwrap_or(1) })
    }

    /// Scales, as many zero points, and the type of these.
    fn values(
        &self,
        target: &TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<(Vec<f32>, Vec<i32>, Option<DatumType>)> {
        let constant = |slot: usize| {
            let constant = target.outlet_fact(inputs[slot])?.konst.clone();
            constant.with_context(|| format!("input {slot} is not constant"))
        };
        let scales = constant(1)?;
        let scales: Vec<f32> = scales.to_plain_array_view::<f32>()?.iter().copied().collect();
        let (zeros, datum_type) = if self.has_zero_point {
            let zeros = constant(2)?;
            let wide = zeros.cast_to::<i32>()?;
            let wide: Vec<i32> = wide.to_plain_array_view::<i32>()?.iter().copied().collect();
            (wide, Some(zeros.datum_type()))
        } else {
            (vec![0; scales.len()], None)
        };
        let longer = scales.len().max(zeros.len());
        ensure!(!scales.is_empty() && !zeros.is_empty(), "no scale");
        let filled = |count: usize| count == longer || count == 1;
        ensure!(filled(scales.len()) && filled(zeros.len()), "scales and zero points differ");
        let scales = (0..longer).map(|index| scales[index % scales.len()]).collect();
        let zeros = (0..longer).map(|index| zeros[index % zeros.len()]).collect();
        Ok((scales, zeros, datum_type))
    }

    fn axis(&self, rank: usize) -> TractResult<usize> {
        let axis = if self.axis < 0 { self.axis + rank as i64 } else { self.axis };
        let axis = usize::try_from(axis).ok().filter(|&axis| axis < rank.max(1));
        axis.with_context(|| format!("no axis {}", self.axis))
    }

    /// What both operators say: float32 scales, and a result of the shape of the first operand.
    fn rules<'r, 'p: 'r>(
        &self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2 + usize::from(self.has_zero_point))?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[1].datum_type, f32::datum_type())?;
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }
}

/// `DequantizeLinear`.
pub(super) fn read_dequantize(_: &ParsingContext<'_>, node: &NodeProto) -> Read {
    Ok((expand(DequantizeRule(Operands::of(node)?)), Vec::new()))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct DequantizeRule(Operands);

impl Expansion for DequantizeRule {
    fn name(&self) -> StaticName {
        "DequantizeLinear".into()
    }

    /// Weights stay 8-bit values.
    fn runs_out_of_plan(&self) -> bool {
        false
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.0.rules(s, inputs, outputs)?;
        s.equals(&outputs[0].datum_type, f32::datum_type())
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let (scales, zeros, _) = self.0.values(target, inputs)?;
        let fact = target.outlet_fact(inputs[0])?;
        let shape = fact.shape.as_concrete().context("a size is not fixed")?.to_vec();
        let axis = if scales.len() == 1 { 0 } else { self.0.axis(shape.len())? };
        let op = Dequantize::new(scales, zeros, axis, &shape)?;
        target.wire_node(prefix, op, &[inputs[0]])
    }
}

/// `QuantizeLinear` of float32 with one scale.
pub(super) fn read_quantize(_: &ParsingContext<'_>, node: &NodeProto) -> Read {
    Ok((expand(QuantizeRule(Operands::of(node)?)), Vec::new()))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct QuantizeRule(Operands);

impl Expansion for QuantizeRule {
    fn name(&self) -> StaticName {
        "QuantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.0.rules(s, inputs, outputs)?;
        if self.0.has_zero_point {
            s.equals(&outputs[0].datum_type, &inputs[2].datum_type)
        } else {
            s.equals(&outputs[0].datum_type, u8::datum_type())
        }
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let (scales, zeros, datum_type) = self.0.values(target, inputs)?;
        let ([scale], [zero]) = (&scales[..], &zeros[..]) else { bail!("more than one scale") };
        let is_signed = datum_type == Some(DatumType::I8);
        ensure!(is_signed || datum_type.is_none_or(|of| of == DatumType::U8), "not of 8 bits");
        target.wire_node(prefix, Quantize::new(*scale, *zero, is_signed)?, &[inputs[0]])
    }
}
