//! Sums and products of two 8-bit tensors, and the way from and to float32.

use super::dispatch::dispatch_int8;
use super::isa::Int8Kind;
use super::vector::Int8Simd;
use crate::simd::isa::Isa;

/// A sum of two tensors with scales of their own:
/// `round(left * left_scale + (right * right_scale + offset))` with each product and sum rounded once,
/// within bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct AddInt8 {
    /// The left operand's scale divided by the result's.
    pub left_scale: f32,
    /// The right operand's scale divided by the result's.
    pub right_scale: f32,
    /// The result's zero point less those of the operands, scaled.
    pub offset: f32,
    /// The least result.
    pub low: u8,
    /// The largest result.
    pub high: u8,
}

/// A product of two tensors, the right one with one value a channel or one for each of the left's:
/// `round((left - left_zero) * (right - right_zero) * scale + zero_point)`, within bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct MulInt8 {
    /// The left operand's zero point.
    pub left_zero: u8,
    /// The right operand's zero point.
    pub right_zero: u8,
    /// The product of the operands' scales divided by the result's.
    pub scale: f32,
    /// The result's zero point.
    pub zero_point: u8,
    /// The least result.
    pub low: u8,
    /// The largest result.
    pub high: u8,
}

/// A rounded number within bounds, as a byte.
#[inline(always)]
fn bounded(value: f32, low: u8, high: u8) -> u8 {
    // Bounds first: they are whole numbers, and the conversion then needs no care.
    let value = value.round_ties_even().max(f32::from(low)).min(f32::from(high));
    // SAFETY: the value is between two bytes; a NaN became `low`.
    (unsafe { value.to_int_unchecked::<i32>() }) as u8
}

/// Values of a [`pairs`] call that are computed together.
const CHUNK: usize = 64;

/// Combines the values at `left` and `right`, some at a time on copies: the compiler then knows that no
/// write changes what is still to be read, and uses vectors.
///
/// # Safety
/// `left` and `right` must be valid for `count` reads and `to` for as many writes; `to` may be one of
/// them.
#[inline(always)]
unsafe fn pairs(
    value: impl Fn(u8, u8) -> u8,
    left: *const u8,
    right: *const u8,
    to: *mut u8,
    count: usize,
) {
    let (mut a, mut b, mut results) = ([0u8; CHUNK], [0u8; CHUNK], [0u8; CHUNK]);
    let mut done = 0;
    while done < count {
        let some = CHUNK.min(count - done);
        // SAFETY: the contract of this function; the arrays are as long as a chunk.
        unsafe {
            let (left, right, to) = (left.add(done), right.add(done), to.add(done));
            if some == CHUNK {
                a = left.cast::<[u8; CHUNK]>().read_unaligned();
                b = right.cast::<[u8; CHUNK]>().read_unaligned();
            } else {
                std::ptr::copy_nonoverlapping(left, a.as_mut_ptr(), some);
                std::ptr::copy_nonoverlapping(right, b.as_mut_ptr(), some);
            }
            for index in 0..CHUNK {
                results[index] = value(a[index], b[index]);
            }
            if some == CHUNK {
                to.cast::<[u8; CHUNK]>().write_unaligned(results);
            } else {
                std::ptr::copy_nonoverlapping(results.as_ptr(), to, some);
            }
        }
        done += some;
    }
}

/// # Safety
/// As [`pairs`].
#[inline(always)]
pub(super) unsafe fn add_kernel(
    add: &AddInt8,
    left: *const u8,
    right: *const u8,
    to: *mut u8,
    count: usize,
) {
    let add = add.clone();
    // SAFETY: the contract of this function.
    unsafe { pairs(|left, right| add.value(left, right), left, right, to, count) }
}

dispatch_int8! {
    unsafe fn add_all = add_each(add: &AddInt8, left: *const u8, right: *const u8, to: *mut u8, count: usize)
}

/// # Safety
/// As [`add_kernel`].
#[inline(always)]
unsafe fn add_each<S: Int8Simd>(
    add: &AddInt8,
    left: *const u8,
    right: *const u8,
    to: *mut u8,
    count: usize,
) {
    // SAFETY: the contract of this function.
    unsafe { add_kernel(add, left, right, to, count) }
}

dispatch_int8! {
    unsafe fn mul_all = mul_kernel(mul: &MulInt8, left: *const u8, right: *const u8, to: *mut u8, lengths: [usize; 2])
}

