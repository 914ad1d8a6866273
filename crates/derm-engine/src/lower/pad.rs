//! Padding with a constant around at most two axes that lie one after the other.

use super::builder::Builder;
use super::value::physical;
use crate::program::{Copy, Element, Fill, Operand, Strided};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::{Pad, PadMode};

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    let Some(Pad { pads, mode: PadMode::Constant(fill) }) = node.op_as::<Pad>() else {
        return Ok(false);
    };
    if !builder.is_float(node.id.into())? {
        return Ok(false);
    }
    let fill = fill.cast_to_scalar::<f32>()?;
    let outlet: OutletId = node.id.into();
    let value = builder.value(node.inputs[0])?;
    let order = value.order.clone();
    let grows = |&index: &usize| pads[order[index]] != (0, 0);
    let growing: Vec<usize> = (0..order.len()).filter(grows).collect();
    let (Some(&first), Some(&last)) = (growing.first(), growing.last()) else { return Ok(false) };
    if last - first > 1 {
        return Ok(false);
    }
    let small = value.physical();
    let large = physical(&builder.shape(outlet)?, &order);
    if large[..first].iter().product::<usize>() != 1 {
        return Ok(false);
    }
    // [first, last, chunk] when two axes grow, [1, first, chunk] when one does.
    let inner: usize = large[last + 1..].iter().product();
    let before = |index: usize| pads[order[index]].0;
    let (copied, from, to, start) = if first == last {
        ([1, 1, small[last] * inner], [0, 0], [0, 0], before(last) * inner)
    } else {
        let row = large[last] * inner;
        let start = before(first) * row + before(last) * inner;
        ([small[first], 1, small[last] * inner], [small[last] * inner, 0], [row, 0], start)
    };
    let output = builder.program.add_buffer(large.iter().product());
    builder.push(Fill { value: fill }, output);
    let input = Operand::Buffer(value.buffer);
    let from = Strided { start: 0, strides: from };
    let to = Strided { start, strides: to };
    builder.push(Copy { input, element: Element::F32, blocks: copied, from, to }, output);
    builder.set(outlet, output, order)?;
    Ok(true)
}
