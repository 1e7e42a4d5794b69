//! What must hold of whatever stands in a job, for `fuzz/` and the replay of its corpus.

use super::{bull, processor};

/// Fields of a hash, as [`bull::fuzz::job`] has them.
///
/// # Panics
/// A bound does not hold.
pub fn job(text: &str) {
    processor::read_any(&bull::fuzz::job(text));
}
