//! Functions of two values, with broadcasting.

use crate::isa::{Isa, dispatch};
use crate::rows::Rows;
use crate::simd::Simd;

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
    /// The larger one.
    Max,
    /// The smaller one.
    Min,
}

/// One axis of a broadcast: how many places, and how far apart they lie in each operand (0 where
/// the operand has one place only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroadcastAxis {
    /// Places.
    pub length: usize,
    /// Distance in the left operand.
    pub left: usize,
    /// Distance in the right operand.
    pub right: usize,
}

/// The axes of a broadcast of two contiguous operands: their own shapes, padded with ones in front
/// to the same rank. Neighbouring axes that lie alike become one.
///
/// # Panics
/// If the shapes do not broadcast.
pub fn broadcast(left: &[usize], right: &[usize]) -> Vec<BroadcastAxis> {
    assert_eq!(left.len(), right.len());
    let mut axes: Vec<BroadcastAxis> = Vec::new();
    let (mut left_step, mut right_step) = (1, 1);
    for (&a, &b) in left.iter().zip(right).rev() {
        assert!(a == b || a == 1 || b == 1, "shapes do not broadcast");
        let axis = BroadcastAxis {
            length: a.max(b),
            left: if a == 1 { 0 } else { left_step },
            right: if b == 1 { 0 } else { right_step },
        };
        left_step *= a;
        right_step *= b;
        if axis.length == 1 {
            continue;
        }
        match axes.last_mut() {
            Some(last)
                if axis.left == last.left * last.length
                    && axis.right == last.right * last.length =>
            {
                last.length *= axis.length;
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
/// If a slice is shorter than the axes ask for, or an operand that is `None` does not lie as the
/// output does.
pub fn binary(
    isa: Isa,
    op: BinaryOp,
    axes: &[BroadcastAxis],
    left: Option<&[f32]>,
    right: Option<&[f32]>,
    output: &mut [f32],
) {
    let total: usize = axes.iter().map(|axis| axis.length).product();
    assert_eq!(output.len(), total);
    let to = output.as_mut_ptr();
    let checked = |operand: Option<&[f32]>, step: fn(&BroadcastAxis) -> usize| {
        let last: usize = axes.iter().map(|axis| (axis.length - 1) * step(axis)).sum();
        match operand {
            Some(values) => {
                assert!(values.len() > last);
                values.as_ptr()
            }
            None => {
                assert!(last + 1 == total && axes.iter().all(|axis| step(axis) > 0));
                to.cast_const()
            }
        }
    };
    let (left, right) = (checked(left, |axis| axis.left), checked(right, |axis| axis.right));
    // SAFETY: lengths were just checked; an operand in the output's place is read at each place
    // before it is written there.
    unsafe { binary_at(isa, op, axes, left, right, to) }
}

/// # Safety
/// The pointers must be valid for what the axes ask for.
unsafe fn binary_at(
    isa: Isa,
    op: BinaryOp,
    axes: &[BroadcastAxis],
    left: *const f32,
    right: *const f32,
    output: *mut f32,
) {
    let (inner, outer) = axes.split_last().expect("broadcast gives an axis at least");
    let mut places = vec![0; outer.len()];
    let mut done = 0;
    let (mut l, mut r) = (0, 0);
    loop {
        // SAFETY: the caller's contract.
        unsafe {
            line(
                isa,
                op,
                left.add(l),
                inner.left,
                right.add(r),
                inner.right,
                output.add(done),
                inner.length,
            );
        }
        done += inner.length;
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            places[axis] += 1;
            l += outer[axis].left;
            r += outer[axis].right;
            if places[axis] < outer[axis].length {
                break;
            }
            l -= outer[axis].left * places[axis];
            r -= outer[axis].right * places[axis];
            places[axis] = 0;
        }
    }
}

dispatch! {
    unsafe fn line = line_with(
        op: BinaryOp,
        left: *const f32,
        left_step: usize,
        right: *const f32,
        right_step: usize,
        output: *mut f32,
        count: usize,
    )
}

#[inline(always)]
unsafe fn line_with<S: Simd>(
    op: BinaryOp,
    left: *const f32,
    left_step: usize,
    right: *const f32,
    right_step: usize,
    output: *mut f32,
    count: usize,
) {
    // Vectors where both operands lie one after the other or are one number.
    let vectors = left_step <= 1 && right_step <= 1;
    macro_rules! with {
        ($vector:expr, $scalar:expr) => {{
            // SAFETY: the caller's contract.
            unsafe {
                let mut i = 0;
                if vectors {
                    let (a, b) = (S::splat(*left), S::splat(*right));
                    while i + S::LANES <= count {
                        let a = if left_step == 0 { a } else { S::load(left.add(i)) };
                        let b = if right_step == 0 { b } else { S::load(right.add(i)) };
                        S::store(output.add(i), $vector(a, b));
                        i += S::LANES;
                    }
                }
                while i < count {
                    *output.add(i) = $scalar(*left.add(i * left_step), *right.add(i * right_step));
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
        BinaryOp::Max => with!(S::max, f32::max),
        BinaryOp::Min => with!(S::min, f32::min),
    }
}

dispatch! {
    /// Adds rows of `width` values.
    ///
    /// # Safety
    /// All of them must be valid; what is read and `to` are the same or apart.
    pub(crate) unsafe fn add_rows = add_rows_with(
        left: Rows<*const f32>,
        right: Rows<*const f32>,
        to: Rows<*mut f32>,
        size: [usize; 2],
    )
}

#[inline(always)]
unsafe fn add_rows_with<S: Simd>(
    left: Rows<*const f32>,
    right: Rows<*const f32>,
    to: Rows<*mut f32>,
    [rows, width]: [usize; 2],
) {
    for row in 0..rows {
        // SAFETY: the caller's contract.
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
