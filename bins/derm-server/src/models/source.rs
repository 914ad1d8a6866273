//! Where the models are, and how they run.

use crate::config::Config;
use anyhow::{Context, ensure};
use derm::{Classifier, Limits, ModelSource, Options, Reload};
use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The classifiers that the configuration asks for, by name; no model is loaded yet. The name of the
/// only one is its manifest's, those of several are their folders'.
pub(crate) fn classifiers(config: &Config) -> anyhow::Result<Vec<(String, Classifier)>> {
    let folders = config.model_path.as_deref().map(model_folders).transpose();
    let folders = folders.context("MODEL_PATH")?.unwrap_or_default();
    if folders.is_empty() {
        let only = Classifier::new(only_source(config)?, options(config)).context("MODEL_PATH")?;
        return Ok(vec![(only.manifest().name.clone(), only)]);
    }
    let mut classifiers: Vec<(String, Classifier)> = Vec::new();
    for (name, folder) in folders {
        let source = ModelSource::at(folder);
        // All share the threads inside an inference.
        let classifier = match classifiers.first() {
            Some((_, first)) => first.beside(source),
            None => Classifier::new(source, options(config)),
        };
        let classifier = classifier.with_context(|| format!("MODEL_PATH: model {name:?}"))?;
        classifiers.push((name, classifier));
    }
    Ok(classifiers)
}

/// Where the model is, if there is only one.
///
/// # Errors
/// If there are several.
pub(crate) fn only_source(config: &Config) -> anyhow::Result<ModelSource> {
    let Some(path) = &config.model_path else { return bundled() };
    let folders = model_folders(path).context("MODEL_PATH")?;
    ensure!(folders.is_empty(), "MODEL_PATH names several models; name the folder of one");
    Ok(ModelSource::at(path))
}

/// The folders of models in a folder that is not itself one of a model, with their names, in order.
/// Empty where there are none.
fn model_folders(path: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let is_model =
        |folder: &Path| ["model.onnx", "model.toml"].iter().any(|name| folder.join(name).exists());
    if !path.is_dir() || is_model(path) {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in path.read_dir()? {
        let folder = entry?.path();
        if !is_model(&folder) {
            continue;
        }
        let name = folder.file_name().and_then(OsStr::to_str).map(str::to_owned);
        let name = name.with_context(|| format!("{} is not UTF-8", folder.display()))?;
        folders.push((name, folder));
    }
    folders.sort();
    Ok(folders)
}

/// How it runs.
pub(crate) fn options(config: &Config) -> Options {
    let limits = Limits {
        max_bytes: config.max_upload_bytes,
        max_pixels: config.max_image_pixels,
        // A picture that can never fit is refused by its header.
        max_memory: Limits::default().max_memory.min(config.budget()),
        ..Limits::default()
    };
    let mut options =
        Options::default().with_limits(limits).with_intra_op_threads(config.intra_op_threads);
    options.allow_unverified_operators = config.allow_unverified_operators;
    options.weights = config.weights;
    options.reload = NonZeroUsize::new(config.max_requests)
        .map(|uses| Reload { uses, jitter: config.max_requests_jitter });
    options
}

#[cfg(feature = "bundled-model")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn bundled() -> anyhow::Result<ModelSource> {
    Ok(ModelSource::Embedded { model: derm_lite0::MODEL, manifest: derm_lite0::MANIFEST })
}

#[cfg(not(feature = "bundled-model"))]
fn bundled() -> anyhow::Result<ModelSource> {
    anyhow::bail!("MODEL_PATH must name a model: this binary was built without one")
}

/// Version of the server, and name, version and license of the bundled model.
pub(crate) fn version() -> String {
    let server = concat!("derm-server ", env!("CARGO_PKG_VERSION"));
    let Some(model) = bundled().ok().and_then(|source| source.manifest().ok()) else {
        return server.to_owned();
    };
    let license = model.license.as_deref().unwrap_or("not stated");
    format!("{server}\nbundled model: {} {}, license: {license}", model.name, model.version)
}
