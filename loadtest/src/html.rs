//! A report as a page of its own: no script, nothing from elsewhere.

use std::fmt::Write;

use crate::report::{Report, Series};

/// The drawing of a chart, in its own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// Room for the numbers at the axes.
const LEFT: f64 = 70.0;
const MARGIN: f64 = 24.0;
/// Lines across a chart.
const LINES: u32 = 4;

const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse}td,th{padding:.2rem 1rem .2rem 0;text-align:left}\
td.number{text-align:right;font-variant-numeric:tabular-nums}\
svg{width:100%;height:auto}svg text{font-size:12px}\
.line{fill:none;stroke:#0b5fad;stroke-width:2}.grid{stroke:#ccc}";

/// The page of `report`.
pub(crate) fn page(report: &Report) -> String {
    let title = escape(&format!("{}: {}", report.scenario, report.what));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>{STYLE}</style>\n<h1>{}</h1>\n<p>{}</p>\n<table>\n<tr><th>Figure<th>Value<th>Unit\n",
        escape(report.scenario),
        escape(&report.what)
    );
    for figure in &report.figures {
        page.push_str(&format!(
            "<tr><td>{}<td class=\"number\">{:.2}<td>{}\n",
            escape(&figure.name),
            figure.value,
            escape(figure.unit)
        ));
    }
    page.push_str("</table>\n");
    for series in &report.series {
        page.push_str(&chart(series));
    }
    page
}

fn chart(series: &Series) -> String {
    let name = escape(series.name);
    let ends = |of: fn(&(f64, f64)) -> f64| {
        let values = series.points.iter().map(of);
        values.fold((f64::MAX, f64::MIN), |(least, most), value| {
            (least.min(value), most.max(value))
        })
    };
    let (first, last) = ends(|point| point.0);
    let (_, most) = ends(|point| point.1);
    // A curve of zeros is drawn at the bottom.
    let (width, most) = ((last - first).max(f64::EPSILON), most.max(f64::EPSILON));
    let x = |value: f64| LEFT + (value - first) / width * (WIDTH - LEFT - MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - value / most * (HEIGHT - 2.0 * MARGIN);

    let mut svg = format!(
        "<h2>{name}</h2>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name}\">\n"
    );
    for line in 0..=LINES {
        let part = f64::from(line) / f64::from(LINES);
        let (across, up) = (first + part * width, part * most);
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{height:.1}\" y2=\"{height:.1}\"/><text x=\"{}\" y=\"{height:.1}\" text-anchor=\"end\">{up:.1}</text><text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{across:.1}</text>",
            WIDTH - MARGIN,
            LEFT - 6.0,
            x(across),
            HEIGHT - 6.0,
            height = y(up),
        );
    }
    let points: Vec<String> = series
        .points
        .iter()
        .map(|(over, value)| format!("{:.1},{:.1}", x(*over), y(*value)))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline class=\"line\" points=\"{}\"/>\n</svg>\n<p>Over: {}</p>",
        points.join(" "),
        escape(series.over)
    );
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
