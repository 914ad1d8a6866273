//! A graph as steps over one arena.

use crate::arena::{Arena, Interval, plan};
use crate::chain::chained;
use crate::constant::StoredWeights;
use crate::lower::{Lowering, Start};
use crate::step::{Action, Operand, Step};
use crate::value::Value;
use crate::workers::Workers;
use derm_kernels::{Isa, PackedConv, Precision};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::{Duration, Instant};
use tract_onnx::prelude::tract_ndarray::ArrayViewD;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TractErrorContext;

/// How an engine is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How weights are kept; none: as they are in the file.
    pub precision: Option<Precision>,
    /// The instruction set.
    pub isa: Isa,
    /// Threads inside one inference.
    pub workers: Workers,
}

impl Default for Settings {
    /// Weights as in the file, this machine's best instructions, one thread.
    fn default() -> Self {
        Settings { precision: None, isa: Isa::best(), workers: Workers::ONE }
    }
}

/// Packed weights by where they come from, shared by the engines of one model.
#[derive(Debug, Clone, Default)]
pub struct Kernels(pub(crate) HashMap<String, PackedConv>);

/// A graph made ready to run. Any number of threads may run it at once, each in its own arena.
///
/// Its first input is the picture; each further one begins a *phase*, the steps that need it. A
/// phase runs when its input is fed, and the last one may run again with another input.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    steps: Vec<Step>,
    ranges: Vec<Range<usize>>,
    arena_len: usize,
    sides: usize,
    phases: Vec<Phase>,
    outputs: Vec<Output>,
    weight_bytes: usize,
    packed_bytes: usize,
}

/// What a step was, and how long it took.
#[derive(Debug, Clone)]
pub struct StepTime {
    /// The node that it begins with.
    pub name: String,
    /// What it does, and to how much.
    pub kind: String,
    /// Floating-point operations of a convolution or product as its definition counts them: two
    /// for each multiply-add, whatever the method needs in truth. 0 for other steps.
    pub flops: usize,
    /// How long it took.
    pub time: Duration,
}

#[derive(Debug)]
struct Phase {
    input: Range<usize>,
    steps: Range<usize>,
}

#[derive(Debug)]
struct Output {
    range: Range<usize>,
    /// Sizes of the axes as they lie, and where each axis of the graph is among them.
    physical: Vec<usize>,
    axes: Vec<usize>,
}

impl Engine {
    /// Lowers a decluttered graph. Its first input is the picture, with its axes in memory in the
    /// order `input_order`; inputs that `weights` does not know begin further phases, with their
    /// axes in the graph's order, and nodes are run in the order of their numbers. Weights that
    /// are in `kernels` are not packed again; the others are put there.
    ///
    /// # Errors
    /// If a size is not fixed, a value that is asked for is not float32, or tract cannot evaluate
    /// a constant.
    pub fn new(
        model: &TypedModel,
        weights: &StoredWeights,
        input_order: &[usize],
        settings: Settings,
        kernels: &mut Kernels,
    ) -> TractResult<Engine> {
        let mut lowering = Lowering::new(model, weights, &settings, kernels);
        let mut starts = lowering.run(input_order)?;
        let outlets = model.output_outlets()?;
        let outputs: Vec<Value> = outlets
            .iter()
            .map(|&outlet| lowering.output(outlet))
            .collect::<TractResult<_>>()
            .context("an output")?;
        let sides = lowering.sides();
        let packed_bytes = lowering.packed_bytes;
        let (steps, mut lengths) = (lowering.steps, lowering.buffers);

        let kept: Vec<usize> = outputs.iter().map(|value| value.buffer).collect();
        let steps = chained(steps, &mut lengths, &kept, &mut starts, settings.workers.count());
        let mut intervals = lives(&steps, &lengths, &starts, &kept);
        let owners = in_place(&steps, &mut intervals, &kept);
        let (placed, arena_len) = plan(&intervals);
        let ranges: Vec<Range<usize>> =
            owners.into_iter().map(|owner| placed[owner].clone()).collect();

        let weight_bytes = weight_bytes(&steps);
        let ends = starts[1..].iter().map(|start| start.step).chain([steps.len()]);
        let phases = starts
            .iter()
            .zip(ends)
            .map(|(start, end)| Phase {
                input: ranges[start.input].clone(),
                steps: start.step..end,
            })
            .collect();
        let outputs = outputs
            .into_iter()
            .map(|value| Output {
                range: ranges[value.buffer].clone(),
                physical: value.physical(),
                axes: inverse(&value.order),
            })
            .collect();
        Ok(Engine {
            settings,
            steps,
            ranges,
            arena_len,
            sides,
            phases,
            outputs,
            weight_bytes,
            packed_bytes,
        })
    }

    /// How many phases it has: one, and one more for each further input.
    pub fn phases(&self) -> usize {
        self.phases.len()
    }

