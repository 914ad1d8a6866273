//! Lowering: from a typed graph to a program, node by node, without a look back at what was written.
//! One file a family of operators.

mod binary;
mod builder;
mod conv;
mod einsum;
mod fallback;
mod gradient;
mod int8;
mod layout;
mod pad;
mod pool;
mod reduce;
mod unary;
mod value;

pub(crate) use value::Value;

use crate::Options;
use crate::program::Program;
use crate::weights::{PackedWeightCache, StoredWeights};
use builder::Builder;
use std::collections::HashSet;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{TractErrorContext, ensure, format_err};
use tract_onnx::tract_core::ops::TypedOp;
use value::graph_order;

/// A graph as a program that no pass has rewritten.
pub(crate) struct Lowered {
    pub(crate) program: Program,
    /// Where each output of the graph is.
    pub(crate) outputs: Vec<Value>,
    /// Bytes of the weights that were not in the cache.
    pub(crate) packed_bytes: usize,
}

/// Lowers every node that the outputs need. The first input that is no weight is the picture, whose
/// axes lie in `input_order`; each further one begins a phase.
///
/// # Errors
/// If a size is not fixed, an output is not float32, or tract cannot compute a constant.
pub(crate) fn lower(
    model: &TypedModel,
    weights: &StoredWeights,
    input_order: &[usize],
    options: &Options,
    cache: &mut PackedWeightCache,
) -> TractResult<Lowered> {
    let mut builder = Builder::new(model, weights, options, cache)?;
    let inputs = model.input_outlets()?.iter().copied();
    let mut inputs = inputs.filter(|&input| !builder.is_constant(input)).collect::<Vec<_>>();
    ensure!(!inputs.is_empty(), "a graph without input");
    let picture = inputs.remove(0);
    builder.begin_phase(picture, input_order.to_vec())?;
    let order = order(model)?;
    builder.deferred = int8::deferred(&builder, &order);
    let outputs = model.output_outlets()?;
    let mut passed = HashSet::new();
    for id in order {
        let outlet = OutletId::new(id, 0);
        if inputs.contains(&outlet) {
            // An output of this phase is float32 when the phase ends, not when the last one does.
            for output in outputs.iter().filter(|output| passed.contains(&output.node)) {
                builder.value(*output)?;
            }
            let order = graph_order(builder.shape(outlet)?.len());
            builder.begin_phase(outlet, order)?;
            continue;
        }
        passed.insert(id);
        let is_there = outlet == picture || builder.is_constant(outlet);
        if is_there || builder.deferred.contains(&id) {
            continue;
        }
        let node = model.node(id);
        builder.name.clone_from(&node.name);
        lower_node(&mut builder, node)
            .with_context(|| format!("{} ({})", node.name, node.op.name()))?;
    }
    let outputs = outputs.iter().map(|&outlet| output(&mut builder, outlet));
    let outputs: Vec<Value> = outputs.collect::<TractResult<_>>().context("an output")?;
    let Builder { mut program, packed_bytes, .. } = builder;
    program.outputs = outputs.iter().map(|value| value.buffer).collect();
    Ok(Lowered { program, outputs, packed_bytes })
}

/// The nodes that the outputs need: by their numbers if each comes after what it reads, for that is
/// how a graph says what is to be computed late.
fn order(model: &TypedModel) -> TractResult<Vec<usize>> {
    let mut order = model.eval_order()?;
    let inputs = |id: usize| model.node(id).inputs.iter();
    if order.iter().all(|&id| inputs(id).all(|input| input.node < id)) {
        order.sort_unstable();
    }
    Ok(order)
}

/// Lowers a node by the first family that knows it, or leaves it to tract.
fn lower_node(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<()> {
    // Axes of length zero: no kernel is made for them, and the order of axes ignores them.
    let is_empty = |&input: &OutletId| builder.shape(input).is_ok_and(|shape| shape.contains(&0));
    if node.inputs.iter().any(is_empty) {
        return fallback::lower(builder, node);
    }
    for family in [
        int8::lower,
        conv::lower,
        pool::lower,
        einsum::lower,
        unary::lower,
        binary::lower,
        reduce::lower,
        layout::lower,
        pad::lower,
        gradient::lower,
    ] {
        if family(builder, node)? {
            return Ok(());
        }
    }
    fallback::lower(builder, node)
}

fn output(builder: &mut Builder<'_>, outlet: OutletId) -> TractResult<Value> {
    ensure!(builder.is_float(outlet)?, "an output is not float32");
    builder.value(outlet)
}

/// The operator of a node, of this type.
fn op<T: TypedOp>(node: &TypedNode) -> TractResult<&T> {
    node.op_as::<T>().ok_or_else(|| format_err!("not the operator it was taken for"))
}
