//! Figures of one run, for people and for programs.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::html;
use crate::process::Spent;

/// Points of a curve of quantiles.
const QUANTILES: [f64; 12] = [
    0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0,
];

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    pub(crate) what: String,
    pub(crate) figures: Vec<Figure>,
    pub(crate) series: Vec<Series>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// A curve.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// What the first number of each point is.
    pub(crate) over: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Report {
    pub(crate) fn new(scenario: &'static str, what: String) -> Self {
        Self {
            scenario,
            what,
            figures: Vec::new(),
            series: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
        });
    }

    pub(crate) fn series(
        &mut self,
        name: &'static str,
        over: &'static str,
        points: Vec<(f64, f64)>,
    ) {
        if points.len() > 1 {
            self.series.push(Series { name, over, points });
        }
    }

    /// Adds what this program has spent itself: with less to spare than the server
    /// it would be the one that is measured.
    pub(crate) fn own_cpu(&mut self, per: &str, spent: &Spent, times: f64) {
        self.add(
            format!("this program's CPU per {per}"),
            spent.own_cpu_us / times,
            "us",
        );
        self.add(
            "this program's share of one processor",
            spent.own_cpu_us / spent.seconds / 10_000.0,
            "%",
        );
    }

    /// Adds the time from when messages were due until they arrived.
    pub(crate) fn latency(&mut self, histogram: &Histogram<u64>) {
        for (name, quantile) in [
            ("latency p50", 0.5),
            ("latency p99", 0.99),
            ("latency max", 1.0),
        ] {
            self.add(name, milliseconds(histogram, quantile), "ms");
        }
        self.quantiles("latency in milliseconds", histogram);
    }

    /// Adds the time from requests to their answers.
    pub(crate) fn answers(&mut self, histogram: &Histogram<u64>) {
        self.add("answer p50", milliseconds(histogram, 0.5), "ms");
        self.add("answer p99", milliseconds(histogram, 0.99), "ms");
        self.quantiles("answers in milliseconds", histogram);
    }

    fn quantiles(&mut self, name: &'static str, histogram: &Histogram<u64>) {
        let points = QUANTILES
            .iter()
            .map(|quantile| (quantile * 100.0, milliseconds(histogram, *quantile)))
            .collect();
        self.series(name, "percent of all", points);
    }

    /// Writes the figures to the standard output, and a page to `page`.
    pub(crate) fn publish(&self, as_json: bool, page: Option<&Path>) -> anyhow::Result<()> {
        if let Some(page) = page {
            std::fs::write(page, html::page(self))
                .with_context(|| format!("{} cannot be written", page.display()))?;
        }
        let mut output = io::stdout().lock();
        if as_json {
            serde_json::to_writer_pretty(&mut output, self)?;
            writeln!(output)?;
            return Ok(());
        }
        writeln!(output, "{}: {}", self.scenario, self.what)?;
        for Figure { name, value, unit } in &self.figures {
            writeln!(output, "  {name:<40}{value:>14.2} {unit}")?;
        }
        Ok(())
    }
}

fn milliseconds(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1_000.0
}

/// A line beside the figures.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
