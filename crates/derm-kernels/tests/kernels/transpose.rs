//! Transpose, against the definition.

use crate::reference::cases;
use derm_kernels::transpose;
use proptest::prelude::*;

#[test]
fn an_empty_tensor() {
    transpose(&[3, 0, 2], &[2, 0, 1], &[], &mut []);
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn transposition(shape in prop::collection::vec(1usize..9, 1..5), seed in any::<u64>()) {
        let mut order: Vec<usize> = (0..shape.len()).collect();
        order.sort_by_key(|&axis| seed.rotate_left(13 * axis as u32) % 97);
        let total: usize = shape.iter().product();
        let input: Vec<f32> = (0..total).map(|i| i as f32).collect();
        let mut output = vec![f32::NAN; total];
        transpose(&shape, &order, &input, &mut output);
        let permuted: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        for (position, value) in output.iter().enumerate() {
            let mut index = vec![0; shape.len()];
            let mut rest = position;
            for (i, &axis) in order.iter().enumerate().rev() {
                index[axis] = rest % permuted[i];
                rest /= permuted[i];
            }
            let from = index.iter().zip(&shape).fold(0, |all, (i, length)| all * length + i);
            prop_assert_eq!(*value, from as f32);
        }
    }
}
