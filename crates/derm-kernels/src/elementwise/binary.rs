//! Elementwise functions of two values, with broadcasting.

use crate::geometry::error::element_count;
use crate::rows::Rows;
use crate::simd::dispatch::dispatch;
use crate::simd::isa::Isa;
use crate::simd::vector::Simd;

/// A function of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a * b.
    Mul,
    /// a / b.
    Div,
    /// The larger one; the right one where either is NaN.
    Max,
    /// The smaller one; the right one where either is NaN.
    Min,
}

/// One axis of a broadcast: its length, and the distance of neighbouring elements in each operand (0
/// where the operand has length 1 and is repeated).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroadcastAxis {
    /// Elements along the axis.
    pub length: usize,
    /// Distance in the left operand.
    pub left: usize,
    /// Distance in the right operand.
    pub right: usize,
}

/// The axes of a broadcast of two contiguous operands of these shapes, which are padded with ones in
/// front to the same rank. Neighbouring axes are merged where both operands are contiguous across them.
///
/// # Panics
/// If the shapes do not broadcast, or have more elements than can be addressed.
pub fn broadcast(left: &[usize], right: &[usize]) -> Vec<BroadcastAxis> {
    assert_eq!(left.len(), right.len());
    // The products below are of some of these lengths; they saturate only where another is zero.
    element_count(left);
    element_count(right);
    let mut axes: Vec<BroadcastAxis> = Vec::new();
    let (mut left_step, mut right_step) = (1, 1);
    for (&a, &b) in left.iter().zip(right).rev() {
        assert!(a == b || a == 1 || b == 1, "shapes do not broadcast");
        let axis = BroadcastAxis {
            length: if a == 1 { b } else { a },
            left: if a == 1 { 0 } else { left_step },
            right: if b == 1 { 0 } else { right_step },
        };
        left_step = left_step.saturating_mul(a.max(1));
        right_step = right_step.saturating_mul(b.max(1));
        if axis.length == 1 {
            continue;
        }
        match axes.last_mut() {
            Some(last)
                if axis.left == last.left.saturating_mul(last.length)
                    && axis.right == last.right.saturating_mul(last.length) =>
            {
                last.length = last.length.saturating_mul(axis.length);
            }
            _ => axes.push(axis),
        }
    }
    if axes.is_empty() {
        axes.push(BroadcastAxis { length: 1, left: 1, right: 1 });
    }
    axes.reverse();
    axes
}

/// output = op(left, right) over the axes of [`broadcast`]. An operand that is `None` is what the
/// output holds before.
///
/// # Panics
/// If there is no axis, the axes have more elements than can be addressed, a slice is shorter than
/// the axes need, or an operand that is `None` does not have the output's layout.
pub fn binary(
    isa: Isa,
    op: BinaryOp,
    axes: &[BroadcastAxis],
    left: Option<&[f32]>,
    right: Option<&[f32]>,
    output: &mut [f32],
) {
    let lengths: Vec<usize> = axes.iter().map(|axis| axis.length).collect();
    let total = element_count(&lengths);
    assert_eq!(output.len(), total);
    if total == 0 {
        return;
    }
    let to = output.as_mut_ptr();
    let checked = |operand: Option<&[f32]>, step: fn(&BroadcastAxis) -> usize| match operand {
        Some(values) => {
            assert!(last_index(axes, step).is_some_and(|last| last < values.len()));
            values.as_ptr()
        }
        None => {
            assert!(is_contiguous(axes, step));
            to.cast_const()
        }
    };
    let (left, right) = (checked(left, |axis| axis.left), checked(right, |axis| axis.right));
    // SAFETY: no axis is empty; the largest index into each operand was just checked, and `output`
    // has as many elements as the axes. A slice does not overlap the output, since that is borrowed
    // for writing; an operand in its place has the output's layout, and each element is read before
    // it is written.
    unsafe { binary_at(isa, op, axes, left, right, to) }
}

/// The largest index into an operand with these distances; none where it would wrap. No axis may be
/// empty.
fn last_index(axes: &[BroadcastAxis], step: fn(&BroadcastAxis) -> usize) -> Option<usize> {
    axes.iter()
        .try_fold(0usize, |last, axis| last.checked_add((axis.length - 1).checked_mul(step(axis))?))
}

/// Whether an operand with these distances has the layout of the output.
fn is_contiguous(axes: &[BroadcastAxis], step: fn(&BroadcastAxis) -> usize) -> bool {
    let mut expected = 1;
    axes.iter().rev().all(|axis| {
        let fits = axis.length == 1 || step(axis) == expected;
        // A product of lengths of the output, which was checked.
        expected *= axis.length;
        fits
    })
}

