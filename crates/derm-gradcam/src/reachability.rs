//! Reachability: which nodes of a graph depend on a value, and which a value depends on.

use std::collections::HashSet;
use tract_onnx::prelude::*;

/// Every node that `output` depends on, its own included.
pub(crate) fn ancestors(model: &TypedModel, output: OutletId) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut stack = vec![output.node];
    while let Some(id) = stack.pop() {
        if found.insert(id) {
            stack.extend(model.node(id).inputs.iter().map(|input| input.node));
        }
    }
    found
}

/// Every node that depends on `outlet`.
pub(crate) fn descendants(model: &TypedModel, outlet: OutletId) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut stack: Vec<usize> =
        model.outlet_successors(outlet).iter().map(|inlet| inlet.node).collect();
    while let Some(id) = stack.pop() {
        if found.insert(id) {
            let outputs = &model.node(id).outputs;
            stack.extend(outputs.iter().flat_map(|o| &o.successors).map(|inlet| inlet.node));
        }
    }
    found
}

/// The nodes on any path from one value to another, in evaluation order.
pub(crate) fn nodes_between(
    model: &TypedModel,
    from: OutletId,
    to: OutletId,
) -> TractResult<Vec<usize>> {
    let (below, above) = (descendants(model, from), ancestors(model, to));
    let mut order = model.eval_order()?;
    order.retain(|id| below.contains(id) && above.contains(id));
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::ops::math;

    /// `input -> exp -> sum`, `input -> negated -> sum`, and `aside`, which nothing reads.
    fn diamond() -> (TypedModel, [OutletId; 5]) {
        let mut model = TypedModel::default();
        let input = model.add_source("input", f32::fact([2])).unwrap();
        let mut wire =
            |name: &str, op: Box<dyn tract_onnx::tract_core::ops::TypedOp>, inputs: &[OutletId]| {
                model.wire_node(name, op, inputs).unwrap()[0]
            };
        let exp = wire("exp", math::exp().into(), &[input]);
        let negated = wire("negated", math::neg().into(), &[input]);
        let sum = wire("sum", math::add().into(), &[exp, negated]);
        let aside = wire("aside", math::abs().into(), &[exp]);
        model.select_output_outlets(&[sum, aside]).unwrap();
        (model, [input, exp, negated, sum, aside])
    }

    #[test]
    fn ancestors_include_the_node_and_descendants_do_not() {
        let (model, [input, exp, negated, sum, aside]) = diamond();
        let nodes = |outlets: &[OutletId]| outlets.iter().map(|o| o.node).collect::<HashSet<_>>();
        assert_eq!(ancestors(&model, sum), nodes(&[input, exp, negated, sum]));
        assert_eq!(descendants(&model, exp), nodes(&[sum, aside]));
    }

    #[test]
    fn nodes_between_are_on_a_path_and_in_order() {
        let (model, [input, exp, negated, sum, _]) = diamond();
        let found = nodes_between(&model, input, sum).unwrap();
        assert_eq!(found.last(), Some(&sum.node));
        assert_eq!(
            found.iter().copied().collect::<HashSet<_>>(),
            [exp, negated, sum].map(|o| o.node).into()
        );
        assert!(nodes_between(&model, exp, negated).unwrap().is_empty());
    }
}
