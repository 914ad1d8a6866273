//! What the compiler may assume of the target: 4 sums of four products.

use super::elementwise::AddInt8;
use super::requantize::requantize;
use super::vector::Int8Simd;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

fn lanes(value: [u8; 16]) -> [i32; 4] {
    std::array::from_fn(|lane| i32::from_le_bytes(std::array::from_fn(|i| value[4 * lane + i])))
}

fn bytes(lanes: [i32; 4]) -> [u8; 16] {
    std::array::from_fn(|index| lanes[index / 4].to_le_bytes()[index % 4])
}

#[allow(unsafe_op_in_unsafe_fn, reason = "each body is a few operations")]
impl Int8Simd for Portable {
    const LANES: usize = 4;
    const REGISTERS: usize = 16;
    type V = [u8; 16];
    type Half = Self;

    #[inline(always)]
    unsafe fn splat(value: i32) -> [u8; 16] {
        bytes([value; 4])
    }
    #[inline(always)]
    unsafe fn splat_bytes(from: *const u8) -> [u8; 16] {
        let four = from.cast::<[u8; 4]>().read_unaligned();
        std::array::from_fn(|index| four[index % 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> [u8; 16] {
        from.cast::<[u8; 16]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn load_first(from: *const u8, count: usize) -> [u8; 16] {
        let mut all = [0; 16];
        std::ptr::copy_nonoverlapping(from, all.as_mut_ptr(), count.min(16));
        all
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut u8, value: [u8; 16], count: usize) {
        std::ptr::copy_nonoverlapping(value.as_ptr(), to, count.min(16));
    }
    #[inline(always)]
    unsafe fn dot(sums: [u8; 16], a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
        let mut sums = lanes(sums);
        for index in 0..16 {
            sums[index / 4] += i32::from(a[index]) * i32::from(b[index] as i8);
        }
        bytes(sums)
    }
    #[inline(always)]
    unsafe fn requantize(
        sums: [u8; 16],
        scales: *const f32,
        zero_point: i32,
        low: i32,
        high: i32,
    ) -> [u8; 16] {
        let scales = scales.cast::<[f32; 4]>().read_unaligned();
        let sums = lanes(sums);
        bytes(std::array::from_fn(|lane| {
            requantize(sums[lane], scales[lane], zero_point).clamp(low, high)
        }))
    }
    #[inline(always)]
    unsafe fn add(
        sum: &AddInt8,
        values: [u8; 16],
        other: *const u8,
        is_left: bool,
        count: usize,
    ) -> [u8; 16] {
        let mut sums = lanes(values);
        for (lane, value) in sums.iter_mut().enumerate().take(count) {
            let (own, other) = (*value as u8, other.add(lane).read());
            let sum = if is_left { sum.value(other, own) } else { sum.value(own, other) };
            *value = i32::from(sum);
        }
        bytes(sums)
    }
    #[inline(always)]
    unsafe fn store_lanes(to: *mut u8, value: [u8; 16], count: usize) {
        for (lane, value) in lanes(value).into_iter().enumerate().take(count) {
            to.add(lane).write(value as u8);
        }
    }
    #[inline(always)]
    unsafe fn interleave_bytes(a: [u8; 16], b: [u8; 16]) -> [[u8; 16]; 2] {
        let half = |first: usize| {
            std::array::from_fn(|i| if i % 2 == 0 { a[first + i / 2] } else { b[first + i / 2] })
        };
        [half(0), half(8)]
    }
    #[inline(always)]
    unsafe fn interleave_pairs(a: [u8; 16], b: [u8; 16]) -> [[u8; 16]; 2] {
        let half = |first: usize| {
            std::array::from_fn(|i| {
                let from = first + i / 4 * 2 + i % 2;
                if i % 4 < 2 { a[from] } else { b[from] }
            })
        };
        [half(0), half(8)]
    }
    #[inline(always)]
    unsafe fn pack(vectors: [[u8; 16]; 4]) -> [u8; 16] {
        std::array::from_fn(|index| lanes(vectors[index / 4])[index % 4] as u8)
    }
}
