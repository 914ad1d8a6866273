//! Reverse-mode differentiation of a graph, as a graph (Griewank and Walther, *Evaluating
//! Derivatives*, 2008, chapters 3 and 12): the forward nodes, then an input that says which score
//! is asked for, then the nodes that carry its gradient back.
//!
//! Values that a rule reads live from forward to backward. Where they would take more memory than
//! is allowed, some stretches of the graph keep only what enters them and are computed again when
//! the gradient gets there (Chen et al. 2016, *Training Deep Nets with Sublinear Memory Cost*,
//! arXiv:1604.06174).

use crate::Error;
use crate::keep::Keep;
use crate::rules::{Call, rule_for};
use crate::target::{ancestors, descendants};
use derm_model::StoredWeights;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{TractErrorContext, ensure};
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::array::MultiBroadcastTo;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Sigmoid, Softmax, SoftmaxKind};
use tract_onnx::tract_core::ops::source::TypedSource;

/// Differentiates the graph's first output, or the logits where it ends in probabilities, with
/// respect to `target`. The result's inputs are those of the graph, then the seed, of the logits'
/// shape; its outputs are `values`, then the gradient of `sum(seed * logits)` with respect to the
/// target, of its shape. Of the values that rules read, `allowance` bytes are kept.
pub(crate) fn differentiate(
    model: &TypedModel,
    weights: &StoredWeights,
    target: OutletId,
    values: &[OutletId],
    allowance: usize,
) -> Result<TypedModel, Error> {
    let all = Keep::all();
    let tape = Tape::record(model, weights, target, values, &all)?;
    let keep = Keep::within(model, weights, &tape.read, allowance)?;
    if keep.is_all() {
        return Ok(tape.graph);
    }
    Ok(Tape::record(model, weights, target, values, &keep)?.graph)
}

/// The graph, and again what of it follows on `target`, for another value of that: inputs and
/// outputs as those of [`differentiate`], with the target's value as the seed and the logits in
/// place of the gradient.
pub(crate) fn replay(
    model: &TypedModel,
    weights: &StoredWeights,
    target: OutletId,
    values: &[OutletId],
) -> Result<TypedModel, Error> {
    let keep = Keep::all();
    let mut tape = Tape::new(model, weights, &keep);
    let logits = logits(model)?;
    tape.copy_forward()?;
    let fact = model.outlet_fact(target)?.without_value();
    let source = tape.graph.add_source("replayed", fact)?;
    tape.again.insert(target, source);
    for id in between(model, target, logits)? {
        let inputs = model.node(id).inputs.iter();
        let inputs: TVec<OutletId> =
            inputs.map(|input| *tape.again.get(input).unwrap_or(&tape.forward[input])).collect();
        tape.compute_again(id, &inputs)?;
    }
    let logits = *tape.again.get(&logits).unwrap_or(&tape.forward[&logits]);
    tape.hand_out(values, logits)?;
    Ok(tape.graph)
}

/// The graph while the gradient is carried back.
pub(crate) struct Tape<'a> {
    model: &'a TypedModel,
    weights: &'a StoredWeights,
    keep: &'a Keep,
    pub(crate) graph: TypedModel,
    /// Where the forward pass computes a value of `model`.
    forward: HashMap<OutletId, OutletId>,
    /// Where a value that was not kept is computed again.
    again: HashMap<OutletId, OutletId>,
    /// Values of the forward pass that rules read.
    pub(crate) read: HashSet<OutletId>,
    names: usize,
}

impl<'a> Tape<'a> {
    fn new(model: &'a TypedModel, weights: &'a StoredWeights, keep: &'a Keep) -> Tape<'a> {
        Tape {
            model,
            weights,
            keep,
            graph: TypedModel::default(),
            forward: HashMap::new(),
            again: HashMap::new(),
            read: HashSet::new(),
            names: 0,
        }
    }

    /// A graph with its gradient.
    fn record(
        model: &'a TypedModel,
        weights: &'a StoredWeights,
        target: OutletId,
        values: &[OutletId],
        keep: &'a Keep,
    ) -> Result<Tape<'a>, Error> {
        let mut tape = Tape::new(model, weights, keep);
        let logits = logits(model)?;
        tape.copy_forward()?;
        let fact = model.outlet_fact(logits)?.without_value();
        let seed = tape.graph.add_source("gradient.seed", fact)?;
        let gradient = tape.carry_back(target, logits, seed)?;
        tape.hand_out(values, gradient)?;
        Ok(tape)
    }

