//! What a model is.

use derm::{Digest, Manifest};
use pyo3::prelude::*;
use std::sync::Arc;

/// A model: what its manifest says.
#[pyclass(module = "onnx_gradcam", frozen)]
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) manifest: Arc<Manifest>,
    /// Known once the model was loaded.
    pub(crate) digest: Option<Digest>,
}

#[pymethods]
impl Model {
    /// Name of the model.
    #[getter]
    fn name(&self) -> &str {
        &self.manifest.name
    }

    /// Version of the weights.
    #[getter]
    fn version(&self) -> &str {
        &self.manifest.version
    }

    /// Origin of the weights: data, method, authors.
    #[getter]
    fn provenance(&self) -> &str {
        &self.manifest.provenance
    }

    /// License of the weights, or `None` where the manifest has none.
    #[getter]
    fn license(&self) -> Option<&str> {
        self.manifest.license.as_deref()
    }

    /// Ids of the classes, in the order of `Prediction.probabilities`.
    #[getter]
    fn classes(&self) -> Vec<&str> {
        self.manifest.classes.iter().map(|class| class.id.as_str()).collect()
    }

    /// Shape of the network's input: `(1, channels, rows, columns)` or `(1, rows, columns, channels)`.
    #[getter]
    fn input_shape(&self) -> (usize, usize, usize, usize) {
        let [batch, first, second, last] = self.manifest.input.shape();
        (batch, first, second, last)
    }

    /// SHA-256 of the model's files, hexadecimal; `None` before the model was loaded.
    #[getter]
    fn digest(&self) -> Option<String> {
        self.digest.map(|digest| digest.to_string())
    }

    /// Readable names of the classes in a language (`"en"`, `"vi"`, ...), in the order of `classes`.
    #[pyo3(signature = (language = "en"))]
    fn labels(&self, language: &str) -> Vec<&str> {
        self.manifest.classes.iter().map(|class| class.label_in(language)).collect()
    }

    fn __repr__(&self) -> String {
        let Manifest { name, version, classes, .. } = &*self.manifest;
        format!("Model(name={name:?}, version={version:?}, classes={})", classes.len())
    }
}
