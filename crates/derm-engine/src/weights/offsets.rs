//! Offsets of weights: where a convolution or product finds each of them in a strided view.

use super::strided::Strided;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Weight offsets: where each weight lies in a view, at the sum of the offsets of its output channel, of
/// its input channel within the group, and of its tap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WeightOffsets {
    pub(crate) outputs: Vec<usize>,
    pub(crate) inputs: Vec<usize>,
    pub(crate) taps: Vec<usize>,
}

impl WeightOffsets {
    /// Of a convolution: `[output channel, input channel of its group, window]`.
    pub(crate) fn of_window(view: &Strided<'_>) -> WeightOffsets {
        let window: Vec<usize> = (2..view.shape.len()).collect();
        let [outputs, inputs] = [view.offsets(&[0]), view.offsets(&[1])];
        WeightOffsets { outputs, inputs, taps: view.offsets(&window) }
    }

    /// Of a product: the axes are those of the groups, of the output channels of a group, and of its
    /// input channels.
    pub(crate) fn of_product(
        view: &Strided<'_>,
        [groups, outputs, inputs]: &[Vec<usize>; 3],
    ) -> WeightOffsets {
        let outputs = view.offsets(&[&groups[..], outputs].concat());
        WeightOffsets { outputs, inputs: view.offsets(inputs), taps: vec![0] }
    }

    /// A hash of where the weights lie: the layout in which they are stored.
    pub(crate) fn layout(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// A function that finds the offset of the weight of an output channel, an input channel of its group,
    /// and a tap. It has the slices by value: a loop that writes weights need not load them again.
    pub(crate) fn finder(&self) -> impl Fn(usize, usize, usize) -> usize + Copy {
        let [outputs, inputs, taps] = [&self.outputs[..], &self.inputs[..], &self.taps[..]];
        move |output, input, tap| outputs[output] + inputs[input] + taps[tap]
    }
}