    /// Bytes that the weights take.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Bytes of them that this engine packed: those that no other engine of the model had.
    pub fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }

    /// Bytes of an [`Arena`]: what one run takes at most.
    pub fn arena_bytes(&self) -> usize {
        4 * self.arena_len
    }

    /// The memory for one run at a time.
    pub fn arena(&self) -> Arena {
        Arena::new(self.arena_len, self.sides)
    }

    /// Runs a phase: `fill` writes its input, in the order that [`Engine::new`] was told. Phases
    /// are run in their order; the last may be run again.
    ///
    /// # Errors
    /// If an operator that is left to tract fails.
    ///
    /// # Panics
    /// If the arena is another engine's, or there is no such phase.
    pub fn run(
        &self,
        arena: &mut Arena,
        phase: usize,
        fill: impl FnOnce(&mut [f32]),
    ) -> TractResult<()> {
        self.run_watched(arena, phase, fill, |_, _| {})
    }

    /// As [`Engine::run`]; `times` gets one entry a step.
    ///
    /// # Errors
    /// As [`Engine::run`].
    ///
    /// # Panics
    /// As [`Engine::run`].
    pub fn run_timed(
        &self,
        arena: &mut Arena,
        phase: usize,
        fill: impl FnOnce(&mut [f32]),
        times: &mut Vec<StepTime>,
    ) -> TractResult<()> {
        self.run_watched(arena, phase, fill, |step, time| {
            let (kind, flops) = step.action.work();
            times.push(StepTime { name: step.name.clone(), kind, flops, time });
        })
    }

    /// Runs a phase; `watch` is told each step and its time.
    fn run_watched(
        &self,
        arena: &mut Arena,
        phase: usize,
        fill: impl FnOnce(&mut [f32]),
        mut watch: impl FnMut(&Step, Duration),
    ) -> TractResult<()> {
        let Settings { isa, workers, .. } = &self.settings;
        let Arena { values, sides } = arena;
        assert_eq!(values.len(), self.arena_len, "an arena of another engine");
        let Phase { input, steps } = &self.phases[phase];
        fill(&mut values[input.clone()]);
        let team = workers.begin();
        for step in &self.steps[steps.clone()] {
            let start = Instant::now();
            step.run(*isa, &team, &self.ranges, values, sides)?;
            watch(step, start.elapsed());
        }
        Ok(())
    }

    /// An output of the graph, once its phase has run, with the graph's axes.
    ///
    /// # Panics
    /// If there is no such output, or the arena is another engine's.
    pub fn output<'a>(&self, arena: &'a Arena, number: usize) -> ArrayViewD<'a, f32> {
        let Output { range, physical, axes } = &self.outputs[number];
        let values = &arena.values[range.clone()];
        let view = ArrayViewD::from_shape(physical.as_slice(), values);
        view.expect("as many values as places").permuted_axes(axes.as_slice())
    }
}

/// Where each axis lies, of the axes in the order in which they lie.
fn inverse(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(place, &axis)| places[axis] = place);
    places
}

/// Bytes of weights and constants; what several steps share counts once.
fn weight_bytes(steps: &[Step]) -> usize {
    let mut seen = HashSet::new();
    let operand = |operand: &Operand| match operand {
        Operand::Constant(values) => 4 * values.len(),
        Operand::Buffer(_) => 0,
    };
    let mut kernels = |kernels: &mut dyn Iterator<Item = &PackedConv>| {
        let new = kernels.filter(|kernel| seen.insert(kernel.identity()));
        new.map(PackedConv::bytes).sum()
    };
    let mut bytes = |step: &Step| match &step.action {
        Action::Conv { plan, .. } => kernels(&mut std::iter::once(plan.weights())),
        Action::Chain { chain, .. } => {
            kernels(&mut chain.stages.iter().map(|stage| stage.plan.weights()))
        }
        Action::Binary { left, right, .. } => operand(left) + operand(right),
        Action::Copy { input, .. } => operand(input),
        Action::Foreign { operands, .. } => operands.iter().map(|operand| operand.bytes()).sum(),
        _ => 0,
    };
    steps.iter().map(&mut bytes).sum()
}

/// From when to when each buffer is needed. What the last phase reads of earlier ones outlives it,
/// so that it may run again.
fn lives(steps: &[Step], lengths: &[usize], starts: &[Start], kept: &[usize]) -> Vec<Interval> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; lengths.len()];
    for start in starts {
        lives[start.input] = Some((start.step, start.step));
    }
    for (number, step) in steps.iter().enumerate() {
        for buffer in step.buffers() {
            let life = lives[buffer].get_or_insert((number, number));
            life.1 = number;
        }
    }
    for &buffer in kept {
        let first = lives[buffer].map_or(0, |life| life.0);
        lives[buffer] = Some((first, steps.len()));
    }
    if let [_, .., last] = starts {
        for (_, end) in lives.iter_mut().flatten().filter(|(first, _)| *first < last.step) {
            if *end >= last.step {
                *end = steps.len();
            }
        }
    }
    lengths
        .iter()
        .zip(lives)
        .map(|(&length, life)| match life {
            Some((first, last)) => Interval { length, first, last },
            None => Interval { length: 0, first: 0, last: 0 },
        })
        .collect()
}

/// For each buffer the one whose place it takes: itself, or an operand that dies where it is made.
/// That one then lives on; the buffer that took its place needs none.
fn in_place(steps: &[Step], lives: &mut [Interval], kept: &[usize]) -> Vec<usize> {
    let mut owners: Vec<usize> = (0..lives.len()).collect();
    for (number, step) in steps.iter().enumerate() {
        let output = step.output;
        if lives[output].first != number || owners[output] != output {
            continue;
        }
        let dies_here = |operand: &usize| {
            let owner = lives[owners[*operand]];
            let fits = owner.length == lives[output].length && *operand != output;
            fits && owner.last == number && !kept.contains(operand)
        };
        if let Some(operand) = step.replaceable().into_iter().find(dies_here) {
            let owner = owners[operand];
            owners[output] = owner;
            lives[owner].last = lives[output].last;
            lives[output].length = 0;
        }
    }
    owners
}
