//! One job, and what its options say. Whatever Redis holds becomes a job: what makes no
//! sense counts as not said.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

/// The name of a job that was given none.
const DEFAULT_NAME: &str = "__default__";

/// Longest time that anything in the options can stand for: a year.
const MAX_MS: f64 = 366.0 * 86_400_000.0;

/// Traces that are kept, if the options do not say how many.
const MAX_TRACES: usize = 100;

/// A job that a worker has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// What is to be done.
    pub name: String,
    /// With what.
    pub data: Value,
    /// How.
    pub options: JobOptions,
    /// When it was added, in Unix milliseconds.
    pub created_ms: u64,
    /// Attempts that failed.
    pub attempts_made: u32,
    /// What they left behind, the oldest first.
    pub traces: Vec<String>,
}

/// What the options of a job say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobOptions {
    /// How often it is tried; zero counts as once.
    pub attempts: u32,
    /// The pause before it is tried again.
    pub backoff: Backoff,
    /// Lower numbers go first; zero: no priority.
    pub priority: u32,
    /// Whether it is the next one rather than the last.
    pub is_lifo: bool,
    /// Time for one attempt.
    pub timeout: Option<Duration>,
    /// What is kept of it when it has succeeded.
    pub keep_completed: Keep,
    /// What is kept of it when it has failed.
    pub keep_failed: Keep,
    /// Traces that are kept.
    pub max_traces: Option<usize>,
    /// Whether it is one of a series, which its worker would have to carry on.
    pub is_repeated: bool,
}

/// The pause before a job is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Backoff {
    /// None.
    #[default]
    None,
    /// Always the same, in milliseconds.
    Fixed(u64),
    /// It grows with each attempt.
    Exponential(u64),
    /// One that only its own program knows.
    Unknown(String),
}

/// What is kept of jobs that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All.
    #[default]
    All,
    /// None.
    None,
    /// The newest.
    Some {
        /// So many.
        count: Option<u64>,
        /// Not longer than so many seconds.
        age: Option<u64>,
    },
}

impl Job {
    /// The job in the fields of a hash.
    pub(super) fn read(id: String, mut fields: HashMap<String, String>) -> Self {
        let json = |text: Option<&String>| {
            text.and_then(|text| serde_json::from_str::<Value>(text).ok())
                .unwrap_or_default()
        };
        let number = |text: Option<&String>| text.and_then(|text| text.parse::<f64>().ok());
        let traces = match json(fields.get("stacktrace")) {
            Value::Array(traces) => traces
                .into_iter()
                .filter_map(|trace| trace.as_str().map(str::to_owned))
                .collect(),
            _ => Vec::new(),
        };
        Self {
            data: json(fields.get("data")),
            options: JobOptions::read(&json(fields.get("opts"))),
            created_ms: number(fields.get("timestamp")).map_or(0, whole),
            attempts_made: number(fields.get("attemptsMade")).map_or(0, small),
            traces,
            name: fields
                .remove("name")
                .unwrap_or_else(|| DEFAULT_NAME.to_owned()),
            id,
        }
    }

    /// The traces with one more, as many as are kept.
    pub(super) fn traces_with(&self, trace: String) -> Vec<String> {
        let most = self.options.max_traces.unwrap_or(MAX_TRACES);
        let mut traces = self.traces.clone();
        traces.push(trace);
        traces.split_off(traces.len().saturating_sub(most))
    }
}

impl JobOptions {
    fn read(options: &Value) -> Self {
        let number = |name: &str| options[name].as_f64().filter(|number| *number > 0.0);
        Self {
            attempts: number("attempts").map_or(1, small),
            backoff: Backoff::read(&options["backoff"]),
            priority: number("priority").map_or(0, small),
            is_lifo: options["lifo"] == Value::Bool(true),
            timeout: number("timeout")
                .map(|timeout| Duration::from_millis(whole(timeout.min(MAX_MS)))),
            keep_completed: Keep::read(&options["removeOnComplete"]),
            keep_failed: Keep::read(&options["removeOnFail"]),
            max_traces: options["stackTraceLimit"]
                .as_u64()
                .map(|most| usize::try_from(most).unwrap_or(MAX_TRACES).min(MAX_TRACES)),
            is_repeated: options["repeat"].is_object(),
        }
    }
}

impl Backoff {
    fn read(backoff: &Value) -> Self {
        let delay = |value: &Value| {
            value
                .as_f64()
                .filter(|delay| *delay > 0.0)
                .map_or(0, |delay| whole(delay.min(MAX_MS)))
        };
        match backoff {
            Value::Number(_) => Self::Fixed(delay(backoff)),
            Value::Object(backoff) => {
                let kind = backoff.get("type").and_then(Value::as_str).unwrap_or("");
                let delay = backoff.get("delay").map_or(0, delay);
                match kind {
                    "fixed" => Self::Fixed(delay),
                    "exponential" => Self::Exponential(delay),
                    other => Self::Unknown(other.to_owned()),
                }
            }
            _ => Self::None,
        }
    }