    /// The graph itself, its nodes numbered in the order in which they are computed.
    fn copy_forward(&mut self) -> TractResult<()> {
        for id in self.model.eval_order()? {
            let node = self.model.node(id);
            let facts = node.outputs.iter().map(|output| output.fact.clone()).collect();
            let copy = self.graph.add_node(node.name.clone(), node.op.clone(), facts)?;
            for (slot, input) in node.inputs.iter().enumerate() {
                self.graph.add_edge(self.forward[input], InletId::new(copy, slot))?;
            }
            for slot in 0..node.outputs.len() {
                self.forward.insert(OutletId::new(id, slot), OutletId::new(copy, slot));
            }
        }
        let inputs = self.model.input_outlets()?.iter();
        self.graph.inputs = inputs.filter_map(|input| self.forward.get(input).copied()).collect();
        Ok(())
    }

    /// Outputs: these values of the forward pass, and one of what was added.
    fn hand_out(&mut self, values: &[OutletId], last: OutletId) -> TractResult<()> {
        let values = values.iter().map(|value| self.forward[value]);
        let outputs: Vec<OutletId> = values.chain([last]).collect();
        self.graph.select_output_outlets(&outputs)
    }

    fn carry_back(
        &mut self,
        target: OutletId,
        logits: OutletId,
        seed: OutletId,
    ) -> Result<OutletId, Error> {
        let path = between(self.model, target, logits)?;
        if target != logits && !path.contains(&logits.node) {
            let name = self.model.node(target.node).name.clone();
            return Err(Error::UnsuitableLayer(name, "the classes do not depend on it"));
        }
        let on_path: HashSet<usize> = path.iter().copied().collect();
        let mut gradients: HashMap<OutletId, OutletId> = HashMap::from([(logits, seed)]);
        for &id in path.iter().rev() {
            let node = self.model.node(id);
            let no_rule =
                || Error::NoRule { operator: node.op.name().into_owned(), node: node.name.clone() };
            let known: Vec<Option<OutletId>> = (0..node.outputs.len())
                .map(|slot| gradients.get(&OutletId::new(id, slot)).copied())
                .collect();
            if known.iter().all(Option::is_none) {
                // Nothing goes back through it: a comparison, say.
                continue;
            }
            let rule = rule_for(node.op.as_ref()).ok_or_else(no_rule)?;
            let [Some(gradient)] = known[..] else { return Err(no_rule()) };
            let is_wanted = |&input: &OutletId| {
                let leads_there = input == target || on_path.contains(&input.node);
                leads_there && self.is_differentiable(input)
            };
            let wanted: Vec<bool> = node.inputs.iter().map(is_wanted).collect();
            let mut call = Call { tape: self, node, gradient, wanted: &wanted };
            let operands = rule.apply(&mut call)?;
            for (&input, gradient) in node.inputs.iter().zip(operands) {
                let Some(gradient) = gradient else { continue };
                let sum = match gradients.get(&input) {
                    Some(&sum) => self.wire(math::add(), &[sum, gradient])?,
                    None => gradient,
                };
                gradients.insert(input, sum);
            }
        }
        match gradients.get(&target) {
            Some(&gradient) => Ok(gradient),
            None => Ok(self.zeros(target)?),
        }
    }

    /// A float value that depends on the picture.
    fn is_differentiable(&self, outlet: OutletId) -> bool {
        let float =
            self.model.outlet_fact(outlet).is_ok_and(|fact| fact.datum_type == DatumType::F32);
        float && !self.weights.is_constant(self.model, outlet)
    }

    /// A gradient that nothing contributes to.
    fn zeros(&mut self, of: OutletId) -> TractResult<OutletId> {
        let shape = self.shape(of)?;
        let ones: Vec<usize> = shape.iter().map(|_| 1).collect();
        let zero = self.constant(Tensor::zero::<f32>(&ones)?)?;
        self.wire(MultiBroadcastTo { shape: (*shape).into() }, &[zero])
    }

    pub(crate) fn shape(&self, outlet: OutletId) -> TractResult<TVec<usize>> {
        let fact = self.model.outlet_fact(outlet)?;
        let shape = fact.shape.as_concrete();
        Ok(shape.with_context(|| format!("a size is not fixed: {fact:?}"))?.into())
    }

