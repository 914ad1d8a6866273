//! `cargo xtask explain-eval`: metrics of explanations: faithfulness, overlap with lesion masks, and
//! sanity checks.

mod correlation;
mod faithful;
mod impute;
mod operators;
mod peer;
mod report;
mod sanity;

use anyhow::Context;
use derm::{Heatmap, Limits, Manifest, Method};
use derm_cli::evaluate::labels;
use derm_cli::evaluate::masks::{Masks, Overlap};
use derm_cli::explain::methods;
use derm_cli::pictures;
use derm_gradcam::{ExplainRequest, Explainers, Layer};
use derm_model::{EngineOptions, Graph, ModelSource};
use derm_preprocess::{Picture, Prepared, RgbImage};
use faithful::Faithfulness;
use indicatif::{ParallelProgressIterator, ProgressBar, ProgressStyle};
use ndarray::Array2;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Evaluate explanation methods: deletion, insertion, ROAD, lesion masks, sanity checks
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The model: a folder or an ONNX file
    #[arg(long, value_name = "PATH", default_value = "models/derm-lite0")]
    model: PathBuf,
    /// Folder of the pictures
    #[arg(long, value_name = "DIR", required_unless_present_any = ["operators", "peer"])]
    data: Option<PathBuf>,
    /// Labels, to select the pictures of one part of a split
    #[arg(long, value_name = "CSV", requires = "split")]
    labels: Option<PathBuf>,
    /// The split: a CSV with `lesion_id,part` or `image_id,part`
    #[arg(long, value_name = "CSV", requires = "labels")]
    split: Option<PathBuf>,
    /// The part of the split
    #[arg(long, default_value = "validation")]
    part: String,
    /// Folder of lesion masks: report how much of each heatmap lies inside
    #[arg(long, value_name = "DIR")]
    mask: Option<PathBuf>,
    /// Number of pictures, sampled with a fixed seed
    #[arg(long, default_value_t = 50)]
    pictures: usize,
    /// Methods, comma-separated; or `all`; by default all but scorecam
    #[arg(long, value_delimiter = ',')]
    method: Vec<String>,
    /// The same network with weights of another precision: report the rank correlation of heatmaps
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// Report nothing but this rank correlation: its median, tenth percentile and least value
    #[arg(long, requires = "against")]
    correlation: bool,
    /// Write the table as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the deletion and insertion curves
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// List the operators that can be differentiated, with the error of each against PyTorch
    #[arg(long)]
    operators: bool,
    /// Time explanations against predictions and against pytorch-grad-cam
    #[arg(long)]
    peer: bool,
    /// With --peer: a Python with models/zoo/requirements.txt; by default one is installed under target/
    #[arg(long, value_name = "FILE", requires = "peer")]
    python: Option<PathBuf>,
}

/// Where a heatmap comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Maker {
    Method(Method),
    /// Uniform random values: the baseline of an uninformed heatmap.
    Random,
    /// A Gaussian at the centre: the baseline of the photographer's centre bias.
    Centre,
}

impl Maker {
    fn name(self) -> String {
        match self {
            Maker::Method(method) => method.to_string(),
            Maker::Random => "(random)".to_owned(),
            Maker::Centre => "(centre)".to_owned(),
        }
    }
}

/// The metrics of one heatmap of one picture.
struct Scored {
    faithfulness: Faithfulness,
    overlap: Option<Overlap>,
    /// Rank correlation with the heatmap of the network with shuffled weights.
    shuffled: Option<f64>,
    /// Rank correlation with the heatmap of the other network.
    other: Option<f64>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.operators {
        return operators::print();
    }
    if arguments.peer {
        return peer::run(arguments.python.as_deref());
    }
    let network = Network::load(&arguments.model)?;
    let other = arguments.against.as_deref().map(Network::load).transpose()?;
    let chosen = chosen(arguments, &network.manifest)?;
    let methods: Vec<Method> = if arguments.method.is_empty() {
        Method::ALL.into_iter().filter(|method| *method != Method::ScoreCam).collect()
    } else {
        methods(&arguments.method)?
    };
    if let (true, Some(other)) = (arguments.correlation, &other) {
        return correlation::print(&network, other, &methods, &chosen);
    }
    let work = tempfile::tempdir()?;
    let shuffled = Network::load(&sanity::shuffled(&arguments.model, work.path())?)?;
    let masks = arguments.mask.as_deref().map(Masks::of).transpose()?;
    let makers: Vec<Maker> =
        methods.into_iter().map(Maker::Method).chain([Maker::Random, Maker::Centre]).collect();

    let pairs: Vec<(usize, Maker)> =
        makers.iter().flat_map(|&maker| (0..chosen.len()).map(move |n| (n, maker))).collect();
    let bar = ProgressBar::new(pairs.len() as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} heatmaps, {eta} left")?);
    let score = |&(number, maker): &(usize, Maker)| {
        let (id, path) = &chosen[number];
        let subject = Subject {
            network: &network,
            shuffled: &shuffled,
            other: other.as_ref(),
            masks: masks.as_ref(),
        };
        subject.score(id, path, maker, number as u64).with_context(|| id.clone())
    };
    let scored: Vec<anyhow::Result<Scored>> =
        pairs.par_iter().progress_with(bar).map(score).collect();
    let scored: Vec<Scored> = scored.into_iter().collect::<anyhow::Result<_>>()?;
    let by_maker: Vec<(String, &[Scored])> =
        makers.iter().map(|maker| maker.name()).zip(scored.chunks(chosen.len())).collect();
    report::print(&by_maker);
    if let Some(path) = &arguments.json {
        report::write_json(path, &by_maker)?;
    }
    if let Some(path) = &arguments.svg {
        report::write_svg(path, &by_maker)?;
    }
    Ok(())
}

