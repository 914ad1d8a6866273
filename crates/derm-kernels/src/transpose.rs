//! Transpose: copies a tensor with its axes permuted.

use crate::geometry::error::element_count;

/// Copies `input` of shape `shape` so that output axis `i` is input axis `order[i]`.
///
/// # Panics
/// If a slice does not have the shape's length, or `order` is not a permutation of the axes.
pub fn transpose(shape: &[usize], order: &[usize], input: &[f32], output: &mut [f32]) {
    assert_eq!(shape.len(), order.len());
    assert!((0..shape.len()).all(|axis| order.contains(&axis)));
    let total = element_count(shape);
    assert!(input.len() == total && output.len() == total);
    if total == 0 {
        return;
    }
    // Length of each output axis and its distance in the input; neighbours that stay together are
    // merged.
    let mut axes: Vec<(usize, usize)> = Vec::new();
    for &axis in order {
        let length = shape[axis];
        let step: usize = shape[axis + 1..].iter().product();
        if length == 1 {
            continue;
        }
        match axes.last_mut() {
            Some((last, last_step)) if *last_step == step * length => {
                *last *= length;
                *last_step = step;
            }
            _ => axes.push((length, step)),
        }
    }
    let (inner, inner_step) = axes.pop().unwrap_or((1, 1));
    let (middle, middle_step) = axes.pop().unwrap_or((1, 0));
    let mut index = vec![0; axes.len()];
    let mut from = 0;
    for block in output.chunks_exact_mut(middle * inner) {
        plane(&input[from..], (middle, middle_step), (inner, inner_step), block);
        for axis in (0..axes.len()).rev() {
            let (length, step) = axes[axis];
            index[axis] += 1;
            from += step;
            if index[axis] < length {
                break;
            }
            from -= step * length;
            index[axis] = 0;
        }
    }
}

/// Copies the innermost two axes, in tiles that stay in the cache.
fn plane(
    input: &[f32],
    (rows, row_step): (usize, usize),
    (columns, column_step): (usize, usize),
    output: &mut [f32],
) {
    const TILE: usize = 16;
    if column_step == 1 {
        for (row, line) in output.chunks_exact_mut(columns).enumerate() {
            line.copy_from_slice(&input[row * row_step..][..columns]);
        }
        return;
    }
    for first_row in (0..rows).step_by(TILE) {
        for first in (0..columns).step_by(TILE) {
            for row in first_row..(first_row + TILE).min(rows) {
                for column in first..(first + TILE).min(columns) {
                    output[row * columns + column] = input[row * row_step + column * column_step];
                }
            }
        }
    }
}
