//! Peak throughput of a core: 8-bit multiply-adds that touch nothing but registers.

use super::dispatch::dispatch_int8;
use super::isa::Int8Kind;
use super::vector::Int8Simd;
use crate::simd::isa::Isa;

/// Independent sums: enough to hide the latency of a multiply-add.
const SUMS: usize = 12;

/// As [`crate::register_flops`], of the multiply-adds of 8-bit integers into 32-bit sums.
pub fn register_int8_operations(isa: Isa, rounds: usize) -> usize {
    let (kind, mut result) = (Int8Kind::of(isa), 0);
    // SAFETY: the kernel touches no memory but `result`.
    unsafe { spin(kind, rounds, &mut result) };
    std::hint::black_box(result);
    2 * rounds * SUMS * 4 * kind.lanes()
}

dispatch_int8! {
    unsafe fn spin = spin_kernel(rounds: usize, result: &mut u8)
}

#[inline(always)]
unsafe fn spin_kernel<S: Int8Simd>(rounds: usize, result: &mut u8) {
    // SAFETY: `bytes` has room for any vector; the instruction set is that of the caller.
    unsafe {
        let factor = S::splat(std::hint::black_box(0x0101_0101));
        let mut sums = [S::splat(0); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = S::dot(*sum, factor, factor);
            }
        }
        for sum in sums {
            let mut bytes = [0; 64];
            S::store_first(bytes.as_mut_ptr(), sum, S::BYTES);
            *result ^= bytes[0];
        }
    }
}
