//! Integer arithmetic: what stands between `DequantizeLinear` and `QuantizeLinear`.
//!
//! `DequantizeLinear` writes no step: its value is *held* as the numbers that it reads, and becomes
//! float32 when an operation asks for that. What leads to a `QuantizeLinear` is deferred: that node
//! finds out whether it can be computed in integers ([`requantized`]); if not, or if something else
//! reads it too, it is lowered as any other float32 operation.

mod elementwise;
mod layout;
mod pool;
mod product;

use super::builder::Builder;
use super::value::{Held, Value};
use crate::graph_ops::{Dequantize, Quantize};
use crate::program::{Int8Table, Quantize as QuantizeStep};
use derm_kernels::{Requantize, Table, Unary};
use std::collections::HashSet;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, SumPool};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::Reduce;

/// Operators between a `DequantizeLinear` and a `QuantizeLinear`, at most: more are no one operation.
const DEPTH: usize = 8;

/// What a `QuantizeLinear` asks for.
#[derive(Debug, Clone)]
struct Target {
    scale: f32,
    requantize: Requantize,
    is_signed: bool,
}

impl Target {
    fn of(quantize: &Quantize) -> Target {
        let offset = if quantize.is_signed { 128 } else { 0 };
        let zero_point = (quantize.zero_point + offset) as u8;
        let requantize = Requantize::to(zero_point);
        Target { scale: quantize.scale, requantize, is_signed: quantize.is_signed }
    }

    /// A number as it is held.
    fn quantized(&self, x: f32) -> u8 {
        let Requantize { zero_point, low, high } = self.requantize;
        let value = (x / self.scale).round_ties_even() + f32::from(zero_point);
        value.max(f32::from(low)).min(f32::from(high)) as u8
    }

    /// What asks for the values before they are clamped: quantisation keeps their order.
    fn clamped(&self, low: f32, high: f32) -> Target {
        let [low, high] = [low, high].map(|bound| self.quantized(bound));
        let requantize = Requantize { low, high: high.max(low), ..self.requantize };
        Target { requantize, ..self.clone() }
    }

    fn held(&self, value: Value) -> Held {
        let zero_point = self.requantize.zero_point;
        Held { value, scale: self.scale, zero_point, is_signed: self.is_signed }
    }
}

/// The nodes that are lowered when something asks for them: those that lead to a `QuantizeLinear`.
pub(super) fn deferred(builder: &Builder<'_>, order: &[usize]) -> HashSet<usize> {
    let model = builder.model;
    let mut found = HashSet::new();
    for &id in order {
        let node = model.node(id);
        if !node.op_is::<Quantize>() || builder.is_constant(id.into()) {
            continue;
        }
        let mut level = vec![node.inputs[0]];
        for _ in 0..DEPTH {
            let is_deferred = |outlet: &OutletId| {
                is_deferrable(model.node(outlet.node)) && !builder.is_constant(*outlet)
            };
            let of_level: Vec<OutletId> = level.into_iter().filter(is_deferred).collect();
            found.extend(of_level.iter().map(|outlet| outlet.node));
            level = of_level
                .iter()
                .flat_map(|outlet| &model.node(outlet.node).inputs)
                .copied()
                .collect();
            level.sort_unstable();
            level.dedup();
        }
    }
    found
}

fn is_deferrable(node: &TypedNode) -> bool {
    node.outputs.len() == 1
        && (node.op_is::<Conv>()
            || node.op_is::<EinSum>()
            || node.op_is::<TypedBinOp>()
            || node.op_is::<ElementWiseOp>()
            || node.op_is::<SumPool>()
            || node.op_is::<MaxPool>()
            || node.op_is::<Reduce>()
            || node.op_is::<TypedConcat>())
}

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    if let Some(dequantize) = node.op_as::<Dequantize>() {
        return dequantized(builder, node, dequantize);
    }
    let Some(quantize) = node.op_as::<Quantize>() else {
        return layout::lower(builder, node);
    };
    let (outlet, input, target) = (node.id.into(), node.inputs[0], Target::of(quantize));
    let held = match requantized(builder, input, &target)? {
        Some(held) => held,
        None => {
            let value = builder.value(input)?;
            let zero_point = target.requantize.zero_point;
            let step = QuantizeStep { scale: target.scale, zero_point, input: value.buffer };
            let buffer = builder.push_new_bytes(step, value.len());
            target.held(Value { buffer, ..value })
        }
    };
    builder.set_held(outlet, held)?;
    Ok(true)
}

/// `DequantizeLinear`: the same numbers, for which a scale is known.
fn dequantized(
    builder: &mut Builder<'_>,
    node: &TypedNode,
    dequantize: &Dequantize,
) -> TractResult<bool> {
    let Some((scale, zero_point)) = dequantize.per_tensor() else { return Ok(false) };
    let Some(held) = builder.held(node.inputs[0]).cloned() else { return Ok(false) };
    let zero_point = zero_point + if held.is_signed { 128 } else { 0 };
    let Ok(zero_point) = u8::try_from(zero_point) else { return Ok(false) };
    builder.set_held(node.id.into(), Held { scale, zero_point, ..held })?;
    Ok(true)
}

/// The value at `outlet` as the target asks for it, computed in integers; `None` where that is not
/// possible, or the value is there as float32 already.
fn requantized(
    builder: &mut Builder<'_>,
    mut outlet: OutletId,
    target: &Target,
) -> TractResult<Option<Held>> {
    let mut target = target.clone();
    for _ in 0..DEPTH {
        if let Some(held) = builder.held(outlet).cloned() {
            let table = Table::new(|q| target.quantized(number(&held, q)));
            return Ok(Some(tabulated(builder, &held, table, &target)));
        }
        if builder.has_floats(outlet) || builder.is_constant(outlet) {
            return Ok(None);
        }
        if let Some(held) = elementwise::lower(builder, outlet, &target)? {
            return Ok(Some(held));
        }
        if let Some((held, values)) = elementwise::function_of_one(builder, outlet)? {
            let table = Table::new(|q| target.quantized(values[usize::from(q)]));
            return Ok(Some(tabulated(builder, &held, table, &target)));
        }
        let node = builder.model.node(outlet.node);
        let Some((inner, Unary::Clamp(low, high))) = elementwise::unary(builder, node)? else {
            break;
        };
        target = target.clamped(low, high);
        outlet = inner;
    }
    for family in [product::lower, pool::lower, layout::concatenated] {
        if let Some(held) = family(builder, outlet, &target)? {
            return Ok(Some(held));
        }
    }
    Ok(None)
}

/// What a number that is held stands for.
fn number(held: &Held, q: u8) -> f32 {
    (i32::from(q) - i32::from(held.zero_point)) as f32 * held.scale
}

/// A function of each number.
fn tabulated(builder: &mut Builder<'_>, held: &Held, table: Table, target: &Target) -> Held {
    let (input, length) = (held.value.buffer, held.value.len());
    if table.is_identity() {
        return target.held(held.value.clone());
    }
    let table = Arc::new(table);
    // A function of what this is a function of: the step between may then not be needed.
    let (root, table) = match builder.table(input) {
        Some((root, first)) => (*root, Arc::new(first.then(&table))),
        None => (input, table),
    };
    let step = Int8Table { table: Arc::clone(&table), input: root, length };
    let buffer = builder.push_new_bytes(step, length);
    builder.set_table(buffer, root, table);
    target.held(Value { buffer, ..held.value.clone() })
}
