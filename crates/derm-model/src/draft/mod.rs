//! Draft of a manifest: what the ONNX file, and configuration of its framework beside it, say about
//! input, output and classes. What they do not say is marked.

mod config;
mod graph;
mod known;
mod labels;
mod render;

use crate::file::ModelFile;
use crate::graph::unreadable;
use crate::skeleton::skeleton;
use crate::{Error, operators};
use config::Configuration;
use derm_engine::Bytes;
use derm_preprocess::{ChannelOrder, Filter, Fit, Layout};
use known::Known;
use std::path::{Path, PathBuf};
use tract_onnx::prelude::Framework;

/// A manifest under construction: each value with where it is from.
struct Draft {
    name: String,
    output: Known<&'static str>,
    output_name: Option<Known<String>>,
    height: Known<u32>,
    width: Known<u32>,
    layout: Known<Layout>,
    channels: Known<ChannelOrder>,
    scale: Known<f32>,
    mean: Known<[f32; 3]>,
    std: Known<[f32; 3]>,
    filter: Known<Filter>,
    fit: Known<Fit>,
    classes: Known<Vec<String>>,
}

/// Writes a draft of the manifest of an ONNX file, as TOML. Beside the graph itself it reads
/// `preprocessor_config.json` and `config.json` (Hugging Face, timm, Keras), `labels.txt`, and the
/// metadata that Ultralytics and Custom Vision put into the file. A line that could not be
/// determined ends in a comment that begins with `CHECK`.
///
/// # Errors
/// [`Error::Read`], [`Error::File`], [`Error::Graph`], and [`Error::Mismatch`] if no output can be
/// scores.
pub fn draft_manifest(model: &Path) -> Result<String, Error> {
    draft(model, &[], None)
}

/// As [`draft_manifest`], of a graph that is to get an input of this shape: where the graph leaves an axis
/// free, the shape says how long it is. `output` names the output, or another value of the graph, that holds the scores;
/// `None` looks for it.
///
/// # Errors
/// Those of [`draft_manifest`]; [`Error::Mismatch`], too, if there is no such value, or it is declared as something else than
/// a vector of scores.
pub fn draft_manifest_for_input(
    model: &Path,
    shape: &[usize],
    output: Option<&str>,
) -> Result<String, Error> {
    draft(model, shape, output)
}

fn draft(model: &Path, shape: &[usize], output: Option<&str>) -> Result<String, Error> {
    let model = if model.is_dir() { model.join("model.onnx") } else { model.to_owned() };
    let file = ModelFile::open(&model)?;
    let skeleton = skeleton(file.bytes())?;
    let onnx = operators::onnx();
    let proto = onnx.proto_model_for_read(&mut &skeleton.bytes[..]).map_err(unreadable)?;
    let found = graph::Found::read(&proto, &skeleton.weights, shape, output)?;
    let configuration = Configuration::beside(&folder_of(&model));
    let draft = Draft::of(name_of(&model), &found, &configuration);
    Ok(draft.render())
}

/// The folder of a file; `.` for a bare name.
fn folder_of(model: &Path) -> PathBuf {
    let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

/// The file's stem, or its folder's name if that says nothing.
fn name_of(model: &Path) -> String {
    let text = |name: Option<&std::ffi::OsStr>| {
        name.and_then(|name| name.to_str())
            .filter(|name| !["model", "onnx"].contains(name))
            .map(str::to_owned)
    };
    let folders = model.ancestors().skip(1).take(2).filter_map(|folder| text(folder.file_name()));
    text(model.file_stem())
        .into_iter()
        .chain(folders)
        .next()
        .unwrap_or_else(|| "my-model".to_owned())
}

impl Draft {
    /// What the configuration says, else what the graph shows, else a guess that is marked.
    fn of(name: String, found: &graph::Found, configuration: &Configuration) -> Draft {
        let side = |graph: Option<usize>, config: &Option<Known<u32>>| match (graph, config) {
            (Some(side), _) => Known::from(side as u32, "graph"),
            (None, Some(side)) => side.clone(),
            (None, None) => {
                Known::guess(224, "the graph leaves it free: the size it was trained on")
            }
        };
        let (height, width) =
            (side(found.height, &configuration.height), side(found.width, &configuration.width));
        let normalisation = Normalisation::of(found, configuration);
        let filter = configuration.filter.clone().unwrap_or_else(|| {
            Known::guess(Filter::Bilinear, "bilinear or bicubic, as in training")
        });
        let largest = height.value.max(width.value);
        let fit = configuration.fit.clone().filter(|fit| match fit.value {
            Fit::Stretch => true,
            Fit::CropShortestSide(side) => side >= largest,
        });
        let fit = fit.unwrap_or_else(|| {
            let why = "\"stretch\", or { crop_shortest_side = N }: resize, then cut the centre out";
            Known::guess(Fit::Stretch, why)
        });
        Draft {
            name,
            output: found.output.clone(),
            output_name: found.output_name.clone(),
            height,
            width,
            layout: found.layout.clone(),
            channels: found.channels.clone(),
            scale: normalisation.scale,
            mean: normalisation.mean,
            std: normalisation.std,
            filter,
            fit,
            classes: labels::classes(found, configuration),
        }
    }
}

/// Scale, mean and standard deviation, which depend on each other.
struct Normalisation {
    scale: Known<f32>,
    mean: Known<[f32; 3]>,
    std: Known<[f32; 3]>,
}

impl Normalisation {
    fn of(found: &graph::Found, configuration: &Configuration) -> Normalisation {
        if let Some(why) = found.normalises_itself {
            return Normalisation {
                scale: Known::from(1.0, why),
                mean: Known::from([0.0; 3], why),
                std: Known::from([1.0; 3], why),
            };
        }
        let mut scale = configuration.scale.clone();
        if let (None, Some(mean)) = (&scale, &configuration.mean) {
            // Means of pixels from 0 to 1 are below 1.
            let is_of_unit = mean.value.iter().all(|mean| mean.abs() <= 1.0);
            let value = if is_of_unit { 1.0 / 255.0 } else { 1.0 };
            scale = Some(mean.clone().map(|_| value));
        }
        let is_keras = found.layout.value == Layout::Nhwc;
        let scale = scale.unwrap_or_else(|| {
            Known::guess(
                1.0 / 255.0,
                "a pixel p becomes (p * scale - mean) / std; 1.0 if the network rescales itself",
            )
        });
        let is_grey = found.channels.value == ChannelOrder::Grey;
        let guess = |imagenet: [f32; 3], plain: f32, why: &'static str| {
            Known::guess(if is_keras || is_grey { [plain; 3] } else { imagenet }, why)
        };
        let mean = configuration.mean.clone();
        let std = configuration.std.clone();
        Normalisation {
            scale,
            mean: mean.unwrap_or_else(|| {
                guess([0.485, 0.456, 0.406], 0.0, "ImageNet's are usual in PyTorch, 0 in Keras")
            }),
            std: std.unwrap_or_else(|| {
                guess([0.229, 0.224, 0.225], 1.0, "ImageNet's are usual in PyTorch, 1 in Keras")
            }),
        }
    }
}
