//! The classifier.

use crate::error::{ModelError, from_derm, from_model};
use crate::explaining::{Classes, Style, explain, size};
use crate::explanation::{Background, Explanation, by_name};
use crate::model::Model;
use crate::picture::{Given, Pictures, Source, numbered};
use crate::prediction::Prediction;
use crate::run::{all, no_deadline, without_gil};
use crate::tensor::Tensors;
use derm::{Description, Explain, Limits, ModelSource, Options, Report, Request};
use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Python's signature has these numbers: those of [`Limits::default`].
pub(crate) const MAX_BYTES: usize = 5 << 20;
pub(crate) const MAX_PIXELS: u64 = 25_000_000;
pub(crate) const MAX_MEMORY: u64 = 128 << 20;

/// A model that predicts and explains; it is loaded by its first use. Any number of threads may use it at once.
///
/// `model` is a folder with `model.onnx` and its manifest `model.toml`, an ONNX file with a manifest of the same stem
/// beside it, or `None`, the bundled model. With `input_shape`, `[batch, channels, rows, columns]`, the file needs no
/// manifest, and takes tensors only; `output` then names the output of the graph that holds the scores (or another value of it),
/// where the graph has several and the likeliest is not the right one. `threads` is the number inside one inference. `max_bytes` (of a file), `max_pixels` and
/// `max_memory` (of decoding, bytes) limit what a picture may cost.
///
/// A pickled classifier is opened again where it is unpickled: a process has its own.
#[pyclass(module = "onnx_gradcam", frozen)]
pub(crate) struct Classifier {
    inner: derm::Classifier,
    limits: Limits,
    threads: usize,
    allow_unverified_operators: bool,
    /// `None`: the bundled model.
    path: Option<PathBuf>,
    /// Of a model without a manifest, which takes tensors only.
    input_shape: Option<Vec<usize>>,
    /// Of a model without a manifest: the value that holds the scores.
    output: Option<String>,
    description: OnceLock<Arc<Description>>,
}

