//! A graph made ready to run.

use crate::guard::guarded;
use crate::{Error, Graph};
use derm_engine::{
    Arena, Engine, Operators, Options as EngineOptions, PackedWeightCache, RunError, StepTime,
};
use derm_preprocess::Layout;
use ndarray::{Array4, ArrayViewD};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A graph ready to run, with its weights packed. Any number of threads may run it at once, each
/// in an arena of its own; arenas are kept for the next run until [`Plan::release_idle`].
#[derive(Debug)]
pub struct Plan {
    engine: Engine,
    layout: Layout,
    unverified: Vec<String>,
    idle: Mutex<Vec<Arena>>,
}

impl Plan {
    /// Packs the graph's weights that `cache` does not have yet, and plans its memory.
    ///
    /// # Errors
    /// [`Error::Unverified`], [`Error::Graph`], [`Error::Panicked`].
    pub fn new(
        graph: &Graph,
        options: &EngineOptions,
        cache: &mut PackedWeightCache,
    ) -> Result<Plan, Error> {
        let unverified = graph.unverified();
        if !unverified.is_empty() && !options.allow_unverified {
            let shown = unverified[..unverified.len().min(3)].join(", ");
            let more = if unverified.len() > 3 { ", and more" } else { "" };
            return Err(Error::Unverified(format!("{shown}{more}")));
        }
        let layout = graph.manifest().input.layout;
        // Rows, columns, channels: the order of a picture's bytes and of the convolutions.
        let order = match layout {
            Layout::Nchw => [0, 2, 3, 1],
            Layout::Nhwc => [0, 1, 2, 3],
        };
        let engine = guarded("packing", || {
            Engine::compile(graph.typed(), graph.weights(), &order, options.clone(), cache)
                .map_err(|error| Error::Graph(format!("{error:#}")))
        })?;
        let unverified = unverified.to_vec();
        Ok(Plan { engine, layout, unverified, idle: Mutex::default() })
    }

    /// Runs it on a picture, which `fill` writes as `[rows, columns, channels]`, whatever the
    /// manifest's layout.
    ///
    /// # Errors
    /// [`Error::Run`], [`Error::Panicked`].
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
    /// [`Error::Run`], [`Error::Panicked`].
    pub fn scores(&self, input: &Array4<f32>) -> Result<Vec<f32>, Error> {
        let run = self.run(|to| channels_last(self.layout, input, to))?;
        Ok(run.output(0).iter().copied().collect())
    }

    /// Runs all phases on an input of zeros; returns the time of every step.
    ///
    /// # Errors
    /// [`Error::Run`], [`Error::Panicked`].
    pub fn profile(&self) -> Result<Vec<StepTime>, Error> {
        let mut steps = Vec::new();
        let mut arena = self.engine.arena();
        for phase in 0..self.engine.phases() {
            let fill = |input: &mut [f32]| input.fill(0.0);
            guarded("running", || {
                self.engine.run_timed(&mut arena, phase, fill, &mut steps).map_err(failed)
            })?;
        }
        Ok(steps)
    }

    /// The engine's operations, and the operators that it has no kernel for and tract evaluates.
    pub fn operators(&self) -> Operators {
        self.engine.operators()
    }

    /// The nodes that were not compared with onnxruntime as they are used, and were allowed.
    pub fn unverified(&self) -> &[String] {
        &self.unverified
    }

    /// Bytes of the packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.engine.weight_bytes()
    }

    /// Bytes of the weights that no plan of the model had packed before.
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

/// One run of a plan: its outputs, in an arena that returns to the plan when this is dropped.
#[derive(Debug)]
pub struct Run<'a> {
    plan: &'a Plan,
    /// `None` after a failure.
    arena: Option<Arena>,
}

impl Run<'_> {
    /// Feeds the input of a later phase (1: the second input of the graph, in the graph's order of
    /// axes) and runs what needs it. The last phase can be fed again.
    ///
    /// # Errors
    /// [`Error::Run`], [`Error::Panicked`].
    pub fn feed(&mut self, phase: usize, fill: impl FnOnce(&mut [f32])) -> Result<(), Error> {
        let unusable = || Error::Run("an operator failed before".to_owned());
        let mut arena = self.arena.take().ok_or_else(unusable)?;
        // Dropped on failure: its values are of no use to a later run.
        guarded("running", || self.plan.engine.run(&mut arena, phase, fill).map_err(failed))?;
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

fn failed(error: RunError) -> Error {
    Error::Run(error.to_string())
}

/// Writes an input of this layout as `[rows, columns, channels]`.
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
