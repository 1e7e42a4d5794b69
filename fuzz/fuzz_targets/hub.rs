//! The hub against a model of it: the input spells the steps.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/wire/model.rs"]
mod model;

fuzz_target!(|steps: &[u8]| {
    // Longer ones only repeat themselves, and each starts a hub of its own.
    let steps = &steps[..steps.len().min(1_000)];
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers starts")
        .block_on(model::run(steps));
});
