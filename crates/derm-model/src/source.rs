//! Where a model is read from.

use crate::file::{ModelFile, check_file};
use crate::{Error, FileFault, Manifest, external_data, skeleton};
use derm_engine::Bytes;
use std::io::ErrorKind;
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
    /// The model at `path`: a folder with `model.onnx` and `model.toml`, an ONNX file with a
    /// manifest of the same stem (`mine.onnx`, `mine.toml`) beside it, or that manifest.
    pub fn at(path: impl AsRef<Path>) -> ModelSource {
        let path = path.as_ref();
        let is_manifest = path.extension().is_some_and(|extension| extension == "toml");
        let model = if path.is_dir() {
            path.join("model.onnx")
        } else if is_manifest {
            path.with_extension("onnx")
        } else {
            path.to_owned()
        };
        ModelSource::Files { manifest: model.with_extension("toml"), model }
    }

    /// Checks what can be known of the model's files without loading it: that they are there,
    /// complete, and of the right kind.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::File`], [`Error::ExternalData`], [`Error::Graph`].
    pub fn check_files(&self) -> Result<(), Error> {
        let ModelSource::Files { model, .. } = self else { return Ok(()) };
        let file = ModelFile::open(model)?;
        let external = skeleton::external_data(file.bytes());
        file.release(0..file.bytes().len());
        external_data::check(&external?, model.parent())
    }

    /// Reads and checks the manifest.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Manifest`].
    pub fn manifest(&self) -> Result<Manifest, Error> {
        match self {
            ModelSource::Files { manifest, model } => {
                let path = manifest.clone();
                let text = match check_file(manifest) {
                    Ok(()) => std::fs::read_to_string(manifest),
                    Err(FileFault::Unreadable(source)) => Err(source),
                    Err(fault) => return Err(Error::File { path, fault }),
                };
                let text = text.map_err(|source| match source.kind() {
                    ErrorKind::NotFound if model.exists() => {
                        Error::NoManifest { path, model: model.clone() }
                    }
                    _ => Error::Read { path, source },
                })?;
                Manifest::parse(&text)
                    .map_err(|reason| Error::Manifest { path: manifest.clone(), reason })
            }
            ModelSource::Embedded { manifest, .. } => Manifest::parse(manifest)
                .map_err(|reason| Error::Manifest { path: "the embedded manifest".into(), reason }),
        }
    }
}
