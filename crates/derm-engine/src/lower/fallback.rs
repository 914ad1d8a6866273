//! Fallback: operators that the engine leaves to tract.

use super::builder::Builder;
use super::value::graph_order;
use crate::graph_ops::Dequantize;
use crate::program::{Bytes, Evaluator, Fallback, FallbackOperand, FallbackOutput};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::EvalContext;

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<()> {
    let mut operands = Vec::new();
    for &input in &node.inputs {
        operands.push(if builder.is_constant(input) {
            FallbackOperand::Constant(builder.constants.tensor(input)?)
        } else if let Some(&id) = builder.opaque.get(&input) {
            FallbackOperand::Opaque(id)
        } else if !builder.is_float(input)?
            && let Some(held) = builder.held(input)
        {
            let mut axes = vec![0; held.value.order.len()];
            held.value.order.iter().enumerate().for_each(|(index, &axis)| axes[axis] = index);
            FallbackOperand::Bytes(Bytes {
                buffer: held.value.buffer,
                physical: held.value.physical(),
                axes,
                is_signed: held.is_signed,
            })
        } else {
            let value = builder.value(input)?;
            let value = builder.in_graph_order(value);
            FallbackOperand::Buffer(value.buffer, value.shape)
        });
    }
    let mut outputs = Vec::new();
    for slot in 0..node.outputs.len() {
        let outlet = OutletId::new(node.id, slot);
        outputs.push(if builder.is_float(outlet)? {
            let shape = builder.shape(outlet)?;
            let buffer = builder.program.add_buffer(shape.iter().product());
            builder.set(outlet, buffer, graph_order(shape.len()))?;
            FallbackOutput::Buffer(buffer)
        } else {
            let id = builder.program.add_opaque();
            builder.opaque.insert(outlet, id);
            FallbackOutput::Opaque(id)
        });
    }
    let first = outputs.iter().find_map(FallbackOutput::buffer);
    let output = first.unwrap_or_else(|| builder.program.add_buffer(0));
    let evaluator = evaluator(builder, node)?;
    builder.push(Fallback { op: node.op.clone(), evaluator, operands, outputs }, output);
    Ok(())
}

/// How a node is evaluated: by itself, or, if it keeps a state while it runs, as a graph of one node.
fn evaluator(builder: &Builder<'_>, node: &TypedNode) -> TractResult<Evaluator> {
    // Dequantisation is not evaluated by itself, lest the graph's weights be.
    let is_by_itself = !node.op_is::<Dequantize>();
    if is_by_itself && node.op.state(&EvalContext::out_of_plan())?.is_none() {
        return Ok(Evaluator::Operator);
    }
    let mut model = TypedModel::default();
    let mut sources = Vec::new();
    for (number, &input) in node.inputs.iter().enumerate() {
        let fact = builder.model.outlet_fact(input)?.without_value();
        sources.push(model.add_source(format!("operand{number}"), fact)?);
    }
    let results = model.wire_node("result", node.op.clone(), &sources)?;
    model.select_output_outlets(&results)?;
    Ok(Evaluator::Graph(model.into_optimized()?.into_runnable()?))
}
