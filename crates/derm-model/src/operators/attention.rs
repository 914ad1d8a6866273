//! `Attention`, opset 23 and 24.

use super::body::{Call, With};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// `[batch, heads, length, size]` of an operand.
type Shape = [i64; 4];

/// Scaled products of queries and keys, their softmax, and the products with the values. A cache of
/// earlier keys and values is not supported.
pub(super) fn attention(call: &mut Call<'_>) -> TractResult<Vec<String>> {
    for (position, name) in [(4, "past_key"), (5, "past_value"), (6, "nonpad_kv_seqlen")] {
        ensure!(!call.has(position), "{name} is not supported");
    }
    ensure!(call.outputs() == 1, "outputs beside the first are not supported");
    let is_flat = call.shape(0)?.len() == 3;
    let (query, [batch, heads, rows, size]) = heads_first(call, 0, "q_num_heads")?;
    let (key, key_shape) = heads_first(call, 1, "kv_num_heads")?;
    let (value, value_shape) = heads_first(call, 2, "kv_num_heads")?;
    let columns = key_shape[2];
    let key = repeat_heads(call, key, key_shape, heads)?;
    let value = repeat_heads(call, value, value_shape, heads)?;

    let scale = call.float("scale")?.unwrap_or_else(|| 1.0 / (size as f32).sqrt());
    let scale = call.put_float(scale);
    let key = transpose(call, &key, &[0, 1, 3, 2]);
    let query = call.put("Mul", &[&query, &scale], &[]);
    let mut scores = call.put("MatMul", &[&query, &key], &[]);
    let cap = call.float("softcap")?.unwrap_or(0.0);
    if cap > 0.0 {
        let cap = call.put_float(cap);
        let part = call.put("Div", &[&scores, &cap], &[]);
        let part = call.put("Tanh", &[&part], &[]);
        scores = call.put("Mul", &[&part, &cap], &[]);
    }
    if call.has(3) {
        scores = masked(call, &scores)?;
    }
    if call.int("is_causal")?.unwrap_or(0) != 0 {
        let is_later = |place: i64| place % columns > place / columns;
        let values = (0..rows.saturating_mul(columns))
            .map(|place| if is_later(place) { f32::NEG_INFINITY } else { 0.0 });
        let mask = call.put_floats(&[rows, columns], values)?;
        scores = call.put("Add", &[&scores, &mask], &[]);
    }
    let weights = call.put("Softmax", &[&scores], &[With::Int("axis", -1)]);
    let result = call.put("MatMul", &[&weights, &value], &[]);
    if !is_flat {
        return Ok(vec![result]);
    }
    let result = transpose(call, &result, &[0, 2, 1, 3]);
    Ok(vec![call.reshape(&result, &[batch, rows, heads * value_shape[3]])])
}

/// An operand with its heads as an axis; a flat one, `[batch, length, heads * size]`, is split.
fn heads_first(call: &mut Call<'_>, position: usize, count: &str) -> TractResult<(String, Shape)> {
    let name = call.operand(position);
    match call.shape(position)?[..] {
        [batch, heads, length, size] => Ok((name, [batch, heads, length, size])),
        [batch, length, width] => {
            let heads = call.int(count)?.with_context(|| format!("no {count}"))?;
            ensure!(heads > 0 && width % heads == 0, "{heads} heads in {width} values");
            let size = width / heads;
            let split = call.reshape(&name, &[batch, length, heads, size]);
            Ok((transpose(call, &split, &[0, 2, 1, 3]), [batch, heads, length, size]))
        }
        ref other => bail!("an operand of shape {other:?}"),
    }
}

/// Keys or values that several successive heads of the queries share.
fn repeat_heads(
    call: &mut Call<'_>,
    name: String,
    shape: Shape,
    heads: i64,
) -> TractResult<String> {
    let [batch, own, length, size] = shape;
    if own == heads {
        return Ok(name);
    }
    ensure!(own > 0 && heads % own == 0, "{heads} heads of queries, {own} of keys and values");
    let apart = call.reshape(&name, &[batch, own, 1, length, size]);
    let wanted = call.put_ints(&[batch, own, heads / own, length, size]);
    let repeated = call.put("Expand", &[&apart, &wanted], &[]);
    Ok(call.reshape(&repeated, &[batch, heads, length, size]))
}

/// Adds the mask; of booleans, false is minus infinity.
fn masked(call: &mut Call<'_>, scores: &str) -> TractResult<String> {
    let mut mask = call.operand(3);
    if call.datum_type(3)? == DatumType::Bool {
        let zero = call.put_float(0.0);
        let never = call.put_float(f32::NEG_INFINITY);
        mask = call.put("Where", &[&mask, &zero, &never], &[]);
    }
    Ok(call.put("Add", &[scores, &mask], &[]))
}

fn transpose(call: &mut Call<'_>, value: &str, order: &[i64]) -> String {
    call.put("Transpose", &[value], &[With::Ints("perm", order)])
}
