//! The part of the graph from the target layer to the scores, every value of which the plan hands
//! out, differentiated backwards (reverse-mode differentiation; Griewank and
//! Walther, *Evaluating Derivatives*, 2008, chapter 3).

use crate::Error;
use crate::rules::{Call, Rule, rule_for};
use crate::target::{ancestors, descendants};
use derm_model::StoredWeights;
use ndarray::ArrayD;
use std::collections::HashMap;
use std::sync::Arc;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::{Sigmoid, Softmax};

/// Where an operator's operand comes from.
#[derive(Debug, Clone)]
enum Operand {
    /// Handed in: the target (number 0) or another value that the trunk computes.
    Cut(usize),
    /// The output of an earlier step.
    Step(usize),
    Constant(Arc<Tensor>),
}

#[derive(Debug)]
struct Step {
    op: Box<dyn TypedOp>,
    outlet: OutletId,
    operands: Vec<Operand>,
    rule: Rule,
}

/// The steps from target to scores.
#[derive(Debug)]
pub(crate) struct Head {
    steps: Vec<Step>,
    /// Values to hand in: the target first, then whatever else the steps read.
    cuts: Vec<OutletId>,
    /// Number of the step whose output is the logits; the last one's is the scores.
    logits: usize,
}

impl Head {
    /// The head of `model` from `target` to its first output.
    pub(crate) fn new(
        model: &TypedModel,
        weights: &StoredWeights,
        target: OutletId,
    ) -> Result<Head, Error> {
        let output = model.output_outlets()?[0];
        let (above, below) = (descendants(model, target), ancestors(model, output));
        if !above.contains(&output.node) {
            let name = model.node(target.node).name.clone();
            return Err(Error::UnsuitableLayer(name, "the classes do not depend on it"));
        }
        let mut head = Head { steps: Vec::new(), cuts: vec![target], logits: 0 };
        let mut steps_by_node = HashMap::new();
        for id in model.eval_order()? {
            if !(above.contains(&id) && below.contains(&id)) {
                continue;
            }
            let node = model.node(id);
            let operands = node
                .inputs
                .iter()
                .map(|&input| head.operand(model, weights, input, &steps_by_node))
                .collect::<TractResult<Vec<_>>>()?;
            let ends_in_probabilities = id == output.node && is_probability(node);
            let rule = match rule_for(node.op.as_ref()) {
                Some(rule) if node.outputs.len() == 1 => rule,
                // Never called: gradients start at the logits, before it.
                _ if ends_in_probabilities => Rule::NONE,
                _ => {
                    let operator = node.op.name().into_owned();
                    return Err(Error::NoRule { operator, node: node.name.clone() });
                }
            };
            if !ends_in_probabilities {
                head.logits = head.steps.len();
            }
            steps_by_node.insert(id, head.steps.len());
            head.steps.push(Step { op: node.op.clone(), outlet: id.into(), operands, rule });
        }
        Ok(head)
    }

    fn operand(
        &mut self,
        model: &TypedModel,
        weights: &StoredWeights,
        outlet: OutletId,
        steps_by_node: &HashMap<usize, usize>,
    ) -> TractResult<Operand> {
        if let Some(&step) = steps_by_node.get(&outlet.node) {
            return Ok(Operand::Step(step));
        }
        if weights.is_constant(model, outlet) {
            return Ok(Operand::Constant(weights.tensor(model, outlet)?));
        }
        let place = self.cuts.iter().position(|&cut| cut == outlet).unwrap_or_else(|| {
            self.cuts.push(outlet);
            self.cuts.len() - 1
        });
        Ok(Operand::Cut(place))
    }

    /// What the trunk must compute, the target first.
    pub(crate) fn cuts(&self) -> &[OutletId] {
        &self.cuts
    }

    /// The output of every step, in order.
    pub(crate) fn values(&self) -> impl Iterator<Item = OutletId> + '_ {
        self.steps.iter().map(|step| step.outlet)
    }

    /// d logit[class] / d target, of the target's shape. `values` are those of
    /// [`Head::values`] that belong to the same `cuts`.
    pub(crate) fn gradient(
        &self,
        cuts: &[Arc<Tensor>],
        values: &[Arc<Tensor>],
        class: usize,
    ) -> Result<ArrayD<f32>, Error> {
        let mut seed = ArrayD::zeros(values[self.logits].shape());
        *seed.iter_mut().nth(class).ok_or(Error::NoSuchClass(class))? = 1.0;
        let mut gradients: Vec<Option<ArrayD<f32>>> = vec![None; self.steps.len()];
        gradients[self.logits] = Some(seed);
        let mut target = ArrayD::zeros(cuts[0].shape());
        for (number, step) in self.steps.iter().enumerate().rev() {
            let Some(gradient) = gradients[number].take() else { continue };
            let operands: Vec<&Tensor> =
                step.operands.iter().map(|operand| &**operand.value(cuts, values)).collect();
            let wanted: Vec<bool> = step.operands.iter().map(Operand::is_wanted).collect();
            let call = Call {
                op: step.op.as_ref(),
                operands: &operands,
                output: &values[number],
                gradient,
                wanted: &wanted,
            };
            for (operand, gradient) in step.operands.iter().zip(step.rule.apply(call)?) {
                match (operand, gradient) {
                    (Operand::Cut(0), Some(gradient)) => target += &gradient,
                    (Operand::Step(step), Some(gradient)) => match &mut gradients[*step] {
                        Some(sum) => *sum += &gradient,
                        none => *none = Some(gradient),
                    },
                    _ => {}
                }
            }
        }
        Ok(target)
    }
}

impl Operand {
    fn value<'a>(&'a self, cuts: &'a [Arc<Tensor>], values: &'a [Arc<Tensor>]) -> &'a Arc<Tensor> {
        match self {
            Operand::Cut(place) => &cuts[*place],
            Operand::Step(step) => &values[*step],
            Operand::Constant(tensor) => tensor,
        }
    }

    /// Constants and values beside the target need no gradient.
    fn is_wanted(&self) -> bool {
        matches!(self, Operand::Cut(0) | Operand::Step(_))
    }
}

/// A softmax or sigmoid: as the last operator it turns logits into probabilities.
fn is_probability(node: &TypedNode) -> bool {
    node.op_is::<Softmax>() || node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<Sigmoid>())
}
