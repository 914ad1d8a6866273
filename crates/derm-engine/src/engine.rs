//! The engine: a compiled graph, ready to run.

use crate::lower::Value;
use crate::program::{Arena, Layout, Program, Step, Work};
use crate::{Options, RunError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};
use tract_onnx::prelude::tract_ndarray::ArrayViewD;

/// A graph made ready to run. Any number of threads may run it at once, each in its own [`Arena`].
///
/// Its first input is the picture; each further one begins a *phase*, the steps that need it. A
/// phase runs when its input is fed, and the last one may run again with another input.
#[derive(Debug)]
pub struct Engine {
    options: Options,
    program: Program,
    layout: Layout,
    outputs: Vec<Output>,
    packed_bytes: usize,
    weight_bytes: usize,
    run_bytes: usize,
}

/// What a program is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operators {
    /// The engine's own operations.
    pub native: BTreeSet<&'static str>,
    /// Fallback operators, which tract evaluates, each with the node that is the first to use it.
    pub fallback: BTreeMap<String, String>,
}

/// One line: `native Add, Conv; evaluated by tract: ArgMax (/head/ArgMax)`.
impl fmt::Display for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let native: Vec<&str> = self.native.iter().copied().collect();
        write!(f, "native {}; evaluated by tract: ", native.join(", "))?;
        if self.fallback.is_empty() {
            return f.write_str("none");
        }
        let shown = |(operator, node): (&String, &String)| format!("{operator} ({node})");
        let fallback: Vec<String> = self.fallback.iter().map(shown).collect();
        f.write_str(&fallback.join(", "))
    }
}

/// A step, and how long it took.
#[derive(Debug, Clone)]
pub struct StepTime {
    /// The node of the graph that it begins with.
    pub name: String,
    /// What it does, and to how much.
    pub kind: String,
    /// Operations of a convolution or product as its definition counts them: two for each
    /// multiply-add, whatever the algorithm really executes. 0 for other steps.
    pub operations: usize,
    /// Whether they multiply 8-bit integers, not floats.
    pub is_int8: bool,
    /// How long it took.
    pub time: Duration,
}

/// Where an output of the graph lies in an arena.
#[derive(Debug)]
pub(crate) struct Output {
    range: Range<usize>,
    /// The shape as it lies in memory, and the index there of each axis of the graph.
    physical: Vec<usize>,
    axes: Vec<usize>,
}

impl Output {
    pub(crate) fn new(value: &Value, layout: &Layout) -> Output {
        let mut axes = vec![0; value.order.len()];
        value.order.iter().enumerate().for_each(|(index, &axis)| axes[axis] = index);
        Output { range: layout.range(value.buffer), physical: value.physical(), axes }
    }
}

impl Engine {
    /// What its operations are, and which operators tract evaluates.
    pub fn operators(&self) -> Operators {
        let mut found = Operators::default();
        for step in &self.program.steps {
            match step.op.fallback() {
                Some(operator) => {
                    found.fallback.entry(operator).or_insert_with(|| step.name.clone());
                }
                None => {
                    found.native.insert(step.op.name());
                }
            }
        }
        found
    }

    pub(crate) fn new(
        options: Options,
        program: Program,
        layout: Layout,
        outputs: Vec<Output>,
        packed_bytes: usize,
    ) -> Engine {
        let weight_bytes = program.resident_bytes();
        let temporary = program.temporary_bytes(options.threads.count());
        let arena = size_of::<f32>().saturating_mul(layout.length());
        let run_bytes = arena.saturating_add(temporary);
        Engine { options, program, layout, outputs, packed_bytes, weight_bytes, run_bytes }
    }

    /// How many phases it has: one, and one more for each further input.
    pub fn phases(&self) -> usize {
        self.program.inputs.len()
    }

    /// Bytes of packed weights and constants, those that it shares with other engines among them.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Bytes of the weights that this engine packed: those that no other engine of the model had.
    pub fn packed_bytes(&self) -> usize {
        self.packed_bytes
    }

    /// Bytes that one run takes at most: those of its [`Arena`], and of the copies that the largest step
    /// makes beside it.
    pub fn arena_bytes(&self) -> usize {
        self.run_bytes
    }

    /// The memory for one run at a time.
    pub fn arena(&self) -> Arena {
        Arena::new(&self.layout, &self.program)
    }

    /// Runs a phase: `fill` writes its input, in the order that [`Engine::compile`] was told. Phases
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
    ) -> Result<(), RunError> {
        self.run_observed(arena, phase, fill, |_, _| {})
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
    ) -> Result<(), RunError> {
        self.run_observed(arena, phase, fill, |step, time| {
            let Work { kind, operations, is_int8 } = step.op.work();
            times.push(StepTime { name: step.name.clone(), kind, operations, is_int8, time });
        })
    }

    /// Runs a phase; `observe` is told each step and its time.
    fn run_observed(
        &self,
        arena: &mut Arena,
        phase: usize,
        fill: impl FnOnce(&mut [f32]),
        mut observe: impl FnMut(&Step, Duration),
    ) -> Result<(), RunError> {
        let Options { isa, threads, .. } = &self.options;
        let team = threads.begin();
        fill(arena.slice_mut(self.layout.range(self.program.inputs[phase])));
        for index in self.program.steps_of(phase) {
            let step = &self.program.steps[index];
            let start = Instant::now();
            step.op.run(&mut arena.context(&self.layout, (index, step), *isa, &team))?;
            observe(step, start.elapsed());
        }
        Ok(())
    }

    /// An output of the graph, once its phase has run, with the graph's axes.
    ///
    /// # Panics
    /// If there is no such output, or the arena is another engine's.
    pub fn output<'a>(&self, arena: &'a Arena, index: usize) -> ArrayViewD<'a, f32> {
        let Output { range, physical, axes } = &self.outputs[index];
        let values = arena.slice(range.clone());
        let view = ArrayViewD::from_shape(physical.as_slice(), values);
        view.expect("as many values as the shape has").permuted_axes(axes.as_slice())
    }
}
