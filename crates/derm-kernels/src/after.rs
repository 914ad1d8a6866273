//! What follows on a convolution's sums while they are in registers or in the nearest cache.

use crate::Isa;
use crate::activation::{Activation, activate_rows};
use crate::binary::add_rows;
use crate::derivative::differentiate_rows;
use crate::rows::Rows;
use crate::simd::Simd;

/// What follows on the sums, in order.
#[derive(Debug, Clone, Copy)]
pub enum After<'a> {
    /// A function of each value.
    Activate(Activation),
    /// A value of the output's shape is added.
    Add(&'a [f32]),
    /// The sums are gradients: times the derivative of a function of values of the output's shape.
    Differentiate(Activation, &'a [f32]),
}

impl After<'_> {
    /// Whether what is added is as long as the output; none where not all of that is in memory.
    pub(crate) fn fits(&self, length: Option<usize>) -> bool {
        match self {
            After::Activate(_) => true,
            After::Add(other) | After::Differentiate(_, other) => Some(other.len()) == length,
        }
    }

    /// Does it to `size` (rows, values a row). `place` and `stride` say where the rows are in the
    /// output.
    ///
    /// # Safety
    /// The rows must lie inside the output, and what is read must fit it.
    unsafe fn apply(
        &self,
        isa: Isa,
        from: Rows<*const f32>,
        to: Rows<*mut f32>,
        (place, stride): (usize, usize),
        size: [usize; 2],
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            let beside = |other: &[f32]| Rows { at: other.as_ptr().add(place), stride };
            match self {
                After::Activate(activation) => activate_rows(isa, *activation, from, to, size),
                After::Add(other) => add_rows(isa, from, beside(other), to, size),
                After::Differentiate(activation, values) => {
                    differentiate_rows(isa, *activation, beside(values), from, to, size);
                }
            }
        }
    }
}

/// What follows on the sums, split in what is done in registers (a value added, then a clamp) and
/// the rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish<'a> {
    isa: Isa,
    added: Option<&'a [f32]>,
    low: f32,
    high: f32,
    rest: &'a [After<'a>],
}

impl<'a> Finish<'a> {
    pub(crate) fn new(isa: Isa, after: &'a [After<'a>]) -> Finish<'a> {
        let (added, after) = match after {
            [After::Add(other), rest @ ..] => (Some(*other), rest),
            _ => (None, after),
        };
        let (low, high, rest) = match after {
            [After::Activate(Activation::Clamp(low, high)), rest @ ..] => (*low, *high, rest),
            _ => (f32::NEG_INFINITY, f32::INFINITY, after),
        };
        Finish { isa, added, low, high, rest }
    }

    /// Whether [`Finish::in_registers`] is all of it, so that values may go where they belong.
    #[inline(always)]
    pub(crate) fn is_short(&self) -> bool {
        self.rest.is_empty()
    }

    /// The first part, on `count` values at `place` of the output. Values that are no numbers stay so.
    ///
    /// # Safety
    /// They must lie inside the output.
    #[inline(always)]
    pub(crate) unsafe fn in_registers<S: Simd>(
        &self,
        mut value: S::V,
        place: usize,
        count: usize,
    ) -> S::V {
        // SAFETY: the caller's contract.
        unsafe {
            if let Some(added) = self.added {
                value = S::add(value, S::load_first(added.as_ptr().add(place), count));
            }
            S::min(S::splat(self.high), S::max(S::splat(self.low), value))
        }
    }

    /// The rest, from a buffer to `size` (rows, values a row) at `place` of the output.
    ///
    /// # Safety
    /// The rows must lie inside the output.
    pub(crate) unsafe fn buffered(
        &self,
        buffer: Rows<*mut f32>,
        output: *mut f32,
        (place, stride): (usize, usize),
        size: [usize; 2],
    ) {
        let Some((last, others)) = self.rest.split_last() else { return };
        let at = (place, stride);
        // SAFETY: the caller's contract.
        unsafe {
            for after in others {
                after.apply(self.isa, buffer.read(), buffer, at, size);
            }
            let to = Rows { at: output.add(place), stride };
            last.apply(self.isa, buffer.read(), to, at, size);
        }
    }
}
