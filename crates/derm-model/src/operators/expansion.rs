//! Expansion: an operator that tract lacks, or computes otherwise than the standard says, becomes a
//! graph of other operators as soon as the types and shapes of its operands are known.

use crate::budget::Shared;
use std::collections::HashMap;
use std::fmt::Debug;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::infer::{InferenceNode, InferenceOp};

/// What an operator is replaced by.
pub(super) trait Rule: Debug + Send + Sync {
    /// The operator's name in the standard.
    fn name(&self) -> String;

    /// How many values it computes.
    fn outputs(&self) -> usize;

    /// The graph for operands of these types and shapes, of which constants are known by value. Its
    /// inputs are the operands, in their order.
    ///
    /// # Errors
    /// If the operator is not supported as it is used here, or the budget of the file is used up.
    fn graph(&self, operands: &[TypedFact], budget: &Shared) -> TractResult<TypedModel>;
}

/// An operator that is replaced by a rule's graph.
#[derive(Debug, Clone)]
pub(crate) struct Expansion {
    rule: Arc<dyn Rule>,
    /// The last graph made, and for which operands: inference asks for it again and again.
    last: Option<(TVec<TypedFact>, Arc<TypedModel>)>,
    /// What the file may take; given before the operator is asked for its graph.
    budget: Option<Shared>,
}

impl Expansion {
    pub(super) fn new(rule: impl Rule + 'static) -> Expansion {
        Expansion { rule: Arc::new(rule), last: None, budget: None }
    }

    /// Makes its graphs a part of what this budget is for.
    pub(crate) fn within(&mut self, budget: &Shared) {
        self.budget = Some(Arc::clone(budget));
    }

    fn graph(&self, operands: &[TypedFact]) -> TractResult<Arc<TypedModel>> {
        if let Some((known, graph)) = &self.last
            && **known == *operands
        {
            return Ok(Arc::clone(graph));
        }
        let budget = self.budget.as_ref().context("no budget")?;
        let graph = self.rule.graph(operands, budget).with_context(|| self.rule.name())?;
        Ok(Arc::new(graph))
    }
}

impl PartialEq for Expansion {
    fn eq(&self, other: &Expansion) -> bool {
        Arc::ptr_eq(&self.rule, &other.rule)
    }
}

impl Eq for Expansion {}

impl Op for Expansion {
    fn name(&self) -> StaticName {
        self.rule.name().into()
    }
    not_a_typed_op!();
}

impl EvalOp for Expansion {
    not_out_of_plan!();
}

impl InferenceOp for Expansion {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>)> {
        let own = |facts: TVec<&InferenceFact>| facts.into_iter().cloned().collect::<TVec<_>>();
        let operands: Option<TVec<TypedFact>> =
            inputs.iter().map(|fact| TypedFact::try_from(*fact).ok()).collect();
        let found = match operands {
            Some(operands) => {
                let graph = self.graph(&operands)?;
                let facts = graph.output_outlets()?.iter();
                let facts = facts
                    .map(|&outlet| Ok(InferenceFact::from(graph.outlet_fact(outlet)?)))
                    .collect::<TractResult<TVec<_>>>()?;
                self.last = Some((operands, graph));
                facts
            }
            None => own(outputs),
        };
        Ok((own(inputs), found, own(observed)))
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.rule.outputs())
    }

    fn to_typed(
        &self,
        _: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let operands: TVec<OutletId> = node.inputs.iter().map(|input| mapping[input]).collect();
        let facts: TVec<TypedFact> = operands
            .iter()
            .map(|&outlet| target.outlet_fact(outlet).cloned())
            .collect::<TractResult<_>>()?;
        inline(&*self.graph(&facts)?, target, &node.name, &operands)
    }

    as_op!();
}

/// Copies a graph into another, its inputs being `operands`; returns its outputs. The node of the
/// first output is named `prefix`, the others begin with it.
///
/// # Errors
/// If an operator refuses its operands, which it had accepted in `graph`.
pub(super) fn inline(
    graph: &TypedModel,
    target: &mut TypedModel,
    prefix: &str,
    operands: &[OutletId],
) -> TractResult<TVec<OutletId>> {
    let inputs = graph.input_outlets()?;
    let outputs = graph.output_outlets()?;
    let mut places: HashMap<OutletId, OutletId> =
        inputs.iter().copied().zip(operands.iter().copied()).collect();
    for id in graph.eval_order()? {
        if places.contains_key(&OutletId::new(id, 0)) {
            continue;
        }
        let node = graph.node(id);
        let read: TVec<OutletId> = node.inputs.iter().map(|input| places[input]).collect();
        let is_result = outputs.first().is_some_and(|first| first.node == id);
        let name = if is_result { prefix.to_owned() } else { format!("{prefix}.{}", node.name) };
        for (slot, outlet) in target.wire_node(name, node.op.clone(), &read)?.iter().enumerate() {
            places.insert(OutletId::new(id, slot), *outlet);
        }
    }
    Ok(outputs.iter().map(|outlet| places[outlet]).collect())
}
