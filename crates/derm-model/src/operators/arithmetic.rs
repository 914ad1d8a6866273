//! Operators on numbers that tract computes for some of their operands only: `IsInf`, `Mod`,
//! `Range`; 16-bit `QuantizeLinear` and `DequantizeLinear`.

use super::body::{Call, With};
use super::pad::position;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `IsInf`, of either sign or of one.
pub(super) fn is_inf(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let value = call.operand(0);
    let infinite = call.forward(
        "derm.IsInf",
        std::slice::from_ref(&value),
        &["detect_positive", "detect_negative"],
    );
    let infinite = infinite[0].clone();
    let positive = call.int("detect_positive")?.unwrap_or(1) != 0;
    let negative = call.int("detect_negative")?.unwrap_or(1) != 0;
    if positive && negative {
        return Ok(vec![infinite]);
    }
    let zero = call.put_float(0.0);
    let operator = if positive { "Greater" } else { "Less" };
    let mut of_sign = call.put(operator, &[&value, &zero], &[]);
    if !positive && !negative {
        let greater = call.put("Greater", &[&value, &zero], &[]);
        of_sign = call.put("And", &[&of_sign, &greater], &[]);
    }
    Ok(vec![call.put("And", &[&infinite, &of_sign], &[])])
}

/// `Mod`: of whole numbers without `fmod`, the remainder has the divisor's sign.
pub(super) fn modulo(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let (mut value, mut divisor) = (call.operand(0), call.operand(1));
    let mut datum_type = call.datum_type(0)?;
    if datum_type == DatumType::TDim {
        // A length of a shape: tract's own type, of which the sign counts, too.
        let to = [With::Int("to", DataType::Int64 as i64)];
        value = call.put("Cast", &[&value], &to);
        divisor = call.put("Cast", &[&divisor], &to);
        datum_type = DatumType::I64;
    }
    let remainder =
        |call: &mut Call<'_>| call.put("derm.Mod", &[&value, &divisor], &[With::Int("fmod", 1)]);
    if call.int("fmod")?.unwrap_or(0) != 0 || datum_type.is_unsigned() {
        return Ok(vec![remainder(call)]);
    }
    ensure!(!datum_type.is_float(), "Mod of floating-point numbers without fmod");
    let rest = remainder(call);
    let zero = call.put("Sub", &[&rest, &rest], &[]);
    let is_negative = call.put("Less", &[&rest, &zero], &[]);
    let is_downward = call.put("Less", &[&divisor, &zero], &[]);
    let differ = call.put("Xor", &[&is_negative, &is_downward], &[]);
    let is_none = call.put("Equal", &[&rest, &zero], &[]);
    let is_some = call.put("Not", &[&is_none], &[]);
    let moves = call.put("And", &[&differ, &is_some], &[]);
    let moved = call.put("Add", &[&rest, &divisor], &[]);
    Ok(vec![call.put("Where", &[&moves, &moved, &rest], &[])])
}

/// `Range-11`: of numbers with fractions, made here.
pub(super) fn range(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let datum_type = call.datum_type(0)?;
    if !datum_type.is_float() {
        if (0..3).all(|position| call.is_constant(position)) {
            call.room(&[whole_count(call)?])?;
        }
        let operands = [0, 1, 2].map(|position| call.operand(position));
        return Ok(call.forward("derm.Range", &operands, &[]));
    }
    ensure!(datum_type == DatumType::F32, "Range of {datum_type:?} is not supported");
    let mut bounds = [0.0f32; 3];
    for (position, bound) in bounds.iter_mut().enumerate() {
        let given = call.constant::<f32>(position)?.unwrap_or_default();
        *bound = *given.first().context("no bound")?;
    }
    let [start, limit, step] = bounds;
    let count = ((limit - start) / step).ceil().max(0.0);
    ensure!(step != 0.0 && count <= 16_777_216.0, "Range of {count} values");
    let values = (0..count as usize).map(|place| start + place as f32 * step);
    let values = call.put_floats(&[count as i64], values)?;
    Ok(vec![call.put("Identity", &[&values], &[])])
}