    /// A value of the forward pass, where it can be read now.
    pub(crate) fn value(&mut self, outlet: OutletId) -> TractResult<OutletId> {
        if self.weights.is_constant(self.model, outlet) {
            return Ok(self.forward[&outlet]);
        }
        if let Some(&again) = self.again.get(&outlet) {
            return Ok(again);
        }
        let node = self.model.node(outlet.node);
        if node.op_is::<TypedSource>() {
            return Ok(self.forward[&outlet]);
        }
        if self.keep.has(outlet) && !is_cheap(self.model, self.weights, node) {
            self.read.insert(outlet);
            return Ok(self.forward[&outlet]);
        }
        let inputs = node
            .inputs
            .iter()
            .map(|&input| self.value(input))
            .collect::<TractResult<TVec<OutletId>>>()?;
        self.compute_again(outlet.node, &inputs)?;
        Ok(self.again[&outlet])
    }

    /// A further node that does what node `id` does, of other inputs.
    fn compute_again(&mut self, id: usize, inputs: &[OutletId]) -> TractResult<()> {
        let node = self.model.node(id);
        let facts = node.outputs.iter().map(|output| output.fact.without_value()).collect();
        self.names += 1;
        let name = format!("{}.again{}", node.name, self.names);
        let copy = self.graph.add_node(name, node.op.clone(), facts)?;
        for (slot, &input) in inputs.iter().enumerate() {
            self.graph.add_edge(input, InletId::new(copy, slot))?;
        }
        for slot in 0..node.outputs.len() {
            self.again.insert(OutletId::new(id, slot), OutletId::new(copy, slot));
        }
        Ok(())
    }

    /// Who computes a value of the graph that is differentiated.
    pub(crate) fn node(&self, outlet: OutletId) -> &'a TypedNode {
        self.model.node(outlet.node)
    }

    /// A constant of the graph that is differentiated.
    pub(crate) fn constant_value(&self, outlet: OutletId) -> TractResult<Arc<Tensor>> {
        ensure!(self.weights.is_constant(self.model, outlet), "{outlet:?} is not constant");
        self.weights.tensor(self.model, outlet)
    }

    pub(crate) fn constant(&mut self, tensor: Tensor) -> TractResult<OutletId> {
        self.names += 1;
        self.graph.add_const(format!("gradient.constant{}", self.names), tensor)
    }

    /// A node with one output.
    pub(crate) fn wire(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        self.names += 1;
        let outlets = self.graph.wire_node(format!("gradient.{}", self.names), op, inputs)?;
        Ok(outlets[0])
    }
}

/// Cheaper to compute again than to keep: a function of each value, of which the rules read the
/// argument anyway, or another view of the same numbers. Not a sum: that joins the convolution
/// before it, whose own value is then never there.
pub(crate) fn is_cheap(model: &TypedModel, weights: &StoredWeights, node: &TypedNode) -> bool {
    use tract_onnx::tract_core::ops::binary::TypedBinOp;
    use tract_onnx::tract_core::ops::cast::Cast;
    use tract_onnx::tract_core::ops::change_axes::AxisOp;
    let of_one = || node.inputs.iter().filter(|i| !weights.is_constant(model, **i)).count() == 1;
    let is_sum = |op: &TypedBinOp| op.0.is::<math::Add>() || op.0.is::<math::Sub>();
    node.op_is::<ElementWiseOp>()
        || node.op_is::<AxisOp>()
        || node.op_is::<Cast>()
        || node.op_as::<TypedBinOp>().is_some_and(|op| !is_sum(op) && of_one())
}

/// The nodes that lead from a value to another one, in the order in which they are computed.
fn between(model: &TypedModel, from: OutletId, to: OutletId) -> TractResult<Vec<usize>> {
    let (above, below) = (descendants(model, from), ancestors(model, to));
    let mut order = model.eval_order()?;
    order.retain(|id| above.contains(id) && below.contains(id));
    Ok(order)
}

/// What the graph's first output is made of, where that is probabilities.
fn logits(model: &TypedModel) -> TractResult<OutletId> {
    let output = model.output_outlets()?[0];
    let node = model.node(output.node);
    let is_softmax =
        node.op_as::<Softmax>().is_some_and(|softmax| softmax.kind == SoftmaxKind::Softmax);
    let is_sigmoid = node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<Sigmoid>());
    Ok(if is_softmax || is_sigmoid { node.inputs[0] } else { output })
}
