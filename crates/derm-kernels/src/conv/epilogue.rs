//! Epilogue: functions of a convolution's sums while they are in registers or in the first-level
//! cache.

use crate::elementwise::binary::add_rows;
use crate::elementwise::unary::{Unary, apply_rows, multiply_rows_by_derivative};
use crate::rows::Rows;
use crate::simd::isa::Isa;
use crate::simd::vector::Simd;

/// One operation of an epilogue; an epilogue is a list of them, applied in order. Operands have the
/// output's shape and layout.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue<'a> {
    /// A function of each value.
    Unary(Unary),
    /// Adds another tensor.
    Add(&'a [f32]),
    /// The sums are gradients: multiplies them by the derivative of a function at these values.
    MultiplyByDerivative(Unary, &'a [f32]),
}

/// Some values of the output: rows of channels at a constant distance.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Index of the first value in the output.
    pub(super) index: usize,
    /// Distance of the rows in the output.
    pub(super) stride: usize,
    /// Rows, and values a row.
    pub(super) size: [usize; 2],
}

impl Epilogue<'_> {
    /// Whether the operand has the output's length; `None` where not all of the output is in memory,
    /// and no operand fits.
    pub(super) fn fits(&self, length: Option<usize>) -> bool {
        match self {
            Epilogue::Unary(_) => true,
            Epilogue::Add(other) | Epilogue::MultiplyByDerivative(_, other) => {
                Some(other.len()) == length
            }
        }
    }

    /// Applies the operation to a block whose values are in `from`.
    ///
    /// # Safety
    /// As for [`SplitEpilogue::buffered`], where `from` and `to` are the same rows or do not overlap.
    unsafe fn apply(
        &self,
        isa: Isa,
        from: Rows<*const f32>,
        to: Rows<*mut f32>,
        Block { index, stride, size }: Block,
    ) {
        // SAFETY: the block lies inside the output, and so inside every operand, which has the
        // output's length (`Epilogue::fits` was asserted) and is borrowed apart from the output.
        unsafe {
            let operand = |other: &[f32]| Rows { start: other.as_ptr().add(index), stride };
            match self {
                Epilogue::Unary(function) => apply_rows(isa, *function, from, to, size),
                Epilogue::Add(other) => add_rows(isa, from, operand(other), to, size),
                Epilogue::MultiplyByDerivative(function, values) => {
                    multiply_rows_by_derivative(isa, *function, operand(values), from, to, size);
                }
            }
        }
    }
}

/// An epilogue, split in what is applied in registers (an addition, then a clamp) and the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct SplitEpilogue<'a> {
    isa: Isa,
    added: Option<&'a [f32]>,
    low: f32,
    high: f32,
    rest: &'a [Epilogue<'a>],
}

impl<'a> SplitEpilogue<'a> {
    pub(super) fn new(isa: Isa, epilogue: &'a [Epilogue<'a>]) -> SplitEpilogue<'a> {
        let (added, epilogue) = match epilogue {
            [Epilogue::Add(other), rest @ ..] => (Some(*other), rest),
            _ => (None, epilogue),
        };
        let (low, high, rest) = match epilogue {
            [Epilogue::Unary(Unary::Clamp(low, high)), rest @ ..] => (*low, *high, rest),
            _ => (f32::NEG_INFINITY, f32::INFINITY, epilogue),
        };
        SplitEpilogue { isa, added, low, high, rest }
    }

    /// Whether [`SplitEpilogue::in_registers`] is all of it, so that values may be stored in the
    /// output at once.
    #[inline(always)]
    pub(super) fn is_in_registers(&self) -> bool {
        self.rest.is_empty()
    }

    /// The first part, on `count` values from index `index` of the output on. NaN stays NaN.
    ///
    /// # Safety
    /// These values must lie inside the output.
    #[inline(always)]
    pub(super) unsafe fn in_registers<S: Simd>(
        &self,
        mut value: S::V,
        index: usize,
        count: usize,
    ) -> S::V {
        // SAFETY: the operand has the output's length (`Epilogue::fits` was asserted).
        unsafe {
            if let Some(added) = self.added {
                value = S::add(value, S::load_first(added.as_ptr().add(index), count));
            }
            S::min(S::splat(self.high), S::max(S::splat(self.low), value))
        }
    }

    /// The rest, from a buffer to a block of the output.
    ///
    /// # Safety
    /// `buffer` must hold the block's values, and the block must lie inside the output, of which
    /// nobody else may touch it.
    pub(super) unsafe fn buffered(&self, buffer: Rows<*mut f32>, output: *mut f32, block: Block) {
        let Some((last, others)) = self.rest.split_last() else { return };
        // SAFETY: `buffer` and the block's rows are valid, and do not overlap: the buffer is the
        // kernel's own.
        unsafe {
            for operation in others {
                operation.apply(self.isa, buffer.as_const(), buffer, block);
            }
            let to = Rows { start: output.add(block.index), stride: block.stride };
            last.apply(self.isa, buffer.as_const(), to, block);
        }
    }
}
