//! A graph made ready to run.

use crate::{Error, Graph};
use derm_engine::{Arena, Engine, Settings};
use derm_preprocess::Layout;
use ndarray::Array4;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
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
    /// Packs a graph's weights and plans its memory.
    ///
    /// # Errors
    /// [`Error::Graph`].
    pub fn new(graph: &Graph, settings: &Settings) -> Result<Plan, Error> {
        let layout = graph.manifest().input.layout;
        // Rows, columns, channels: what pictures are, and what convolutions want.
        let order = match layout {
            Layout::Nchw => [0, 2, 3, 1],
            Layout::Nhwc => [0, 1, 2, 3],
        };
        let engine = || Engine::new(graph.typed(), graph.weights(), &order, settings.clone());
        let engine = catch_unwind(AssertUnwindSafe(engine))
            .unwrap_or_else(|_| Err(TractError::msg("a weight is malformed")))
            .map_err(|error| Error::Graph(format!("{error:#}")))?;
        Ok(Plan { engine, layout, idle: Mutex::default() })
    }

    /// Runs it. `fill` writes the picture: rows, columns, channels, whatever the layout of the
    /// manifest. The outputs are float32, in the order of the graph's.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub fn run(&self, fill: impl FnOnce(&mut [f32])) -> Result<Vec<Tensor>, Error> {
        self.in_arena(|arena| self.engine.run(arena, fill))
    }

    /// Lends an arena, a kept one if there is any, and keeps it for the next run.
    fn in_arena<T>(&self, run: impl FnOnce(&mut Arena) -> TractResult<T>) -> Result<T, Error> {
        let kept = self.idle().pop();
        let mut arena = kept.unwrap_or_else(|| self.engine.arena());
        let result = catch_unwind(AssertUnwindSafe(|| run(&mut arena)))
            .unwrap_or_else(|_| Err(TractError::msg("an operator failed")))
            .map_err(|error| Error::Run(format!("{error:#}")))?;
        self.idle().push(arena);
        Ok(result)
    }

    /// Runs it on an input of the manifest's shape and layout; returns the first output as a flat
    /// list: `[1, classes]`.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub fn scores(&self, input: &Array4<f32>) -> Result<Vec<f32>, Error> {
        let outputs = self.run(|to| channels_last(self.layout, input, to))?;
        let view = outputs[0].to_plain_array_view::<f32>();
        Ok(view.map_err(|error| Error::Run(error.to_string()))?.iter().copied().collect())
    }

    /// Runs it on zeros; the name and the time of every step.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub fn profile(&self) -> Result<Vec<(String, Duration)>, Error> {
        let mut steps = Vec::new();
        let watch = |name: &str, time| steps.push((name.to_owned(), time));
        self.in_arena(|arena| self.engine.run_watched(arena, |input| input.fill(0.0), watch))?;
        Ok(steps)
    }

    /// Bytes of the packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.engine.weight_bytes()
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
