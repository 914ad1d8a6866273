//! Report of the metrics: on the terminal, as JSON, as an HTML page.

use super::Seen;
use super::labels::Labelled;
use super::metrics::{Interval, Scored, Sorted, at_threshold, separation};
use crate::profile::median;
use anyhow::Context;
use derm::{Manifest, Uncertainty};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// All results; serialised as the JSON report.
#[derive(Serialize)]
pub(crate) struct Report {
    model: String,
    version: String,
    tta: usize,
    pictures: usize,
    groups: usize,
    /// Labelled pictures that could not be evaluated, with the reason.
    left_out: Vec<(String, String)>,
    figures: BTreeMap<&'static str, Interval>,
    classes: Vec<ClassFigures>,
    /// Confusion matrix. Rows: true class; columns: predicted class; in the order of `classes`.
    confusion: Vec<Vec<usize>>,
    /// Mean confidence, accuracy, number of pictures.
    reliability: Vec<(f64, f64, usize)>,
    /// By metadata: group, number of pictures, accuracy, balanced accuracy.
    subgroups: BTreeMap<&'static str, Vec<(String, usize, f64, f64)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncertain: Option<Uncertain>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heatmaps: Option<Heatmaps>,
    infer_ms: f64,
    #[serde(skip)]
    roc: Vec<Vec<(f64, f64)>>,
}

#[derive(Serialize)]
struct ClassFigures {
    id: String,
    pictures: usize,
    recall: f64,
    auroc: Option<f64>,
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

    pub(crate) fn print(&self) {
        let Report { model, version, tta, pictures, groups, .. } = self;
        println!("{model} {version}: {pictures} pictures of {groups} groups, {tta} views each");
        println!("inference: {:.1} ms a picture (median)", self.infer_ms);
        for (name, interval) in &self.figures {
            let Interval { value, low, high } = interval;
            println!("{name:<27} {value:.3}  ({low:.3}-{high:.3})");
        }
        println!("\n{:<12} {:>8} {:>7} {:>7}", "class", "pictures", "recall", "AUROC");
        for class in &self.classes {
            let auroc = class.auroc.map_or("-".to_owned(), |auroc| format!("{auroc:.3}"));
            print!("{:<12} {:>8} {:>7.3} {auroc:>7}", class.id, class.pictures, class.recall);
            if let Some((threshold, sensitivity, specificity)) = class.threshold {
                print!("  from {threshold:.3} on: sensitivity {sensitivity:.3}, ");
                print!("specificity {specificity:.3}");
            }
            println!();
        }
        println!("\nconfusion (rows: the truth, columns: the answer)");
        for (class, row) in self.classes.iter().zip(&self.confusion) {
            let cells: Vec<String> = row.iter().map(|count| format!("{count:>6}")).collect();
            println!("{:<12}{}", class.id, cells.concat());
        }
        for (what, groups) in &self.subgroups {
            println!(
                "\n{what:<18} {:>8} {:>9} {:>18}",
                "pictures", "accuracy", "balanced accuracy"
            );
            for (name, pictures, accuracy, balanced) in groups {
                println!("{name:<18} {pictures:>8} {accuracy:>9.3} {balanced:>18.3}");
            }
        }
        if let Some(uncertain) = &self.uncertain {
            println!("\nuncertain: {:.1} % of these pictures", 100.0 * uncertain.flagged);
            for (kind, pictures, flagged, auroc) in &uncertain.negatives {
                println!(
                    "{kind:<24} {pictures:>5} pictures, {flagged:>5.2} flagged, AUROC {auroc:.3}"
                );
            }
        }
        if let Some(Heatmaps { pictures, energy, pointing_game, area }) = &self.heatmaps {
            println!(
                "\nheatmaps of {pictures} pictures with masks: {energy:.3} of the energy inside, "
            );
            println!("pointing game {pointing_game:.3}; at random {area:.3}");
        }
        println!("\nleft out: {}", self.left_out.len());
        for (image, reason) in self.left_out.iter().take(20) {
            println!("  {image}: {reason}");
        }
    }

