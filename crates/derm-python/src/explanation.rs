//! An explanation: the heatmap of one class, and how it is drawn.

use crate::explaining::{Style, drawing, styled};
use crate::model::Model;
use crate::picture::Given;
use crate::prediction::Prediction;
use crate::run::without_gil;
use derm::{Canvas, Description, Drawing, Drawn, Explain, Heatmap, Layer, LayerInfo, Limits};
use image::RgbImage;
use numpy::{IntoPyArray, PyArray2, PyArrayDyn, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use std::borrow::Cow;
use std::sync::Arc;

/// The largest side of a resized heatmap.
const MAX_SIDE: u32 = 16_384;

/// What is drawn on: a picture, or a size where a tensor was explained.
pub(crate) struct Background {
    pub(crate) canvas: Option<Canvas<'static>>,
    /// (width, height) of the network's input.
    pub(crate) input: (u32, u32),
}

/// How much each position of a layer supports a class.
#[pyclass(module = "onnx_gradcam", frozen)]
pub(crate) struct Explanation {
    pub(crate) class_id: String,
    pub(crate) class_index: usize,
    pub(crate) heatmap: Heatmap,
    pub(crate) explain: Explain,
    pub(crate) background: Arc<Background>,
    pub(crate) prediction: Py<Prediction>,
    pub(crate) description: Arc<Description>,
    pub(crate) limits: Limits,
}

#[pymethods]
impl Explanation {
    /// The heatmap, float32 `[rows, columns]` of the layer (of the input for methods of pixels), values 0..1. Read-only: it
    /// is the memory of this object, not a copy.
    #[getter]
    fn heatmap<'py>(this: &Bound<'py, Self>) -> Bound<'py, PyArray2<f32>> {
        let values = this.get().heatmap.values();
        // SAFETY: the values are on the heap, are never changed or moved since the class is frozen, and live
        // as long as `this`, which the array holds. The array is made read-only below; NumPy does not let
        // that be undone for memory of another object.
        let array = unsafe { PyArray2::borrow_from_array(values, this.clone().into_any()) };
        drop(array.readwrite().make_nonwriteable());
        array
    }

    /// The heatmap over the picture, uint8 `[rows, columns, 3]`; `None` where a tensor was explained.
    #[getter]
    fn overlay<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArrayDyn<u8>>>> {
        if self.background.canvas.is_none() {
            return Ok(None);
        }
        Ok(Some(samples(py, self.drawn(py, "overlay", &Style::default())?)?))
    }

    /// The heatmap at another size, float32 `[height, width]`, values 0..1; by default that of the network's input, which is
    /// what pytorch-grad-cam returns. Bilinear, as OpenCV's `INTER_LINEAR`.
    #[pyo3(signature = (width = None, height = None))]
    fn resized<'py>(
        &self,
        py: Python<'py>,
        width: Option<u32>,
        height: Option<u32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let input = self.background.input;
        let (width, height) = (width.unwrap_or(input.0), height.unwrap_or(input.1));
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            let text = format!("width and height must be in 1..={MAX_SIDE}, not {width}x{height}");
            return Err(PyValueError::new_err(text));
        }
        let resized = without_gil(py, || Ok(self.heatmap.resized(width, height)))?;
        Ok(resized.into_values().into_pyarray(py))
    }

    /// Draws the heatmap: `"overlay"`, uint8 `[rows, columns, 3]`; `"heatmap"`, `[rows, columns, 4]`, transparent where it is
    /// low; `"mask"`, `[rows, columns]`, 255 where it reaches `contour` (0.5). On black where a tensor was explained.
    ///
    /// `colormap` is one of `COLORMAPS`, `alpha` the opacity of the heatmap (0..1), `contour` the level of a contour line
    /// (0..1); by default those of the call of `explain`.
    #[pyo3(signature = (drawing = "overlay", *, colormap = None, alpha = None, contour = None))]
    fn draw<'py>(
        &self,
        py: Python<'py>,
        drawing: &str,
        colormap: Option<String>,
        alpha: Option<f32>,
        contour: Option<f32>,
    ) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
        samples(py, self.drawn(py, drawing, &Style { colormap, alpha, contour })?)
    }

    /// Draws the heatmap over any picture (path, bytes, uint8 array, Pillow), all of which it covers, at the picture's size:
    /// uint8 `[rows, columns, 3]`.
    #[pyo3(signature = (picture, *, colormap = None, alpha = None, contour = None))]
    fn overlay_on<'py>(
        &self,
        py: Python<'py>,
        picture: &Bound<'py, PyAny>,
        colormap: Option<String>,
        alpha: Option<f32>,
        contour: Option<f32>,
    ) -> PyResult<Bound<'py, PyArrayDyn<u8>>> {
        let explain = styled(self.explain.clone(), &Style { colormap, alpha, contour })?;
        let explain = explain.with_drawing(Drawing::Overlay);
        let given = Given::read(picture)?;
        let source = given.source()?;
        let drawn = without_gil(py, || {
            let whole = source.open(&self.limits)?.upright();
            let whole = whole.map_err(|error| crate::error::from_derm(error.into()))?;
            Ok(Canvas::input(Cow::Owned(whole)).draw(&self.heatmap, &explain))
        })?;
        samples(py, drawn)
    }

    /// What `draw` draws, as the bytes of a PNG file.
    #[pyo3(signature = (drawing = "overlay", *, colormap = None, alpha = None, contour = None))]
    fn png<'py>(
        &self,
        py: Python<'py>,
        drawing: &str,
        colormap: Option<String>,
        alpha: Option<f32>,
        contour: Option<f32>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let drawn = self.drawn(py, drawing, &Style { colormap, alpha, contour })?;
        Ok(PyBytes::new(py, &without_gil(py, || Ok(drawn.png()))?))
    }

    /// The overlay as a PNG file: what a notebook shows.
    fn _repr_png_<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.png(py, "overlay", None, None, None)
    }

    /// Id of the class that is explained.
    #[getter]
    fn class_id(&self) -> &str {
        &self.class_id
    }

    /// Index of the class that is explained.
    #[getter]
    fn class_index(&self) -> usize {
        self.class_index
    }

    /// Probability of the class that is explained, 0..1.
    #[getter]
    fn probability(&self) -> f32 {
        self.prediction.get().probability_of(self.class_index)
    }

    /// The prediction that is explained: all classes.
    #[getter]
    fn prediction(&self, py: Python<'_>) -> Py<Prediction> {
        self.prediction.clone_ref(py)
    }

    /// Name of the method.
    #[getter]
    fn method(&self) -> String {
        self.explain.method.to_string()
    }

    /// Name of the layer that was asked for; `None` for the default, the last feature map; `"input"` for methods of pixels.
    #[getter]
    fn layer(&self) -> Option<String> {
        match self.explain.method.layer(&self.explain.layer) {
            Layer::Last => None,
            Layer::Input => Some("input".to_owned()),
            Layer::Named(name) => Some(match name.parse::<usize>() {
                Ok(number) => {
                    self.description.layers.get(number).map_or(name, |layer| layer.name.clone())
                }
                Err(_) => name,
            }),
        }
    }

    /// The least and the largest value of the map before it was scaled to 0..1.
    #[getter]
    fn range(&self) -> (f32, f32) {
        let range = self.heatmap.range();
        (range.min, range.max)
    }

    /// Difference of `range` as a share of the larger magnitude; below 0.1, the heatmap says little.
    #[getter]
    fn contrast(&self) -> f32 {
        self.heatmap.range().contrast()
    }

    /// The layers that can be explained, in order of computation: a dictionary from name to shape.
    #[getter]
    fn layers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        by_name(py, &self.description.layers)
    }

    /// The model that is explained.
    #[getter]
    fn model(&self) -> Model {
        self.prediction.get().made_by()
    }

    fn __repr__(&self) -> String {
        let (rows, columns) = self.heatmap.values().dim();
        let (class, method) = (&self.class_id, self.explain.method);
        format!("Explanation(class_id={class:?}, method=\"{method}\", heatmap={rows}x{columns})")
    }
}

