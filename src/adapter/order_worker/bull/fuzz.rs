//! What must hold of whatever stands in the hash of a job, for `fuzz/` and the replay of
//! its corpus.

use std::collections::HashMap;

use super::Job;

/// Fields of a hash, a name and a value on each line with a `=` between them.
///
/// # Panics
/// A bound does not hold.
pub fn job(text: &str) -> Job {
    let fields: HashMap<String, String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let job = Job::read("7".to_owned(), fields);
    let kept = job.traces_with("the newest".to_owned()).len();
    assert!(kept <= 100 && kept <= job.traces.len() + 1);
    let year = 366 * 86_400_000;
    for made in [0, 1, job.attempts_made, u32::MAX] {
        assert!(job.options.backoff.delay_ms(made).unwrap_or(0) <= year);
    }
    for keep in [job.options.keep_completed, job.options.keep_failed] {
        let (count, age) = keep.numbers();
        assert!(count >= -1 && age >= -1);
    }
    job
}
