//! Loops that are unrolled in the source.

/// Iterations that [`unrolled!`] can write out.
pub(crate) const MAX_ITERATIONS: usize = 19;

/// Refuses a bound that [`unrolled!`] would cut short; called while compiling.
pub(crate) const fn check_bound(bound: usize) {
    assert!(bound <= MAX_ITERATIONS, "the bound exceeds the iterations that are written out");
}

/// Runs a block for each number below a bound that is known when compiling, written out, so that
/// sums in arrays stay in registers: with a loop, even one that the compiler unrolls in the end, each
/// sum would be written to memory too. A bound above [`MAX_ITERATIONS`] does not compile.
macro_rules! unrolled {
    ($number:ident below $bound:expr, $body:block) => {
        const { $crate::simd::unroll::check_bound($bound) };
        $crate::simd::unroll::unrolled!(@ $number $bound, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18)
    };
    (@ $number:ident $bound:expr, $body:block, $($literal:literal)*) => {
        $(if $literal < $bound {
            let $number: usize = $literal;
            $body
        })*
    };
}
pub(crate) use unrolled;

#[cfg(test)]
mod tests {
    use super::{MAX_ITERATIONS, check_bound};

    #[test]
    fn every_iteration_below_the_bound_runs_once() {
        let mut found = Vec::new();
        unrolled!(i below MAX_ITERATIONS, {
            found.push(i);
        });
        assert_eq!(found, (0..MAX_ITERATIONS).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "exceeds the iterations")]
    fn a_bound_above_the_iterations_is_refused() {
        check_bound(MAX_ITERATIONS + 1);
    }
}
