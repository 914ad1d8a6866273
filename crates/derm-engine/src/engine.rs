//! A graph as steps over one arena.

use crate::arena::{Arena, Interval, plan};
use crate::constant::StoredWeights;
use crate::lower::Lowering;
use crate::step::{Action, Operand, Step};
use crate::value::Value;
use crate::workers::Workers;
use derm_kernels::{Isa, Precision};
use std::ops::Range;
use std::time::{Duration, Instant};
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

/// A graph made ready to run. Any number of threads may run it at once, each in its own arena.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    steps: Vec<Step>,
    ranges: Vec<Range<usize>>,
    arena_len: usize,
    sides: usize,
    input: Range<usize>,
    outputs: Vec<(Range<usize>, Vec<usize>)>,
    weight_bytes: usize,
}

impl Engine {
    /// Lowers a decluttered graph. Its first input is the picture, with its axes in memory in the
    /// order `input_order`; further inputs are weights.
    ///
    /// # Errors
    /// If a size is not fixed, a value that is asked for is not float32, or tract cannot evaluate
    /// a constant.
    pub fn new(
        model: &TypedModel,
        weights: &StoredWeights,
        input_order: &[usize],
        settings: Settings,
    ) -> TractResult<Engine> {
        let workers = settings.workers.count();
        let mut lowering = Lowering::new(model, weights, settings.precision, settings.isa, workers);
        let input = lowering.run(input_order)?;
        let outlets = model.output_outlets()?;
        let outputs: Vec<Value> = outlets
            .iter()
            .map(|&outlet| lowering.output(outlet))
            .collect::<TractResult<_>>()
            .context("an output")?;
        let sides = lowering.sides();
        let (steps, lengths) = (lowering.steps, lowering.buffers);

        let kept: Vec<usize> = outputs.iter().map(|value| value.buffer).collect();
        let mut intervals = lives(&steps, &lengths, input, &kept);
        let owners = in_place(&steps, &mut intervals, &kept);
        let (placed, arena_len) = plan(&intervals);
        let ranges: Vec<Range<usize>> =
            owners.into_iter().map(|owner| placed[owner].clone()).collect();

        let weight_bytes = steps.iter().map(|step| step.action.bytes()).sum();
        let input = ranges[input].clone();
        let outputs =
            outputs.into_iter().map(|value| (ranges[value.buffer].clone(), value.shape)).collect();
        Ok(Engine { settings, steps, ranges, arena_len, sides, input, outputs, weight_bytes })
    }

    /// Bytes that the weights take.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Bytes of an [`Arena`]: what one run takes at most.
    pub fn arena_bytes(&self) -> usize {
        4 * self.arena_len
    }

    /// The memory for one run at a time.
    pub fn arena(&self) -> Arena {
        Arena::new(self.arena_len)
    }

    /// Runs it: `fill` writes the input, in the order that [`Engine::new`] was told.
    ///
    /// # Errors
    /// If an operator that is left to tract fails.
    ///
    /// # Panics
    /// If the arena is another engine's.
    pub fn run(
        &self,
        arena: &mut Arena,
        fill: impl FnOnce(&mut [f32]),
    ) -> TractResult<Vec<Tensor>> {
        self.run_watched(arena, fill, |_, _| {})
    }

    /// As [`Engine::run`]; `watch` is told each step's name and time.
    ///
    /// # Errors
    /// As [`Engine::run`].
    ///
    /// # Panics
    /// As [`Engine::run`].
    pub fn run_watched(
        &self,
        arena: &mut Arena,
        fill: impl FnOnce(&mut [f32]),
        mut watch: impl FnMut(&str, Duration),
    ) -> TractResult<Vec<Tensor>> {
        let Settings { isa, workers, .. } = &self.settings;
        let arena = &mut arena.0[..];
        assert_eq!(arena.len(), self.arena_len, "an arena of another engine");
        fill(&mut arena[self.input.clone()]);
        let mut side = vec![None; self.sides];
        for step in &self.steps {
            let start = Instant::now();
            step.run(*isa, workers, &self.ranges, arena, &mut side)?;
            watch(&step.name, start.elapsed());
        }
        self.outputs
            .iter()
            .map(|(range, shape)| Tensor::from_shape(shape, &arena[range.clone()]))
            .collect()
    }
}

impl Action {
    /// Bytes of weights and constants.
    fn bytes(&self) -> usize {
        let operand = |operand: &Operand| match operand {
            Operand::Constant(values) => 4 * values.len(),
            Operand::Buffer(_) => 0,
        };
        match self {
            Action::Conv { kernel, .. } => kernel.bytes(),
            Action::Binary { left, right, .. } => operand(left) + operand(right),
            Action::Copy { input, .. } => operand(input),
            Action::Foreign { operands, .. } => {
                operands.iter().map(|operand| operand.bytes()).sum()
            }
            _ => 0,
        }
    }
}

/// From when to when each buffer is needed.
fn lives(steps: &[Step], lengths: &[usize], input: usize, kept: &[usize]) -> Vec<Interval> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; lengths.len()];
    lives[input] = Some((0, 0));
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
