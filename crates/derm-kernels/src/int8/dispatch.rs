//! Dispatch: one entry function for each instruction set of the integer kernels.

/// Defines `unsafe fn $name(kind, arguments)` that runs the generic kernel `$kernel` with the vectors
/// of `kind`; compare [`crate::simd::dispatch::dispatch`].
///
/// The safety contract of the defined function is that of `$kernel`; an `Int8Kind` exists only for
/// what was detected.
macro_rules! dispatch_int8 {
    ($(#[$doc:meta])* $visibility:vis unsafe fn $name:ident = $kernel:ident ($($argument:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        $visibility unsafe fn $name(kind: $crate::int8::isa::Int8Kind, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
            unsafe fn avx512($($argument: $type),*) {
                // SAFETY: the contract of this function is the kernel's, and its feature is enabled.
                unsafe { $kernel::<$crate::int8::avx512::Avx512Vnni>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avxvnni")]
            unsafe fn avx_vnni($($argument: $type),*) {
                // SAFETY: the contract of this function is the kernel's, and its feature is enabled.
                unsafe { $kernel::<$crate::int8::avx2::Avx2<$crate::int8::avx2_dot::AvxVnni>>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($argument: $type),*) {
                // SAFETY: the contract of this function is the kernel's, and its feature is enabled.
                unsafe { $kernel::<$crate::int8::avx2::Avx2<$crate::int8::avx2_dot::Widening>>($($argument),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon,i8mm")]
            unsafe fn neon_i8mm($($argument: $type),*) {
                // SAFETY: the contract of this function is the kernel's, and its feature is enabled.
                unsafe { $kernel::<$crate::int8::neon::Neon<$crate::int8::neon_dot::I8mm>>($($argument),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon,dotprod")]
            unsafe fn neon_dot($($argument: $type),*) {
                // SAFETY: the contract of this function is the kernel's, and its feature is enabled.
                unsafe { $kernel::<$crate::int8::neon::Neon<$crate::int8::neon_dot::DotProd>>($($argument),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            unsafe fn neon($($argument: $type),*) {
                // SAFETY: the contract of this function is the kernel's, and its feature is enabled.
                unsafe { $kernel::<$crate::int8::neon::Neon<$crate::int8::neon_dot::Widening>>($($argument),*) }
            }
            // SAFETY: the contract of this function is the kernel's; the machine has the features.
            unsafe {
                match kind {
                    #[cfg(target_arch = "x86_64")]
                    $crate::int8::isa::Int8Kind::Avx512Vnni => avx512($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::int8::isa::Int8Kind::AvxVnni => avx_vnni($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::int8::isa::Int8Kind::Avx2 => avx2($($argument),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::int8::isa::Int8Kind::NeonI8mm => neon_i8mm($($argument),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::int8::isa::Int8Kind::NeonDot => neon_dot($($argument),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::int8::isa::Int8Kind::Neon => neon($($argument),*),
                    _ => $kernel::<$crate::int8::portable::Portable>($($argument),*),
                }
            }
        }
    };
}
pub(crate) use dispatch_int8;