    pub(crate) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
    }

    pub(crate) fn write_html(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, self.html()?).with_context(|| path.display().to_string())
    }

    fn html(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        let title = format!(
            "{} {}: {} pictures",
            escaped(&self.model),
            escaped(&self.version),
            self.pictures
        );
        writeln!(
            page,
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>\
             body{{font:15px/1.5 system-ui;max-width:64rem;margin:2rem auto;padding:0 1rem}}\
             table{{border-collapse:collapse;margin:1rem 0}}td,th{{padding:.2rem .6rem;text-align:right}}\
             th:first-child{{text-align:left}}svg{{max-width:100%;height:auto}}</style>\
             <h1>{title}</h1><p>Education and research; never a diagnosis. {} views of each picture, \
             {} left out.</p><table><tr><th>figure<th>value<th>95 % interval",
            self.tta,
            self.left_out.len()
        )?;
        for (name, Interval { value, low, high }) in &self.figures {
            writeln!(page, "<tr><th>{name}<td>{value:.3}<td>{low:.3}-{high:.3}")?;
        }
        page.push_str(
            "</table><h2>Confusion</h2><p>Rows: the truth. Columns: the answer.</p><table><tr><th>",
        );
        for class in &self.classes {
            write!(page, "<th>{}", escaped(&class.id))?;
        }
        page.push_str("<th>recall<th>AUROC");
        for (class, row) in self.classes.iter().zip(&self.confusion) {
            write!(page, "<tr><th>{}", escaped(&class.id))?;
            for &count in row {
                let share = count as f64 / class.pictures.max(1) as f64;
                write!(page, "<td style=\"background:rgb(30 100 200/{share:.2})\">{count}")?;
            }
            let auroc = class.auroc.map_or("-".to_owned(), |auroc| format!("{auroc:.3}"));
            writeln!(page, "<td>{:.3}<td>{auroc}", class.recall)?;
        }
        page.push_str(
            "</table><h2>Calibration</h2><p>How often an answer of this probability is right.</p>",
        );
        let points: Vec<(f64, f64)> =
            self.reliability.iter().map(|(p, right, _)| (*p, *right)).collect();
        let dots: Vec<Curve<'_>> = vec![Curve { name: "", points: &points, dots: true }];
        page.push_str(&plot("probability", "right", &dots)?);
        page.push_str("<h2>ROC, each class against the rest</h2>");
        let curves: Vec<Curve<'_>> = self
            .classes
            .iter()
            .zip(&self.roc)
            .filter(|(class, _)| class.auroc.is_some())
            .map(|(class, points)| Curve { name: &class.id, points, dots: false })
            .collect();
        page.push_str(&plot("false positives", "true positives", &curves)?);
        for (what, groups) in &self.subgroups {
            write!(
                page,
                "<h2>By {what}</h2><table><tr><th>{what}<th>pictures<th>accuracy<th>balanced accuracy"
            )?;
            for (name, pictures, accuracy, balanced) in groups {
                let name = escaped(name);
                writeln!(page, "<tr><th>{name}<td>{pictures}<td>{accuracy:.3}<td>{balanced:.3}")?;
            }
            page.push_str("</table>");
        }
        page.push_str("</html>\n");
        Ok(page)
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

struct Curve<'a> {
    name: &'a str,
    points: &'a [(f64, f64)],
    dots: bool,
}

/// A plot area of 0..1 on both axes, with the diagonal.
fn plot(across: &str, up: &str, curves: &[Curve<'_>]) -> Result<String, std::fmt::Error> {
    const SIDE: f64 = 360.0;
    const COLOURS: [&str; 7] =
        ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2"];
    let at = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", 40.0 + x * SIDE, 10.0 + (1.0 - y) * SIDE);
    let mut svg = format!(
        "<svg viewBox=\"0 0 520 410\" width=\"520\" font-size=\"12\" fill=\"none\">\
         <rect x=\"40\" y=\"10\" width=\"{SIDE}\" height=\"{SIDE}\" stroke=\"#888\"/>\
         <path d=\"M40 {0}L{1} 10\" stroke=\"#bbb\" stroke-dasharray=\"4\"/>\
         <g fill=\"currentColor\"><text x=\"180\" y=\"400\">{across}</text>\
         <text x=\"14\" y=\"220\" transform=\"rotate(-90 14 220)\">{up}</text></g>",
        10.0 + SIDE,
        40.0 + SIDE
    );
    for (number, curve) in curves.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<String> = curve.points.iter().map(at).collect();
        write!(
            svg,
            "<polyline points=\"{}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            points.join(" ")
        )?;
        for (x, y) in curve.points.iter().filter(|_| curve.dots) {
            let (x, y) = (40.0 + x * SIDE, 10.0 + (1.0 - y) * SIDE);
            write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>")?;
        }
        let (y, name) = (30 + 18 * number, escaped(curve.name));
        write!(svg, "<text x=\"410\" y=\"{y}\" fill=\"{colour}\">{name}</text>")?;
    }
    svg.push_str("</svg>");
    Ok(svg)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
