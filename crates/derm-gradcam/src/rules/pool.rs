//! Maximum and average pooling in two dimensions.

use super::{Call, Gradients, Rule};
use ndarray::{ArrayD, Dimension};
use std::ops::Range;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::TypedOp;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PoolSpec, SumPool};

pub(super) fn rule(op: &dyn TypedOp) -> Option<Rule> {
    if let Some(pool) = op.downcast_ref::<MaxPool>() {
        return (pool.with_index_outputs.is_none() && pool.pool_spec.rank() == 2)
            .then_some(Rule(max));
    }
    let pool = op.downcast_ref::<SumPool>()?;
    (pool.pool_spec.rank() == 2).then_some(Rule(sum))
}

/// The geometry of a window that slides over rows and columns.
pub(super) struct Windows {
    /// Position of the row axis; the column axis follows it.
    pub(super) row_axis: usize,
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pad: [usize; 2],
}

impl Windows {
    pub(super) fn new(spec: &PoolSpec, input_shape: &[usize]) -> Windows {
        let row_axis = spec.data_format.h_axis();
        let input = [input_shape[row_axis], input_shape[row_axis + 1]];
        let padding = spec.computed_padding(&input);
        let both = |of: &dyn Fn(usize) -> usize| [of(0), of(1)];
        Windows {
            row_axis,
            input,
            kernel: both(&|axis| spec.kernel_shape[axis]),
            stride: both(&|axis| spec.stride(axis)),
            dilation: both(&|axis| spec.dilation(axis)),
            pad: both(&|axis| padding[axis].pad_before),
        }
    }

    /// `((kernel row, kernel column), (input row, input column))` of each place under the window
    /// at this output place that lies inside the input.
    pub(super) fn under(
        &self,
        row: usize,
        column: usize,
    ) -> impl Iterator<Item = ((usize, usize), (usize, usize))> + '_ {
        let inside = move |axis: usize, out: usize, k: usize| {
            let place = out * self.stride[axis] + k * self.dilation[axis];
            place.checked_sub(self.pad[axis]).filter(|&place| place < self.input[axis])
        };
        let columns: Range<usize> = 0..self.kernel[1];
        (0..self.kernel[0]).flat_map(move |kr| {
            let rows = inside(0, row, kr);
            columns.clone().filter_map(move |kc| Some(((kr, kc), (rows?, inside(1, column, kc)?))))
        })
    }

    fn kernel_size(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}

/// The first of the largest values under a window gets its gradient, as in PyTorch.
fn max(call: &Call) -> TractResult<Gradients> {
    let operand = call.operand(0)?;
    let windows = Windows::new(&call.op::<MaxPool>().pool_spec, operand.shape());
    let mut result = ArrayD::zeros(operand.shape());
    for (index, &gradient) in call.gradient.indexed_iter() {
        let mut place = index.slice().to_vec();
        let (row, column) = (place[windows.row_axis], place[windows.row_axis + 1]);
        let mut best: Option<(f32, usize, usize)> = None;
        for (_, (r, c)) in windows.under(row, column) {
            (place[windows.row_axis], place[windows.row_axis + 1]) = (r, c);
            let value = operand[&place[..]];
            if best.is_none_or(|(largest, ..)| value > largest) {
                best = Some((value, r, c));
            }
        }
        if let Some((_, r, c)) = best {
            (place[windows.row_axis], place[windows.row_axis + 1]) = (r, c);
            result[&place[..]] += gradient;
        }
    }
    Ok(call.first(result))
}

fn sum(call: &Call) -> TractResult<Gradients> {
    let pool = call.op::<SumPool>();
    let shape = call.operands[0].shape();
    let windows = Windows::new(&pool.pool_spec, shape);
    let mut result = ArrayD::zeros(shape);
    for (index, &gradient) in call.gradient.indexed_iter() {
        let mut place = index.slice().to_vec();
        let (row, column) = (place[windows.row_axis], place[windows.row_axis + 1]);
        let count = match (pool.normalize, pool.count_include_pad) {
            (false, _) => 1,
            (true, true) => windows.kernel_size(),
            (true, false) => windows.under(row, column).count().max(1),
        };
        for (_, (r, c)) in windows.under(row, column) {
            (place[windows.row_axis], place[windows.row_axis + 1]) = (r, c);
            result[&place[..]] += gradient / count as f32;
        }
    }
    Ok(call.first(result))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rules::check::{check, values};
    use tract_onnx::tract_core::ops::cnn::PaddingSpec;
    use tract_onnx::tract_core::ops::nn::DataFormat;

    /// Windows of several shapes over 2 channels of 5 x 6.
    pub(in crate::rules) fn specs(outputs: usize) -> Vec<(PoolSpec, Vec<usize>)> {
        let padded = || PaddingSpec::Explicit(tvec!(1, 0), tvec!(1, 1));
        let geometries = [
            (tvec!(2, 2), PaddingSpec::Valid, tvec!(1, 1), tvec!(2, 2)),
            (tvec!(3, 3), padded(), tvec!(1, 1), tvec!(2, 1)),
            (tvec!(2, 3), PaddingSpec::SameUpper, tvec!(1, 1), tvec!(1, 2)),
            (tvec!(2, 2), PaddingSpec::Valid, tvec!(2, 1), tvec!(1, 1)),
        ];
        let mut specs = Vec::new();
        for (kernel, padding, dilations, strides) in geometries {
            for (format, shape) in [
                (DataFormat::NCHW, vec![1, 2, 5, 6]),
                (DataFormat::NHWC, vec![1, 5, 6, 2]),
                (DataFormat::CHW, vec![2, 5, 6]),
            ] {
                let spec = PoolSpec::new(
                    format,
                    kernel.clone(),
                    padding.clone(),
                    Some(dilations.clone()),
                    Some(strides.clone()),
                    2,
                    outputs,
                );
                specs.push((spec, shape));
            }
        }
        specs
    }

    #[test]
    fn windows_of_many_shapes() {
        for (pool_spec, shape) in specs(2) {
            let x = values(&shape, 1);
            let op = MaxPool { pool_spec: pool_spec.clone(), with_index_outputs: None };
            check(&op, std::slice::from_ref(&x), &[true]);
            for (normalize, count_include_pad) in [(true, true), (true, false), (false, false)] {
                let op = SumPool { pool_spec: pool_spec.clone(), count_include_pad, normalize };
                check(&op, std::slice::from_ref(&x), &[true]);
            }
        }
    }
}