#[pymethods]
impl Classifier {
    #[new]
    #[pyo3(signature = (model = None, *, input_shape = None, output = None, threads = 1, allow_unverified_operators = false,
        max_bytes = MAX_BYTES, max_pixels = MAX_PIXELS, max_memory = MAX_MEMORY))]
    #[allow(clippy::too_many_arguments, reason = "they are Python's keywords")]
    pub(crate) fn new(
        py: Python<'_>,
        model: Option<PathBuf>,
        input_shape: Option<Vec<usize>>,
        output: Option<String>,
        threads: usize,
        allow_unverified_operators: bool,
        max_bytes: usize,
        max_pixels: u64,
        max_memory: u64,
    ) -> PyResult<Classifier> {
        let limits = Limits { max_bytes, max_pixels, max_memory, ..Limits::default() };
        let intra_op = NonZeroUsize::new(threads)
            .ok_or_else(|| PyValueError::new_err("threads must be at least 1"))?;
        let options = Options::default()
            .with_limits(limits)
            .with_intra_op_threads(intra_op)
            .with_unverified_operators(allow_unverified_operators);
        if let Some(shape) = input_shape.as_deref().filter(|s| s.len() != 4 || s.contains(&0)) {
            return Err(PyValueError::new_err(format!(
                "input_shape has four lengths, [batch, channels, rows, columns], not {shape:?}"
            )));
        }
        // A copy in another process may have another working directory.
        let path = model.map(|path| std::path::absolute(&path).unwrap_or(path));
        let inner = without_gil(py, || {
            let source = source(path.as_deref(), input_shape.as_deref(), output.as_deref())?;
            derm::Classifier::new(source, options).map_err(from_derm)
        })?;
        let description = OnceLock::new();
        Ok(Classifier {
            inner,
            limits,
            threads,
            allow_unverified_operators,
            path,
            input_shape,
            output,
            description,
        })
    }

    /// The arguments that make the same classifier in another process.
    fn __getnewargs_ex__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let keywords = PyDict::new(py);
        keywords.set_item("input_shape", &self.input_shape)?;
        keywords.set_item("output", &self.output)?;
        keywords.set_item("threads", self.threads)?;
        keywords.set_item("allow_unverified_operators", self.allow_unverified_operators)?;
        keywords.set_item("max_bytes", self.limits.max_bytes)?;
        keywords.set_item("max_pixels", self.limits.max_pixels)?;
        keywords.set_item("max_memory", self.limits.max_memory)?;
        let path = self.path.as_ref().map(|path| path.as_os_str());
        Ok((PyTuple::new(py, [path])?, keywords))
    }

    /// Classifies one picture, or a list of them.
    ///
    /// A picture is a path, the bytes of a file (JPEG, PNG, WebP, BMP, GIF, TIFF), a uint8 array `[rows, columns, channels]`
    /// (grey, grey and alpha, RGB or RGBA) or `[rows, columns]`, or an image of Pillow. A list or tuple of pictures, or an
    /// array `[pictures, rows, columns, channels]`, gives a list of predictions.
    ///
    /// `tta` is test-time augmentation: the number of flips and rotations that are averaged, at most 8. `workers` is the number
    /// of pictures of a list that are classified at the same time. Other Python threads go on meanwhile. With
    /// `errors="return"`, a picture of a list that cannot be read has its exception in its place.
    #[pyo3(signature = (pictures, *, tta = 1, workers = 1, errors = "raise"))]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        pictures: &Bound<'py, PyAny>,
        tta: usize,
        workers: usize,
        errors: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check_takes_pictures()?;
        let returns = match errors {
            "raise" => false,
            "return" => true,
            _ => return Err(PyValueError::new_err("errors must be \"raise\" or \"return\"")),
        };
        let given = Pictures::read(pictures)?;
        let sources = given.all.iter().map(Given::source).collect::<PyResult<Vec<Source<'_>>>>()?;
        let request = Request::default().with_tta(tta);
        let one = |number: usize| self.classified(sources[number], &request);
        predictions(
            py,
            Batch { count: sources.len(), is_list: given.is_list, workers, returns },
            one,
        )
    }

    /// Classifies a tensor that is preprocessed already: numbers `[batch, channels, rows, columns]` (`[batch, rows, columns,
    /// channels]` where the graph takes that) give a list of predictions, one input `[channels, rows, columns]` gives one.
    ///
    /// Anything that NumPy makes an array of is taken; contiguous float32 is read in place.
    #[pyo3(signature = (tensor, *, workers = 1))]
    fn predict_tensor<'py>(
        &self,
        py: Python<'py>,
        tensor: &Bound<'py, PyAny>,
        workers: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let tensors = Tensors::read(tensor)?;
        self.check_shape(py, &tensors)?;
        let (values, request) = (tensors.values()?, Request::default());
        let one = |number: usize| self.classified_tensor(values[number], &request);
        let (count, is_list) = (values.len(), tensors.is_batch);
        predictions(py, Batch { count, is_list, workers, returns: false }, one)
    }

    /// Explains the classification of one picture, which is given as in `predict`.
    ///
    /// `method` is one of `METHODS`. `classes` is the id or index of a class, or a list of them, for a list of explanations; by
    /// default the most probable class. `layer` is a name or number of `layers`; by default the last feature map. `smooth` is the
    /// number of flips and rotations whose heatmaps are averaged. `scale` is `"minmax"`, or `"max"`, which leaves zero at zero.
    /// `size` is that of drawings: `"input"`, what the network sees, or `"upload"`, the whole picture. `colormap` (one of
    /// `COLORMAPS`), `alpha` and `contour` are defaults of `Explanation.draw`.
    #[pyo3(signature = (picture, method = "gradcam", classes = None, layer = None, *, smooth = 1, scale = "minmax",
        size = "input", colormap = None, alpha = None, contour = None))]
    #[allow(clippy::too_many_arguments, reason = "they are Python's keywords")]
    fn explain<'py>(
        &self,
        py: Python<'py>,
        picture: &Bound<'py, PyAny>,
        method: &str,
        classes: Option<&Bound<'py, PyAny>>,
        layer: Option<&Bound<'py, PyAny>>,
        smooth: usize,
        scale: &str,
        size: &str,
        colormap: Option<String>,
        alpha: Option<f32>,
        contour: Option<f32>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check_takes_pictures()?;
        let classes = Classes::read(classes)?;
        let style = Style { colormap, alpha, contour };
        let wanted = explain(method, &classes, layer, scale, &style)?;
        let wanted = wanted.with_smooth(smooth).with_size(self::size(size)?).with_canvas();
        let given = Given::read(picture)?;
        let source = given.source()?;
        let request = Request::default().with_explain(wanted.clone());
        let report = without_gil(py, || self.classified(source, &request))?;
        self.explained(py, report, wanted, classes.is_list)
    }

    /// Explains the classification of one tensor, `[1, channels, rows, columns]` or `[channels, rows, columns]` (channels last
    /// where the graph takes that). Parameters as in `explain`.
    #[pyo3(signature = (tensor, method = "gradcam", classes = None, layer = None, *, scale = "minmax",
        colormap = None, alpha = None, contour = None))]
    #[allow(clippy::too_many_arguments, reason = "they are Python's keywords")]
    pub(crate) fn explain_tensor<'py>(
        &self,
        py: Python<'py>,
        tensor: &Bound<'py, PyAny>,
        method: &str,
        classes: Option<&Bound<'py, PyAny>>,
        layer: Option<&Bound<'py, PyAny>>,
        scale: &str,
        colormap: Option<String>,
        alpha: Option<f32>,
        contour: Option<f32>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let classes = Classes::read(classes)?;
        let style = Style { colormap, alpha, contour };
        let wanted = explain(method, &classes, layer, scale, &style)?;
        let tensors = Tensors::read(tensor)?;
        self.check_shape(py, &tensors)?;
        let values = tensors.single()?;
        let request = Request::default().with_explain(wanted.clone());
        let report = without_gil(py, || self.classified_tensor(values, &request))?;
        self.explained(py, report, wanted, classes.is_list)
    }

    /// The layers that can be explained, in order of computation: a dictionary from name to shape. Loads the model.
    #[getter]
    fn layers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        by_name(py, &without_gil(py, || self.described())?.layers)
    }

    /// What the model is: name, version, classes.
    #[getter]
    fn model(&self) -> Model {
        Model { manifest: self.inner.manifest(), digest: self.inner.digest() }
    }

    /// Frees the model; the next use loads it again. Returns whether it was in memory.
    fn unload(&self, py: Python<'_>) -> PyResult<bool> {
        without_gil(py, || Ok(self.inner.is_loaded() && self.inner.unload()))
    }

    /// Returns memory that is only kept for a next call to the system.
    fn release_idle(&self, py: Python<'_>) -> PyResult<()> {
        without_gil(py, || {
            self.inner.release_idle();
            Ok(())
        })
    }

    fn __repr__(&self) -> String {
        let manifest = self.inner.manifest();
        format!("Classifier({:?}, version={:?})", manifest.name, manifest.version)
    }
}

