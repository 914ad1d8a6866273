//! Report of the metrics: on the terminal and as JSON; `page` makes the HTML page of it.

use super::Seen;
use super::labels::Labelled;
use super::metrics::{Interval, Scored, Sorted, at_threshold, separation};
use crate::profile::median;
use anyhow::Context;
use derm::{Manifest, Uncertainty};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;

/// All results; serialised as the JSON report.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(super) model: String,
    pub(super) version: String,
    pub(super) tta: usize,
    pub(super) pictures: usize,
    groups: usize,
    /// Labelled pictures that could not be evaluated, with the reason.
    pub(super) left_out: Vec<(String, String)>,
    pub(super) figures: BTreeMap<&'static str, Interval>,
    pub(super) classes: Vec<ClassFigures>,
    /// Confusion matrix. Rows: true class; columns: predicted class; in the order of `classes`.
    pub(super) confusion: Vec<Vec<usize>>,
    /// Mean confidence, accuracy, number of pictures.
    pub(super) reliability: Vec<(f64, f64, usize)>,
    /// By metadata: group, number of pictures, accuracy, balanced accuracy.
    pub(super) subgroups: BTreeMap<&'static str, Vec<(String, usize, f64, f64)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncertain: Option<Uncertain>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heatmaps: Option<Heatmaps>,
    infer_ms: f64,
    #[serde(skip)]
    pub(super) roc: Vec<Vec<(f64, f64)>>,
}

#[derive(Serialize)]
pub(super) struct ClassFigures {
    pub(super) id: String,
    pub(super) pictures: usize,
    pub(super) recall: f64,
    pub(super) auroc: Option<f64>,
    /// The manifest's thresholds, with their sensitivity and specificity here.
    threshold: Option<(f32, f64, f64)>,
}

#[derive(Serialize)]
struct Uncertain {
    /// Share of the labelled pictures that are called uncertain.
    flagged: f64,
    /// Kind, number of pictures, share that is called uncertain, AUROC against the labelled pictures.
    negatives: Vec<(String, usize, f64, f64)>,
}

#[derive(Serialize)]
struct Heatmaps {
    pictures: usize,
    /// Mean share of the heatmap inside the mask.
    energy: f64,
    /// Share of heatmaps whose largest value is inside the mask.
    pointing_game: f64,
    /// Mean share of the view that the mask covers: the expectation of both for a random heatmap.
    area: f64,
}

impl ClassFigures {
    /// Share of the class's pictures.
    pub(super) fn share(&self, count: &usize) -> f64 {
        *count as f64 / self.pictures.max(1) as f64
    }
}

impl Report {
    pub(crate) fn new(
        manifest: &Manifest,
        labelled: &[Labelled],
        seen: &[Seen],
        left_out: &[(String, String)],
        negatives: &BTreeMap<String, Vec<Uncertainty>>,
        tta: usize,
    ) -> Report {
        let scored: Vec<Scored> = seen.iter().map(|one| one.scored.clone()).collect();
        let sorted = Sorted::new(&scored, manifest.classes.len());
        let groups: Vec<String> = labelled.iter().map(|one| one.group.clone()).collect();
        let confusion = sorted.confusion();
        let everyone = vec![1.0; scored.len()];
        let classes = manifest.classes.iter().enumerate().map(|(class, entry)| {
            let pictures: usize = confusion[class].iter().sum();
            ClassFigures {
                id: entry.id.clone(),
                pictures,
                recall: confusion[class][class] as f64 / pictures as f64,
                auroc: sorted.auroc(class, &everyone),
                threshold: entry.threshold.map(|threshold| {
                    let (sensitivity, specificity) = at_threshold(&scored, class, threshold);
                    (threshold, sensitivity, specificity)
                }),
            }
        });
        let distinct: std::collections::HashSet<&String> = groups.iter().collect();
        let infer = median(seen.iter().map(|one| one.infer).collect()).unwrap_or_default();
        Report {
            model: manifest.name.clone(),
            version: manifest.version.clone(),
            tta,
            pictures: seen.len(),
            groups: distinct.len(),
            left_out: left_out.to_vec(),
            figures: sorted.with_intervals(&groups),
            classes: classes.collect(),
            reliability: sorted.reliability(),
            subgroups: subgroups(&sorted, labelled),
            uncertain: uncertain(seen, negatives),
            heatmaps: heatmaps(seen),
            infer_ms: infer.as_secs_f64() * 1e3,
            roc: (0..manifest.classes.len()).map(|class| sorted.roc(class)).collect(),
            confusion,
        }
    }

