//! Rows of values that lie apart.

/// Where the first of several rows begins, and how far apart they begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<P> {
    pub(crate) at: P,
    pub(crate) stride: usize,
}

impl Rows<*mut f32> {
    /// The same, to be read.
    pub(crate) fn read(self) -> Rows<*const f32> {
        Rows { at: self.at.cast_const(), stride: self.stride }
    }

    /// Where row `row` begins.
    ///
    /// # Safety
    /// The row must be there.
    #[inline(always)]
    pub(crate) unsafe fn row(self, row: usize) -> *mut f32 {
        // SAFETY: the caller's contract.
        unsafe { self.at.add(row * self.stride) }
    }
}

impl Rows<*const f32> {
    /// Where row `row` begins.
    ///
    /// # Safety
    /// The row must be there.
    #[inline(always)]
    pub(crate) unsafe fn row(self, row: usize) -> *const f32 {
        // SAFETY: the caller's contract.
        unsafe { self.at.add(row * self.stride) }
    }
}
