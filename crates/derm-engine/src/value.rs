//! A value of the graph: the axes that the graph speaks of, and the order in which they lie.

/// Where a value is and how its axes lie in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// Number of its buffer.
    pub(crate) buffer: usize,
    /// The axes of the graph.
    pub(crate) shape: Vec<usize>,
    /// The same axes from the slowest to the fastest in memory.
    pub(crate) order: Vec<usize>,
    /// The step that writes it and that may do more to it, since nobody else reads the buffer.
    pub(crate) open: Option<usize>,
}

impl Value {
    /// Elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Lengths of the axes as they lie.
    pub(crate) fn physical(&self) -> Vec<usize> {
        self.order.iter().map(|&axis| self.shape[axis]).collect()
    }

    /// Axes longer than one, as they lie.
    pub(crate) fn significant(&self) -> Vec<usize> {
        self.order.iter().copied().filter(|&axis| self.shape[axis] > 1).collect()
    }

    /// Whether `axes` (as the graph counts them) lie one after the other at the end.
    pub(crate) fn ends_with(&self, axes: &[usize]) -> bool {
        let long: Vec<usize> = axes.iter().copied().filter(|&axis| self.shape[axis] > 1).collect();
        self.significant().ends_with(&long)
    }
}

/// The axes in the graph's own order.
pub(crate) fn plain(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// `axes` as an order of all of `0..rank`: those that are missing (of length one) in front.
pub(crate) fn completed(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect()
}
