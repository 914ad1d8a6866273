//! Peak throughput of a core: multiply-adds that touch nothing but registers.

use crate::simd::dispatch::dispatch;
use crate::simd::isa::Isa;
use crate::simd::vector::Simd;

/// Independent sums: enough to hide the latency of a multiply-add.
const SUMS: usize = 12;

/// Runs `rounds` times a fixed number of vector multiply-adds in registers and returns the number of
/// floating-point operations (two each). Their rate is the bound for every other kernel.
pub fn register_flops(isa: Isa, rounds: usize) -> usize {
    let mut result = 0.0;
    // SAFETY: the kernel touches no memory but `result`.
    unsafe { spin(isa, rounds, &mut result) };
    std::hint::black_box(result);
    2 * rounds * SUMS * isa.lanes()
}

dispatch! {
    unsafe fn spin = spin_kernel(rounds: usize, result: &mut f32)
}

#[inline(always)]
unsafe fn spin_kernel<S: Simd>(rounds: usize, result: &mut f32) {
    // SAFETY: no memory is touched through a pointer; the instruction set is that of the caller.
    unsafe {
        let factor = S::splat(std::hint::black_box(0.999));
        let mut sums = [S::splat(1.0); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = S::fma(*sum, factor, factor);
            }
        }
        for sum in sums {
            *result += S::sum(sum);
        }
    }
}
