use std::ops::Range;
use tract_onnx::tract_core::ops::cnn::PoolSpec;

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

    /// `((kernel row, kernel column), (input row, input column))` of each tap of the window at this output
    /// position that lies inside the input.
    pub(super) fn under(
        &self,
        row: usize,
        column: usize,
    ) -> impl Iterator<Item = ((usize, usize), (usize, usize))> + '_ {
        let inside = move |axis: usize, out: usize, k: usize| {
            let index = out * self.stride[axis] + k * self.dilation[axis];
            index.checked_sub(self.pad[axis]).filter(|&index| index < self.input[axis])
        };
        let columns: Range<usize> = 0..self.kernel[1];
        (0..self.kernel[0]).flat_map(move |kr| {
            let rows = inside(0, row, kr);
            columns.clone().filter_map(move |kc| Some(((kr, kc), (rows?, inside(1, column, kc)?))))
        })
    }

    pub(super) fn kernel_size(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}
