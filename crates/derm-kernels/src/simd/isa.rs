//! Instruction sets, detected at run time.

use std::sync::OnceLock;

/// An instruction set that this machine has and the kernels are compiled for. There is no way to make
/// one that the machine lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// AVX-512F: 16 values at once.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA and F16C: 8 values at once.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// NEON: 4 values at once.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// What the compiler may assume of the target: 4 values at once.
    Portable,
}

impl Isa {
    /// The fastest one of this machine.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Isa::available()[0])
    }

    /// All of this machine, the fastest first.
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
        #[cfg(target_arch = "aarch64")]
        if cfg!(target_endian = "little") && std::arch::is_aarch64_feature_detected!("neon") {
            found.push(Isa(Kind::Neon));
        }
        found.push(Isa(Kind::Portable));
        found
    }

    /// The one that every machine has.
    pub(crate) const PORTABLE: Isa = Isa(Kind::Portable);

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
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => 4,
            Kind::Portable => 4,
        }
    }
}
