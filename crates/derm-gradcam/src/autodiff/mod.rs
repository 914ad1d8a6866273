//! Reverse-mode automatic differentiation, graph to graph (Griewank and Walther, *Evaluating
//! Derivatives*, 2008, chapters 3 and 12): the result holds the forward nodes, then an input that
//! selects the logit (the *seed*), then the nodes that compute its gradient.
//!
//! Activations that a rule reads live from the forward to the backward pass. Where they exceed the
//! memory budget, some are recomputed in the backward pass from checkpoints (Chen et al. 2016,
//! *Training Deep Nets with Sublinear Memory Cost*, arXiv:1604.06174).

mod builder;
mod checkpoint;
mod replay;
mod rules;
#[cfg(test)]
mod test_weights;

pub(crate) use replay::replay_graph;

use crate::Error;
use crate::layers::name_of;
use crate::reachability::nodes_between;
use builder::GraphBuilder;
use checkpoint::Checkpoints;
use derm_model::{Constants, StoredWeights};
use rules::{RuleContext, rule_for};
use std::collections::{HashMap, HashSet};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Sigmoid, Softmax, SoftmaxKind};

/// The graph with the gradient of its logits with respect to `target`. The logits are its first
/// output, or what a final softmax or sigmoid reads.
///
/// Inputs of the result: those of the graph, then the seed, of the logits' shape. Outputs: `outputs`,
/// then the gradient of `sum(seed * logits)`, of the target's shape. Activations that rules read are
/// kept up to `budget` bytes.
///
/// # Errors
/// [`Error::NoRule`], [`Error::UnsuitableLayer`], [`Error::Failed`].
pub(crate) fn backward_graph(
    model: &TypedModel,
    weights: &StoredWeights,
    target: OutletId,
    outputs: &[OutletId],
    budget: usize,
) -> Result<TypedModel, Error> {
    let (constants, all) = (Constants::of(model, weights)?, Checkpoints::All);
    let builder = with_gradient(model, &constants, target, outputs, &all)?;
    let checkpoints = Checkpoints::within(model, &constants, builder.read_by_rules(), budget)?;
    if matches!(checkpoints, Checkpoints::All) {
        return Ok(builder.graph);
    }
    Ok(with_gradient(model, &constants, target, outputs, &checkpoints)?.graph)
}

fn with_gradient<'a>(
    model: &'a TypedModel,
    constants: &'a Constants<'a>,
    target: OutletId,
    outputs: &[OutletId],
    checkpoints: &'a Checkpoints,
) -> Result<GraphBuilder<'a>, Error> {
    let mut builder = GraphBuilder::new(model, constants, checkpoints);
    builder.copy_forward()?;
    let logits = logits(model)?;
    let fact = model.outlet_fact(logits)?.without_value();
    let seed = builder.graph.add_source("gradient.seed", fact)?;
    let gradient = append_backward(&mut builder, model, target, logits, seed)?;
    builder.select_outputs(outputs, gradient)?;
    Ok(builder)
}

/// Appends the backward pass: applies the rule of every node between `target` and `logits`, last node
/// first, and sums the gradients of values that several nodes read. Returns the target's gradient.
fn append_backward<'a>(
    builder: &mut GraphBuilder<'a>,
    model: &'a TypedModel,
    target: OutletId,
    logits: OutletId,
    seed: OutletId,
) -> Result<OutletId, Error> {
    let path = nodes_between(model, target, logits)?;
    if target != logits && !path.contains(&logits.node) {
        let name = name_of(model.node(target.node));
        return Err(Error::UnsuitableLayer(name, "the classes do not depend on it"));
    }
    let on_path: HashSet<usize> = path.iter().copied().collect();
    let mut gradients: HashMap<OutletId, OutletId> = HashMap::from([(logits, seed)]);
    for &id in path.iter().rev() {
        let node = model.node(id);
        let known: Vec<Option<OutletId>> = (0..node.outputs.len())
            .map(|slot| gradients.get(&OutletId::new(id, slot)).copied())
            .collect();
        if known.iter().all(Option::is_none) {
            // No gradient reaches it: only a comparison reads it, say.
            continue;
        }
        let no_rule = |operand| Err(no_rule(node, operand));
        let Some(rule) = rule_for(node.op.as_ref()) else { return no_rule(None) };
        // Rules are of the first output; the others, such as the indices of maxima, have no gradient.
        let [Some(gradient), ref others @ ..] = known[..] else { return no_rule(None) };
        if others.iter().any(Option::is_some) {
            return no_rule(None);
        }
        let needs_gradient = |&input: &OutletId| {
            let leads_to_target = input == target || on_path.contains(&input.node);
            leads_to_target && builder.is_differentiable(input)
        };
        let needs_gradient: Vec<bool> = node.inputs.iter().map(needs_gradient).collect();
        let mut context = RuleContext { builder, node, gradient, needs_gradient: &needs_gradient };
        let operands = rule.apply(&mut context)?;
        let is_missing = |slot: &usize| needs_gradient[*slot] && operands[*slot].is_none();
        if let Some(operand) = (0..operands.len()).find(is_missing) {
            return no_rule(Some(operand));
        }
        for (slot, &input) in node.inputs.iter().enumerate() {
            let Some(gradient) = operands[slot].filter(|_| needs_gradient[slot]) else { continue };
            let sum = match gradients.get(&input) {
                Some(&sum) => builder.wire(math::add(), &[sum, gradient])?,
                None => gradient,
            };
            gradients.insert(input, sum);
        }
    }
    match gradients.get(&target) {
        Some(&gradient) => Ok(gradient),
        None => Ok(builder.zeros(target)?),
    }
}

