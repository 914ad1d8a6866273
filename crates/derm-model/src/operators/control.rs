//! Control flow: `If`, and `Loop` whose number of rounds does not depend on the picture.

use super::body::{typed, value};
use super::expansion::{Expansion, Rule, inline};
use crate::budget::Shared;
use std::collections::BTreeSet;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::logic::Iff;

/// More rounds than this of a loop are refused: each becomes part of the graph.
const MOST_ROUNDS: i64 = 1024;

/// How the graphs inside a node are read.
#[derive(Debug)]
struct Inside {
    opset: i64,
    folder: Option<String>,
    /// The values of the graphs around that the graphs inside read, in the order of the operands
    /// that follow the node's own.
    captured: Vec<String>,
}

impl Inside {
    fn of(context: &ParsingContext<'_>, graphs: &[&GraphProto]) -> Inside {
        let mut captured = BTreeSet::new();
        graphs.iter().for_each(|graph| capture(graph, &mut captured));
        Inside {
            opset: context.onnx_operator_set_version,
            folder: context.model_dir.map(str::to_owned),
            captured: captured.into_iter().collect(),
        }
    }

    /// Reads one of the graphs; `own` are the names of the operands before the captured ones.
    fn typed(
        &self,
        graph: &GraphProto,
        own: &[String],
        operands: &[TypedFact],
        budget: &Shared,
    ) -> TractResult<TypedModel> {
        let names = own.iter().chain(&self.captured);
        let graph = GraphProto { input: names.map(|name| value(name)).collect(), ..graph.clone() };
        typed(&graph, operands, self.opset, self.folder.as_deref(), budget)
    }
}

/// Adds what a graph reads and neither computes nor holds, in the graphs inside it, too.
fn capture(graph: &GraphProto, found: &mut BTreeSet<String>) {
    let mut read = BTreeSet::new();
    for node in &graph.node {
        read.extend(node.input.iter().cloned());
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).for_each(|graph| capture(graph, &mut read));
        }
    }
    read.extend(graph.output.iter().map(|output| output.name.clone()));
    let inputs = graph.input.iter().map(|input| &input.name);
    let constants = graph.initializer.iter().map(|tensor| &tensor.name);
    let computed = graph.node.iter().flat_map(|node| &node.output);
    let own: BTreeSet<&String> = inputs.chain(constants).chain(computed).collect();
    found.extend(read.into_iter().filter(|name| !name.is_empty() && !own.contains(name)));
}

/// `If`: the branch that a constant condition selects, or both and a choice between their results.
pub(super) fn read_if(context: &ParsingContext<'_>, node: &NodeProto) -> super::Read {
    let yes: &GraphProto = node.get_attr("then_branch")?;
    let no: &GraphProto = node.get_attr("else_branch")?;
    let inside = Inside::of(context, &[yes, no]);
    let captured = inside.captured.clone();
    let outputs = node.output.iter().filter(|name| !name.is_empty()).count();
    ensure!(outputs == yes.output.len() && outputs == no.output.len(), "branches of other outputs");
    let rule = If { yes: plain(yes), no: plain(no), outputs, inside };
    Ok((Box::new(Expansion::new(rule)), captured))
}

/// A graph whose results are nodes' or constants' of its own: a result that it only passes on
/// becomes an `Identity`.
fn plain(graph: &GraphProto) -> GraphProto {
    let mut graph = graph.clone();
    let computed: BTreeSet<String> =
        graph.node.iter().flat_map(|node| node.output.iter().cloned()).collect();
    let mut twice = BTreeSet::new();
    for (number, output) in graph.output.iter_mut().enumerate() {
        if computed.contains(&output.name) && twice.insert(output.name.clone()) {
            continue;
        }
        let name = format!("derm.output{number}");
        graph.node.push(NodeProto {
            op_type: "Identity".to_owned(),
            name: name.clone(),
            input: vec![std::mem::replace(&mut output.name, name.clone())],
            output: vec![name],
            ..NodeProto::default()
        });
    }
    graph
}

