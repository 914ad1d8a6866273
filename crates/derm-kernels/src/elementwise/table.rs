//! The macro behind the table of elementwise functions in `unary.rs`.

/// Runs `$result` over rows of values: `$vector` is a vector of each `$source`. A macro and not a
/// closure, since a closure is compiled without the caller's instruction set, and the compiler then
/// calls every intrinsic instead of inlining it.
macro_rules! each_vector {
    ($simd:ident, $size:ident, $to:ident, [$($source:ident as $vector:ident),+], $result:expr) => {{
        let [rows, width] = $size;
        for row in 0..rows {
            $(let $source = $source.row(row);)+
            let to = $to.row(row);
            let whole = width - width % $simd::LANES;
            for i in (0..whole).step_by($simd::LANES) {
                $(let $vector = $simd::load($source.add(i));)+
                $simd::store(to.add(i), $result);
            }
            if whole < width {
                let rest = width - whole;
                $(let $vector = $simd::load_first($source.add(whole), rest);)+
                $simd::store_first(to.add(whole), $result, rest);
            }
        }
    }};
}
pub(super) use each_vector;

/// Defines [`super::unary::Unary`] and its kernels from a table with one entry a function: its
/// variant, name, floating-point operations a value, value at `$x`, and the gradient `$g` times its
/// derivative at `$x`, both on vectors of `$simd`.
macro_rules! unary_table {
    (|$simd:ident, $x:ident, $g:ident| $(
        $(#[$doc:meta])*
        $variant:ident $(($($parameter:ident),+))? = $name:literal, flops $flops:expr, {
            value: $value:expr,
            derivative: $derivative:expr,
        }
    )+) => {
        /// An elementwise function with its parameters.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum Unary {
            $($(#[$doc])* $variant $(($(unary_table!(@f32 $parameter)),+))?,)+
        }

        impl Unary {
            /// The function's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(unary_table!(@ignored $variant $($($parameter)+)?) => $name,)+
                }
            }

            /// Floating-point operations a value, an estimate: what the vector code does, a fused
            /// multiply-add counted as two.
            pub const fn flops(self) -> usize {
                match self {
                    $(unary_table!(@ignored $variant $($($parameter)+)?) => $flops,)+
                }
            }
        }

        /// # Safety
        /// As [`apply_rows`].
        #[inline(always)]
        unsafe fn value_kernel<$simd: Simd>(
            function: Unary,
            from: Rows<*const f32>,
            to: Rows<*mut f32>,
            size: [usize; 2],
        ) {
            // SAFETY: every access is to the first `width` values of one of the rows, which are valid
            // by the contract; each value is read before it is written, so that `to` may be `from`.
            unsafe {
                match function {
                    $(Unary::$variant $(($($parameter),+))? => {
                        each_vector!($simd, size, to, [from as $x], $value);
                    })+
                }
            }
        }

        /// # Safety
        /// As [`multiply_rows_by_derivative`].
        #[inline(always)]
        #[allow(unused_variables, reason = "some derivatives are constant, some need no parameter")]
        unsafe fn derivative_kernel<$simd: Simd>(
            function: Unary,
            values: Rows<*const f32>,
            gradients: Rows<*const f32>,
            to: Rows<*mut f32>,
            size: [usize; 2],
        ) {
            // SAFETY: as in `value_kernel`.
            unsafe {
                match function {
                    $(Unary::$variant $(($($parameter),+))? => {
                        each_vector!($simd, size, to, [values as $x, gradients as $g], $derivative);
                    })+
                }
            }
        }

        #[cfg(test)]
        /// Every function, with parameters that are not the neutral ones.
        const EVERY: &[Unary] = &[$(unary_table!(@sample $variant $($($parameter)+)?),)+];
    };
    (@f32 $parameter:ident) => { f32 };
    (@ignored $variant:ident) => { Unary::$variant };
    (@ignored $variant:ident $($parameter:ident)+) => { Unary::$variant(..) };
    (@sample $variant:ident) => { Unary::$variant };
    (@sample $variant:ident $one:ident) => { Unary::$variant(0.75) };
    (@sample $variant:ident $one:ident $two:ident) => { Unary::$variant(-0.5, 1.5) };
}
pub(super) use unary_table;
