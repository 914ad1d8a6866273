//! Reduction, softmax and RMS normalisation, against plain loops.

use crate::reference::{cases, close, numbers, size};
use derm_kernels::{Isa, Reduction, reduce, rms_norm, softmax};
use proptest::prelude::*;

#[test]
#[should_panic(expected = "too large")]
fn lengths_whose_product_overflows_are_refused() {
    reduce(Isa::best(), Reduction::Sum, [1 << 33, 1 << 31, 1], &[], &mut []);
}

#[test]
fn nothing_to_normalise() {
    softmax(Isa::best(), 0, &mut []);
    rms_norm(Isa::best(), 0, 1e-5, &mut []);
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn reductions(
        outer in 1usize..5, length in 1usize..size(40), inner in 1usize..size(40),
        seed in any::<u32>(),
    ) {
        let input = numbers(outer * length * inner, seed);
        for reduction in [Reduction::Sum, Reduction::Max, Reduction::MeanOfSquares] {
            let mut plain = Vec::new();
            for o in 0..outer {
                for i in 0..inner {
                    let values = (0..length).map(|l| input[(o * length + l) * inner + i]);
                    plain.push(match reduction {
                        Reduction::Sum => values.sum(),
                        Reduction::Max => values.fold(f32::NEG_INFINITY, f32::max),
                        Reduction::MeanOfSquares => {
                            values.map(|v| v * v).sum::<f32>() / length as f32
                        }
                    });
                }
            }
            for isa in Isa::available() {
                let mut output = vec![f32::NAN; outer * inner];
                reduce(isa, reduction, [outer, length, inner], &input, &mut output);
                close(&output, &plain, 1e-5)?;
            }
        }
    }

    #[test]
    fn rows_normalised(rows in 1usize..5, width in 1usize..size(50), seed in any::<u32>()) {
        let input = numbers(rows * width, seed);
        for isa in Isa::available() {
            let (mut soft, mut norm) = (input.clone(), input.clone());
            softmax(isa, width, &mut soft);
            rms_norm(isa, width, 1e-5, &mut norm);
            let (mut plain_soft, mut plain_norm) = (Vec::new(), Vec::new());
            for row in input.chunks(width) {
                let sum: f32 = row.iter().map(|v| v.exp()).sum();
                plain_soft.extend(row.iter().map(|v| v.exp() / sum));
                let mean = row.iter().map(|v| v * v).sum::<f32>() / width as f32;
                plain_norm.extend(row.iter().map(|v| v / (mean + 1e-5).sqrt()));
            }
            close(&soft, &plain_soft, 1e-5)?;
            close(&norm, &plain_norm, 1e-5)?;
        }
    }
}
