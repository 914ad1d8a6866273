//! Report: a Markdown table, JSON, and the curves as SVG.

use super::Scored;
use super::faithful::{STEPS, area};
use anyhow::Context;
use derm_cli::plot::{self, Curve, LEGEND};
use serde::Serialize;
use std::path::Path;

/// Metrics of one method, means over the pictures.
#[derive(Serialize)]
struct Row {
    method: String,
    pictures: usize,
    deletion: f64,
    insertion: f64,
    road: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    energy_in_mask: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointing_game: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask_area: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shuffled_weights: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_model: Option<f64>,
}

impl Row {
    fn of(method: &str, scored: &[Scored]) -> Row {
        let over = |value: &dyn Fn(&Scored) -> Option<f64>| {
            let values: Vec<f64> = scored.iter().filter_map(value).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let all =
            |value: &dyn Fn(&Scored) -> f64| over(&|one| Some(value(one))).unwrap_or(f64::NAN);
        Row {
            method: method.to_owned(),
            pictures: scored.len(),
            deletion: all(&|one| area(&one.faithfulness.deletion)),
            insertion: all(&|one| area(&one.faithfulness.insertion)),
            road: all(&|one| one.faithfulness.road),
            energy_in_mask: over(&|one| Some(one.overlap?.energy)),
            pointing_game: over(&|one| Some(f64::from(u8::from(one.overlap?.hit)))),
            mask_area: over(&|one| Some(one.overlap?.area)),
            shuffled_weights: over(&|one| one.shuffled),
            other_model: over(&|one| one.other),
        }
    }
}

/// Prints a Markdown table.
pub(super) fn print(makers: &[(String, &[Scored])]) {
    println!(
        "| method | deletion (low) | insertion (high) | ROAD (high) | energy in mask | pointing game | \
         shuffled weights (0) | other model (1) |\n|---|---|---|---|---|---|---|---|"
    );
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    for (method, scored) in makers {
        let row = Row::of(method, scored);
        println!(
            "| {} | {:.3} | {:.3} | {:+.3} | {} | {} | {} | {} |",
            row.method,
            row.deletion,
            row.insertion,
            row.road,
            shown(row.energy_in_mask),
            shown(row.pointing_game),
            shown(row.shuffled_weights),
            shown(row.other_model),
        );
    }
    let area = makers.first().and_then(|(method, scored)| Row::of(method, scored).mask_area);
    let count = makers.first().map_or(0, |(_, scored)| scored.len());
    println!("\n{count} pictures; the masks cover {} of them.", shown(area));
}

pub(super) fn write_json(path: &Path, makers: &[(String, &[Scored])]) -> anyhow::Result<()> {
    let rows: Vec<Row> = makers.iter().map(|(method, scored)| Row::of(method, scored)).collect();
    let text = serde_json::to_string_pretty(&rows)? + "\n";
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// Pixels of each plot, without its legend.
const SIDE: u32 = 700;

/// Mean deletion and insertion curves, side by side.
pub(super) fn write_svg(path: &Path, makers: &[(String, &[Scored])]) -> anyhow::Result<()> {
    let axes = ("share of the pixels", "probability");
    let svg = plot::svg((2 * (SIDE + LEGEND), SIDE), |area| {
        let (left, right) = area.split_horizontally(SIDE + LEGEND);
        let deletion = curves(makers, |one| &one.faithfulness.deletion);
        plot::shares(&left, "Deletion: the lower the better", axes, &deletion)?;
        let insertion = curves(makers, |one| &one.faithfulness.insertion);
        plot::shares(&right, "Insertion: the higher the better", axes, &insertion)
    })?;
    std::fs::write(path, svg).with_context(|| path.display().to_string())
}

/// The mean of each method over the pictures.
fn curves(makers: &[(String, &[Scored])], of: fn(&Scored) -> &Vec<f64>) -> Vec<Curve> {
    let curve = |(method, scored): &(String, &[Scored])| {
        let mean =
            |step: usize| scored.iter().map(|one| of(one)[step]).sum::<f64>() / scored.len() as f64;
        let points = (0..=STEPS).map(|step| (step as f64 / STEPS as f64, mean(step))).collect();
        Curve { name: method.clone(), points, dots: false }
    };
    makers.iter().map(curve).collect()
}
