//! Signed requests: no input is believed that the secret did not sign, and none
//! that it did sign is refused.
#![no_main]

use fanfare_protocol::request::{SignedQuery, sign_request};
use fanfare_protocol::trigger::{QueryParameters, Trigger};
use fanfare_protocol::{AppKey, AppSecret, Limits};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_700_000_000;

fuzz_target!(|input: (&str, &str, &[u8], &str)| {
    let (query, path, body, value) = input;
    let secret = AppSecret::new("a secret that the input does not know");

    if let Ok(query) = SignedQuery::parse(query) {
        assert!(query.verify("POST", path, body, &secret, NOW).is_err());
        let _ = query.auth_key();
    }

    let key = AppKey::new("key");
    let signed = sign_request("POST", path, &[("info", value)], body, &key, &secret, NOW);
    let query = SignedQuery::parse(&signed).expect("our own query can be read");
    assert_eq!(query.get("info"), Some(value));
    query
        .verify("POST", path, body, &secret, NOW)
        .expect("our own signature is believed");
    assert!(query.verify("GET", path, body, &secret, NOW).is_err());
    assert!(query.verify("POST", path, body, &secret, NOW + 600).is_err());

    let limits = Limits::default();
    for trigger in Trigger::parse(body, QueryParameters::default(), &limits)
        .into_iter()
        .chain(Trigger::parse_batch(body, &limits).unwrap_or_default())
    {
        assert!(trigger.data.len() <= limits.event_data_bytes);
        assert!((1..=limits.channels_per_event).contains(&trigger.channels.len()));
    }
});
