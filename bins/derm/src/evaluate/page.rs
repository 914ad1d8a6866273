//! HTML report: the metrics as a page with its charts inside.

use super::report::{Report, share};
use crate::plot::{self, Curve};
use anyhow::Context;
use askama::Template;
use std::path::Path;

/// Pixels of a chart; the page shows it at half of them.
const SIZE: (u32, u32) = (1100, 780);

#[derive(Template)]
#[template(path = "evaluate.html")]
struct Page<'a> {
    report: &'a Report,
    /// Charts, as SVG.
    reliability: String,
    roc: String,
}

/// Writes the page of a report.
pub(super) fn write(path: &Path, report: &Report) -> anyhow::Result<()> {
    let (reliability, roc) = (reliability(report)?, roc(report)?);
    let page = Page { report, reliability, roc }.render()?;
    std::fs::write(path, page).with_context(|| path.display().to_string())
}

fn reliability(report: &Report) -> anyhow::Result<String> {
    let points = report.reliability.iter().map(|&(probability, right, _)| (probability, right));
    let curve = Curve { name: String::new(), points: points.collect(), dots: true };
    let axes = ("mean probability of the answers", "share of right answers");
    plot::svg(SIZE, |area| plot::shares(area, "Calibration", axes, &[curve]))
}

fn roc(report: &Report) -> anyhow::Result<String> {
    let classes = report.classes.iter().zip(&report.roc);
    let curves = classes.filter_map(|(class, points)| {
        let name = format!("{}, AUROC {:.3}", class.id, class.auroc?);
        Some(Curve { name, points: points.clone(), dots: false })
    });
    let curves: Vec<Curve> = curves.collect();
    let axes = ("false positives", "true positives");
    plot::svg(SIZE, |area| plot::shares(area, "Each class against the rest", axes, &curves))
}
