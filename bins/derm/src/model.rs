//! The model that a command works on.

use derm::{Classifier, ModelSource, Options};
use std::path::PathBuf;

/// The option `--model`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ModelOption {
    /// The model: a folder with model.onnx and model.toml, or an ONNX file beside its manifest [default: the bundled model]
    #[arg(long = "model", value_name = "PATH")]
    pub path: Option<PathBuf>,
}

impl ModelOption {
    /// The model at a path.
    pub fn at(path: impl Into<PathBuf>) -> ModelOption {
        ModelOption { path: Some(path.into()) }
    }

    /// Where the model is read from.
    pub fn source(&self) -> ModelSource {
        match &self.path {
            Some(path) => ModelSource::at(path),
            None => {
                ModelSource::Embedded { model: derm_lite0::MODEL, manifest: derm_lite0::MANIFEST }
            }
        }
    }

    /// The classifier; its model is loaded by the first use.
    ///
    /// # Errors
    /// [`derm::Error::Model`].
    pub fn classifier(&self, options: Options) -> Result<Classifier, derm::Error> {
        Classifier::new(self.source(), options.with_unverified_operators(allows_unverified()))
    }

    /// What must be said where a person reads the result of the bundled model.
    pub fn disclaimer(&self) -> Option<&'static str> {
        self.path.is_none().then_some(
            "The bundled model is for education and research, never for a diagnosis. See a physician.",
        )
    }
}

/// Whether the environment allows operators that were not compared with onnxruntime, as the server reads it: a
/// refusal names this variable.
pub(crate) fn allows_unverified() -> bool {
    let allowed = std::env::var("ALLOW_UNVERIFIED_OPERATORS");
    allowed.is_ok_and(|text| matches!(text.trim(), "true" | "1"))
}
