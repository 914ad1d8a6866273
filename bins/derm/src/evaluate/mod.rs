//! `derm evaluate`: metrics of a classifier on labelled pictures, through the pipeline that serves
//! them.

mod calibrate;
pub mod labels;
pub mod masks;
mod metrics;
mod page;
mod report;

use crate::model::ModelOption;
use crate::pictures;
use anyhow::Context;
use derm::{Classifier, Explain, Options, Request, Uncertainty};
use indicatif::{ParallelProgressIterator, ProgressBar, ProgressFinish};
use labels::Labelled;
use masks::{Masks, Overlap};
pub(crate) use metrics::Interval;
use metrics::{Scored, Sorted};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Evaluate a model on a folder of pictures with a CSV of labels
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOption,
    /// Folder of the pictures (searched recursively)
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Labels: `image_id,dx,...` (HAM10000) or one column per class (ISIC 2018 Task 3)
    #[arg(long, value_name = "CSV")]
    labels: PathBuf,
    /// Evaluate one part of a split only: a CSV with `lesion_id,part` or `image_id,part`
    #[arg(long, value_name = "CSV")]
    split: Option<PathBuf>,
    /// The part of the split
    #[arg(long, default_value = "test", requires = "split")]
    part: String,
    /// Test-time augmentation: number of flips and rotations of each picture to average
    #[arg(long, value_name = "1..8", default_value_t = 1)]
    tta: usize,
    /// Folder of lesion masks: report how much of each heatmap lies inside
    #[arg(long, value_name = "DIR")]
    mask: Option<PathBuf>,
    /// Out-of-distribution pictures, one folder per kind: report how many are called uncertain
    #[arg(long, value_name = "DIR")]
    negatives: Option<PathBuf>,
    /// Print the manifest's temperature and thresholds as these (validation) pictures suggest
    #[arg(long)]
    calibrate: bool,
    /// With --calibrate: print the threshold for this sensitivity of a class
    #[arg(long, value_name = "CLASS=SHARE", requires = "calibrate")]
    sensitivity: Vec<String>,
    /// Write the metrics as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write an HTML page with the confusion matrix, calibration and ROC curves
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The result of one picture.
struct Seen {
    scored: Scored,
    uncertainty: Option<Uncertainty>,
    overlap: Option<Overlap>,
    infer: Duration,
}

/// Runs the command.
///
/// # Errors
/// The model, the labels or every picture cannot be read. Single pictures that cannot are listed.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let classifier = arguments.model.classifier(Options::default())?;
    let manifest = &*classifier.manifest();
    let mut labelled = labels::read(&arguments.labels, manifest)?;
    if let Some(split) = &arguments.split {
        labelled = labels::keep_part(labelled, split, &arguments.part)?;
    }
    let files = pictures::index(&arguments.data)?;
    let masks = arguments.mask.as_deref().map(Masks::of).transpose()?;
    let work = Work { classifier: &classifier, tta: arguments.tta, masks: masks.as_ref() };

    let look_at = |one: &Labelled| {
        let path = files.get(&one.image).context("there is no such picture in the folder")?;
        work.look_at(path, one)
    };
    let bar = bar(labelled.len(), "pictures");
    let outcomes: Vec<anyhow::Result<Seen>> =
        labelled.par_iter().progress_with(bar).map(look_at).collect();
    let (mut kept, mut seen, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for (one, outcome) in labelled.into_iter().zip(outcomes) {
        match outcome {
            Ok(outcome) => {
                kept.push(one);
                seen.push(outcome);
            }
            Err(error) => left_out.push((one.image, format!("{error:#}"))),
        }
    }
    anyhow::ensure!(!seen.is_empty(), "no picture could be scored: {:?}", left_out.first());
    let negatives = match &arguments.negatives {
        Some(folder) => kinds(folder, &work)?,
        None => BTreeMap::new(),
    };
    let report = report::Report::new(manifest, &kept, &seen, &left_out, &negatives, arguments.tta);
    report.print()?;
    if let Some(path) = &arguments.json {
        report.write_json(path)?;
    }
    if let Some(path) = &arguments.html {
        page::write(path, &report)?;
    }
    if arguments.calibrate {
        calibrate::print(manifest, &seen, &arguments.sensitivity)?;
    }
    Ok(())
}

/// The figures of a classifier on labelled pictures, each with its interval, and of how many pictures
/// they are: those that cannot be read are left out.
pub(crate) fn figures(
    classifier: &Classifier,
    labelled: &[Labelled],
    files: &HashMap<String, PathBuf>,
) -> anyhow::Result<(usize, BTreeMap<&'static str, Interval>)> {
    let work = Work { classifier, tta: 1, masks: None };
    let look_at = |one: &Labelled| {
        let scored = work.look_at(files.get(&one.image)?, one).ok()?.scored;
        Some((scored, one.group.clone()))
    };
    let bar = bar(labelled.len(), "labelled pictures");
    let seen = labelled.par_iter().progress_with(bar).filter_map(look_at);
    let (scored, groups): (Vec<Scored>, Vec<String>) = seen.collect::<Vec<_>>().into_iter().unzip();
    anyhow::ensure!(!scored.is_empty(), "no labelled picture could be scored");
    let sorted = Sorted::new(&scored, classifier.manifest().classes.len());
    Ok((scored.len(), sorted.with_intervals(&groups)))
}

/// What each picture is evaluated with.
struct Work<'a> {
    classifier: &'a Classifier,
    tta: usize,
    masks: Option<&'a Masks>,
}

