//! Sums of products: matrix products with a constant or with another value.

use super::{Lowering, op};
use crate::step::Action;
use crate::value::completed;
use derm_kernels::{ConvGeometry, PackedConv, WindowAxis};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

/// An axis of the expression by where it is found: positions in the first operand, in the second,
/// and in the output.
struct Roles {
    /// In both operands, not in the output: summed over.
    summed: Vec<[usize; 2]>,
    /// In the first operand and the output.
    left: Vec<[usize; 2]>,
    /// In the second operand and the output.
    right: Vec<[usize; 2]>,
    /// In all three.
    batch: Vec<[usize; 3]>,
}

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &TypedNode) -> TractResult<bool> {
    if !node.op_is::<EinSum>() {
        return Ok(false);
    }
    let einsum: &EinSum = op(node)?;
    if node.inputs.len() != 2 || einsum.q_params.is_some() {
        return Ok(false);
    }
    let constant = [0, 1].map(|slot| lowering.is_constant(node.inputs[slot]));
    let first = usize::from(constant[0]);
    let Some(roles) = roles(lowering, node, einsum, first)? else { return Ok(false) };
    if constant[1 - first] {
        with_constant(lowering, node, first, &roles)
    } else {
        of_values(lowering, node, &roles)
    }
}

/// Sorts the axes; none where the expression is something else than a product. `first` is the slot
/// that counts as the first operand. Axes of length one matter to nobody.
fn roles(
    lowering: &Lowering<'_>,
    node: &TypedNode,
    einsum: &EinSum,
    first: usize,
) -> TractResult<Option<Roles>> {
    let slots = [node.inputs[first], node.inputs[1 - first], node.id.into()];
    let shapes = [lowering.shape(slots[0])?, lowering.shape(slots[1])?, lowering.shape(slots[2])?];
    let mut roles =
        Roles { summed: Vec::new(), left: Vec::new(), right: Vec::new(), batch: Vec::new() };
    for axis in einsum.axes.iter_all_axes() {
        let places = [&axis.inputs[first], &axis.inputs[1 - first], &axis.outputs[0]];
        if places.iter().any(|places| places.len() > 1) {
            return Ok(None);
        }
        let long = [0, 1, 2]
            .map(|slot| places[slot].first().copied().filter(|&place| shapes[slot][place] > 1));
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
fn as_they_lie<const N: usize>(axes: &[[usize; N]], order: &[usize]) -> Vec<[usize; N]> {
    let mut axes = axes.to_vec();
    axes.sort_by_key(|axis| order.iter().position(|&a| a == axis[0]));
    axes
}

fn column<const N: usize>(axes: &[[usize; N]], slot: usize) -> Vec<usize> {
    axes.iter().map(|axis| axis[slot]).collect()
}

/// `[left, batch, summed] x constant -> [left, batch, right]`: a convolution of one tap, with a
/// group for each place of the batch axes.
fn with_constant(
    lowering: &mut Lowering<'_>,
    node: &TypedNode,
    first: usize,
    roles: &Roles,
) -> TractResult<bool> {
    let value = lowering.value(node.inputs[first])?;
    let left = as_they_lie(&roles.left, &value.order);
    let batch = as_they_lie(&roles.batch, &value.order);
    let summed = as_they_lie(&roles.summed, &value.order);
    let axes = [column(&left, 0), column(&batch, 0), column(&summed, 0)].concat();
    let order = completed(value.shape.len(), &axes);
    let value = lowering.in_order(value, order);

    let constant = node.inputs[1 - first];
    let view = lowering.constant(constant)?;
    let axes = [column(&batch, 1), column(&roles.right, 0), column(&summed, 1)];
    let offsets = axes.map(|axes| view.offsets(&axes));
    let [groups, outputs, inputs] = offsets.each_ref().map(Vec::len);
    let rows = value.len() / (groups * inputs);
    let axes = [WindowAxis::ONE, WindowAxis::pointwise(rows)?];
    let shape = ConvGeometry::new(axes, groups * inputs, groups * outputs, groups)?;
    let kernel = match transposed(lowering, constant, &offsets, rows) {
        Some(kernel) => kernel,
        None => lowering.kernel(constant, &view, &shape, offsets, |isa, precision, offsets| {
            let [groups, outputs, inputs] = offsets;
            let weight = |o: usize, i: usize, _| {
                view.at(groups[o / outputs.len()] + outputs[o % outputs.len()] + inputs[i])
            };
            PackedConv::new(isa, precision, &shape, None, weight)
        }),
    };

    let outlet = node.id.into();
    let axes = [column(&left, 1), column(&batch, 2), column(&roles.right, 1)].concat();
    let order = completed(lowering.shape(outlet)?.len(), &axes);
    lowering.convolve(outlet, kernel.with_bias(None), shape, value.buffer, order)?;
    Ok(true)
}

/// Weights that another product of this graph reads the other way round, as its gradient does.
fn transposed(
    lowering: &Lowering<'_>,
    constant: OutletId,
    [groups, outputs, inputs]: &[Vec<usize>; 3],
    rows: usize,
) -> Option<PackedConv> {
    let packed = lowering.packed.get(&constant)?;
    if packed.offsets != [groups.clone(), inputs.clone(), outputs.clone()] {
        return None;
    }
    let (axes, shape) = ([WindowAxis::ONE, WindowAxis::pointwise(rows).ok()?], &packed.shape);
    let forward = ConvGeometry::new(axes, shape.inputs(), shape.outputs(), shape.groups()).ok()?;
    packed.kernel.transposed(&forward)
}

/// `[batch, left, summed] x [batch, right, summed] -> [batch, left, right]`.
fn of_values(lowering: &mut Lowering<'_>, node: &TypedNode, roles: &Roles) -> TractResult<bool> {
    let (left, right) = (lowering.value(node.inputs[0])?, lowering.value(node.inputs[1])?);
    let (batch, rows) = (&roles.batch, &roles.left);
    let axes = [column(batch, 0), column(rows, 0), column(&roles.summed, 0)].concat();
    let order = completed(left.shape.len(), &axes);
    let left = lowering.in_order(left, order);
    let transposed = [column(batch, 1), column(&roles.summed, 1), column(&roles.right, 0)].concat();
    let usual = [column(batch, 1), column(&roles.right, 0), column(&roles.summed, 1)].concat();
    let right_is_kn = right.significant() == transposed;
    let order = completed(right.shape.len(), if right_is_kn { &transposed } else { &usual });
    let right = lowering.in_order(right, order);

    let outlet: OutletId = node.id.into();
    let side = |axes: &[[usize; 2]]| axes.iter().map(|axis| left.shape[axis[0]]).product::<usize>();
    let (m, k) = (side(rows), side(&roles.summed));
    let n = roles.right.iter().map(|axis| right.shape[axis[0]]).product::<usize>();
    let count = left.len() / (m * k);
    let geometry = ConvGeometry::product(m, k, n)?;
    let (left, right) = (left.buffer, right.buffer);
    let action = Action::Product { count, left, right, geometry, right_is_kn };
    let (_, buffer) = lowering.push_new(action, count * m * n);
    let axes = [column(batch, 2), column(rows, 1), column(&roles.right, 1)].concat();
    let order = completed(lowering.shape(outlet)?.len(), &axes);
    lowering.set(outlet, buffer, order, None)?;
    Ok(true)
}
