//! A value of the graph: the graph's axes, and the order in which they lie in memory.

use crate::program::BufferId;

/// Where a value is, and how its axes lie in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) buffer: BufferId,
    /// The shape that the graph knows.
    pub(crate) shape: Vec<usize>,
    /// The graph's axes from the slowest to the fastest in memory.
    pub(crate) order: Vec<usize>,
}

/// A value that is held as 8-bit numbers: what `QuantizeLinear` made, or float32 values of the graph
/// that are `scale * (q - zero_point)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    /// Where the numbers are.
    pub(crate) value: Value,
    pub(crate) scale: f32,
    pub(crate) zero_point: u8,
    /// Whether the graph's numbers are signed: they are held as `q + 128`, the zero point too.
    pub(crate) is_signed: bool,
}

impl Held {
    /// Whether another stands for the same numbers by the same ones.
    pub(crate) fn is_like(&self, other: &Held) -> bool {
        (self.scale, self.zero_point) == (other.scale, other.zero_point)
    }

    /// The same value with its axes in this order; `None` where the numbers would have to move.
    pub(crate) fn in_order(&self, order: Vec<usize>) -> Option<Held> {
        let value = Value { order, ..self.value.clone() };
        (value.significant() == self.value.significant()).then_some(Held { value, ..self.clone() })
    }
}

impl Value {
    /// Elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The shape as it lies in memory.
    pub(crate) fn physical(&self) -> Vec<usize> {
        physical(&self.shape, &self.order)
    }

    /// Axes longer than one, as they lie in memory.
    pub(crate) fn significant(&self) -> Vec<usize> {
        self.order.iter().copied().filter(|&axis| self.shape[axis] > 1).collect()
    }

    /// Whether `axes` (as the graph counts them) lie one after the other at the end.
    pub(crate) fn ends_with(&self, axes: &[usize]) -> bool {
        let long: Vec<usize> = axes.iter().copied().filter(|&axis| self.shape[axis] > 1).collect();
        self.significant().ends_with(&long)
    }
}

/// A shape with its axes in this order.
pub(crate) fn physical(shape: &[usize], order: &[usize]) -> Vec<usize> {
    order.iter().map(|&axis| shape[axis]).collect()
}

/// The graph's own order of axes.
pub(crate) fn graph_order(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// `axes` as an order of all of `0..rank`: those that are missing (of length one) in front.
pub(crate) fn completed(rank: usize, axes: &[usize]) -> Vec<usize> {
    (0..rank).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect()
}
