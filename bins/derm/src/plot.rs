//! Charts as SVG.

use plotters::coord::Shift;
use plotters::prelude::*;

/// Drawing area: what a chart is drawn on.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Font of axes and legends.
pub const FONT: (&str, u32) = ("sans-serif", 22);

/// Font of titles.
pub const TITLE: (&str, u32) = ("sans-serif", 26);

/// Pixels for the numbers and the name of an axis.
pub const AXIS: u32 = 90;

/// Pixels for a legend, at the right of a chart.
pub const LEGEND: u32 = 320;

/// Returns the SVG of what is drawn on a white area of so many pixels. Coordinates are whole pixels: a chart is drawn
/// larger than it is shown.
///
/// # Errors
///
/// Those of `draw`.
pub fn svg(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
    area.fill(&WHITE)?;
    draw(&area)?;
    area.present()?;
    drop(area);
    Ok(text)
}

/// Curve: a line through points, both of whose coordinates are 0..=1.
pub struct Curve {
    /// Text of the legend; empty for a line that is not in it.
    pub name: String,
    /// The points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Each point is marked.
    pub dots: bool,
}

/// Draws curves of one share over another and the diagonal, with a legend at the right.
///
/// # Errors
///
/// The area is too small.
pub fn shares(
    area: &Area<'_>,
    title: &str,
    (across, up): (&str, &str),
    curves: &[Curve],
) -> anyhow::Result<()> {
    let (left, right) = area.split_horizontally(area.dim_in_pixel().0 - LEGEND);
    let mut chart = ChartBuilder::on(&left)
        .caption(title, TITLE)
        .margin(10)
        .x_label_area_size(AXIS)
        .y_label_area_size(AXIS)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(across).y_desc(up).label_style(FONT).axis_desc_style(FONT);
    mesh.x_labels(6).y_labels(6).light_line_style(TRANSPARENT).draw()?;
    chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], BLACK.mix(0.2)))?;
    let coloured =
        || curves.iter().enumerate().map(|(at, curve)| (curve, Palette99::pick(at).to_rgba()));
    for (curve, colour) in coloured() {
        let points = curve.points.iter().copied();
        chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(3)))?;
        let dots = points.filter(|_| curve.dots);
        chart.draw_series(dots.map(|point| Circle::new(point, 7, colour.filled())))?;
    }
    let named = coloured().filter(|(curve, _)| !curve.name.is_empty());
    legend(&right, named.map(|(curve, colour)| (curve.name.as_str(), colour)))
}

/// Draws the names of series with their colours.
///
/// # Errors
///
/// The backend's; that of SVG has none.
pub fn legend<'a>(
    area: &Area<'_>,
    series: impl IntoIterator<Item = (&'a str, RGBAColor)>,
) -> anyhow::Result<()> {
    for ((name, colour), line) in series.into_iter().zip(0..) {
        let y = 60 + 30 * line;
        area.draw(&Rectangle::new([(10, y), (34, y + 14)], colour.filled()))?;
        area.draw(&Text::new(name, (44, y - 3), FONT))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_its_axes_and_names_as_text() -> anyhow::Result<()> {
        let curves = [
            Curve { name: "<script>".to_owned(), points: vec![(0.0, 0.0), (1.0, 0.5)], dots: true },
            Curve { name: String::new(), points: vec![(0.0, 1.0), (1.0, 0.0)], dots: false },
        ];
        let text = svg((900, 600), |area| shares(area, "a title", ("across", "up"), &curves))?;
        for expected in ["a title", "across", "up", "&lt;script&gt;", "\n1.0\n"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("<script>") && text.trim_end().ends_with("</svg>"), "{text}");
        let count = |tag: &str| text.matches(tag).count();
        assert_eq!((count("stroke-width=\"3\""), count("<circle")), (2, 2), "{text}");
        Ok(())
    }
}
