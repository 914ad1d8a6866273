//! Tables in a Markdown file, and bar charts beside it.

use anyhow::Context;
use std::fmt::Write;
use std::path::Path;

/// A table, and the name of its markers in the file.
pub(super) struct Table {
    pub(super) name: String,
    pub(super) text: String,
}

/// A grouped bar chart of ratios, with a line at 1.
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) series: Vec<String>,
    /// The label of each group, and a value per series where there is one.
    pub(super) groups: Vec<(String, Vec<Option<f64>>)>,
    /// Upper end of the axis; longer bars are cut off, and tooltips show their values.
    pub(super) top: f64,
}

/// Writes the table between its markers, `<!-- NAME -->` and `<!-- end NAME -->`, and draws
/// `performance-NAME.svg`.
pub(super) fn write(file: &Path, table: &Table, bars: Option<&Bars>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let Table { name, text: rows } = table;
    let replaced = replaced(&text, name, rows).with_context(|| format!("no marker for {name}"))?;
    std::fs::write(file, replaced)?;
    if let Some(bars) = bars {
        std::fs::write(file.with_file_name(format!("performance-{name}.svg")), svg(bars)?)?;
    }
    Ok(())
}

fn replaced(text: &str, name: &str, rows: &str) -> Option<String> {
    let (mark, end) = (format!("<!-- {name} -->"), format!("<!-- end {name} -->"));
    let start = text.find(&mark)? + mark.len();
    let stop = start + text[start..].find(&end)?;
    Some(format!("{}\n{}\n{}", &text[..start], rows.trim(), &text[stop..]))
}

const BAR: f64 = 9.0;
const GAP: f64 = 14.0;
const LEFT: f64 = 40.0;
const TOP: f64 = 44.0;
const HEIGHT: f64 = 220.0;

fn svg(bars: &Bars) -> Result<String, std::fmt::Error> {
    let group = BAR * bars.series.len() as f64 + GAP;
    let width = (LEFT + group * bars.groups.len() as f64 + 10.0).max(640.0);
    let y = |value: f64| TOP + HEIGHT * (1.0 - value.min(bars.top) / bars.top);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"16\" font-weight=\"bold\">{}</text>\n",
        TOP + HEIGHT + 90.0,
        bars.title
    );
    let mut at = LEFT;
    for (number, series) in bars.series.iter().enumerate() {
        writeln!(
            out,
            "<rect x=\"{at:.0}\" y=\"24\" width=\"10\" height=\"10\" fill=\"{}\"/>\
             <text x=\"{:.0}\" y=\"33\">{series}</text>",
            colour(number),
            at + 13.0
        )?;
        at += 30.0 + 6.5 * series.len() as f64;
    }
    for step in 0..=4 {
        let value = bars.top * f64::from(step) / 4.0;
        writeln!(
            out,
            "<path d=\"M{LEFT} {:.1}H{width:.0}\" stroke=\"#ddd\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y(value),
            LEFT - 4.0,
            y(value) + 4.0,
            if bars.top < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
        )?;
    }
    for (index, (name, values)) in bars.groups.iter().enumerate() {
        let left = LEFT + GAP / 2.0 + group * index as f64;
        for (number, value) in values.iter().enumerate() {
            let Some(value) = value.filter(|value| value.is_finite()) else { continue };
            writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\">\
                 <title>{name}, {}: {value:.2}</title></rect>",
                left + BAR * number as f64,
                y(value),
                BAR - 1.0,
                y(0.0) - y(value),
                colour(number),
                bars.series[number]
            )?;
        }
        let (x, low) = (left + (group - GAP) / 2.0, TOP + HEIGHT + 12.0);
        writeln!(out, "<text transform=\"translate({x:.1} {low:.1}) rotate(35)\">{name}</text>")?;
    }
    writeln!(
        out,
        "<path d=\"M{LEFT} {:.1}H{width:.0}\" stroke=\"#000\" stroke-dasharray=\"4 3\"/>",
        y(1.0)
    )?;
    out.push_str("</svg>\n");
    Ok(out)
}

/// The first series is derm, in a distinct colour.
fn colour(number: usize) -> String {
    match number {
        0 => "#06c".to_owned(),
        _ => format!("hsl({} 30% 62%)", (number * 67 + 10) % 360),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_written_between_its_markers() {
        let text = "a\n<!-- t -->\nold\n<!-- end t -->\nb";
        let expected = "a\n<!-- t -->\nnew\n<!-- end t -->\nb";
        assert_eq!(replaced(text, "t", "new\n").unwrap(), expected);
        assert_eq!(replaced(text, "u", "new"), None);
    }
}
