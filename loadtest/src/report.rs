//! Figures of one run, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scenario: String,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
}

impl Report {
    pub(crate) fn new(scenario: String) -> Self {
        Self {
            scenario,
            figures: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.figures.push(Figure { name, value, unit });
    }

    pub(crate) fn print(&self) -> io::Result<()> {
        let mut output = io::stdout().lock();
        writeln!(output, "{}", self.scenario)?;
        for Figure { name, value, unit } in &self.figures {
            writeln!(output, "  {name:<40}{value:>14.2} {unit}")?;
        }
        Ok(())
    }
}

/// A line beside the figures.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