impl Explanation {
    /// Draws the heatmap on the picture, or in colours alone where there is none.
    fn drawn(&self, py: Python<'_>, kind: &str, style: &Style) -> PyResult<Drawn> {
        let explain = styled(self.explain.clone(), style)?.with_drawing(drawing(kind)?);
        without_gil(py, || match &self.background.canvas {
            Some(canvas) => Ok(canvas.draw(&self.heatmap, &explain)),
            None => {
                let (width, height) = self.background.input;
                let black = Canvas::input(Cow::Owned(RgbImage::new(width, height)));
                Ok(black.draw(&self.heatmap, &explain.with_alpha(1.0)))
            }
        })
    }
}

/// The layers as a dictionary, in order of computation: name and shape.
pub(crate) fn by_name<'py>(py: Python<'py>, layers: &[LayerInfo]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for layer in layers {
        dict.set_item(&layer.name, PyTuple::new(py, &layer.shape)?)?;
    }
    Ok(dict)
}

/// The samples of a drawing as an array, `[rows, columns]` or `[rows, columns, channels]`.
fn samples(py: Python<'_>, drawn: Drawn) -> PyResult<Bound<'_, PyArrayDyn<u8>>> {
    let mut shape = vec![drawn.height as usize, drawn.width as usize];
    shape.extend(Some(drawn.channels()).filter(|&channels| channels > 1));
    let samples = ndarray::ArrayD::from_shape_vec(shape, drawn.samples);
    let samples = samples.map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(samples.into_pyarray(py))
}