/// The selected pictures: id and file.
fn chosen(arguments: &Arguments, manifest: &Manifest) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let folder = arguments.data.as_deref().context("--data names the pictures' folder")?;
    let files = pictures::index(folder)?;
    let mut found: Vec<(String, PathBuf)> = match (&arguments.labels, &arguments.split) {
        (Some(labels), Some(split)) => {
            let labelled = labels::read(labels, manifest)?;
            let part = labels::keep_part(labelled, split, &arguments.part)?;
            let file =
                |one: &labels::Labelled| Some((one.image.clone(), files.get(&one.image)?.clone()));
            part.iter().filter_map(file).collect()
        }
        _ => files.into_iter().collect(),
    };
    anyhow::ensure!(!found.is_empty(), "no picture was found");
    found.sort();
    fastrand::Rng::with_seed(0).shuffle(&mut found);
    found.truncate(arguments.pictures.max(1));
    Ok(found)
}

/// A network that predicts and explains.
struct Network {
    explainers: Explainers,
    manifest: Manifest,
}

impl Network {
    fn load(path: &Path) -> anyhow::Result<Network> {
        let source = ModelSource::at(path);
        let graph = Graph::load(&source)?;
        let manifest = Manifest::clone(graph.manifest());
        let explainers = Explainers::new(source, graph, EngineOptions::default())?;
        Ok(Network { explainers, manifest })
    }

    /// The normalised input of a prepared picture.
    fn input(&self, view: &RgbImage) -> Vec<f32> {
        let mut input = vec![0.0; view.as_raw().len()];
        self.manifest.input.normalise(view, &mut input);
        input
    }

    /// The most probable class for a normalised input.
    fn class(&self, input: &[f32]) -> anyhow::Result<usize> {
        let probabilities = self.probabilities(input)?;
        (0..probabilities.len())
            .max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
            .context("a model has classes")
    }

    /// Probabilities of the classes for a normalised input.
    fn probabilities(&self, input: &[f32]) -> anyhow::Result<Vec<f32>> {
        let evaluation = self.explainers.base().run(|to| to.copy_from_slice(input))?;
        Ok(self.manifest.probabilities(&evaluation.scores))
    }

    fn heatmap(&self, method: Method, input: &[f32], class: usize) -> anyhow::Result<Heatmap> {
        let fill = |to: &mut [f32]| to.copy_from_slice(input);
        let request = ExplainRequest { method, layer: Layer::Last };
        let explainer = self.explainers.for_explaining(&request)?;
        let mut evaluation = explainer.run(fill)?;
        let found = evaluation.explain(method, &[class], &fill, &mut |_, _| true)?;
        found.into_iter().next().context("no heatmap")
    }
}

/// What heatmaps are evaluated with.
struct Subject<'a> {
    network: &'a Network,
    shuffled: &'a Network,
    other: Option<&'a Network>,
    masks: Option<&'a Masks>,
}

impl Subject<'_> {
    fn score(&self, id: &str, path: &Path, maker: Maker, seed: u64) -> anyhow::Result<Scored> {
        let spec = &self.network.manifest.input;
        let bytes = std::fs::read(path)?;
        let picture = Picture::open(&bytes, &Limits::default())?;
        let Prepared { view, region, full_size, .. } = picture.prepare(spec)?;
        let (width, height) = view.dimensions();
        let input = self.network.input(&view);
        let class = self.network.class(&input)?;
        let heatmap = match maker {
            Maker::Method(method) => self.network.heatmap(method, &input, class)?,
            Maker::Random => {
                let mut random = fastrand::Rng::with_seed(seed);
                Heatmap::from_map(Array2::from_shape_simple_fn((7, 7), || random.f32()))
            }
            Maker::Centre => Heatmap::from_map(Array2::from_shape_fn((64, 64), |(y, x)| {
                let from_centre = |at: usize| (at as f32 - 31.5) / 16.0;
                (-0.5 * (from_centre(x).powi(2) + from_centre(y).powi(2))).exp()
            })),
        };
        let blurred = self.network.input(&image::imageops::blur(&view, width as f32 / 20.0));
        let large = heatmap.resized(width, height);
        let score = |input: &[f32]| Ok(self.network.probabilities(input)?[class]);
        let faithfulness = Faithfulness::of(large.values(), &input, &blurred, seed, score)?;
        let overlap = match self.masks {
            Some(masks) => masks.overlap(id, &heatmap, full_size, region)?,
            None => None,
        };
        let compared = |network: &Network| match maker {
            Maker::Method(method) => {
                let other = network.heatmap(method, &input, class)?;
                anyhow::Ok(Some(sanity::rank_correlation(heatmap.values(), other.values())))
            }
            _ => Ok(None),
        };
        let other = self.other.map(compared).transpose()?.flatten();
        Ok(Scored { faithfulness, overlap, shuffled: compared(self.shuffled)?, other })
    }
}
