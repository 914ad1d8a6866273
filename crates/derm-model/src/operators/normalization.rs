//! `BatchNormalization` in training mode or by computed parameters, and `Compress` by a constant.

use super::body::{self, Call, With};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `BatchNormalization`: exporters write training mode where a network standardises its weights.
pub(super) fn batch_normalization(context: &ParsingContext<'_>, node: &NodeProto) -> super::Read {
    let is_training = node.get_attr_opt::<i64>("training_mode")?.unwrap_or(0) != 0;
    if is_training {
        return body::read(context, node, in_training_mode);
    }
    body::read(context, node, in_inference_mode)
}

/// By mean and variance that are operands. Where they are constant, tract folds them into a factor and a summand.
fn in_inference_mode(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let operands: Vec<String> = (0..5).map(|position| call.operand(position)).collect();
    if (1..5).all(|position| call.is_constant(position)) {
        return Ok(call.forward("derm.BatchNormalization", &operands, &[]));
    }
    let along = along_channels(&call.shape(0)?)?;
    let [value, scale, bias, mean, variance] = &operands[..] else { bail!("five operands") };
    let epsilon = call.float("epsilon")?.unwrap_or(1e-5);
    let epsilon = call.put_float(epsilon);
    let deviation = call.put("Add", &[variance, &epsilon], &[]);
    let deviation = call.put("Sqrt", &[&deviation], &[]);
    let factor = call.put("Div", &[scale, &deviation], &[]);
    let moved = call.put("Mul", &[mean, &factor], &[]);
    let summand = call.put("Sub", &[bias, &moved], &[]);
    let [factor, summand] = [factor, summand].map(|name| call.reshape(&name, &along));
    let scaled = call.put("Mul", &[value, &factor], &[]);
    Ok(vec![call.put("Add", &[&scaled, &summand], &[])])
}

/// The shape in which one number for each channel meets an operand of this shape.
fn along_channels(shape: &[i64]) -> TractResult<Vec<i64>> {
    ensure!(shape.len() >= 2, "an operand without channels");
    let mut along = vec![1; shape.len()];
    along[1] = shape[1];
    Ok(along)
}

/// By mean and variance of the operand itself, `[batch, channels, ...]`; then the new running mean
/// and variance.
fn in_training_mode(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let shape = call.shape(0)?;
    let along = along_channels(&shape)?;
    let axes: Vec<i64> = (0..shape.len() as i64).filter(|&axis| axis != 1).collect();
    let epsilon = call.float("epsilon")?.unwrap_or(1e-5);
    let momentum = call.float("momentum")?.unwrap_or(0.9);

    let value = call.operand(0);
    let axes = call.put_ints(&axes);
    let mean = call.put("ReduceMean", &[&value, &axes], &[]);
    let centred = call.put("Sub", &[&value, &mean], &[]);
    let squares = call.put("Mul", &[&centred, &centred], &[]);
    let variance = call.put("ReduceMean", &[&squares, &axes], &[]);
    let epsilon = call.put_float(epsilon);
    let deviation = call.put("Add", &[&variance, &epsilon], &[]);
    let deviation = call.put("Sqrt", &[&deviation], &[]);
    let normalised = call.put("Div", &[&centred, &deviation], &[]);
    let [scale, bias] = [1, 2].map(|position| {
        let operand = call.operand(position);
        call.reshape(&operand, &along)
    });
    let scaled = call.put("Mul", &[&normalised, &scale], &[]);
    let mut results = vec![call.put("Add", &[&scaled, &bias], &[])];
    for (position, new) in [(3, mean), (4, variance)] {
        let old = call.operand(position);
        let new = call.reshape(&new, &[shape[1]]);
        let [keep, take] = [momentum, 1.0 - momentum].map(|part| call.put_float(part));
        let old = call.put("Mul", &[&old, &keep], &[]);
        let new = call.put("Mul", &[&new, &take], &[]);
        results.push(call.put("Add", &[&old, &new], &[]));
    }
    Ok(results)
}

/// `Compress` by a condition that does not depend on the picture.
pub(super) fn compress(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let condition = call.constant::<bool>(1)?.context("no condition")?;
    let kept = condition.iter().enumerate().filter(|(_, keep)| **keep);
    let kept: Vec<i64> = kept.map(|(place, _)| place as i64).collect();
    let mut value = call.operand(0);
    let axis = match call.int("axis")? {
        Some(axis) => axis,
        None => {
            value = call.reshape(&value, &[-1]);
            0
        }
    };
    let kept = call.put_ints(&kept);
    Ok(vec![call.put("Gather", &[&value, &kept], &[With::Int("axis", axis)])])
}
