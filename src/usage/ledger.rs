//! Counts of this process in memory: what there is without a database.

use std::collections::BTreeMap;

use super::{Point, Span, Sums};

/// Counts that are kept, some 300 bytes each; above it the oldest go.
const MAX_ROWS: usize = 100_000;

/// Counts of minutes and hours, by app.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    rows: BTreeMap<RowKey, Sums>,
}

/// Ordered by time within a span, so that the oldest are found first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    span: Span,
    start: u64,
    app: String,
}

impl Ledger {
    pub(super) fn add(&mut self, span: Span, start: u64, app: &str, sums: &Sums) {
        let key = RowKey {
            span,
            start,
            app: app.to_owned(),
        };
        self.rows.entry(key).or_default().add(sums);
        // Minutes go before hours: they come first in the order.
        while self.rows.len() > MAX_ROWS {
            self.rows.pop_first();
        }
    }

    /// Forgets what began before `start`.
    pub(super) fn prune(&mut self, span: Span, start: u64) {
        self.rows
            .retain(|key, _| key.span != span || key.start >= start);
    }

    /// The counts of one app, from `from` up to before `to`.
    pub(super) fn read(&self, span: Span, app: &str, from: u64, to: u64) -> Vec<Point> {
        let bound = |start| RowKey {
            span,
            start,
            app: String::new(),
        };
        if from >= to {
            return Vec::new();
        }
        self.rows
            .range(bound(from)..bound(to))
            .filter(|(key, _)| key.app == app)
            .map(|(key, sums)| Point {
                start: key.start,
                sums: *sums,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(messages_sent: u64) -> Sums {
        Sums {
            messages_sent,
            ..Sums::default()
        }
    }

    #[test]
    fn counts_of_one_minute_add_up_and_are_found_by_app_and_time() {
        let mut ledger = Ledger::default();
        for (start, app, number) in [(60, "1", 5), (60, "1", 2), (60, "2", 9), (120, "1", 1)] {
            ledger.add(Span::Minute, start, app, &sent(number));
        }
        ledger.add(Span::Hour, 0, "1", &sent(8));

        let points = ledger.read(Span::Minute, "1", 0, 180);

        let found: Vec<_> = points
            .iter()
            .map(|point| (point.start, point.sums.messages_sent))
            .collect();
        assert_eq!(found, [(60, 7), (120, 1)]);
        assert_eq!(ledger.read(Span::Minute, "1", 0, 120).len(), 1);
        assert_eq!(ledger.read(Span::Minute, "1", 180, 60), []);
        ledger.prune(Span::Minute, 120);
        assert_eq!(ledger.read(Span::Minute, "1", 0, 180).len(), 1);
        assert_eq!(ledger.read(Span::Hour, "1", 0, 3_600).len(), 1);
    }

    #[test]
    fn any_number_of_apps_takes_bounded_room() {
        let mut ledger = Ledger::default();
        for number in 0..MAX_ROWS + 10 {
            ledger.add(Span::Minute, 60, &number.to_string(), &sent(1));
        }
        assert_eq!(ledger.rows.len(), MAX_ROWS);
    }
}
