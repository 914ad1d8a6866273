//! Where a model is read from.

use crate::file::open_file;
use crate::{Error, FileFault, Manifest, OpenModel};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// A file, and its manifest as text: of a model that has no file for it.
    Described {
        /// The ONNX graph.
        model: PathBuf,
        /// Its manifest, TOML.
        manifest: String,
    },
    /// Both embedded in the binary.
    Embedded {
        /// The ONNX graph.
        model: &'static [u8],
        /// Its manifest.
        manifest: &'static str,
    },
    /// One of the above, [opened](ModelSource::open): every load of it is of the same files.
    Opened(Arc<OpenModel>),
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

    /// Opens the files and reads the manifest; the graph is read by a load.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Manifest`]; [`Error::Changed`]: the paths led to other files again
    /// and again.
    pub fn open(&self) -> Result<Arc<OpenModel>, Error> {
        match self {
            ModelSource::Files { model, manifest } => {
                Ok(Arc::new(OpenModel::files(model, manifest)?))
            }
            ModelSource::Described { model, manifest } => {
                Ok(Arc::new(OpenModel::described(model, manifest)?))
            }
            ModelSource::Embedded { model, manifest } => {
                Ok(Arc::new(OpenModel::embedded(model, manifest)?))
            }
            ModelSource::Opened(model) => Ok(Arc::clone(model)),
        }
    }

    /// Whether what was read of an opened model is still what it was: to be asked when a load is
    /// through.
    ///
    /// # Errors
    /// Those of [`OpenModel::verify`].
    pub fn verify(&self) -> Result<(), Error> {
        match self {
            ModelSource::Opened(model) => model.verify().map(drop),
            _ => Ok(()),
        }
    }

    /// Reads and checks the manifest.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Manifest`].
    pub fn manifest(&self) -> Result<Manifest, Error> {
        match self {
            ModelSource::Files { manifest, model } => {
                let text = open_manifest(manifest, model)?.1;
                parse_manifest(&text, manifest)
            }
            ModelSource::Described { manifest, model } => parse_manifest(manifest, model),
            ModelSource::Embedded { manifest, .. } => {
                parse_manifest(manifest, Path::new(EMBEDDED_MANIFEST))
            }
            ModelSource::Opened(model) => Ok(Manifest::clone(model.manifest())),
        }
    }
}

/// What messages call the manifest of an embedded model.
pub(crate) const EMBEDDED_MANIFEST: &str = "the embedded manifest";

/// Reads a manifest; `path` is for the message of an error.
///
/// # Errors
/// [`Error::Manifest`].
pub(crate) fn parse_manifest(text: &str, path: &Path) -> Result<Manifest, Error> {
    Manifest::parse(text).map_err(|reason| Error::Manifest { path: path.to_owned(), reason })
}

/// Opens and reads the manifest of a model. Where only that is missing, the error says how to make one.
pub(crate) fn open_manifest(path: &Path, model: &Path) -> Result<(File, String), Error> {
    let read = |mut file: File| {
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        Ok((file, text))
    };
    let read = |file| read(file).map_err(FileFault::Unreadable);
    open_file(path).and_then(read).map_err(|fault| match fault {
        FileFault::Unreadable(error) if error.kind() == ErrorKind::NotFound && model.exists() => {
            Error::NoManifest { path: path.to_owned(), model: model.to_owned() }
        }
        fault => fault.at(path),
    })
}