    /// Milliseconds before the next attempt, when `made` have failed.
    ///
    /// # Errors
    /// Only another program knows it.
    pub fn delay_ms(&self, made: u32) -> Result<u64, String> {
        match self {
            Self::None => Ok(0),
            Self::Fixed(delay) => Ok(*delay),
            Self::Exponential(delay) => {
                let factor = 2u64.saturating_pow(made) - 1;
                Ok(delay.saturating_mul(factor).min(whole(MAX_MS)))
            }
            Self::Unknown(kind) => Err(format!(
                "Unknown backoff strategy {kind}. If a custom backoff strategy is used, specify it when the queue is created."
            )),
        }
    }
}

impl Keep {
    fn read(rule: &Value) -> Self {
        match rule {
            Value::Bool(true) => Self::None,
            Value::Number(count) => match count.as_f64() {
                Some(count) if count < 0.0 => Self::All,
                Some(0.0) => Self::None,
                count => Self::Some {
                    count: count.map(whole),
                    age: None,
                },
            },
            Value::Object(rule) => {
                let number = |name| rule.get(name).and_then(Value::as_f64);
                match number("count") {
                    Some(0.0) => Self::None,
                    count => Self::Some {
                        count: count.filter(|count| *count > 0.0).map(whole),
                        age: number("age").filter(|age| *age >= 0.0).map(whole),
                    },
                }
            }
            _ => Self::All,
        }
    }

    /// Count and seconds as the scripts take them.
    pub(super) fn numbers(self) -> (i64, i64) {
        let number =
            |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(-1));
        match self {
            Self::All => (-1, -1),
            Self::None => (0, -1),
            Self::Some { count, age } => (number(count), number(age)),
        }
    }
}

/// A number of JavaScript as a whole one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is out of range becomes the nearest end"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

fn small(number: f64) -> u32 {
    u32::try_from(whole(number)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(options: &Value) -> JobOptions {
        JobOptions::read(options)
    }

    #[test]
    fn back_off_grows_as_the_one_of_bull() {
        for (backoff, delays) in [
            (json!(null), [0, 0, 0]),
            (json!(1_500), [1_500, 1_500, 1_500]),
            (json!({"type": "fixed", "delay": 7}), [7, 7, 7]),
            (
                json!({"type": "exponential", "delay": 2_000}),
                [2_000, 6_000, 14_000],
            ),
            (json!({"type": "exponential"}), [0, 0, 0]),
            (json!(-5), [0, 0, 0]),
        ] {
            let read = Backoff::read(&backoff);
            let computed = [1, 2, 3].map(|made| read.delay_ms(made).unwrap());
            assert_eq!(computed, delays, "{backoff}");
        }
        let endless = Backoff::Exponential(u64::MAX);
        assert!(endless.delay_ms(u32::MAX).unwrap() < 400 * 86_400_000);
        let custom = Backoff::read(&json!({"type": "jitter"}));
        assert!(custom.delay_ms(1).unwrap_err().contains("jitter"));
    }

    #[test]
    fn what_is_kept_is_read_in_all_its_forms() {
        for (rule, kept) in [
            (json!(null), Keep::All),
            (json!(false), Keep::All),
            (json!(-1), Keep::All),
            (json!(true), Keep::None),
            (json!(0), Keep::None),
            (
                json!(3),
                Keep::Some {
                    count: Some(3),
                    age: None,
                },
            ),
            (
                json!({"age": 60, "count": 2}),
                Keep::Some {
                    count: Some(2),
                    age: Some(60),
                },
            ),
            (json!("always"), Keep::All),
        ] {
            assert_eq!(Keep::read(&rule), kept, "{rule}");
        }
    }

    #[test]
    fn options_that_make_no_sense_are_as_good_as_none() {
        for nonsense in [
            json!(null),
            json!([]),
            json!({"attempts": "many", "timeout": -1, "priority": {}, "backoff": true, "repeat": null}),
            json!({"attempts": -3, "stackTraceLimit": -1}),
        ] {
            assert_eq!(
                options(&nonsense),
                JobOptions {
                    attempts: 1,
                    ..JobOptions::default()
                },
                "{nonsense}"
            );
        }
        let huge = options(&json!({"attempts": 1e300, "timeout": 1e300, "priority": 1e300}));
        assert_eq!((huge.attempts, huge.priority), (u32::MAX, u32::MAX));
    }

    #[test]
    fn fields_that_make_no_sense_make_a_job_without_data() {
        let fields = [("data", "{"), ("opts", "x"), ("attemptsMade", "NaN")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()));

        let job = Job::read("7".to_owned(), fields.into());

        assert_eq!((job.name.as_str(), job.attempts_made), ("__default__", 0));
        assert_eq!(job.data, Value::Null);
    }

    #[test]
    fn the_newest_traces_are_kept() {
        let job = Job {
            traces: vec!["a".to_owned(), "b".to_owned()],
            options: options(&json!({"stackTraceLimit": 2})),
            ..Job::default()
        };

        assert_eq!(job.traces_with("c".to_owned()), ["b", "c"]);
    }
}