/// Says which operator has no rule, or none for this operand.
fn no_rule(node: &TypedNode, operand: Option<usize>) -> Error {
    let mut operator = match &*node.op.name() {
        // As tract calls what these operators of the standard become.
        "Scan" => "LSTM, GRU or RNN".to_owned(),
        "GruSeq" => "GRU".to_owned(),
        name => name.to_owned(),
    };
    if let Some(operand) = operand {
        operator += &format!(" with respect to operand {}", operand + 1);
    }
    Error::NoRule { operator, node: name_of(node) }
}

/// The graph's first output, or what it is computed from where it is probabilities.
fn logits(model: &TypedModel) -> TractResult<OutletId> {
    let output = model.output_outlets()?[0];
    let node = model.node(output.node);
    let is_softmax =
        node.op_as::<Softmax>().is_some_and(|softmax| softmax.kind == SoftmaxKind::Softmax);
    let is_sigmoid = node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<Sigmoid>());
    Ok(if is_softmax || is_sigmoid { node.inputs[0] } else { output })
}

#[cfg(test)]
mod tests {
    use super::test_weights::no_weights;
    use super::*;
    use tract_onnx::tract_core::ops::change_axes::AxisOp;
    use tract_onnx::tract_core::ops::identity::Identity;
    use tract_onnx::tract_core::ops::nn;