impl Classifier {
    fn classified(&self, source: Source<'_>, request: &Request) -> PyResult<Report> {
        let picture = source.open(&self.limits)?;
        let report = self.inner.classify(&picture, request, no_deadline());
        report.map_err(|error| source.named(error))
    }

    fn classified_tensor(&self, values: &[f32], request: &Request) -> PyResult<Report> {
        self.inner.classify_tensor(values, request, no_deadline()).map_err(from_derm)
    }

    /// The explanations of a report: a list, or the only one.
    fn explained<'py>(
        &self,
        py: Python<'py>,
        mut report: Report,
        wanted: Explain,
        is_list: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let found = report.explanations.take().unwrap_or_else(|| Ok(Vec::new()));
        let found = found.map_err(|reason| from_derm(derm::Error::Unexplained(reason)))?;
        let manifest = Arc::clone(&report.manifest);
        let input = (manifest.input.width, manifest.input.height);
        let background = Arc::new(Background { canvas: report.canvas.take(), input });
        let prediction = Py::new(py, Prediction::new(report))?;
        let description = without_gil(py, || self.described())?;
        let one = |explanation: derm::Explanation| Explanation {
            class_index: manifest.class_index(&explanation.class).unwrap_or_default(),
            class_id: explanation.class,
            heatmap: explanation.heatmap,
            explain: wanted.clone(),
            background: Arc::clone(&background),
            prediction: prediction.clone_ref(py),
            description: Arc::clone(&description),
            limits: self.limits,
        };
        let found = found.into_iter().map(|explanation| Py::new(py, one(explanation)));
        listed(py, found.collect::<PyResult<Vec<_>>>()?, is_list)
    }

    /// What the model is; loads it, the first time.
    fn described(&self) -> PyResult<Arc<Description>> {
        if let Some(known) = self.description.get() {
            return Ok(Arc::clone(known));
        }
        let found = self.inner.describe(no_deadline()).map_err(from_derm)?;
        Ok(Arc::clone(self.description.get_or_init(|| Arc::new(found))))
    }

    fn check_takes_pictures(&self) -> PyResult<()> {
        match self.input_shape {
            None => Ok(()),
            Some(_) => Err(PyTypeError::new_err(
                "without a manifest, it is not known how a picture is preprocessed: use predict_tensor and \
                 explain_tensor, or write a manifest (onnx_gradcam.draft_manifest)",
            )),
        }
    }

    /// # Errors
    /// `ValueError`: the graph takes another shape.
    fn check_shape(&self, py: Python<'_>, tensors: &Tensors<'_>) -> PyResult<()> {
        let input = without_gil(py, || Ok(self.described()?.input.shape))?;
        let shape = tensors.shape();
        if shape[1..] == input[1..] {
            return Ok(());
        }
        Err(PyValueError::new_err(format!("the model takes {input:?}, not {shape:?}")))
    }
}

