//! Where a model is read from.

use crate::{Error, Manifest};
use std::path::{Path, PathBuf};

/// Where a model and its manifest are.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// Two files.
    Files {
        /// The ONNX graph.
        model: PathBuf,
        /// Its manifest.
        manifest: PathBuf,
    },
    /// Both embedded in the binary.
    Embedded {
        /// The ONNX graph.
        model: &'static [u8],
        /// Its manifest.
        manifest: &'static str,
    },
}

impl ModelSource {
    /// The model at `path`: a folder with `model.onnx` and `model.toml`, or an ONNX file with a
    /// manifest of the same stem (`mine.onnx`, `mine.toml`) beside it.
    pub fn at(path: impl AsRef<Path>) -> ModelSource {
        let path = path.as_ref();
        let model = if path.is_dir() { path.join("model.onnx") } else { path.to_owned() };
        ModelSource::Files { manifest: model.with_extension("toml"), model }
    }

    /// Reads and checks the manifest.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Manifest`].
    pub fn manifest(&self) -> Result<Manifest, Error> {
        match self {
            ModelSource::Files { manifest, .. } => {
                let text = std::fs::read_to_string(manifest)
                    .map_err(|source| Error::Read { path: manifest.clone(), source })?;
                Manifest::parse(&text)
                    .map_err(|reason| Error::Manifest { path: manifest.clone(), reason })
            }
            ModelSource::Embedded { manifest, .. } => Manifest::parse(manifest)
                .map_err(|reason| Error::Manifest { path: "the embedded manifest".into(), reason }),
        }
    }
}
