use tract_onnx::prelude::TVec;
use tract_onnx::tract_core::ops::cnn::PoolSpec;

/// The geometry of a window that slides over any number of spatial axes.
pub(super) struct Windows {
    /// Position of the first spatial axis; the others follow it.
    pub(super) first_axis: usize,
    axes: Vec<Axis>,
}

/// A window's geometry along one axis.
struct Axis {
    input: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
}

/// One tap of a window that lies inside the input.
pub(super) struct Tap {
    /// Its index in the window, row by row.
    pub(super) index: usize,
    /// The input's spatial position.
    pub(super) position: TVec<usize>,
}

impl Windows {
    pub(super) fn new(spec: &PoolSpec, input_shape: &[usize]) -> Windows {
        let first_axis = spec.data_format.h_axis();
        let input = &input_shape[first_axis..first_axis + spec.rank()];
        let padding = spec.computed_padding(input);
        let axis = |axis: usize| Axis {
            input: input[axis],
            kernel: spec.kernel_shape[axis],
            stride: spec.stride(axis),
            dilation: spec.dilation(axis),
            pad: padding[axis].pad_before,
        };
        Windows { first_axis, axes: (0..spec.rank()).map(axis).collect() }
    }

    /// The number of spatial axes.
    pub(super) fn rank(&self) -> usize {
        self.axes.len()
    }

    /// The taps inside the input of the window at this spatial position of the output.
    pub(super) fn under<'w>(&'w self, output: &'w [usize]) -> impl Iterator<Item = Tap> + 'w {
        (0..self.kernel_size()).filter_map(move |index| {
            let mut position: TVec<usize> = output.into();
            let mut rest = index;
            for (at, axis) in position.iter_mut().zip(&self.axes).rev() {
                let padded = *at * axis.stride + rest % axis.kernel * axis.dilation;
                *at = padded.checked_sub(axis.pad).filter(|&inside| inside < axis.input)?;
                rest /= axis.kernel;
            }
            Some(Tap { index, position })
        })
    }

    pub(super) fn kernel_size(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }
}
