//! Strided rows: several rows of values at a constant distance.

/// Where the first of several rows begins, and the distance from one row to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<P> {
    pub(crate) start: P,
    pub(crate) stride: usize,
}

impl Rows<*mut f32> {
    /// The same rows for reading.
    pub(crate) fn as_const(self) -> Rows<*const f32> {
        Rows { start: self.start.cast_const(), stride: self.stride }
    }

    /// Where row `row` begins.
    ///
    /// # Safety
    /// The row must lie inside, or at the end of, the allocation of `start`.
    #[inline(always)]
    pub(crate) unsafe fn row(self, row: usize) -> *mut f32 {
        // SAFETY: the offset stays inside the allocation, as this function requires.
        unsafe { self.start.add(row * self.stride) }
    }
}

impl Rows<*const f32> {
    /// Where row `row` begins.
    ///
    /// # Safety
    /// The row must lie inside, or at the end of, the allocation of `start`.
    #[inline(always)]
    pub(crate) unsafe fn row(self, row: usize) -> *const f32 {
        // SAFETY: the offset stays inside the allocation, as this function requires.
        unsafe { self.start.add(row * self.stride) }
    }
}