impl Work<'_> {
    fn look_at(&self, path: &Path, one: &Labelled) -> anyhow::Result<Seen> {
        let report = self.classify(path, self.masks.map(|_| Explain::default()))?;
        let mut probabilities = vec![0.0; report.predictions.len()];
        for prediction in &report.predictions {
            probabilities[prediction.index] = prediction.probability;
        }
        let overlap = match (self.masks, report.explanations) {
            (Some(masks), Some(explanations)) => {
                let explanations = explanations?;
                let heatmap = &explanations.first().context("no heatmap")?.heatmap;
                masks.overlap(&one.image, heatmap, report.size, report.region)?
            }
            _ => None,
        };
        Ok(Seen {
            scored: Scored {
                truth: one.truth,
                decision: report.decision.map_or(report.predictions[0].index, |found| found.index),
                probabilities,
            },
            uncertainty: report.uncertain,
            overlap,
            infer: report.timings.infer,
        })
    }

    fn classify(&self, path: &Path, explain: Option<Explain>) -> anyhow::Result<derm::Report> {
        let bytes = std::fs::read(path)?;
        let mut request = Request::default().with_tta(self.tta);
        request.explain = explain;
        let deadline = Instant::now() + Duration::from_secs(600);
        Ok(self.classifier.classify(&self.classifier.open(bytes)?, &request, deadline)?)
    }
}

/// Uncertainty scores of the pictures in each subfolder, by its name. Empty where the model has no
/// uncertainty output.
fn kinds(folder: &Path, work: &Work<'_>) -> anyhow::Result<BTreeMap<String, Vec<Uncertainty>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|_| path.is_dir()) else { continue };
        let name = name.to_string_lossy().into_owned();
        let files: Vec<PathBuf> = pictures::index(&path)?.into_values().collect();
        let look_at = |file: &PathBuf| Ok(work.classify(file, None)?.uncertain);
        let bar = bar(files.len(), &name);
        let seen: anyhow::Result<Vec<Option<Uncertainty>>> =
            files.par_iter().progress_with(bar).map(look_at).collect();
        let seen = seen.with_context(|| name.clone())?;
        found.insert(name, seen.into_iter().flatten().collect());
    }
    Ok(found)
}

/// A progress bar that is cleared when it is complete.
pub(crate) fn bar(length: usize, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length as u64).with_message(what.to_owned());
    bar.with_finish(ProgressFinish::AndClear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_scored_and_what_is_missing_or_broken_is_named() -> anyhow::Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("pictures/inner"))?;
        std::fs::create_dir_all(at("others/noise"))?;
        let example = root.join("bins/derm-server/src/page/example.jpg");
        for place in ["pictures/a.jpg", "pictures/inner/b.jpg", "others/noise/c.jpg"] {
            std::fs::copy(&example, at(place))?;
        }
        std::fs::write(at("pictures/broken.jpg"), b"no picture")?;
        let white = image::GrayImage::from_pixel(40, 30, image::Luma([255]));
        std::fs::create_dir(at("masks"))?;
        white.save(at("masks/a_segmentation.png"))?;
        std::fs::write(
            at("labels.csv"),
            "lesion_id,image_id,dx,sex\n1,a,nv,<b>&\n2,b,mel,male\n3,broken,nv,\n4,absent,nv,\n5,elsewhere,nv,\n",
        )?;
        std::fs::write(
            at("split.csv"),
            "lesion_id,part\n1,test\n2,test\n3,test\n4,test\n5,train\n",
        )?;
        run(&Arguments {
            model: ModelOption::at(root.join("models/derm-lite0")),
            data: at("pictures"),
            labels: at("labels.csv"),
            split: Some(at("split.csv")),
            part: "test".to_owned(),
            tta: 1,
            mask: Some(at("masks")),
            negatives: Some(at("others")),
            calibrate: true,
            sensitivity: vec!["mel=0.9".to_owned()],
            json: Some(at("report.json")),
            html: Some(at("report.html")),
        })?;
        let report: serde_json::Value = serde_json::from_slice(&std::fs::read(at("report.json"))?)?;
        assert_eq!((&report["pictures"], &report["groups"]), (&2.into(), &2.into()));
        // Two equal pictures of two classes: one answer is right at most.
        assert!(report["figures"]["accuracy"]["value"].as_f64() <= Some(0.5));
        let left_out = report["left_out"].to_string();
        assert!(left_out.contains("broken") && left_out.contains("absent"), "{left_out}");
        assert!(!left_out.contains("elsewhere"), "it is of another part");
        let heatmaps = &report["heatmaps"];
        assert_eq!((&heatmaps["pictures"], &heatmaps["area"]), (&1.into(), &1.0.into()));
        assert!((heatmaps["energy"].as_f64().unwrap_or(0.0) - 1.0).abs() < 1e-6);
        assert_eq!(report["uncertain"]["negatives"][0][3], 0.5, "the same picture on both sides");
        let page = std::fs::read_to_string(at("report.html"))?;
        assert!(page.contains("never a diagnosis") && page.contains("<th>male</th><td>1</td>"));
        assert!(page.contains("<th>&#60;b&#62;&#38;</th>") && !page.contains("<b>"), "{page}");
        assert_eq!(page.matches("<svg").count(), 2);
        assert_eq!(page.matches("<circle").count(), 1, "one bin of probabilities is filled");
        assert!(page.contains("mel, AUROC 0.500"));
        Ok(())
    }
}
