//! What a core can do at best: multiply-adds that touch nothing but registers.

use crate::isa::{Isa, dispatch};
use crate::simd::Simd;

/// Sums that are independent of each other: more than the latency of a multiply-add asks for.
const SUMS: usize = 12;

/// Does `rounds` times a fixed number of vector multiply-adds in registers, and gives the number of
/// floating-point operations (two each). Their time is the bound for every other kernel.
pub fn register_flops(isa: Isa, rounds: usize) -> usize {
    let mut result = 0.0;
    // SAFETY: an `Isa` is only made for what is there.
    unsafe { spin(isa, rounds, &mut result) };
    std::hint::black_box(result);
    2 * rounds * SUMS * isa.lanes()
}

dispatch! {
    unsafe fn spin = spin_with(rounds: usize, result: &mut f32)
}

#[inline(always)]
unsafe fn spin_with<S: Simd>(rounds: usize, result: &mut f32) {
    // SAFETY: the instruction set is the caller's.
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