/// Inputs that are classified by one call.
struct Batch {
    count: usize,
    /// Whether a list is the answer.
    is_list: bool,
    workers: usize,
    /// Whether the list has the exceptions of pictures that cannot be read, in their places.
    returns: bool,
}

/// Predictions of a batch: a list, or the only one.
fn predictions<'py>(
    py: Python<'py>,
    batch: Batch,
    one: impl Fn(usize) -> PyResult<Report> + Sync,
) -> PyResult<Bound<'py, PyAny>> {
    if batch.workers == 0 {
        return Err(PyValueError::new_err("workers must be at least 1"));
    }
    let predicted = |report| Ok(Bound::new(py, Prediction::new(report))?.into_any());
    if !batch.is_list {
        return predicted(without_gil(py, || one(0))?);
    }
    let of_list = |number| match one(number) {
        Err(error) if batch.returns && Python::attach(|py| is_of_picture(py, &error)) => {
            Ok(Err(error))
        }
        Err(error) => Err(Python::attach(|py| numbered(py, number, error))),
        Ok(report) => Ok(Ok(report)),
    };
    let results = all(py, batch.count, batch.workers, of_list)?;
    let each = results.into_iter().map(|result| match result {
        Ok(report) => predicted(report),
        Err(error) => Ok(error.into_value(py).into_bound(py).into_any()),
    });
    Ok(PyList::new(py, each.collect::<PyResult<Vec<_>>>()?)?.into_any())
}

/// Whether an error is of the picture or its file; other pictures may be read all the same.
fn is_of_picture(py: Python<'_>, error: &PyErr) -> bool {
    !error.is_instance_of::<ModelError>(py)
        && (error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyOSError>(py))
}

/// A list of all, or the only one.
fn listed<'py, T: PyTypeInfo>(
    py: Python<'py>,
    all: Vec<Py<T>>,
    is_list: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let list = PyList::new(py, all)?;
    if is_list { Ok(list.into_any()) } else { list.get_item(0) }
}

/// Where the model is: bundled, a folder or file with a manifest, or a file without.
fn source(
    path: Option<&Path>,
    input_shape: Option<&[usize]>,
    output: Option<&str>,
) -> PyResult<ModelSource> {
    if output.is_some() && input_shape.is_none() {
        return Err(PyValueError::new_err(
            "output is for a model without a manifest, with input_shape; a manifest has output_name",
        ));
    }
    match (path, input_shape) {
        (None, None) => {
            let (model, manifest) = (derm_lite0::MODEL, derm_lite0::MANIFEST);
            Ok(ModelSource::Embedded { model, manifest })
        }
        (Some(path), None) => Ok(ModelSource::at(path)),
        (Some(path), Some(shape)) => {
            let model = if path.is_dir() { path.join("model.onnx") } else { path.to_owned() };
            let manifest = derm::draft_manifest_for_input(&model, shape, output);
            let manifest = manifest.map_err(|error| from_model(&error))?;
            Ok(ModelSource::Described { model, manifest })
        }
        (None, Some(_)) => {
            Err(PyValueError::new_err("input_shape is for a model without a manifest"))
        }
    }
}
