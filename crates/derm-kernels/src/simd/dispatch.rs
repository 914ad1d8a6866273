//! Dispatch: one entry function for each instruction set.

/// Defines `unsafe fn $name(isa, arguments)` that runs the generic kernel `$kernel` with the vectors
/// of `isa`.
///
/// Every kernel is `#[inline(always)]` into a function with that set's `target_feature`, because the
/// compiler inlines intrinsics only into functions that have the feature.
///
/// The safety contract of the defined function is that of `$kernel`. What dispatch adds, that the
/// machine has the instruction set, holds because an `Isa` exists only for what was detected.
macro_rules! dispatch {
    ($(#[$doc:meta])* $visibility:vis unsafe fn $name:ident = $kernel:ident ($($argument:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $visibility unsafe fn $name(isa: $crate::simd::isa::Isa, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma,f16c")]
            unsafe fn avx512($($argument: $type),*) {
                // SAFETY: the contract of this function is the kernel's, and its feature is enabled.
                unsafe { $kernel::<$crate::simd::avx512::Avx512>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($argument: $type),*) {
                // SAFETY: the contract of this function is the kernel's, and its feature is enabled.
                unsafe { $kernel::<$crate::simd::avx2::Avx2>($($argument),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            unsafe fn neon($($argument: $type),*) {
                // SAFETY: the contract of this function is the kernel's, and its feature is enabled.
                unsafe { $kernel::<$crate::simd::neon::Neon>($($argument),*) }
            }
            // SAFETY: the contract of this function is the kernel's; the machine has the features,
            // since an `Isa` exists only for those that were detected.
            unsafe {
                match isa.kind() {
                    #[cfg(target_arch = "x86_64")]
                    $crate::simd::isa::Kind::Avx512 => avx512($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::simd::isa::Kind::Avx2 => avx2($($argument),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::simd::isa::Kind::Neon => neon($($argument),*),
                    _ => $kernel::<$crate::simd::portable::Portable>($($argument),*),
                }
            }
        }
    };
}
pub(crate) use dispatch;
