//! The extension module of the Python package `onnx_gradcam`: pictures and tensors in, probabilities and
//! heatmaps out, as NumPy arrays. `python/onnx_gradcam` has the types and the documentation.
//!
//! All work is done without the GIL, and no panic leaves it: `run.rs`.

mod classifier;
mod error;
mod explaining;
mod explanation;
mod functions;
mod model;
mod picture;
mod prediction;
mod run;
mod tensor;

/// The extension module.
#[pyo3::pymodule(name = "_native", gil_used = true)]
mod native {
    #[pymodule_export]
    use crate::classifier::Classifier;
    #[pymodule_export]
    use crate::error::ModelError;
    #[pymodule_export]
    use crate::explanation::Explanation;
    #[pymodule_export]
    use crate::functions::{draft_manifest, explain_onnx};
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::prediction::Prediction;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::run::silence_panics();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("METHODS", crate::explaining::names(&derm::Method::ALL))?;
        module.add("COLORMAPS", crate::explaining::names(&crate::explaining::COLORMAPS))
    }
}
