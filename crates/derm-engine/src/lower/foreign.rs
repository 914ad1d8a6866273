//! Operators that the engine leaves to tract: slow, on copies, but right.

use super::Lowering;
use crate::step::{Action, ForeignOperand, ForeignOutput};
use crate::value::plain;
use tract_onnx::prelude::*;

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<()> {
    let mut operands = Vec::new();
    for &input in &node.inputs {
        operands.push(if lowering.is_constant(input) {
            ForeignOperand::Constant(lowering.weights.tensor(lowering.model, input)?)
        } else if let Some(&slot) = lowering.sides.get(&input) {
            ForeignOperand::Side(slot)
        } else {
            let value = lowering.value(input)?;
            let value = lowering.in_plain_order(value);
            ForeignOperand::Buffer(value.buffer, value.shape)
        });
    }
    let mut outputs = Vec::new();
    for slot in 0..node.outputs.len() {
        let outlet = OutletId::new(node.id, slot);
        if lowering.is_float(outlet)? {
            let shape = lowering.shape(outlet)?;
            let buffer = lowering.buffer(shape.iter().product());
            lowering.set(outlet, buffer, plain(shape.len()), None)?;
            outputs.push(ForeignOutput::Buffer(buffer));
        } else {
            let number = lowering.sides.len();
            lowering.sides.insert(outlet, number);
            outputs.push(ForeignOutput::Side(number));
        }
    }
    let first = outputs.iter().find_map(|output| match output {
        ForeignOutput::Buffer(buffer) => Some(*buffer),
        ForeignOutput::Side(_) => None,
    });
    let output = first.unwrap_or_else(|| lowering.buffer(0));
    lowering.push(Action::Foreign { op: node.op.clone(), operands, outputs }, output);
    Ok(())
}
