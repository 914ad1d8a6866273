//! Limited operators: each operator of a file, with the budget that it is read within.

use super::fold::evaluate;
use super::{Shared, bytes, check_size};
use crate::operators::Expansion;
use std::collections::HashMap;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::optim::CONST_FOLD_MEM_BUDGET;
use tract_onnx::tract_hir::infer::{Factoid, InferenceNode, InferenceOp};
use tract_onnx::tract_hir::internal::SpecialOps;
use tract_onnx::tract_hir::ops::source::Source;

/// Gives every operator of a graph the budget.
pub(crate) fn limit(model: &mut InferenceModel, budget: &Shared) {
    for node in model.nodes_mut() {
        if node.op_is::<Source>() || node.op_is::<Const>() {
            continue;
        }
        if let Some(expansion) = node.op_as_mut::<Expansion>() {
            expansion.within(budget);
        }
        let limited =
            Limited { name: node.name.clone(), inner: node.op.clone(), budget: Arc::clone(budget) };
        node.op = Box::new(limited);
    }
}

/// An operator whose results are looked at before they are computed.
#[derive(Debug, Clone)]
struct Limited {
    /// The node's.
    name: String,
    inner: Box<dyn InferenceOp>,
    budget: Shared,
}

impl PartialEq for Limited {
    fn eq(&self, other: &Limited) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.budget, &other.budget)
    }
}

impl Eq for Limited {}

impl Op for Limited {
    fn name(&self) -> StaticName {
        self.inner.name()
    }
    not_a_typed_op!();
}

impl EvalOp for Limited {
    not_out_of_plan!();

    fn state(&self, context: &EvalContext) -> TractResult<Option<Box<dyn OpState>>> {
        self.inner.state(context)
    }
}

type Facts = TVec<InferenceFact>;

impl InferenceOp for Limited {
    fn infer(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(Facts, Facts, Facts)> {
        let (inputs, outputs, observed) = self
            .infer_facts(inputs, outputs, observed)
            .with_context(|| format!("{} ({})", self.name, self.inner.name()))?;
        let size = self.size(&outputs)?;
        let is_known = outputs.iter().all(|output| output.value.is_concrete());
        let Some(values) =
            constants(&inputs).filter(|_| !is_known && size <= CONST_FOLD_MEM_BUDGET)
        else {
            return Ok((inputs, outputs, observed));
        };
        match self.values(&values, &outputs, size)? {
            Some(values) => {
                let known = values.into_iter().map(InferenceFact::try_from);
                Ok((inputs, known.collect::<TractResult<_>>()?, observed))
            }
            None => Ok((inputs, outputs, observed)),
        }
    }

    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(Facts, Facts, Facts)> {
        self.inner.infer_facts(inputs, outputs, observed)
    }

    fn observe_outlets(
        &self,
        model: &InferenceModel,
        node: &InferenceNode,
    ) -> TractResult<Vec<OutletId>> {
        self.inner.observe_outlets(model, node)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.inner.nboutputs()
    }

    fn to_typed(
        &self,
        source: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let is_constant = |outlet| {
            let fact = target.outlet_fact(mapping[outlet]);
            fact.is_ok_and(|fact| fact.konst.is_some())
        };
        if node.inputs.iter().all(is_constant) {
            // Where its operands are few numbers, tract computes it as soon as it is wired.
            let facts = node.outputs.iter().map(|output| output.fact.clone()).collect::<Facts>();
            self.take(self.size(&facts)?)?;
        }
        self.inner.to_typed(source, node, target, mapping)
    }

    fn as_op(&self) -> &dyn Op {
        self.inner.as_op()
    }

    fn as_op_mut(&mut self) -> &mut dyn Op {
        self.inner.as_op_mut()
    }
}

/// The values of all operands, if they are known and none is large.
fn constants(inputs: &[InferenceFact]) -> Option<TVec<Arc<Tensor>>> {
    if inputs.is_empty() {
        return None;
    }
    let is_small = |value: &Arc<Tensor>| {
        value.is_plain_ram() && bytes(value.datum_type(), value.shape()) <= CONST_FOLD_MEM_BUDGET
    };
    inputs.iter().map(|fact| fact.value.concretize().filter(is_small)).collect()
}

impl Limited {
    /// Bytes of the results, as far as their shapes are known.
    fn size(&self, outputs: &[InferenceFact]) -> TractResult<u64> {
        let mut size = 0u64;
        for output in outputs {
            let shape = output.shape.concretize();
            let (Some(shape), Some(datum_type)) = (shape, output.datum_type()) else { continue };
            let lengths = shape.iter().map(|length| length.clone().simplify().to_usize().ok());
            let Some(shape) = lengths.collect::<Option<TVec<usize>>>() else { continue };
            let bytes = bytes(datum_type, &shape);
            check_size(bytes, || (&self.name, &shape))?;
            size = size.saturating_add(bytes);
        }
        Ok(size)
    }

    fn take(&self, work: u64) -> TractResult<()> {
        self.budget.work(work).with_context(|| format!("{} ({})", self.name, self.inner.name()))
    }

    /// The operator's results for constants: as a graph of typed operators, whose sizes and work are known, and which are
    /// then computed one by one.
    fn values(
        &self,
        operands: &[Arc<Tensor>],
        outputs: &[InferenceFact],
        size: u64,
    ) -> TractResult<Option<TVec<Arc<Tensor>>>> {
        self.take(size)?;
        let mut source = InferenceModel::default();
        let mut target = TypedModel::default();
        let id = source.add_node(&*self.name, self.inner.clone(), outputs.into())?;
        let mut mapping = HashMap::new();
        for (number, operand) in operands.iter().enumerate() {
            let name = format!("operand{number}");
            let fact = InferenceFact::try_from(operand)?;
            let outlet = source.add_source(name.clone(), fact)?;
            source.add_edge(outlet, InletId::new(id, number))?;
            mapping.insert(outlet, target.add_const(name, Arc::clone(operand))?);
        }
        let results = self.inner.to_typed(&source, source.node(id), &mut target, &mapping)?;
        target.select_output_outlets(&results)?;
        self.computed(&target, &results)
    }

    /// The values of these outlets of a graph of constants.
    fn computed(
        &self,
        model: &TypedModel,
        results: &[OutletId],
    ) -> TractResult<Option<TVec<Arc<Tensor>>>> {
        let mut known: HashMap<OutletId, Arc<Tensor>> = HashMap::new();
        for id in model.eval_order()? {
            let node = model.node(id);
            let constants = node.outputs.iter().map(|output| output.fact.konst.clone());
            let values = match constants.collect::<Option<TVec<Arc<Tensor>>>>() {
                Some(values) => values,
                None => {
                    let operands =
                        node.inputs.iter().map(|input| known[input].clone().into_tvalue());
                    let Some(values) = evaluate(node, operands.collect(), &self.budget)? else {
                        return Ok(None);
                    };
                    values.into_iter().map(IntoArcTensor::into_arc_tensor).collect()
                }
            };
            let outlets = (0..).map(|slot| OutletId::new(id, slot));
            known.extend(outlets.zip(values));
        }
        Ok(results.iter().map(|result| known.get(result).cloned()).collect())
    }
}