    fn run(graph: TypedModel, inputs: &[Tensor]) -> Vec<Vec<f32>> {
        let inputs = inputs.iter().map(|tensor| tensor.clone().into_tvalue()).collect();
        let outputs = graph.into_runnable().unwrap().run(inputs).unwrap();
        let values = |output: &TValue| {
            output.to_plain_array_view::<f32>().unwrap().iter().copied().collect()
        };
        outputs.iter().map(values).collect()
    }

    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let off = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
        assert!(off < 1e-6, "{found:?} for {expected:?}");
    }

    /// `x^2 * exp(x)`: both factors read `x`, so its gradient is a sum of two.
    fn square_times_exp() -> (TypedModel, OutletId) {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([3])).unwrap();
        let square = model.wire_node("square", math::square(), &[x]).unwrap()[0];
        let exp = model.wire_node("exp", math::exp(), &[x]).unwrap()[0];
        let product = model.wire_node("product", math::mul(), &[square, exp]).unwrap()[0];
        model.select_output_outlets(&[product]).unwrap();
        (model, x)
    }

    #[test]
    fn gradients_of_a_value_that_is_read_twice_are_summed() {
        let (model, x) = square_times_exp();
        let output = model.output_outlets().unwrap()[0];
        for budget in [usize::MAX, 0] {
            let graph = backward_graph(&model, &no_weights(), x, &[output], budget).unwrap();
            let (x, seed) = (tensor1(&[0.5f32, -1.0, 2.0]), tensor1(&[1f32, 0.0, -2.0]));
            let values = run(graph, &[x, seed]);
            let expected = |x: f32, seed: f32| seed * (2.0 * x + x * x) * x.exp();
            close(&values[1], &[expected(0.5, 1.0), 0.0, expected(2.0, -2.0)]);
        }
    }

    #[test]
    fn a_final_softmax_is_left_out() {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([1, 3])).unwrap();
        let logits = model.wire_node("logits", math::square(), &[x]).unwrap()[0];
        let softmax =
            nn::Softmax { axes: tvec!(1), quant_output_dt: None, kind: SoftmaxKind::Softmax };
        let scores = model.wire_node("scores", softmax, &[logits]).unwrap()[0];
        model.select_output_outlets(&[scores]).unwrap();
        let graph = backward_graph(&model, &no_weights(), x, &[scores], usize::MAX).unwrap();
        let values = run(graph, &[tensor2(&[[1f32, 2.0, 3.0]]), tensor2(&[[0f32, 1.0, 0.0]])]);
        close(&values[1], &[0.0, 4.0, 0.0]);
    }

    #[test]
    fn a_value_without_influence_has_a_zero_gradient_or_is_refused() {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([2])).unwrap();
        let mask = model.wire_node("mask", math::sign(), &[x]).unwrap()[0];
        let aside = model.wire_node("aside", math::exp(), &[x]).unwrap()[0];
        let output = model.wire_node("output", math::square(), &[mask]).unwrap()[0];
        model.select_output_outlets(&[output]).unwrap();
        let aside = backward_graph(&model, &no_weights(), aside, &[output], usize::MAX);
        assert!(matches!(aside, Err(Error::UnsuitableLayer(name, _)) if name == "aside"));
        let sign = backward_graph(&model, &no_weights(), x, &[output], usize::MAX);
        assert!(matches!(sign, Err(Error::NoRule { node, .. }) if node == "mask"), "of no rule");
    }

    #[test]
    fn an_operator_without_a_rule_is_named_also_where_its_node_is_not() {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([2])).unwrap();
        let sign = model.wire_node("", math::sign(), &[x]).unwrap()[0];
        let end = model.wire_node("end", Identity, &[sign]).unwrap()[0];
        model.select_output_outlets(&[end]).unwrap();
        let error = backward_graph(&model, &no_weights(), x, &[], usize::MAX).unwrap_err();
        let text = error.to_string();
        assert_eq!(text, "no differentiation rule for operator Sign (node \"Sign number 1\")");
    }

    /// A picture that the graph casts to bytes and normalises itself; what it computes as integers
    /// later on has no gradient.
    #[test]
    fn pixels_pass_a_cast_to_integers_and_other_values_do_not() {
        use tract_onnx::tract_core::ops::cast::cast;
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([1, 2])).unwrap();
        let mut wire = |name: &str, op: Box<dyn tract_onnx::tract_core::ops::TypedOp>, of| {
            model.wire_node(name, op, &[of]).unwrap()[0]
        };
        let bytes = wire("bytes", cast(DatumType::U8).into(), x);
        let moved = wire("moved", AxisOp::Move(0, 1).into(), bytes);
        let floats = wire("floats", cast(DatumType::F32).into(), moved);
        let square = wire("square", math::square().into(), floats);
        let whole = wire("whole", cast(DatumType::I32).into(), square);
        let whole = wire("again", cast(DatumType::F32).into(), whole);
        let output = model.wire_node("sum", math::add(), &[square, whole]).unwrap()[0];
        model.select_output_outlets(&[output]).unwrap();
        let graph = backward_graph(&model, &no_weights(), x, &[], usize::MAX).unwrap();
        let values = run(graph, &[tensor2(&[[3f32, 5.0]]), tensor2(&[[1f32], [-2.0]])]);
        close(&values[0], &[6.0, -20.0]);
    }

    #[test]
    fn an_operand_without_a_rule_is_refused_and_not_left_out() {
        use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([1, 1, 4, 4])).unwrap();
        // The kernel depends on the input, as that of a dynamic convolution.
        let kernel = model.wire_node("kernel", math::exp(), &[x]).unwrap()[0];
        let bias = model.add_const("bias", tensor0(0f32)).unwrap();
        let sides = || tvec!(4, 4);
        let valid = PaddingSpec::Valid;
        let spec = PoolSpec::new(nn::DataFormat::NCHW, sides(), valid, None, None, 1, 1);
        let conv = Conv::new(spec, KernelFormat::OIHW, 1, None);
        let output = model.wire_node("conv", conv, &[x, kernel, bias]).unwrap()[0];
        model.select_output_outlets(&[output]).unwrap();
        let error = backward_graph(&model, &no_weights(), x, &[], usize::MAX).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("Conv with respect to operand 2 (node \"conv\")"), "{text}");
    }

    #[test]
    fn a_replay_computes_the_rest_from_another_value() {
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([2])).unwrap();
        let target = model.wire_node("target", math::square(), &[x]).unwrap()[0];
        let exp = model.wire_node("exp", math::exp(), &[x]).unwrap()[0];
        let sum = model.wire_node("sum", math::add(), &[target, exp]).unwrap()[0];
        let row = model.wire_node("row", AxisOp::Add(0), &[sum]).unwrap()[0];
        let output = model.wire_node("output", Identity, &[row]).unwrap()[0];
        model.select_output_outlets(&[output]).unwrap();
        let graph = replay_graph(&model, &no_weights(), target, &[output, target]).unwrap();
        let values = run(graph, &[tensor1(&[0f32, 2.0]), tensor1(&[7f32, 0.0])]);
        let e = 2f32.exp();
        close(&values[0], &[1.0, 4.0 + e]);
        close(&values[1], &[0.0, 4.0]);
        close(&values[2], &[8.0, e]);
    }
}
