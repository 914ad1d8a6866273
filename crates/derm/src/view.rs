//! View: what the network sees, a picture's pixels or a tensor as it is.

use crate::{Error, GraphInput, augmentation};
use derm_preprocess::{Layout, RgbImage, Spec};
use ndarray::ArrayView4;

/// What the network sees.
#[derive(Debug, Clone, Copy)]
pub(crate) enum View<'a> {
    /// The pixels of a prepared picture.
    Pixels(&'a RgbImage),
    /// Values of the graph's own input.
    Tensor(TensorView<'a>),
}

/// Values of the graph's own input, `[1, channels, rows, columns]` in the manifest's layout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TensorView<'a> {
    values: ArrayView4<'a, f32>,
    layout: Layout,
    /// [`GraphInput::factor`].
    factor: f32,
}

impl<'a> TensorView<'a> {
    /// # Errors
    /// [`Error::Parameter`]: there are more or fewer values than the input has.
    pub(crate) fn new(values: &'a [f32], input: &GraphInput, spec: &Spec) -> Result<Self, Error> {
        let view = ArrayView4::from_shape(input.shape, values).map_err(|_| Error::Parameter {
            name: "input",
            reason: format!("there are {} values for the shape {:?}", values.len(), input.shape),
        })?;
        Ok(TensorView { values: view, layout: spec.layout, factor: input.factor })
    }

    /// Writes it as the plan reads it, `[rows, columns, channels]`.
    fn fill(&self, to: &mut [f32]) {
        let view = match self.layout {
            Layout::Nchw => self.values.permuted_axes([0, 2, 3, 1]),
            Layout::Nhwc => self.values,
        };
        let values = to.iter_mut().zip(view.iter());
        if self.factor == 1.0 {
            values.for_each(|(to, value)| *to = *value);
        } else {
            values.for_each(|(to, value)| *to = *value / self.factor);
        }
    }
}

impl View<'_> {
    /// Writes augmentation `number` of it as the plan reads it. A tensor has none but itself.
    pub(crate) fn fill(&self, number: usize, spec: &Spec, to: &mut [f32]) {
        match self {
            View::Pixels(pixels) => spec.normalise(&augmentation::augmented(pixels, number), to),
            View::Tensor(tensor) => tensor.fill(to),
        }
    }

    /// Its pixels, where it has any.
    pub(crate) fn pixels(&self) -> Option<&RgbImage> {
        match self {
            View::Pixels(pixels) => Some(pixels),
            View::Tensor(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ElementType;

    #[test]
    fn a_tensor_is_read_in_the_manifests_layout_and_scaled_as_the_graph_scales() {
        let values: Vec<f32> = (0..12u8).map(f32::from).collect();
        let filled = |layout, shape, factor| {
            let spec = Spec { width: 2, height: 2, layout, ..Spec::square(2) };
            let element = ElementType::U8;
            let input = GraphInput { name: "x".to_owned(), element, shape, factor };
            let tensor = TensorView::new(&values, &input, &spec).unwrap();
            let mut to = [0.0; 12];
            View::Tensor(tensor).fill(0, &spec, &mut to);
            to
        };
        let last = [0.0, 4.0, 8.0, 1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0];
        assert_eq!(filled(Layout::Nchw, [1, 3, 2, 2], 1.0), last);
        assert_eq!(filled(Layout::Nhwc, [1, 2, 2, 3], 1.0)[..], values[..]);
        assert_eq!(filled(Layout::Nhwc, [1, 2, 2, 3], 2.0)[3], 1.5);
        let input = GraphInput {
            name: "x".to_owned(),
            element: ElementType::F32,
            shape: [1, 3, 3, 3],
            factor: 1.0,
        };
        let short = TensorView::new(&values, &input, &Spec::square(3));
        assert!(matches!(short, Err(Error::Parameter { name: "input", .. })));
    }
}
