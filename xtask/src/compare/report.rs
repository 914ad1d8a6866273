//! Tables in a Markdown file, and bar charts beside it.

use anyhow::Context;
use derm_cli::plot::{self, AXIS, FONT, LEGEND, TITLE};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
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
    /// Upper end of the axis; longer bars are cut off and say their values.
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

/// Pixels of a bar, between groups, of the plot's height, and of the groups' names.
const BAR: usize = 16;
const GAP: usize = 24;
const HEIGHT: u32 = 440;
const NAMES: u32 = 300;

fn svg(bars: &Bars) -> anyhow::Result<String> {
    let group = BAR * bars.series.len() + GAP;
    let width = group * bars.groups.len().max(4);
    let left = |index: usize| group * index + GAP / 2;
    plot::svg((width as u32 + AXIS + LEGEND, HEIGHT + NAMES), |area| {
        let (whole, legend) = area.split_horizontally(width as u32 + AXIS);
        let (upper, lower) = whole.split_vertically(HEIGHT);
        let mut chart = ChartBuilder::on(&upper)
            .caption(&bars.title, TITLE)
            .margin_top(10)
            .margin_left(10)
            .y_label_area_size(AXIS - 10)
            .build_cartesian_2d(0..width, 0.0..bars.top)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().disable_x_axis().light_line_style(TRANSPARENT).y_labels(5);
        mesh.y_desc("ratio").label_style(FONT).axis_desc_style(FONT).draw()?;
        for number in 0..bars.series.len() {
            let values = bars.groups.iter().map(|(_, values)| values[number]).enumerate();
            let found: Vec<(usize, f64)> = values
                .filter_map(|(index, value)| Some((left(index) + BAR * number, value?)))
                .filter(|(_, value)| value.is_finite())
                .collect();
            chart.draw_series(found.iter().map(|&(x, value)| {
                let corners = [(x, 0.0), (x + BAR - 2, value.min(bars.top))];
                Rectangle::new(corners, colour(number).filled())
            }))?;
            let cut_off = found.iter().filter(|(_, value)| *value > bars.top);
            chart.draw_series(cut_off.map(|&(x, value)| {
                Text::new(format!("{value:.1}"), (x + BAR / 2, bars.top), vertical())
            }))?;
        }
        let one = [(0, 1.0), (width, 1.0)];
        chart.draw_series(LineSeries::new(one, BLACK))?;
        for (index, (name, _)) in bars.groups.iter().enumerate() {
            let (x, _) = chart.backend_coord(&(left(index) + (group - GAP) / 2, 0.0));
            lower.draw(&Text::new(name.as_str(), (x, 8), vertical()))?;
        }
        let series = bars.series.iter().enumerate();
        plot::legend(&legend, series.map(|(number, name)| (name.as_str(), colour(number))))
    })
}

/// Text that is read upwards and ends at its position.
fn vertical() -> TextStyle<'static> {
    let end = Pos::new(HPos::Right, VPos::Center);
    FONT.into_font().transform(FontTransform::Rotate270).color(&BLACK).pos(end)
}

/// The first series is derm, in a distinct colour.
fn colour(number: usize) -> RGBAColor {
    match number {
        0 => RGBColor(0, 102, 204).to_rgba(),
        _ => HSLColor((number * 67 + 10) as f64 % 360.0 / 360.0, 0.3, 0.62).to_rgba(),
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

    #[test]
    fn bars_have_their_names_and_those_cut_off_their_values() -> anyhow::Result<()> {
        let bars = Bars {
            title: "times <1>".to_owned(),
            series: vec!["derm".to_owned(), "other".to_owned()],
            groups: vec![
                ("a".to_owned(), vec![Some(0.5), Some(9.25)]),
                ("b".to_owned(), vec![None, Some(f64::NAN)]),
            ],
            top: 2.0,
        };
        let text = svg(&bars)?;
        for expected in ["times &lt;1&gt;", "derm", "other", ">\na\n<", ">\nb\n<", ">\n9.2\n<"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let drawn = |number| text.matches(&format!("fill=\"{}\"", hex(colour(number)))).count();
        // The bar and its sample in the legend.
        assert_eq!((drawn(0), drawn(1)), (2, 2), "{text}");
        Ok(())
    }

    fn hex(colour: RGBAColor) -> String {
        let (r, g, b) = colour.rgb();
        format!("#{r:02X}{g:02X}{b:02X}")
    }
}
