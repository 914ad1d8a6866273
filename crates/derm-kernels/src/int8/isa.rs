//! Instruction sets of the integer kernels, detected at run time.

use crate::simd::isa::{Isa, Kind};

/// What the integer kernels are compiled for. One exists only if the machine has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Int8Kind {
    /// AVX-512 with VNNI: 64 multiply-adds an instruction.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX2 with AVX-VNNI: 32 multiply-adds an instruction.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX2: pairs of 16-bit products, since `vpmaddubsw` saturates.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// NEON with i8mm: 16 multiply-adds an instruction.
    #[cfg(target_arch = "aarch64")]
    NeonI8mm,
    /// NEON with dotprod: as many, of signed bytes.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    /// NEON: pairs of 16-bit products.
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Int8Kind {
    /// The best one that uses no more than `isa` allows.
    pub(crate) fn of(isa: Isa) -> Int8Kind {
        match isa.kind() {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => {
                let vnni = is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl");
                if vnni { Int8Kind::Avx512Vnni } else { Int8Kind::of_avx2() }
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => Int8Kind::of_avx2(),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => {
                if std::arch::is_aarch64_feature_detected!("i8mm") {
                    Int8Kind::NeonI8mm
                } else if std::arch::is_aarch64_feature_detected!("dotprod") {
                    Int8Kind::NeonDot
                } else {
                    Int8Kind::Neon
                }
            }
            Kind::Portable => Int8Kind::Portable,
        }
    }

    /// The best one without AVX-512.
    #[cfg(target_arch = "x86_64")]
    fn of_avx2() -> Int8Kind {
        if is_x86_feature_detected!("avxvnni") { Int8Kind::AvxVnni } else { Int8Kind::Avx2 }
    }

    /// 32-bit sums in a vector.
    pub(crate) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Int8Kind::Avx512Vnni => 16,
            #[cfg(target_arch = "x86_64")]
            Int8Kind::AvxVnni | Int8Kind::Avx2 => 8,
            #[cfg(target_arch = "aarch64")]
            Int8Kind::NeonI8mm | Int8Kind::NeonDot | Int8Kind::Neon => 4,
            Int8Kind::Portable => 4,
        }
    }

    /// Offset: what the kernels subtract from an activation before they multiply it, 128 where both factors of a product are
    /// signed.
    pub(crate) fn offset(self) -> i32 {
        match self {
            #[cfg(target_arch = "aarch64")]
            Int8Kind::NeonDot | Int8Kind::Neon => 128,
            _ => 0,
        }
    }

    /// 32-bit sums in the vectors of a depthwise convolution's last block, if its channels fit them.
    pub(crate) fn half_lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Int8Kind::Avx512Vnni => 8,
            _ => self.lanes(),
        }
    }

    /// Vectors of a dense panel, at most: their sums and weights fit the registers.
    pub(crate) fn max_vectors(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Int8Kind::Avx512Vnni => 4,
            _ => 2,
        }
    }
}