/// # Safety
/// There must be an axis and none that is empty; the operands must be valid for every index that the
/// axes give, `output` for as many writes as the axes have elements. An operand may be `output` if
/// it has its layout.
unsafe fn binary_at(
    isa: Isa,
    op: BinaryOp,
    axes: &[BroadcastAxis],
    left: *const f32,
    right: *const f32,
    output: *mut f32,
) {
    let (inner, outer) = axes.split_last().expect("there is an axis");
    let mut index = vec![0; outer.len()];
    let mut done = 0;
    let (mut l, mut r) = (0, 0);
    loop {
        // SAFETY: `l`, `r` and `done` are the offsets of the line at `index`, and each index is below
        // its axis' length: the line lies inside what the contract says is valid.
        unsafe {
            let left = Operand { start: left.add(l), step: inner.left };
            let right = Operand { start: right.add(r), step: inner.right };
            line(isa, op, left, right, output.add(done), inner.length);
        }
        done += inner.length;
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            l += outer[axis].left;
            r += outer[axis].right;
            if index[axis] < outer[axis].length {
                break;
            }
            l -= outer[axis].left * index[axis];
            r -= outer[axis].right * index[axis];
            index[axis] = 0;
        }
    }
}

/// One operand along the innermost axis.
#[derive(Clone, Copy)]
struct Operand {
    start: *const f32,
    step: usize,
}

dispatch! {
    unsafe fn line = line_kernel(
        op: BinaryOp,
        left: Operand,
        right: Operand,
        output: *mut f32,
        count: usize,
    )
}

/// # Safety
/// The operands must be valid for `count` elements at their distances, `output` for `count` writes;
/// an operand of distance 1 may be `output`.
#[inline(always)]
unsafe fn line_kernel<S: Simd>(
    op: BinaryOp,
    left: Operand,
    right: Operand,
    output: *mut f32,
    count: usize,
) {
    // Vectors where both operands are contiguous or one repeated number.
    let vectors = left.step <= 1 && right.step <= 1;
    macro_rules! with {
        ($vector:expr, $scalar:expr) => {{
            // SAFETY: every index is below `count`, and each element is read before it is written.
            unsafe {
                let mut i = 0;
                if vectors {
                    let (a, b) = (S::splat(*left.start), S::splat(*right.start));
                    while i + S::LANES <= count {
                        let a = if left.step == 0 { a } else { S::load(left.start.add(i)) };
                        let b = if right.step == 0 { b } else { S::load(right.start.add(i)) };
                        S::store(output.add(i), $vector(a, b));
                        i += S::LANES;
                    }
                }
                while i < count {
                    let a = *left.start.add(i * left.step);
                    let b = *right.start.add(i * right.step);
                    *output.add(i) = $scalar(a, b);
                    i += 1;
                }
            }
        }};
    }
    match op {
        BinaryOp::Add => with!(S::add, |a: f32, b: f32| a + b),
        BinaryOp::Sub => with!(S::sub, |a: f32, b: f32| a - b),
        BinaryOp::Mul => with!(S::mul, |a: f32, b: f32| a * b),
        BinaryOp::Div => with!(S::div, |a: f32, b: f32| a / b),
        // Not `f32::max`, which treats NaN in another way than the vectors.
        BinaryOp::Max => with!(S::max, |a: f32, b: f32| if a > b { a } else { b }),
        BinaryOp::Min => with!(S::min, |a: f32, b: f32| if a < b { a } else { b }),
    }
}

dispatch! {
    /// Adds `size` (rows, values a row).
    ///
    /// # Safety
    /// All of the rows must be valid, `left` and `right` for reads and `to` for writes; an operand
    /// and `to` must be the same rows, or not overlap.
    pub(crate) unsafe fn add_rows = add_rows_kernel(
        left: Rows<*const f32>,
        right: Rows<*const f32>,
        to: Rows<*mut f32>,
        size: [usize; 2],
    )
}

/// # Safety
/// As [`add_rows`].
#[inline(always)]
unsafe fn add_rows_kernel<S: Simd>(
    left: Rows<*const f32>,
    right: Rows<*const f32>,
    to: Rows<*mut f32>,
    [rows, width]: [usize; 2],
) {
    for row in 0..rows {
        // SAFETY: every access is to the first `width` values of one of the rows, and each value is
        // read before it is written.
        unsafe {
            let (left, right, to) = (left.row(row), right.row(row), to.row(row));
            for i in (0..width).step_by(S::LANES) {
                let count = S::LANES.min(width - i);
                let sum =
                    S::add(S::load_first(left.add(i), count), S::load_first(right.add(i), count));
                S::store_first(to.add(i), sum, count);
            }
        }
    }
}
