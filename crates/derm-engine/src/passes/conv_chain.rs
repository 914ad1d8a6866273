//! Convolution chaining: makes one step of convolutions whose values in between are large and read
//! once (see [`ConvChain`]).

use crate::program::{Conv, ConvChain, DefUse, Op, Program, Stage, Step};
use derm_kernels::{ConvGeometry, ConvPlan, WindowAxis};
use std::ops::Range;

/// Float32 values between two convolutions from which on they are chained: more than half a
/// second-level cache.
const LARGE: usize = 160 * 1024;

/// Convolutions of a chain, at most: real networks have three or four, and cutting a run is quadratic in its length.
const MAX_STAGES: usize = 16;

/// Chains convolutions where that pays.
pub(crate) fn chain(program: &mut Program) {
    let def_use = DefUse::of(program);
    // Steps that each read alone what the one before them computes.
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, step) in program.steps.iter().enumerate() {
        let continues = |before: usize| {
            let writer = &program.steps[before];
            def_use.private_writer(writer.output) == Some(before)
                && writer.phase == step.phase
                && leads_to(writer, step)
        };
        match runs.last_mut() {
            Some(run) if run.len() < MAX_STAGES && continues(index - 1) => run.end = index + 1,
            _ => runs.push(index..index + 1),
        }
    }
    let mut steps = std::mem::take(&mut program.steps).into_iter();
    for run in runs {
        join(steps.by_ref().take(run.len()).collect(), &mut program.steps);
    }
}

/// Whether the second of two convolutions reads what the first one computes, that is large, and can
/// be computed a few rows at a time.
fn leads_to(before: &Step, after: &Step) -> bool {
    let (Some(first), Some(second)) = (by_rows(before), by_rows(after)) else { return false };
    let length = first.plan.geometry().output_len();
    length >= LARGE
        && length == second.plan.geometry().input_len()
        && second.input == before.output
        && first.epilogue.iter().all(|op| op.unary().is_some())
}

/// The convolution of a step, if it can run some rows at a time.
fn by_rows(step: &Step) -> Option<&Conv> {
    match &step.op {
        Op::Conv(conv) if conv.plan.can_run_by_rows() => Some(conv),
        _ => None,
    }
}

/// Chains a run of steps; where that does not pay, cuts it where the least lies between them.
fn join(mut run: Vec<Step>, joined: &mut Vec<Step>) {
    if run.len() < 2 {
        joined.append(&mut run);
        return;
    }
    if let Some(chain) = chain_of(&run)
        && let [first, .., last] = &run[..]
    {
        let (name, output, phase) = (first.name.clone(), last.output, first.phase);
        joined.push(Step { name, op: chain.into(), output, phase });
        return;
    }
    let between =
        |&index: &usize| by_rows(&run[index - 1]).map(|conv| conv.plan.geometry().output_len());
    let cut = (1..run.len()).min_by_key(between).expect("two steps at least");
    let rest = run.split_off(cut);
    join(run, joined);
    join(rest, joined);
}

/// A run of steps as one chain; none where they do not fit or it would not pay.
fn chain_of(run: &[Step]) -> Option<ConvChain> {
    let convs: Vec<&Conv> = run.iter().map(by_rows).collect::<Option<_>>()?;
    // A product's positions are in one row; they are the rows and columns of its neighbours.
    let mut geometries: Vec<ConvGeometry> =
        convs.iter().map(|conv| *conv.plan.geometry()).collect();
    for index in (0..geometries.len() - 1).rev() {
        let next = &geometries[index + 1];
        geometries[index] =
            over_rows(geometries[index], [next.rows().input(), next.columns().input()])?;
    }
    for index in 1..geometries.len() {
        let before = &geometries[index - 1];
        geometries[index] =
            over_rows(geometries[index], [before.rows().output(), before.columns().output()])?;
    }
    let fit = geometries.windows(2).all(|pair| {
        let computed = [pair[0].rows().output(), pair[0].columns().output()];
        computed == [pair[1].rows().input(), pair[1].columns().input()] && computed[0] > 1
    });
    if !fit {
        return None;
    }
    let stages = convs.iter().zip(geometries).map(|(conv, geometry)| {
        let plan = ConvPlan::by_rows(conv.plan.weights().clone(), &geometry);
        Stage::new(plan, conv.epilogue.clone())
    });
    ConvChain::new(stages.collect(), convs[0].input)
}

/// A product over positions in one row as one over rows and columns, if there are as many.
fn over_rows(geometry: ConvGeometry, [rows, columns]: [usize; 2]) -> Option<ConvGeometry> {
    let is_product = geometry.rows() == WindowAxis::ONE && geometry.columns().is_pointwise();
    if !is_product || rows * columns != geometry.columns().input() {
        return Some(geometry);
    }
    let axes = [WindowAxis::pointwise(rows).ok()?, WindowAxis::pointwise(columns).ok()?];
    ConvGeometry::new(axes, geometry.inputs(), geometry.outputs(), geometry.groups()).ok()
}
