//! How far a run is: shown on a terminal, and kept as a series for the report.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::ledger::Tally;

/// Between two points of the series.
const INTERVAL: Duration = Duration::from_millis(100);

/// A bar on a terminal; nothing elsewhere.
pub(crate) fn bar(what: &'static str, steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// Watches `tally` for as long as it is polled, and adds a point for each interval
/// to `points`: seconds since the start, and deliveries per second.
pub(crate) async fn watch(tally: &Tally, points: &mut Vec<(f64, f64)>) {
    let bar = bar("deliveries", tally.expected());
    let began = Instant::now();
    let mut last = (began, 0);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (now, delivered) = (Instant::now(), tally.delivered());
        bar.set_position(delivered as u64);
        let rate = (delivered - last.1) as f64 / (now - last.0).as_secs_f64();
        points.push(((now - began).as_secs_f64(), rate));
        last = (now, delivered);
    }
}
