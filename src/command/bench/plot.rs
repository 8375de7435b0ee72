//! Pictures of measurements, as SVG.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

/// Draws points (x on a logarithmic scale) as a line from zero up.
pub fn line(path: &Path, title: &str, [across, up]: [&str; 2], points: &[(f64, f64)]) -> anyhow::Result<()> {
    draw(path, title, [across, up], points)
        .map_err(|error| anyhow!("{error}"))
        .with_context(|| format!("cannot draw {}", path.display()))
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
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d((first * 0.8..last * 1.25).log_scale(), 0.0..top.max(1e-9))?;
    chart.configure_mesh().x_desc(across).y_desc(up).light_line_style(TRANSPARENT).draw()?;
    chart.draw_series(LineSeries::new(points.iter().copied(), BLUE.stroke_width(2)))?;
    chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, BLUE.filled())))?;
    area.present()?;
    Ok(())
}
