//! Epilogue: what is done to the 8-bit values of a convolution while they are in the nearest cache.

use super::elementwise::{AddInt8, add_kernel};
use super::table::{Table, lookup};

/// One operation of an epilogue.
#[derive(Debug, Clone, Copy)]
pub enum Int8Epilogue<'a> {
    /// Replaces each value by the table's.
    Table(&'a Table),
    /// Adds a tensor of the output's shape.
    Add {
        /// How.
        add: &'a AddInt8,
        /// The other operand.
        other: &'a [u8],
        /// Which operand that is.
        is_left: bool,
    },
}

/// Applies an epilogue to `count` values at `values`, which are those at `index` of the output.
///
/// # Safety
/// `values` must be valid for `count` reads and writes, and operands must have the output's length.
#[inline(always)]
pub(super) unsafe fn apply(
    epilogue: &[Int8Epilogue<'_>],
    values: *mut u8,
    index: usize,
    count: usize,
) {
    for operation in epilogue {
        // SAFETY: the contract of this function; the operand's `count` values from `index` on exist,
        // since it is as long as the output.
        unsafe {
            match operation {
                Int8Epilogue::Table(table) => lookup(table, values, values, count),
                Int8Epilogue::Add { add, other, is_left } => {
                    let other = other.as_ptr().add(index);
                    let (left, right) = if *is_left {
                        (other, values.cast_const())
                    } else {
                        (values.cast_const(), other)
                    };
                    add_kernel(add, left, right, values, count);
                }
            }
        }
    }
}
