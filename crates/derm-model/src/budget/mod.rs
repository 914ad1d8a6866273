//! Budget: what reading one file may take, however small the file is. A file of a few bytes can ask for a constant of
//! any size, for arithmetic with it, and for a graph of any number of nodes; all of them are paid for here first.

mod fold;
mod limited;

pub(crate) use fold::Fold;
pub(crate) use limited::limit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// The most bytes of one value that is computed for each picture. No classifier has one of this size.
const LARGEST: u64 = 2 << 30;
/// Work that any file may ask for, beside what is in proportion to its bytes.
const WORK: u64 = 32 << 20;
/// Work for each byte of the file and of the tensors it names. A quantised weight becomes four bytes of each, and passes
/// through three operators.
const WORK_PER_BYTE: u64 = 16;
/// Nodes that any file may become, and those for each that is written in it.
const NODES: u64 = 4096;
const NODES_PER_NODE: u64 = 8;

/// What is left for one file. A unit of work is a byte of a value that reading computes, or a multiplication for it.
#[derive(Debug)]
pub(crate) struct Budget {
    work: Limit,
    nodes: Limit,
}

impl Budget {
    /// For a file of `bytes` bytes.
    pub(crate) fn new(bytes: usize, model: &ModelProto) -> Budget {
        let inside = model.graph.iter().map(|graph| written(&graph.node));
        let functions = model.functions.iter().map(|function| written(&function.node));
        let nodes: u64 = inside.chain(functions).sum();
        let work = (bytes as u64).saturating_mul(WORK_PER_BYTE).saturating_add(WORK);
        Budget { work: Limit::new(work), nodes: Limit::new(NODES + NODES_PER_NODE * nodes) }
    }

    /// The file names tensors of so many bytes, which are there.
    pub(crate) fn grow(&self, bytes: usize) {
        let more = (bytes as u64).saturating_mul(WORK_PER_BYTE);
        self.work.whole.fetch_add(more, Relaxed);
        self.work.left.fetch_add(more, Relaxed);
    }

    /// The file is read once more: what the last attempt took is free again.
    pub(crate) fn start_again(&self) {
        self.work.left.store(self.work.whole.load(Relaxed), Relaxed);
        self.nodes.left.store(self.nodes.whole.load(Relaxed), Relaxed);
    }

    /// Takes work, before it is done.
    ///
    /// # Errors
    /// If there is not as much left.
    pub(crate) fn work(&self, amount: u64) -> TractResult<()> {
        let whole = self.work.whole.load(Relaxed) >> 20;
        ensure!(
            self.work.take(amount),
            "computing it takes more memory or time than a file of this size may ask for ({amount} steps, and \
             {whole} million in all)"
        );
        Ok(())
    }

    /// Takes nodes, before they are made.
    ///
    /// # Errors
    /// If there are not as many left.
    pub(crate) fn nodes(&self, count: usize) -> TractResult<()> {
        let whole = self.nodes.whole.load(Relaxed);
        ensure!(self.nodes.take(count as u64), "with it the graph has more than {whole} nodes");
        Ok(())
    }

    /// Takes a graph that is read as a part of another, before it is read.
    ///
    /// # Errors
    /// If the budget is used up.
    pub(crate) fn graph(&self, graph: &GraphProto) -> TractResult<()> {
        self.nodes(1 + graph.node.len())?;
        self.work(prost::Message::encoded_len(graph) as u64)
    }

    /// Checks that no value of a graph is absurdly large.
    ///
    /// # Errors
    /// If one is; names its node.
    pub(crate) fn check(model: &TypedModel) -> TractResult<()> {
        for node in model.nodes() {
            for output in &node.outputs {
                let (datum_type, shape) = (output.fact.datum_type, &output.fact.shape);
                let bytes = bytes(datum_type, shape.as_concrete().unwrap_or_default());
                check_size(bytes, || (&node.name, shape))?;
            }
        }
        Ok(())
    }
}

/// Fails for a value that is larger than any of a classifier's.
fn check_size<'a, S: std::fmt::Debug>(
    bytes: u64,
    value: impl FnOnce() -> (&'a String, S),
) -> TractResult<()> {
    if bytes > LARGEST {
        let (name, shape) = value();
        let most = LARGEST >> 20;
        bail!("{name}: a value of shape {shape:?} takes more than {most} MiB");
    }
    Ok(())
}

/// Bytes of a tensor; the largest number, if there are more.
fn bytes(datum_type: DatumType, shape: &[usize]) -> u64 {
    let lengths = shape.iter().map(|&length| length as u64);
    lengths.fold(datum_type.size_of() as u64, u64::saturating_mul)
}

/// Nodes as they are written in the file, those of graphs inside nodes, too.
fn written(nodes: &[NodeProto]) -> u64 {
    let inside = nodes.iter().flat_map(crate::rewrite::inside);
    nodes.len() as u64 + inside.map(|graph| written(&graph.node)).sum::<u64>()
}

/// An amount that may be taken.
#[derive(Debug)]
struct Limit {
    whole: AtomicU64,
    left: AtomicU64,
}

impl Limit {
    fn new(whole: u64) -> Limit {
        Limit { whole: AtomicU64::new(whole), left: AtomicU64::new(whole) }
    }

    /// Whether there was as much left. Nothing is taken if not.
    fn take(&self, amount: u64) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(amount)).is_ok()
    }
}

/// A budget as the parts of a graph share it.
pub(crate) type Shared = Arc<Budget>;
