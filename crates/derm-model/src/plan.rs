//! A graph made ready to run.

use crate::{Error, Graph};
use ndarray::Array4;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tract_linalg::multithread::Executor;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::runtime::RunOptions;

/// Threads inside one inference.
#[derive(Debug, Clone)]
pub struct Threads(Executor);

impl Threads {
    /// No thread but the caller's.
    pub const ONE: Threads = Threads(Executor::SingleThread);

    /// A pool of `count` threads that every plan made with this value shares; none for one.
    pub fn new(count: NonZeroUsize) -> Threads {
        match count.get() {
            1 => Threads::ONE,
            count => Threads(Executor::multithread_with_name(count, "inference")),
        }
    }
}

/// An optimised graph. Any number of threads may run it at once.
#[derive(Debug)]
pub struct Plan {
    runnable: Arc<TypedRunnableModel>,
    input: DatumType,
}

impl Plan {
    /// Optimises a graph for this machine.
    ///
    /// # Errors
    /// [`Error::Graph`].
    pub fn new(graph: Graph, threads: &Threads) -> Result<Plan, Error> {
        Plan::from_typed(graph.into_typed(), threads)
    }

    /// Optimises a decluttered graph with one input, whatever its outputs are.
    ///
    /// # Errors
    /// [`Error::Graph`].
    pub fn from_typed(mut typed: TypedModel, threads: &Threads) -> Result<Plan, Error> {
        let failed = |error: TractError| Error::Graph(format!("{error:#}"));
        let input = typed.input_fact(0).map_err(failed)?.datum_type;
        typed.optimize().map_err(failed)?;
        let options = RunOptions { executor: Some(threads.0.clone()), ..RunOptions::default() };
        let runnable = TypedRunnableModel::new_with_options(typed, &options).map_err(failed)?;
        Ok(Plan { runnable, input })
    }

    /// Runs it; the outputs are float32, in the order of the graph's.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub fn run(&self, input: Array4<f32>) -> Result<TVec<TValue>, Error> {
        let failed = |error: TractError| Error::Run(format!("{error:#}"));
        let run = || -> TractResult<TVec<TValue>> {
            let input = Tensor::from(input).cast_to_dt(self.input)?.into_owned();
            let outputs = self.runnable.run(tvec!(input.into_tvalue()))?;
            outputs.into_iter().map(widened).collect()
        };
        catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(TractError::msg("an operator failed")))
            .map_err(failed)
    }

    /// Runs it and returns the first output as a flat list: `[1, classes]`.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub fn scores(&self, input: Array4<f32>) -> Result<Vec<f32>, Error> {
        flat(&self.run(input)?[0])
    }
}

/// The float32 elements of a tensor, in order.
///
/// # Errors
/// [`Error::Run`] where it holds something else.
pub(crate) fn flat(tensor: &Tensor) -> Result<Vec<f32>, Error> {
    let failed = |error: TractError| Error::Run(error.to_string());
    Ok(tensor.to_plain_array_view::<f32>().map_err(failed)?.iter().copied().collect())
}

fn widened(value: TValue) -> TractResult<TValue> {
    if value.datum_type() == DatumType::F16 {
        Ok(value.cast_to_dt(DatumType::F32)?.into_owned().into_tvalue())
    } else {
        Ok(value)
    }
}
