//! Operators that lengthen and cut axes: `Pad`, `CenterCropPad`.

use super::body::{Call, With};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// How many values an axis is lengthened by before its first and after its last; negative: cut.
type Pads = Vec<(i64, i64)>;

/// `Pad`, up to opset 25: cuts first, then pads.
pub(super) fn pad(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let mode = call.text("mode")?.unwrap_or_else(|| "constant".to_owned());
    let shape = call.shape(0)?;
    let (flat, value) = if call.opset < 11 {
        let name = if call.opset < 2 { "paddings" } else { "pads" };
        let value = call.float("value")?.unwrap_or(0.0);
        (call.ints(name)?.context("no pads")?, call.put_float(value))
    } else {
        (call.constant(1)?.context("no pads")?, call.operand(2))
    };
    let axes = match call.constant(3)? {
        Some(axes) => axes,
        None => (0..shape.len() as i64).collect(),
    };
    ensure!(flat.len() == 2 * axes.len(), "{} pads for {} axes", flat.len(), axes.len());
    let mut pads: Pads = vec![(0, 0); shape.len()];
    for (number, axis) in axes.iter().enumerate() {
        pads[position(*axis, shape.len())?] = (flat[number], flat[axes.len() + number]);
    }
    Ok(vec![lengthen(call, shape, &pads, &mode, &value)?])
}

/// `CenterCropPad-18`: to a given length, the middle staying where it is.
pub(super) fn center_crop_pad(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    let shape = call.shape(0)?;
    let wanted = call.constant::<i64>(1)?.context("no shape")?;
    let axes = call.ints("axes")?.unwrap_or_else(|| (0..shape.len() as i64).collect());
    ensure!(axes.len() == wanted.len(), "{} lengths for {} axes", wanted.len(), axes.len());
    let mut pads: Pads = vec![(0, 0); shape.len()];
    for (axis, wanted) in axes.iter().zip(wanted) {
        let axis = position(*axis, shape.len())?;
        let more = wanted.checked_sub(shape[axis]).filter(|_| wanted >= 0).context("a length")?;
        // Rounded towards zero: the odd value is added, or cut, at the end.
        pads[axis] = (more / 2, more - more / 2);
    }
    Ok(vec![lengthen(call, shape, &pads, "constant", "")?])
}

/// An axis that may be counted from the end.
pub(super) fn position(axis: i64, rank: usize) -> TractResult<usize> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    let position = usize::try_from(counted).ok().filter(|&position| position < rank);
    position.with_context(|| format!("there is no axis {axis}"))
}

/// Cuts by the negative pads of the first operand, then pads by the others.
fn lengthen(
    call: &mut Call<'_>,
    mut shape: Vec<i64>,
    pads: &Pads,
    mode: &str,
    value: &str,
) -> TractResult<String> {
    let mut result = call.operand(0);
    let cut = |pad: i64| pad.min(0).saturating_neg();
    for (axis, &(before, after)) in pads.iter().enumerate() {
        if before < 0 || after < 0 {
            let (start, end) = (cut(before), shape[axis].saturating_sub(cut(after)));
            ensure!(start <= end, "axis {axis} is cut by more than its length");
            result = slice(call, &result, axis, start, end);
            shape[axis] = end - start;
        }
    }
    let grown: Pads = pads.iter().map(|&(before, after)| (before.max(0), after.max(0))).collect();
    if mode == "wrap" {
        for (axis, &(before, after)) in grown.iter().enumerate() {
            result = wrap(call, &result, axis, shape[axis], (before, after))?;
        }
        return Ok(result);
    }
    if grown.iter().all(|&pad| pad == (0, 0)) {
        return Ok(call.put("Identity", &[&result], &[]));
    }
    let flat: Vec<i64> =
        grown.iter().map(|pad| pad.0).chain(grown.iter().map(|pad| pad.1)).collect();
    let flat = call.put_ints(&flat);
    // tract pads with a value that is given, whatever the mode.
    let value = if mode == "constant" { value } else { "" };
    Ok(call.put("derm.Pad", &[&result, &flat, value], &[With::Text("mode", mode)]))
}

/// Repeats an axis of this length periodically.
fn wrap(
    call: &mut Call<'_>,
    value: &str,
    axis: usize,
    length: i64,
    (before, after): (i64, i64),
) -> TractResult<String> {
    /// More copies of an axis than this are no padding.
    const MOST_COPIES: i64 = 64;
    ensure!(length > 0, "axis {axis} has no values");
    ensure!(
        before.saturating_add(after) / length < MOST_COPIES,
        "axis {axis} is repeated too often"
    );
    let mut pieces = Vec::new();
    let (mut at, end) = (-before, length + after);
    while at < end {
        let start = at.rem_euclid(length);
        let stop = length.min(start + end - at);
        pieces.push(slice(call, value, axis, start, stop));
        at += stop - start;
    }
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    Ok(call.put("Concat", &pieces, &[With::Int("axis", axis as i64)]))
}

fn slice(call: &mut Call<'_>, value: &str, axis: usize, start: i64, end: i64) -> String {
    let [start, end, axis] = [start, end, axis as i64].map(|number| call.put_ints(&[number]));
    call.put("Slice", &[value, &start, &end, &axis], &[])
}