/// How many whole numbers a `Range` has. tract counts in 32 bits, and then makes as many as there are.
fn whole_count(call: &Call<'_>) -> TractResult<i64> {
    let mut bounds = [0i128; 3];
    for (position, bound) in bounds.iter_mut().enumerate() {
        let given = call.constant::<i64>(position)?.unwrap_or_default();
        *bound = (*given.first().context("no bound")?).into();
    }
    let [start, limit, step] = bounds;
    ensure!(step != 0, "a step of 0");
    let count = (limit - start + step - step.signum()) / step;
    Ok(i64::try_from(count.max(0)).unwrap_or(i64::MAX))
}

/// `QuantizeLinear` where [`super::quantize`] has no operator for it: to 16 bits it becomes a graph of other
/// operators, else it is tract's.
pub(super) fn quantize(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let wide = if call.has(2) { sixteen_bits(call.datum_type(2)?) } else { None };
    let operands: Vec<String> = (0..3).map(|position| call.operand(position)).collect();
    let Some((kind, lowest, highest)) = wide else {
        let without = ["block_size", "precision"];
        return Ok(call.forward("derm.QuantizeLinear", &operands, &without));
    };
    let [scale, zero] = along_axis(call)?;
    let value = call.put("Div", &[&operands[0], &scale], &[]);
    let value = call.put("Round", &[&value], &[]);
    let value = call.put("Add", &[&value, &zero], &[]);
    let [lowest, highest] = [lowest, highest].map(|bound| call.put_float(bound));
    let value = call.put("Clip", &[&value, &lowest, &highest], &[]);
    Ok(vec![call.put("Cast", &[&value], &[With::Int("to", kind as i64)])])
}

/// `DequantizeLinear` where [`super::quantize`] has no operator for it: of 16 bits it becomes a graph of other
/// operators, else it is tract's.
pub(super) fn dequantize(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let operands: Vec<String> = (0..3).map(|position| call.operand(position)).collect();
    if sixteen_bits(call.datum_type(0)?).is_none() {
        return Ok(call.forward("derm.DequantizeLinear", &operands, &["block_size"]));
    }
    let [scale, zero] = along_axis(call)?;
    let value = call.put("Cast", &[&operands[0]], &[With::Int("to", DataType::Float as i64)]);
    let value = call.put("Sub", &[&value, &zero], &[]);
    Ok(vec![call.put("Mul", &[&value, &scale], &[])])
}

/// The ONNX type of 16-bit numbers, and its least and largest.
pub(super) fn sixteen_bits(datum_type: DatumType) -> Option<(DataType, f32, f32)> {
    match datum_type {
        DatumType::U16 => Some((DataType::Uint16, 0.0, 65535.0)),
        DatumType::I16 => Some((DataType::Int16, -32768.0, 32767.0)),
        _ => None,
    }
}

/// Scale and zero point as float32, one for each place along the axis.
fn along_axis(call: &mut Call<'_>) -> TractResult<[String; 2]> {
    ensure!(call.int("block_size")?.unwrap_or(0) == 0, "block_size is not supported");
    let shape = call.shape(0)?;
    let mut results = [String::new(), String::new()];
    for (result, place) in results.iter_mut().zip([1, 2]) {
        if !call.has(place) {
            *result = call.put_float(0.0);
            continue;
        }
        let operand = call.operand(place);
        let to = [With::Int("to", DataType::Float as i64)];
        *result = call.put("Cast", &[&operand], &to);
        if call.shape(place)?.iter().product::<i64>() != 1 {
            let axis = position(call.int("axis")?.unwrap_or(1), shape.len())?;
            let mut along = vec![1; shape.len()];
            along[axis] = shape[axis];
            *result = call.reshape(&result.clone(), &along);
        }
    }
    Ok(results)
}

/// `Squeeze` without axes: all of length one.
pub(super) fn squeeze(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let axes = match call.ints("axes")? {
        Some(axes) => axes,
        None if call.has(1) => call.constant(1)?.unwrap_or_default(),
        None => {
            let lengths = call.shape(0)?.into_iter().enumerate();
            lengths.filter(|(_, length)| *length == 1).map(|(axis, _)| axis as i64).collect()
        }
    };
    let (value, axes) = (call.operand(0), call.put_ints(&axes));
    Ok(vec![call.put("derm.Squeeze", &[&value, &axes], &[])])
}