#[derive(Debug)]
struct If {
    yes: GraphProto,
    no: GraphProto,
    outputs: usize,
    inside: Inside,
}

impl Rule for If {
    fn name(&self) -> String {
        "If".to_owned()
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn graph(&self, operands: &[TypedFact], budget: &Shared) -> TractResult<TypedModel> {
        let condition = operands.first().context("no condition")?;
        let own = ["derm.condition".to_owned()];
        let branch = |graph: &GraphProto| self.inside.typed(graph, &own, operands, budget);
        if let Some(condition) = truth(condition)? {
            return branch(if condition { &self.yes } else { &self.no });
        }
        let branches = [("then", branch(&self.yes)?), ("else", branch(&self.no)?)];
        let mut model = TypedModel::default();
        let sources = sources(&mut model, operands)?;
        let mut results = Vec::new();
        for (name, graph) in &branches {
            results.push(inline(graph, &mut model, name, &sources)?);
        }
        let mut chosen = TVec::new();
        for (number, (&yes, &no)) in results[0].iter().zip(&results[1]).enumerate() {
            let (shape, other) = (&model.outlet_fact(yes)?.shape, &model.outlet_fact(no)?.shape);
            ensure!(
                shape == other,
                "its condition depends on the picture, and its branches differ in shape"
            );
            let rank = shape.rank();
            let condition = of_rank(&mut model, sources[0], rank, number)?;
            chosen.push(model.wire_node(format!("chosen{number}"), Iff, &[condition, yes, no])?[0]);
        }
        model.select_output_outlets(&chosen)?;
        Ok(model)
    }
}

/// A boolean of one element, with this many axes.
fn of_rank(
    model: &mut TypedModel,
    mut outlet: OutletId,
    rank: usize,
    number: usize,
) -> TractResult<OutletId> {
    ensure!(model.outlet_fact(outlet)?.shape.volume().is_one(), "a condition of several elements");
    loop {
        let found = model.outlet_fact(outlet)?.rank();
        let op = match found.cmp(&rank) {
            std::cmp::Ordering::Less => AxisOp::Add(0),
            std::cmp::Ordering::Greater => AxisOp::Rm(0),
            std::cmp::Ordering::Equal => return Ok(outlet),
        };
        outlet = model.wire_node(format!("condition{number}.{found}"), op, &[outlet])?[0];
    }
}

/// `Loop`: as many copies of its body as it has rounds.
pub(super) fn read_loop(context: &ParsingContext<'_>, node: &NodeProto) -> super::Read {
    let body: &GraphProto = node.get_attr("body")?;
    ensure!(!has_loop(body), "Loop inside a Loop is not supported");
    let inside = Inside::of(context, &[body]);
    let captured = inside.captured.clone();
    let is_given = |position: usize| node.input.get(position).is_some_and(|name| !name.is_empty());
    let carried = node.input.len().saturating_sub(2);
    ensure!(node.output.iter().all(|name| !name.is_empty()), "an output that is left out");
    ensure!(body.input.len() == carried + 2, "a body of {} inputs", body.input.len());
    ensure!(body.output.len() == node.output.len() + 1, "a body of other outputs");
    ensure!(node.output.len() >= carried, "fewer outputs than carried values");
    let rule = Loop {
        names: body.input.iter().map(|input| input.name.clone()).collect(),
        body: plain(body),
        has_count: is_given(0),
        has_condition: is_given(1),
        carried,
        outputs: node.output.len(),
        inside,
    };
    Ok((Box::new(Expansion::new(rule)), captured))
}

fn has_loop(graph: &GraphProto) -> bool {
    graph.node.iter().any(|node| {
        let graphs = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
        node.op_type == "Loop" || graphs.into_iter().any(has_loop)
    })
}

#[derive(Debug)]
struct Loop {
    body: GraphProto,
    /// Names of the body's inputs: the round, the condition, what is carried from round to round.
    names: Vec<String>,
    has_count: bool,
    has_condition: bool,
    carried: usize,
    outputs: usize,
    inside: Inside,
}

impl Rule for Loop {
    fn name(&self) -> String {
        "Loop".to_owned()
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn graph(&self, operands: &[TypedFact], budget: &Shared) -> TractResult<TypedModel> {
        let dependent = "the number of its rounds depends on the picture";
        let mut own = operands.iter();
        let mut count = None;
        if self.has_count {
            let tensor = own.next().and_then(|fact| fact.konst.clone()).context(dependent)?;
            count = Some(
                *tensor
                    .cast_to::<i64>()?
                    .to_plain_array_view::<i64>()?
                    .first()
                    .context(dependent)?,
            );
        }
        let mut goes_on = true;
        if self.has_condition {
            goes_on = truth(own.next().context("no condition")?)?.context(dependent)?;
        }
        let first = operands.len() - own.len();
        let mut model = TypedModel::default();
        let sources = sources(&mut model, operands)?;
        let mut carried: TVec<OutletId> = sources[first..first + self.carried].into();
        let captured = &sources[first + self.carried..];
        let mut scanned: Vec<TVec<OutletId>> = vec![tvec!(); self.outputs - self.carried];
        let mut round = 0;
        while goes_on && count.is_none_or(|count| round < count) {
            ensure!(round < MOST_ROUNDS, "it has more than {MOST_ROUNDS} rounds");
            let results = self.round(&mut model, round, (&carried, captured), budget)?;
            goes_on = truth(model.outlet_fact(results[0])?)?.context(dependent)?;
            carried = results[1..=self.carried].into();
            for (to, &from) in scanned.iter_mut().zip(&results[1 + self.carried..]) {
                to.push(
                    model.wire_node(format!("scanned{}", from.node), AxisOp::Add(0), &[from])?[0],
                );
            }
            round += 1;
        }
        let mut results = carried;
        for (number, values) in scanned.iter().enumerate() {
            ensure!(!values.is_empty(), "it has no rounds, and its results no shape");
            results.push(model.wire_node(format!("scan{number}"), TypedConcat::new(0), values)?[0]);
        }
        model.select_output_outlets(&results)?;
        Ok(model)
    }
}

impl Loop {
    /// Appends a round; returns its condition, carried and scanned values.
    fn round(
        &self,
        model: &mut TypedModel,
        round: i64,
        (carried, captured): (&[OutletId], &[OutletId]),
        budget: &Shared,
    ) -> TractResult<TVec<OutletId>> {
        let number = model.add_const(format!("round{round}.number"), tensor0(round))?;
        let condition = model.add_const(format!("round{round}.condition"), tensor0(true))?;
        let operands: TVec<OutletId> =
            [number, condition].iter().chain(carried).chain(captured).copied().collect();
        let facts: TVec<TypedFact> = operands
            .iter()
            .map(|&outlet| model.outlet_fact(outlet).cloned())
            .collect::<TractResult<_>>()?;
        let graph = self.inside.typed(&self.body, &self.names, &facts, budget)?;
        inline(&graph, model, &format!("round{round}"), &operands)
    }
}

/// One source for each operand.
fn sources(model: &mut TypedModel, operands: &[TypedFact]) -> TractResult<TVec<OutletId>> {
    let operands = operands.iter().enumerate();
    operands
        .map(|(number, fact)| model.add_source(format!("operand{number}"), fact.clone()))
        .collect()
}

/// A boolean, if it is constant.
fn truth(fact: &TypedFact) -> TractResult<Option<bool>> {
    let Some(tensor) = &fact.konst else { return Ok(None) };
    let tensor = tensor.cast_to::<bool>()?;
    Ok(tensor.to_plain_array_view::<bool>()?.first().copied())
}
