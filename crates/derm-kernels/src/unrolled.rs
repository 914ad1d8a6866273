//! Loops that are written out.

/// Runs a block for each number below a bound that is known when compiling (at most 19), written out, so that
/// sums in arrays stay in registers: a loop, even one that the compiler unrolls in the end, would have each sum
/// written to memory too.
macro_rules! unrolled {
    ($number:ident below $bound:expr, $body:block) => {
        $crate::unrolled::unrolled!(@ $number $bound, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18)
    };
    (@ $number:ident $bound:expr, $body:block, $($literal:literal)*) => {
        $(if $literal < $bound {
            let $number: usize = $literal;
            $body
        })*
    };
}
pub(crate) use unrolled;
