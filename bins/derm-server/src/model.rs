//! Which model is served.

use crate::config::Config;
use anyhow::Context;
use derm::{Classifier, Limits, ModelSource, Options, Reload};
use std::num::NonZeroUsize;

/// The classifier that the configuration asks for; its model is not loaded yet.
pub(crate) fn classifier(config: &Config) -> anyhow::Result<Classifier> {
    let limits = Limits {
        max_bytes: config.max_upload_bytes,
        max_pixels: config.max_image_pixels,
        // What can never fit is refused by its header.
        max_memory: Limits::default().max_memory.min(config.budget()),
        ..Limits::default()
    };
    let reload = NonZeroUsize::new(config.max_requests)
        .map(|uses| Reload { uses, jitter: config.max_requests_jitter });
    let weights = config.weights;
    let options = Options { limits, threads: config.omp_num_threads, weights, reload };
    let source = match &config.model_path {
        Some(path) => ModelSource::at(path),
        None => bundled()?,
    };
    Classifier::new(source, options).context("MODEL_PATH")
}

#[cfg(feature = "bundled-model")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn bundled() -> anyhow::Result<ModelSource> {
    Ok(ModelSource::Embedded {
        model: include_bytes!("../../../models/derm-lite0/model.onnx"),
        manifest: include_str!("../../../models/derm-lite0/model.toml"),
    })
}

#[cfg(not(feature = "bundled-model"))]
fn bundled() -> anyhow::Result<ModelSource> {
    anyhow::bail!("MODEL_PATH must name a model: this binary was built without one")
}
