use tract_onnx::prelude::tract_ndarray::{ArrayD, Axis};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `QuantizeLinear` to 8 bits with one scale: `round(x / scale) + zero_point`, within the type's
/// bounds; halves round to even, and NaN becomes the least value.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantize {
    /// The scale; positive.
    pub scale: f32,
    /// The value that stands for 0.
    pub zero_point: i32,
    /// Whether to `i8`, otherwise to `u8`.
    pub is_signed: bool,
}

/// No scale is NaN: [`Quantize::new`] refuses it.
impl Eq for Quantize {}

impl Quantize {
    /// The operator.
    ///
    /// # Errors
    /// If the scale is not a positive number, or the zero point is none of the type.
    pub fn new(scale: f32, zero_point: i32, is_signed: bool) -> TractResult<Quantize> {
        ensure!(scale > 0.0 && scale.is_finite(), "the scale {scale} is no positive number");
        let quantize = Quantize { scale, zero_point, is_signed };
        ensure!(quantize.bounds().contains(&zero_point), "no zero point of the type: {zero_point}");
        Ok(quantize)
    }

    /// The type's least and largest value.
    pub fn bounds(&self) -> std::ops::RangeInclusive<i32> {
        if self.is_signed { -128..=127 } else { 0..=255 }
    }

    fn value(&self, x: f32) -> i32 {
        let bounds = self.bounds();
        let value = (x / self.scale).round_ties_even() + self.zero_point as f32;
        value.max(*bounds.start() as f32).min(*bounds.end() as f32) as i32
    }
}

impl Op for Quantize {
    fn name(&self) -> StaticName {
        "QuantizeLinear".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Quantize {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = inputs[0].to_plain_array_view::<f32>()?;
        let output = if self.is_signed {
            input.mapv(|x| self.value(x) as i8).into_tensor()
        } else {
            input.mapv(|x| self.value(x) as u8).into_tensor()
        };
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Quantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let to = if self.is_signed { i8::datum_type() } else { u8::datum_type() };
        Ok(tvec!(to.fact(inputs[0].shape.clone())))
    }
    fn axes_mapping(
        &self,
        inputs: &[&TypedFact],
        outputs: &[&TypedFact],
    ) -> TractResult<AxesMapping> {
        AxesMapping::natural(inputs, outputs)
    }
    as_op!();
}

/// `DequantizeLinear`: `(q - zero_point) * scale`, with one scale and zero point, or one for each index
/// along an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Dequantize {
    /// Scales: one, or one for each index of `axis`.
    pub scales: Arc<[f32]>,
    /// As many zero points.
    pub zero_points: Arc<[i32]>,
    /// The axis along which they vary.
    pub axis: usize,
}

/// No scale is NaN: [`Dequantize::new`] refuses it.
impl Eq for Dequantize {}

impl Dequantize {
    /// The operator on values of this shape.
    ///
    /// # Errors
    /// If a scale is not finite, or there is not one scale and zero point for each index of the axis.
    pub fn new(
        scales: Vec<f32>,
        zero_points: Vec<i32>,
        axis: usize,
        shape: &[usize],
    ) -> TractResult<Dequantize> {
        ensure!(scales.iter().all(|scale| scale.is_finite()), "a scale is not finite");
        ensure!(scales.len() == zero_points.len(), "not as many zero points as scales");
        let along = shape.get(axis).copied();
        ensure!(scales.len() == 1 || along == Some(scales.len()), "not a scale for each index");
        Ok(Dequantize { scales: scales.into(), zero_points: zero_points.into(), axis })
    }

    /// The scale and zero point, if there is one for all values.
    pub fn per_tensor(&self) -> Option<(f32, i32)> {
        match (&self.scales[..], &self.zero_points[..]) {
            (&[scale], &[zero_point]) => Some((scale, zero_point)),
            _ => None,
        }
    }

    /// The numbers that these values stand for.
    ///
    /// # Errors
    /// If the values are not integers of 8 or 32 bits.
    pub fn apply(&self, values: &Tensor) -> TractResult<Tensor> {
        let (scales, zeros) = (&self.scales, &self.zero_points);
        let mut output: ArrayD<f32> = ArrayD::zeros(values.shape());
        let is_one = scales.len() == 1;
        // 32-bit values lose bits as float32; their zero point is 0.
        let value = |q: i32, index: usize| q.wrapping_sub(zeros[index]) as f32 * scales[index];
        macro_rules! each {
            ($integer:ty) => {{
                let values = values.to_plain_array_view::<$integer>()?;
                if is_one {
                    output.zip_mut_with(&values, |to, &q| *to = value(q.into(), 0));
                } else {
                    let of_index = output.axis_iter_mut(Axis(self.axis));
                    for (index, mut to) in of_index.enumerate() {
                        let from = values.index_axis(Axis(self.axis), index);
                        to.zip_mut_with(&from, |to, &q| *to = value(q.into(), index));
                    }
                }
            }};
        }
        match values.datum_type() {
            DatumType::U8 => each!(u8),
            DatumType::I8 => each!(i8),
            DatumType::I32 => each!(i32),
            other => bail!("DequantizeLinear of {other:?}"),
        }
        Ok(output.into_tensor())
    }
}

impl Op for Dequantize {
    fn name(&self) -> StaticName {
        "DequantizeLinear".into()
    }
    op_as_typed_op!();
}

impl EvalOp for Dequantize {
    /// Only one number is folded into the graph: weights stay 8-bit values.
    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        if inputs[0].len() != 1 {
            return Ok(None);
        }
        Ok(Some(tvec!(self.apply(&inputs[0])?.into_tvalue())))
    }
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(tvec!(self.apply(&inputs[0])?.into_tvalue()))
    }
}

impl TypedOp for Dequantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::datum_type().fact(inputs[0].shape.clone())))
    }
    fn axes_mapping(
        &self,
        inputs: &[&TypedFact],
        outputs: &[&TypedFact],
    ) -> TractResult<AxesMapping> {
        AxesMapping::natural(inputs, outputs)
    }
    as_op!();
}

/// Fake quantisation: `DynamicQuantizeLinear`, and the values that its numbers stand for
/// ([`derm_kernels::fake_quantize`]). The range is that of all values, so that none of a part alone is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeQuantize;

impl Op for FakeQuantize {
    fn name(&self) -> StaticName {
        "FakeQuantize".into()
    }
    op_as_typed_op!();
}

impl EvalOp for FakeQuantize {
    op_out_of_plan!();
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let [input] = &inputs[..] else { bail!("one operand is expected") };
        let mut output = input.to_plain_array_view::<f32>()?.as_standard_layout().into_owned();
        let values = output.as_slice_mut().context("the values are not in order")?;
        derm_kernels::fake_quantize(derm_kernels::Isa::best(), values);
        Ok(tvec!(output.into_tensor().into_tvalue()))
    }
}

impl TypedOp for FakeQuantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].datum_type == f32::datum_type(), "FakeQuantize of {:?}", inputs[0]);
        Ok(tvec!(inputs[0].without_value()))
    }
    as_op!();
}
