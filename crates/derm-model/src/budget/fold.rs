//! Folding: values that do not depend on the picture are computed while the file is read, each within the budget.

use super::{Budget, Shared, bytes};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::Slice;
use tract_onnx::tract_core::ops::dummy::Dummy;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_core::optim::{CONST_FOLD_MEM_BUDGET, OptimizerSession, TypedPass};

/// Computes nodes whose operands are constant: as tract's pass of this purpose, but what a node takes is known
/// before it is computed. An operand of more than [`CONST_FOLD_MEM_BUDGET`] that others read, too, stays as it is, and
/// so does a node whose result is larger than this and than its operands.
#[derive(Clone)]
pub(crate) struct Fold {
    budget: Shared,
    /// The node to begin with.
    next: usize,
}

impl std::fmt::Debug for Fold {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Fold")
    }
}

impl Fold {
    pub(crate) fn new(budget: Shared) -> Fold {
        Fold { budget, next: 0 }
    }
}

impl TypedPass for Fold {
    fn reset(&mut self) -> TractResult<()> {
        self.next = 0;
        Ok(())
    }

    fn next(
        &mut self,
        _: &mut OptimizerSession<'_>,
        model: &TypedModel,
    ) -> TractResult<Option<TypedModelPatch>> {
        for node in &model.nodes()[self.next..] {
            self.next = node.id + 1;
            let Some(operands) = operands(model, node)? else { continue };
            if let Some(results) = evaluate(node, operands, &self.budget)? {
                return constants(model, node, results).map(Some);
            }
        }
        Ok(None)
    }
}

/// The values of a node's operands, if they are constant and may be used up.
fn operands(model: &TypedModel, node: &TypedNode) -> TractResult<Option<TVec<TValue>>> {
    let is_computed =
        !(node.op_is::<Const>() || node.op_is::<Dummy>() || node.op_is::<TypedSource>());
    if !is_computed || node.inputs.is_empty() {
        return Ok(None);
    }
    let mut values = TVec::new();
    for &outlet in &node.inputs {
        let fact = model.outlet_fact(outlet)?;
        let Some(value) = &fact.konst else { return Ok(None) };
        let is_own = model.node(outlet.node).outputs[outlet.slot].successors.len() == 1;
        let is_small = fact.datum_type.is_number()
            && bytes(value.datum_type(), value.shape()) <= CONST_FOLD_MEM_BUDGET;
        if !(is_own || is_small || node.op_is::<Slice>()) {
            return Ok(None);
        }
        values.push(Arc::clone(value).into_tvalue());
    }
    Ok(Some(values))
}

/// A node's results; `None` if it cannot be computed without a picture, or they are too large to be kept.
///
/// # Errors
/// If the budget is used up, or the operator refuses its operands. Names the node.
pub(super) fn evaluate(
    node: &TypedNode,
    operands: TVec<TValue>,
    budget: &Budget,
) -> TractResult<Option<TVec<TValue>>> {
    let size = |value: &TValue| bytes(value.datum_type(), value.shape());
    let most = operands.iter().map(size).fold(CONST_FOLD_MEM_BUDGET, u64::saturating_add);
    let facts = node.outputs.iter().map(|output| &output.fact);
    let known =
        facts.map(|fact| bytes(fact.datum_type, fact.shape.as_concrete().unwrap_or_default()));
    let taken = known.fold(0, u64::saturating_add);
    if taken > most {
        return Ok(None);
    }
    let work = operands.iter().map(size).fold(taken, u64::saturating_add);
    let work = work.saturating_add(multiplications(node, &operands)?);
    budget.work(work).with_context(|| node.name.clone())?;
    match node.op.eval_out_of_plan(operands) {
        // What is known of a result's size only now was bounded by the operands.
        Ok(results) => Ok(results.filter(|results| results.iter().map(size).sum::<u64>() <= most)),
        Err(error) if error.root_cause().is::<tract_onnx::tract_core::tract_data::TooEarly>() => {
            Ok(None)
        }
        Err(error) => Err(error.context(format!("{} ({})", node.name, node.op.name()))),
    }
}

/// Multiplications and divisions of a node.
fn multiplications(node: &TypedNode, operands: &[TValue]) -> TractResult<u64> {
    let facts = operands.iter().map(|value| value.datum_type().fact(value.shape()));
    let facts: TVec<TypedFact> = facts.collect();
    let cost = node.op.cost(&facts.iter().collect::<TVec<_>>()).unwrap_or_default();
    let counts = cost.iter().filter(|(cost, _)| cost.is_compute());
    Ok(counts.fold(0, |sum, (_, count)| {
        sum.saturating_add(count.to_i64().map_or(u64::MAX, |count| count.unsigned_abs()))
    }))
}

/// Puts constants in a node's place.
fn constants(
    model: &TypedModel,
    node: &TypedNode,
    results: TVec<TValue>,
) -> TractResult<TypedModelPatch> {
    let mut patch = TypedModelPatch::default();
    for (slot, result) in results.into_iter().enumerate() {
        let outlet = OutletId::new(node.id, slot);
        let exotic = model.outlet_fact(outlet)?.exotic_fact.clone();
        let constant = Const::new_with_opt_exotic_fact(result.into_arc_tensor(), exotic)?;
        let name = if slot == 0 { node.name.clone() } else { format!("{}.{slot}", node.name) };
        let wire = patch.wire_node(name, constant, &[])?[0];
        patch.shunt_outside(model, outlet, wire)?;
    }
    Ok(patch)
}
