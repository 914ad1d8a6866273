//! A graph made ready to run.

use crate::{Error, Graph};
use derm_engine::{
    Arena, Engine, Options as EngineOptions, PackedWeightCache, RunError, StepTime,
};
use derm_preprocess::Layout;
use ndarray::{Array4, ArrayViewD};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tract_onnx::prelude::*;

/// A graph ready to run, with its weights packed. Any number of threads may run it at once, each
/// in an arena of its own; arenas are kept for the next run until they are let go.
#[derive(Debug)]
pub struct Plan {
    engine: Engine,
    layout: Layout,
    idle: Mutex<Vec<Arena>>,
}

impl Plan {
    /// Packs a graph's weights, but for those that `cache` has, and plans its memory.
    ///
    /// # Errors
    /// [`Error::Graph`].
    pub fn new(graph: &Graph, options: &EngineOptions, cache: &mut PackedWeightCache) -> Result<Plan, Error> {
        let layout = graph.manifest().input.layout;
        // Rows, columns, channels: what pictures are, and what convolutions want.
        let order = match layout {
            Layout::Nchw => [0, 2, 3, 1],
            Layout::Nhwc => [0, 1, 2, 3],
        };
        let engine =
            || Engine::compile(graph.typed(), graph.weights(), &order, options.clone(), cache);
        let engine = catch_unwind(AssertUnwindSafe(engine))
            .unwrap_or_else(|_| Err(TractError::msg("a weight is malformed")))
            .map_err(|error| Error::Graph(format!("{error:#}")))?;
        Ok(Plan { engine, layout, idle: Mutex::default() })
    }

    /// Runs it on a picture. `fill` writes that: rows, columns, channels, whatever the layout of
    /// the manifest.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub fn run(&self, fill: impl FnOnce(&mut [f32])) -> Result<Run<'_>, Error> {
        let kept = self.idle().pop();
        let arena = kept.unwrap_or_else(|| self.engine.arena());
        let mut run = Run { plan: self, arena: Some(arena) };
        run.feed(0, fill)?;
        Ok(run)
    }

    /// Runs it on an input of the manifest's shape and layout; returns the first output as a flat
    /// list: `[1, classes]`.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub fn scores(&self, input: &Array4<f32>) -> Result<Vec<f32>, Error> {
        let run = self.run(|to| channels_last(self.layout, input, to))?;
        Ok(run.output(0).iter().copied().collect())
    }

    /// Runs all its phases on zeros; what every step is and takes.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub fn profile(&self) -> Result<Vec<StepTime>, Error> {
        let mut steps = Vec::new();
        let mut arena = self.engine.arena();
        for phase in 0..self.engine.phases() {
            let fill = |input: &mut [f32]| input.fill(0.0);
            caught(|| self.engine.run_timed(&mut arena, phase, fill, &mut steps))?;
        }
        Ok(steps)
    }

    /// Bytes of the packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.engine.weight_bytes()
    }

    /// Bytes of them that no plan of the model had packed before.
    pub fn packed_bytes(&self) -> usize {
        self.engine.packed_bytes()
    }

    /// Bytes that one run takes at most, beside the weights.
    pub fn arena_bytes(&self) -> usize {
        self.engine.arena_bytes()
    }

    /// Bytes of the arenas that are kept for a next run.
    pub fn idle_bytes(&self) -> usize {
        self.idle().len() * self.arena_bytes()
    }

    /// Gives the kept arenas back.
    pub fn release_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Arena>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One run of a plan: its outputs, in an arena that goes back to the plan in the end.
#[derive(Debug)]
pub struct Run<'a> {
    plan: &'a Plan,
    /// None after a failure, and while it goes back.
    arena: Option<Arena>,
}

impl Run<'_> {
    /// Feeds the input of a later phase (1: the second input of the graph, in the graph's order of
    /// axes) and runs what needs it. The last phase can be fed again.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub fn feed(&mut self, phase: usize, fill: impl FnOnce(&mut [f32])) -> Result<(), Error> {
        let failed = || Error::Run("an operator failed before".to_owned());
        let mut arena = self.arena.take().ok_or_else(failed)?;
        caught(|| self.plan.engine.run(&mut arena, phase, fill))?;
        self.arena = Some(arena);
        Ok(())
    }

    /// Output number `number` of the graph, whose phase has run.
    ///
    /// # Panics
    /// If there is no such output, or the run has failed.
    pub fn output(&self, number: usize) -> ArrayViewD<'_, f32> {
        let arena = self.arena.as_ref().expect("the run has not failed");
        self.plan.engine.output(arena, number)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.plan.idle().extend(self.arena.take());
    }
}

/// A panic or error of an operator.
fn caught(run: impl FnOnce() -> Result<(), RunError>) -> Result<(), Error> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| Error::Run(error.to_string())),
        Err(_) => Err(Error::Run("an operator failed".to_owned())),
    }
}

/// Writes an input of this layout as rows, columns, channels.
///
/// # Panics
/// If `to` is shorter than the input.
pub fn channels_last(layout: Layout, input: &Array4<f32>, to: &mut [f32]) {
    let view = match layout {
        Layout::Nchw => input.view().permuted_axes([0, 2, 3, 1]),
        Layout::Nhwc => input.view(),
    };
    assert_eq!(view.len(), to.len());
    to.iter_mut().zip(view.iter()).for_each(|(to, value)| *to = *value);
}
