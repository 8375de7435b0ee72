//! Plots of measurements, as SVG files.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

/// Draws points (x on a logarithmic scale) as a line from zero up.
pub(crate) fn line(path: &Path, title: &str, [across, up]: [&str; 2], points: &[(f64, f64)]) -> anyhow::Result<()> {
    told(path, draw(path, title, [across, up], points))
}

/// Draws how often values lie in each stretch of `step`, from zero up.
pub(crate) fn histogram(
    path: &Path,
    title: &str,
    [across, up]: [&str; 2],
    step: f64,
    values: &[f64],
) -> anyhow::Result<()> {
    let bar = |value: &f64| (value.max(0.0) / step) as usize;
    let mut bars = vec![0usize; values.iter().map(bar).max().unwrap_or(0) + 1];
    values.iter().for_each(|value| bars[bar(value)] += 1);
    told(path, draw_bars(path, title, [across, up], step, &bars))
}

fn told(path: &Path, drawn: Result<(), Box<dyn std::error::Error>>) -> anyhow::Result<()> {
    drawn.map_err(|error| anyhow!("{error}")).with_context(|| format!("cannot draw {}", path.display()))
}

/// A white picture with its title and room for two axes.
fn framed<'a, 'b>(
    area: &'a DrawingArea<SVGBackend<'b>, Shift>,
    title: &str,
) -> Result<ChartBuilder<'a, 'b, SVGBackend<'b>>, Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area);
    chart.caption(title, ("sans-serif", 22)).margin(16).x_label_area_size(44).y_label_area_size(72);
    Ok(chart)
}

fn draw_bars(
    path: &Path,
    title: &str,
    [across, up]: [&str; 2],
    step: f64,
    bars: &[usize],
) -> Result<(), Box<dyn std::error::Error>> {
    let top = bars.iter().copied().max().unwrap_or(0) as f64 * 1.1;
    let area = SVGBackend::new(path, (800, 480)).into_drawing_area();
    let mut chart = framed(&area, title)?.build_cartesian_2d(0.0..bars.len() as f64 * step, 0.0..top.max(1.0))?;
    chart.configure_mesh().x_desc(across).y_desc(up).light_line_style(TRANSPARENT).draw()?;
    let bar = |(n, count): (usize, &usize)| {
        Rectangle::new([(n as f64 * step, 0.0), ((n + 1) as f64 * step, *count as f64)], BLUE.mix(0.5).filled())
    };
    chart.draw_series(bars.iter().enumerate().map(bar))?;
    area.present()?;
    Ok(())
}

fn draw(
    path: &Path,
    title: &str,
    [across, up]: [&str; 2],
    points: &[(f64, f64)],
) -> Result<(), Box<dyn std::error::Error>> {
    let (first, last) = (points.first().map_or(1.0, |p| p.0), points.last().map_or(10.0, |p| p.0));
    let top = points.iter().map(|p| p.1).fold(0.0, f64::max) * 1.25;
    let area = SVGBackend::new(path, (800, 480)).into_drawing_area();
    let mut chart =
        framed(&area, title)?.build_cartesian_2d((first * 0.8..last * 1.25).log_scale(), 0.0..top.max(1e-9))?;
    chart.configure_mesh().x_desc(across).y_desc(up).light_line_style(TRANSPARENT).draw()?;
    chart.draw_series(LineSeries::new(points.iter().copied(), BLUE.stroke_width(2)))?;
    chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, BLUE.filled())))?;
    area.present()?;
    Ok(())
}
