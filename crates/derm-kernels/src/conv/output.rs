//! The output of a convolution, whole or shared by several threads.

use std::marker::PhantomData;
use std::ops::Range;

/// An output that several threads write at once, each the units of its own.
#[derive(Debug)]
pub struct SharedOutput<'a, T = f32> {
    start: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointer is only used through the parts, and `SharedOutput::part` is unsafe: whoever
// calls it ensures that no two threads write the same elements.
unsafe impl<T: Send> Send for SharedOutput<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedOutput<'_, T> {}

impl<'a, T> SharedOutput<'a, T> {
    /// Takes an output to be shared.
    pub fn new(output: &'a mut [T]) -> SharedOutput<'a, T> {
        let len = output.len();
        SharedOutput { start: output.as_mut_ptr(), len, lifetime: PhantomData }
    }

    /// The part of the output that holds `units` of a plan ([`crate::ConvPlan::units`]).
    ///
    /// This is the only unsafe function of the crate's interface, and what it requires is why the
    /// kernels behind it are sound: of one plan, different units are different elements of the
    /// output (rows, pixels of one row, or channels), a kernel touches no element but those of its
    /// part's units, and it makes no reference to the output, only pointers to these elements. That
    /// the elements exist is checked when a plan runs, by the output's length.
    ///
    /// # Safety
    /// While the part is in use, no other part with one of these units may be; and parts that are in
    /// use at the same time must be used with one plan, since units are different elements for
    /// different plans.
    pub unsafe fn part(&self, units: Range<usize>) -> OutputPart<'_, T> {
        let SharedOutput { start, len, .. } = *self;
        OutputPart { start, len, units: Some(units), lifetime: PhantomData }
    }
}

/// Some units of an output, which this value alone may write: the output's pointer and length, and
/// the range of units.
#[derive(Debug)]
pub struct OutputPart<'a, T = f32> {
    start: *mut T,
    len: usize,
    /// None for all.
    units: Option<Range<usize>>,
    lifetime: PhantomData<&'a mut [T]>,
}

impl<'a, T> OutputPart<'a, T> {
    /// All units of an output.
    pub fn whole(output: &'a mut [T]) -> OutputPart<'a, T> {
        let len = output.len();
        OutputPart { start: output.as_mut_ptr(), len, units: None, lifetime: PhantomData }
    }

    /// The same part for a shorter time.
    pub fn reborrow(&mut self) -> OutputPart<'_, T> {
        let units = self.units.clone();
        OutputPart { start: self.start, len: self.len, units, lifetime: PhantomData }
    }

    /// The units of the part, out of `all`.
    ///
    /// # Panics
    /// If it has units that the plan does not have.
    pub fn units(&self, all: usize) -> Range<usize> {
        let units = self.units.clone().unwrap_or(0..all);
        assert!(units.end <= all, "the part has units {units:?} of {all}");
        units
    }

    /// Whether it has all units.
    pub(super) fn is_whole(&self) -> bool {
        self.units.is_none()
    }

    /// Where the whole output begins; valid for writes to the elements of this part's units.
    pub(crate) fn start(&self) -> *mut T {
        self.start
    }

    /// Elements of the whole output.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}
