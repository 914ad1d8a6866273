//! The instruction set, chosen at run time.

use std::sync::OnceLock;

/// An instruction set that this machine has and the kernels are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// AVX-512F: 16 values at once.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA and F16C: 8 values at once.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the compiler may assume (SSE2, NEON): 4 values at once.
    Portable,
}

impl Isa {
    /// The best one of this machine.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Isa::available()[0])
    }

    /// Those of this machine, the best first.
    pub fn available() -> Vec<Isa> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2 && is_x86_feature_detected!("avx512f") {
                found.push(Isa(Kind::Avx512));
            }
            if avx2 {
                found.push(Isa(Kind::Avx2));
            }
        }
        found.push(Isa(Kind::Portable));
        found
    }

    pub(crate) fn kind(self) -> Kind {
        self.0
    }

    /// Float32 values in a vector.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => 8,
            Kind::Portable => 4,
        }
    }
}

/// Defines `fn $name(isa, arguments)` that runs the generic `$kernel` for the instruction set.
macro_rules! dispatch {
    ($(#[$doc:meta])* $visibility:vis unsafe fn $name:ident = $kernel:ident ($($argument:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $visibility unsafe fn $name(isa: $crate::Isa, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma,f16c")]
            unsafe fn avx512($($argument: $type),*) {
                // SAFETY: the caller's contract, handed on.
                unsafe { $kernel::<$crate::simd::Avx512>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($argument: $type),*) {
                // SAFETY: the caller's contract, handed on.
                unsafe { $kernel::<$crate::simd::Avx2>($($argument),*) }
            }
            // SAFETY: the caller's contract, handed on; an `Isa` is only made for what is there.
            unsafe {
                match isa.kind() {
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Kind::Avx512 => avx512($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Kind::Avx2 => avx2($($argument),*),
                    _ => $kernel::<$crate::simd::Portable>($($argument),*),
                }
            }
        }
    };
}
pub(crate) use dispatch;
