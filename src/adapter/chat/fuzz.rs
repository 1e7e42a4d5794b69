//! What must hold of whatever a broker delivers, for `fuzz/` and the replay of its corpus.

use serde::de::IgnoredAny;

use super::binding::Bindings;
use super::update;

/// Small, so that it is reached.
const LIMIT: usize = 400;

/// A routing key, and after the first line the body of a delivery.
///
/// # Panics
/// Somebody gets what is no JSON, is too large, or is not theirs.
pub fn delivery(text: &str) {
    let (routing_key, body) = text.split_once('\n').unwrap_or((text, ""));
    let forms = [
        "user.{userId}.*",
        "user.{type}.{userId}.*",
        "update.*.{type}.{userId}.*",
    ]
    .map(str::to_owned);
    let bindings = Bindings::new(&forms);
    for user in bindings.users(routing_key) {
        assert!(routing_key.split('.').any(|word| word == user.as_str()));
        let Ok(reading) = update::read(body.as_bytes(), &user, LIMIT) else {
            continue;
        };
        assert!((1..=2).contains(&reading.events.len()));
        for event in &reading.events {
            serde_json::from_str::<IgnoredAny>(&event.data).expect("what pages get is JSON");
            // A shortened one repeats some short members.
            assert!(event.data.len() <= LIMIT.max(2_048), "{}", event.data.len());
        }
    }
}
