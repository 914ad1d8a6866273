//! Report: a Markdown table, JSON, and the curves as SVG.

use super::Scored;
use super::faithful::{STEPS, area};
use anyhow::Context;
use serde::Serialize;
use std::fmt::Write;
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

const SIDE: f64 = 300.0;
const LEFT: f64 = 40.0;
const TOP: f64 = 30.0;

/// Mean deletion and insertion curves, side by side.
pub(super) fn write_svg(path: &Path, makers: &[(String, &[Scored])]) -> anyhow::Result<()> {
    let (width, height) = (2.0 * (SIDE + LEFT) + 190.0, SIDE + TOP + 40.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let titles = ["deletion: the lower the better", "insertion: the higher the better"];
    for (number, title) in titles.into_iter().enumerate() {
        let curve = |one: &Scored| -> Vec<f64> {
            let both = [&one.faithfulness.deletion, &one.faithfulness.insertion];
            both[number].clone()
        };
        let left = LEFT + number as f64 * (SIDE + LEFT);
        writeln!(
            svg,
            "<text x=\"{left}\" y=\"20\" font-weight=\"bold\">{title}</text>\n\
             <rect x=\"{left}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" \
             stroke=\"#999\"/>\n<text x=\"{left}\" y=\"{:.0}\">share of the pixels, 0 to 1; upwards \
             the probability</text>",
            TOP + SIDE + 16.0
        )?;
        for (index, (_, scored)) in makers.iter().enumerate() {
            let mut line = String::new();
            for step in 0..=STEPS {
                let mean =
                    scored.iter().map(|one| curve(one)[step]).sum::<f64>() / scored.len() as f64;
                let (x, y) = (left + SIDE * step as f64 / STEPS as f64, TOP + SIDE * (1.0 - mean));
                write!(line, "{}{x:.1} {y:.1}", if step == 0 { "M" } else { "L" })?;
            }
            writeln!(
                svg,
                "<path d=\"{line}\" fill=\"none\" stroke=\"{}\"/>",
                colour(index, makers.len())
            )?;
        }
    }
    for (index, (method, _)) in makers.iter().enumerate() {
        let (x, y) = (2.0 * (SIDE + LEFT) + 20.0, TOP + 12.0 + 18.0 * index as f64);
        writeln!(
            svg,
            "<path d=\"M{x} {:.0}h20\" stroke=\"{}\" stroke-width=\"2\"/><text x=\"{:.0}\" y=\"{y:.0}\">{method}</text>",
            y - 4.0,
            colour(index, makers.len()),
            x + 26.0
        )?;
    }
    svg.push_str("</svg>\n");
    std::fs::write(path, svg).with_context(|| path.display().to_string())
}

fn colour(index: usize, count: usize) -> String {
    format!("hsl({:.0} 75% 42%)", 360.0 * index as f64 / count as f64)
}
