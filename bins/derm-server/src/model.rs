//! The model that is served.

use crate::config::Config;
use anyhow::Context;
use derm::{Classifier, Limits, ModelSource, Options, Reload};
use std::num::NonZeroUsize;

/// The classifier that the configuration asks for; its model is not loaded yet.
pub(crate) fn classifier(config: &Config) -> anyhow::Result<Classifier> {
    Classifier::new(source(config)?, options(config)).context("MODEL_PATH")
}

/// Where the model is.
pub(crate) fn source(config: &Config) -> anyhow::Result<ModelSource> {
    match &config.model_path {
        Some(path) => Ok(ModelSource::at(path)),
        None => bundled(),
    }
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
