//! Einsum: matrix products with a constant or with another value.

use super::builder::Builder;
use super::op;
use super::value::completed;
use crate::program::MatMul;
use crate::weights::{Strided, WeightOffsets};
use derm_kernels::{ConvGeometry, PackedConv, WindowAxis};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

/// The axes of the expression by where they are found: their indices in the first operand, in the
/// second, and in the output.
pub(super) struct Roles {
    /// In both operands, not in the output: summed over.
    pub(super) summed: Vec<[usize; 2]>,
    /// In the first operand and the output.
    pub(super) left: Vec<[usize; 2]>,
    /// In the second operand and the output.
    pub(super) right: Vec<[usize; 2]>,
    /// In all three.
    pub(super) batch: Vec<[usize; 3]>,
}

pub(super) fn lower(builder: &mut Builder<'_>, node: &TypedNode) -> TractResult<bool> {
    if !node.op_is::<EinSum>() {
        return Ok(false);
    }
    let einsum: &EinSum = op(node)?;
    if node.inputs.len() != 2 || einsum.q_params.is_some() {
        return Ok(false);
    }
    for outlet in [node.id.into(), node.inputs[0], node.inputs[1]] {
        if !builder.is_float(outlet)? {
            return Ok(false);
        }
    }
    let constant = [0, 1].map(|slot| builder.is_constant(node.inputs[slot]));
    let first = usize::from(constant[0]);
    let Some(roles) = roles(builder, node, einsum, first)? else { return Ok(false) };
    if constant[1 - first] {
        with_constant(builder, node, first, &roles)
    } else {
        of_values(builder, node, &roles)
    }
}

/// Sorts the axes; none where the expression is something else than a product. `first` is the slot
/// that counts as the first operand. Axes of length one are left out.
pub(super) fn roles(
    builder: &Builder<'_>,
    node: &TypedNode,
    einsum: &EinSum,
    first: usize,
) -> TractResult<Option<Roles>> {
    let slots = [node.inputs[first], node.inputs[1 - first], node.id.into()];
    let shapes = [builder.shape(slots[0])?, builder.shape(slots[1])?, builder.shape(slots[2])?];
    let mut roles =
        Roles { summed: Vec::new(), left: Vec::new(), right: Vec::new(), batch: Vec::new() };
    for axis in einsum.axes.iter_all_axes() {
        let indices = [&axis.inputs[first], &axis.inputs[1 - first], &axis.outputs[0]];
        if indices.iter().any(|indices| indices.len() > 1) {
            return Ok(None);
        }
        let long = [0, 1, 2]
            .map(|slot| indices[slot].first().copied().filter(|&index| shapes[slot][index] > 1));
        match long {
            [None, None, None] => {}
            [Some(a), Some(b), None] => roles.summed.push([a, b]),
            [Some(a), None, Some(o)] => roles.left.push([a, o]),
            [None, Some(b), Some(o)] => roles.right.push([b, o]),
            [Some(a), Some(b), Some(o)] => roles.batch.push([a, b, o]),
            _ => return Ok(None),
        }
    }
    Ok(Some(roles))
}

/// In the order in which the first operand's axes lie.
pub(super) fn in_memory_order<const N: usize>(
    axes: &[[usize; N]],
    order: &[usize],
) -> Vec<[usize; N]> {
    let mut axes = axes.to_vec();
    axes.sort_by_key(|axis| order.iter().position(|&a| a == axis[0]));
    axes
}

pub(super) fn column<const N: usize>(axes: &[[usize; N]], slot: usize) -> Vec<usize> {
    axes.iter().map(|axis| axis[slot]).collect()
}

/// `[left, batch, summed] x constant -> [left, batch, right]`: a convolution of one tap, with a
/// group for each index of the batch axes.
fn with_constant(
    builder: &mut Builder<'_>,
    node: &TypedNode,
    first: usize,
    roles: &Roles,
) -> TractResult<bool> {
    let value = builder.value(node.inputs[first])?;
    let left = in_memory_order(&roles.left, &value.order);
    let batch = in_memory_order(&roles.batch, &value.order);
    let summed = in_memory_order(&roles.summed, &value.order);
    let axes = [column(&left, 0), column(&batch, 0), column(&summed, 0)].concat();
    let order = completed(value.shape.len(), &axes);
    let value = builder.in_order(value, order);

    let constant = node.inputs[1 - first];
    let weights = builder.weights(constant)?;
    let axes = [column(&batch, 1), column(&roles.right, 0), column(&summed, 1)];
    let (geometry, offsets) = weight_product(value.len(), weights.view(), &axes)?;
    let weights = match transposed(builder, constant, weights.view(), &axes, &geometry)? {
        Some(weights) => weights,
        None => builder.pack(constant, &weights, &geometry, offsets),
    };

    let outlet = node.id.into();
    let axes = [column(&left, 1), column(&batch, 2), column(&roles.right, 1)].concat();
    let order = completed(builder.shape(outlet)?.len(), &axes);
    builder.convolve(outlet, weights.with_bias(None), &geometry, value.buffer, order)?;
    Ok(true)
}