/// # Safety
/// `left` must be valid for `rows * channels` reads (the lengths), `right` for `channels`, and `to` for
/// writes as `left`.
#[inline(always)]
unsafe fn mul_kernel<S: Int8Simd>(
    mul: &MulInt8,
    left: *const u8,
    right: *const u8,
    to: *mut u8,
    [rows, channels]: [usize; 2],
) {
    let mul = mul.clone();
    for row in 0..rows {
        // SAFETY: the contract of this function.
        unsafe {
            let (left, to) = (left.add(row * channels), to.add(row * channels));
            pairs(|left, right| mul.value(left, right), left, right, to, channels);
        }
    }
}

dispatch_int8! {
    unsafe fn dequantize_all = dequantize_kernel(scale: f32, zero_point: u8, from: *const u8, to: *mut f32, count: usize)
}

/// # Safety
/// `from` must be valid for `count` reads and `to` for as many writes.
#[inline(always)]
unsafe fn dequantize_kernel<S: Int8Simd>(
    scale: f32,
    zero_point: u8,
    from: *const u8,
    to: *mut f32,
    count: usize,
) {
    for index in 0..count {
        // SAFETY: the contract of this function.
        unsafe {
            let value = i32::from(from.add(index).read()) - i32::from(zero_point);
            to.add(index).write(value as f32 * scale);
        }
    }
}

dispatch_int8! {
    unsafe fn quantize_all = quantize_kernel(scale: f32, zero_point: u8, from: *const f32, to: *mut u8, count: usize)
}

/// # Safety
/// As [`dequantize_kernel`].
#[inline(always)]
unsafe fn quantize_kernel<S: Int8Simd>(
    scale: f32,
    zero_point: u8,
    from: *const f32,
    to: *mut u8,
    count: usize,
) {
    let zero_point = f32::from(zero_point);
    for index in 0..count {
        // SAFETY: the contract of this function.
        unsafe {
            let value = (from.add(index).read() / scale).round_ties_even() + zero_point;
            to.add(index).write(bounded(value, 0, 255));
        }
    }
}

impl AddInt8 {
    /// The sum of two values.
    #[inline(always)]
    pub fn value(&self, left: u8, right: u8) -> u8 {
        let right = f32::from(right).mul_add(self.right_scale, self.offset);
        bounded(f32::from(left).mul_add(self.left_scale, right), self.low, self.high)
    }

    /// Adds two tensors.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply(&self, isa: Isa, left: &[u8], right: &[u8], output: &mut [u8]) {
        assert!(left.len() == output.len() && right.len() == output.len());
        let (left, right, to) = (left.as_ptr(), right.as_ptr(), output.as_mut_ptr());
        // SAFETY: the lengths were just checked.
        unsafe { add_all(Int8Kind::of(isa), self, left, right, to, output.len()) }
    }
}

impl MulInt8 {
    /// The product of two values.
    #[inline(always)]
    pub fn value(&self, left: u8, right: u8) -> u8 {
        let left = i32::from(left) - i32::from(self.left_zero);
        let right = i32::from(right) - i32::from(self.right_zero);
        let product = (left * right) as f32 * self.scale + f32::from(self.zero_point);
        bounded(product, self.low, self.high)
    }

    /// Multiplies each row of `left`, as long as `right`, by `right`.
    ///
    /// # Panics
    /// If the output is not as long as `left`, or that is not whole rows.
    pub fn apply(&self, isa: Isa, left: &[u8], right: &[u8], output: &mut [u8]) {
        assert!(left.len() == output.len() && !right.is_empty());
        assert!(left.len().is_multiple_of(right.len()));
        let lengths = [left.len() / right.len(), right.len()];
        let (left, right, to) = (left.as_ptr(), right.as_ptr(), output.as_mut_ptr());
        // SAFETY: the lengths were just checked.
        unsafe { mul_all(Int8Kind::of(isa), self, left, right, to, lengths) }
    }
}

/// `scale * (q - zero_point)` of each value.
///
/// # Panics
/// If the lengths differ.
pub fn dequantize(isa: Isa, scale: f32, zero_point: u8, input: &[u8], output: &mut [f32]) {
    assert_eq!(input.len(), output.len());
    let (from, to) = (input.as_ptr(), output.as_mut_ptr());
    // SAFETY: the lengths were just checked.
    unsafe { dequantize_all(Int8Kind::of(isa), scale, zero_point, from, to, input.len()) }
}

/// `round(x / scale) + zero_point` of each value, within `0..=255`; halves round to even, and NaN
/// becomes 0.
///
/// # Panics
/// If the lengths differ.
pub fn quantize(isa: Isa, scale: f32, zero_point: u8, input: &[f32], output: &mut [u8]) {
    assert_eq!(input.len(), output.len());
    let (from, to) = (input.as_ptr(), output.as_mut_ptr());
    // SAFETY: the lengths were just checked.
    unsafe { quantize_all(Int8Kind::of(isa), scale, zero_point, from, to, input.len()) }
}