    pub(crate) fn print(&self) -> io::Result<()> {
        let out = &mut io::stdout();
        let Report { model, version, tta, pictures, groups, .. } = self;
        writeln!(
            out,
            "{model} {version}: {pictures} pictures of {groups} groups, {tta} views each"
        )?;
        writeln!(out, "inference: {:.1} ms a picture (median)", self.infer_ms)?;
        for (name, interval) in &self.figures {
            writeln!(out, "{name:<27} {interval:.3}")?;
        }
        writeln!(out, "\n{:<12} {:>8} {:>7} {:>7}", "class", "pictures", "recall", "AUROC")?;
        for class in &self.classes {
            let (recall, auroc) = (share(class.recall), share(class.auroc.unwrap_or(f64::NAN)));
            write!(out, "{:<12} {:>8} {recall:>7} {auroc:>7}", class.id, class.pictures)?;
            if let Some((threshold, sensitivity, specificity)) = class.threshold {
                let [sensitivity, specificity] = [sensitivity, specificity].map(share);
                write!(out, "  from {threshold:.3} on: sensitivity {sensitivity}, ")?;
                write!(out, "specificity {specificity}")?;
            }
            writeln!(out)?;
        }
        writeln!(out, "\nconfusion (rows: the truth, columns: the answer)")?;
        for (class, row) in self.classes.iter().zip(&self.confusion) {
            let cells: Vec<String> = row.iter().map(|count| format!("{count:>6}")).collect();
            writeln!(out, "{:<12}{}", class.id, cells.concat())?;
        }
        for (what, groups) in &self.subgroups {
            writeln!(
                out,
                "\n{what:<18} {:>8} {:>9} {:>18}",
                "pictures", "accuracy", "balanced accuracy"
            )?;
            for (name, pictures, accuracy, balanced) in groups {
                writeln!(out, "{name:<18} {pictures:>8} {accuracy:>9.3} {balanced:>18.3}")?;
            }
        }
        if let Some(uncertain) = &self.uncertain {
            writeln!(out, "\nuncertain: {:.1} % of these pictures", 100.0 * uncertain.flagged)?;
            for (kind, pictures, flagged, auroc) in &uncertain.negatives {
                writeln!(
                    out,
                    "{kind:<24} {pictures:>5} pictures, {flagged:>5.2} flagged, AUROC {auroc:.3}"
                )?;
            }
        }
        if let Some(Heatmaps { pictures, energy, pointing_game, area }) = &self.heatmaps {
            writeln!(
                out,
                "\nheatmaps of {pictures} pictures with masks: {energy:.3} of the energy inside, "
            )?;
            writeln!(out, "pointing game {pointing_game:.3}; at random {area:.3}")?;
        }
        writeln!(out, "\nleft out: {}", self.left_out.len())?;
        for (image, reason) in self.left_out.iter().take(20) {
            writeln!(out, "  {image}: {reason}")?;
        }
        Ok(())
    }

    pub(crate) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
    }
}

fn subgroups(
    sorted: &Sorted<'_>,
    labelled: &[Labelled],
) -> BTreeMap<&'static str, Vec<(String, usize, f64, f64)>> {
    let mut members: BTreeMap<&'static str, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for (index, one) in labelled.iter().enumerate() {
        for (what, value) in &one.about {
            members.entry(what).or_default().entry(value).or_default().push(index);
        }
    }
    let figures = |indices: &[usize]| {
        let mut weights = vec![0.0; labelled.len()];
        indices.iter().for_each(|&index| weights[index] = 1.0);
        sorted.figures(&weights)
    };
    let rows = |groups: BTreeMap<&str, Vec<usize>>| {
        let row = |(name, indices): (&str, Vec<usize>)| {
            let figures = figures(&indices);
            (name.to_owned(), indices.len(), figures.accuracy, figures.balanced_accuracy)
        };
        groups.into_iter().map(row).collect()
    };
    members.into_iter().map(|(what, groups)| (what, rows(groups))).collect()
}

fn uncertain(seen: &[Seen], negatives: &BTreeMap<String, Vec<Uncertainty>>) -> Option<Uncertain> {
    let scores = |list: &[Uncertainty]| -> Vec<f32> { list.iter().map(|one| one.score).collect() };
    let flagged = |list: &[Uncertainty]| {
        list.iter().filter(|one| one.is_uncertain()).count() as f64 / list.len() as f64
    };
    let known: Vec<Uncertainty> = seen.iter().filter_map(|one| one.uncertainty).collect();
    let kinds = negatives.iter().map(|(kind, others)| {
        let auroc = separation(&scores(&known), &scores(others));
        (kind.clone(), others.len(), flagged(others), auroc)
    });
    (!known.is_empty()).then(|| Uncertain { flagged: flagged(&known), negatives: kinds.collect() })
}

fn heatmaps(seen: &[Seen]) -> Option<Heatmaps> {
    let overlaps: Vec<_> = seen.iter().filter_map(|one| one.overlap).collect();
    let count = overlaps.len() as f64;
    let mean = |of: fn(&super::Overlap) -> f64| overlaps.iter().map(of).sum::<f64>() / count;
    (!overlaps.is_empty()).then(|| Heatmaps {
        pictures: overlaps.len(),
        energy: mean(|overlap| overlap.energy),
        pointing_game: mean(|overlap| f64::from(u8::from(overlap.hit))),
        area: mean(|overlap| overlap.area),
    })
}

/// A share as the report prints it: a dash where no picture defines it.
pub(super) fn share(value: f64) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.3}") }
}