/// The product of a value of this length with constant weights, whose axes are those of the groups, of the
/// output channels of a group, and of its input channels; and where the weights lie.
pub(super) fn weight_product(
    length: usize,
    weights: &Strided<'_>,
    axes: &[Vec<usize>; 3],
) -> TractResult<(ConvGeometry, WeightOffsets)> {
    let count = |axes: &Vec<usize>| axes.iter().map(|&axis| weights.shape[axis]).product();
    let [groups, outputs, inputs]: [usize; 3] = axes.each_ref().map(count);
    let rows = length / (groups * inputs);
    let geometry = product(rows, groups * inputs, groups * outputs, groups)?;
    Ok((geometry, WeightOffsets::of_product(weights, axes)))
}

/// The transposed weights, where another product of this graph reads the same ones: as in the
/// gradient of a product.
fn transposed(
    builder: &Builder<'_>,
    constant: OutletId,
    weights: &Strided<'_>,
    [groups, outputs, inputs]: &[Vec<usize>; 3],
    geometry: &ConvGeometry,
) -> TractResult<Option<PackedConv>> {
    let Some(packed) = builder.packed(constant) else { return Ok(None) };
    let axes = [groups.clone(), inputs.clone(), outputs.clone()];
    if packed.geometry.groups() != geometry.groups()
        || packed.offsets != WeightOffsets::of_product(weights, &axes)
    {
        return Ok(None);
    }
    let rows = geometry.output_len() / geometry.outputs();
    let forward = product(rows, geometry.outputs(), geometry.inputs(), geometry.groups())?;
    Ok(packed.weights.transposed(&forward))
}

/// A matrix product as a convolution of one tap over one row.
fn product(rows: usize, inputs: usize, outputs: usize, groups: usize) -> TractResult<ConvGeometry> {
    let axes = [WindowAxis::ONE, WindowAxis::pointwise(rows)?];
    Ok(ConvGeometry::new(axes, inputs, outputs, groups)?)
}

/// `[batch, left, summed] x [batch, right, summed] -> [batch, left, right]`.
fn of_values(builder: &mut Builder<'_>, node: &TypedNode, roles: &Roles) -> TractResult<bool> {
    let (left, right) = (builder.value(node.inputs[0])?, builder.value(node.inputs[1])?);
    let (batch, rows) = (&roles.batch, &roles.left);
    let axes = [column(batch, 0), column(rows, 0), column(&roles.summed, 0)].concat();
    let order = completed(left.shape.len(), &axes);
    let left = builder.in_order(left, order);
    let transposed = [column(batch, 1), column(&roles.summed, 1), column(&roles.right, 0)].concat();
    let usual = [column(batch, 1), column(&roles.right, 0), column(&roles.summed, 1)].concat();
    let right_is_kn = right.significant() == transposed;
    let order = completed(right.shape.len(), if right_is_kn { &transposed } else { &usual });
    let right = builder.in_order(right, order);

    let outlet: OutletId = node.id.into();
    let length =
        |axes: &[[usize; 2]]| axes.iter().map(|axis| left.shape[axis[0]]).product::<usize>();
    let (m, k) = (length(rows), length(&roles.summed));
    let n = roles.right.iter().map(|axis| right.shape[axis[0]]).product::<usize>();
    let count = left.len() / (m * k);
    let (left, right) = (left.buffer, right.buffer);
    let geometry = product(m, k, n, 1)?;
    let step = MatMul { batch: count, geometry, left, right, right_is_kn };
    let buffer = builder.push_new(step, count * m * n);
    let axes = [column(batch, 2), column(rows, 1), column(&roles.right, 1)].concat();
    let order = completed(builder.shape(outlet)?.len(), &axes);
    builder.set(outlet, buffer, order)?;
    Ok(true)
}
