//! The functions that need no classifier.

use crate::classifier::{Classifier, MAX_BYTES, MAX_MEMORY, MAX_PIXELS};
use crate::error::from_model;
use crate::run::without_gil;
use crate::tensor::Tensors;
use pyo3::prelude::*;
use std::path::PathBuf;

/// A draft of the manifest of an ONNX file, TOML: to be written beside it after what is marked `CHECK` was checked.
#[pyfunction]
pub(crate) fn draft_manifest(py: Python<'_>, model: PathBuf) -> PyResult<String> {
    without_gil(py, || derm::draft_manifest(&model).map_err(|error| from_model(&error)))
}

/// Explains the answer of an ONNX file, without a manifest, for one preprocessed tensor: `[1, channels, rows, columns]` or
/// `[channels, rows, columns]` (channels last where the graph takes that). For many tensors, make a
/// `Classifier(model, input_shape=tensor.shape)` once. Classes are indices, or names that are found beside the file.
/// `output` names the output of the graph that is explained, `[1, classes]`, or another value of that shape; by default the one that ends
/// in probabilities, else the last that has several scores.
/// Other parameters are those of `Classifier.explain_tensor`.
#[pyfunction]
#[pyo3(signature = (model, tensor, method = "gradcam", classes = None, layer = None, *, output = None,
    scale = "minmax", threads = 1, allow_unverified_operators = false))]
#[allow(clippy::too_many_arguments, reason = "they are Python's keywords")]
pub(crate) fn explain_onnx<'py>(
    py: Python<'py>,
    model: PathBuf,
    tensor: &Bound<'py, PyAny>,
    method: &str,
    classes: Option<&Bound<'py, PyAny>>,
    layer: Option<&Bound<'py, PyAny>>,
    output: Option<String>,
    scale: &str,
    threads: usize,
    allow_unverified_operators: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let shape = Tensors::read(tensor)?.shape().to_vec();
    let (bytes, pixels, memory) = (MAX_BYTES, MAX_PIXELS, MAX_MEMORY);
    let unverified = allow_unverified_operators;
    let (model, shape) = (Some(model), Some(shape));
    let classifier =
        Classifier::new(py, model, shape, output, threads, unverified, bytes, pixels, memory)?;
    classifier.explain_tensor(py, tensor, method, classes, layer, scale, None, None, None)
}
