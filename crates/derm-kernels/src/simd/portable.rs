//! Portable vectors: arrays of 4 values, which the compiler vectorises with what every machine of
//! the target has (SSE2).

use crate::simd::vector::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

type V = [f32; 4];

#[inline(always)]
fn map(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

#[allow(unsafe_op_in_unsafe_fn, reason = "reads and writes through the pointers of the contract")]
impl Simd for Portable {
    const LANES: usize = 4;
    const ROWS: usize = 6;
    type V = V;

    #[inline(always)]
    unsafe fn splat(value: f32) -> V {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        from.cast::<V>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> V {
        if count == Self::LANES {
            return Self::load(from);
        }
        let mut v = [0.0; 4];
        for (lane, value) in v.iter_mut().enumerate().take(count) {
            *value = *from.add(lane);
        }
        v
    }
    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> V {
        let bits = from.cast::<[u16; 4]>().read_unaligned();
        bits.map(|bits| half::f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    unsafe fn load_int8(from: *const i8) -> V {
        from.cast::<[i8; 4]>().read_unaligned().map(f32::from)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: V) {
        to.cast::<V>().write_unaligned(value);
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: V, count: usize) {
        if count == Self::LANES {
            return Self::store(to, value);
        }
        for (lane, value) in value.iter().enumerate().take(count) {
            *to.add(lane) = *value;
        }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        map(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        map(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        map(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        map(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        map(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        map(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn sqrt(a: V) -> V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    unsafe fn where_larger(a: V, b: V, value: V) -> V {
        std::array::from_fn(|i| if a[i] > b[i] { value[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        // Not `mul_add`: without a fused instruction that is a call into libm.
        map(map(a, b, |a, b| a * b), c, |ab, c| ab + c)
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        // Adding and subtracting 1.5 * 2^23 leaves no bits for a fraction.
        a.map(|a| (a + 12_582_912.0) - 12_582_912.0)
    }
    #[inline(always)]
    unsafe fn scale(a: V, n: V) -> V {
        map(a, n, |a, n| a * f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn recip(a: V) -> V {
        a.map(|a| 1.0 / a)
    }
    #[inline(always)]
    unsafe fn copysign(a: V, sign: V) -> V {
        map(a, sign, f32::copysign)
    }
    #[inline(always)]
    unsafe fn sum(a: V) -> f32 {
        (a[0] + a[1]) + (a[2] + a[3])
    }
    #[inline(always)]
    unsafe fn largest(a: V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
