//! Errors as Python's exceptions.

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::any::Any;
use std::io::ErrorKind;
use std::path::Path;

pyo3::create_exception!(
    onnx_gradcam,
    ModelError,
    PyValueError,
    "The model cannot be loaded or explained: the message says what to correct."
);

/// The exception of an error of the library.
pub(crate) fn from_derm(error: derm::Error) -> PyErr {
    match &error {
        derm::Error::Model(model) => from_model(model),
        derm::Error::Picture(_) | derm::Error::Parameter { .. } => {
            PyValueError::new_err(error.to_string())
        }
        derm::Error::Unexplained(_) => ModelError::new_err(error.to_string()),
        _ => PyRuntimeError::new_err(error.to_string()),
    }
}

/// The exception of an error of loading or running a model.
pub(crate) fn from_model(error: &derm::ModelError) -> PyErr {
    use derm::ModelError::{NoManifest, Panicked, Read, Run, Unverified};
    match error {
        Read { path, source } => from_io(source, path),
        NoManifest { path, model } => missing(
            format!(
                "there is no manifest: onnx_gradcam.draft_manifest({:?}) writes a draft of it, and \
                 Classifier(..., input_shape=...) takes tensors without one",
                model.display().to_string()
            ),
            path,
        ),
        Unverified(nodes) => ModelError::new_err(format!(
            "the model has operators that were not compared with onnxruntime: {nodes}; \
             allow_unverified_operators=True runs them all the same"
        )),
        Run(_) | Panicked { stage: "running", .. } => PyRuntimeError::new_err(error.to_string()),
        _ => ModelError::new_err(error.to_string()),
    }
}

/// The `OSError` of a file: `FileNotFoundError`, `PermissionError` and so on, with the file's name.
pub(crate) fn from_io(error: &std::io::Error, path: &Path) -> PyErr {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default().to_owned();
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, text, path.as_os_str().to_owned())),
        None if error.kind() == ErrorKind::NotFound => missing(text, path),
        None => PyOSError::new_err(format!("{}: {text}", path.display())),
    }
}

/// A `FileNotFoundError`.
fn missing(text: String, path: &Path) -> PyErr {
    // ENOENT, on every system.
    PyOSError::new_err((2, text, path.as_os_str().to_owned()))
}

/// The exception of a panic, which is a bug.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> PyErr {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    PyRuntimeError::new_err(format!("a bug: {}", text.unwrap_or("no message")))
}
