//! Brings bytes to the parsers that are private to their modules.
//!
//! Not a part of the server: it is there for `fuzz/` (`--cfg fuzzing`) and for the test
//! that replays the corpus. What must hold of each parser stands beside it, in a file
//! `fuzz.rs`.

use crate::{adapter, config, engine, transport, webhook};

/// One target for many parsers, because each program costs seconds to link. The first
/// byte chooses: `a` the first, and so on round.
///
/// # Panics
/// What must hold does not.
pub fn parsers(input: &[u8]) {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
    let on_text = |check: fn(&str)| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            check(text);
        }
    };
    match first.wrapping_sub(b'a') % 14 {
        0 => engine::fuzz::message(bytes),
        1 => on_text(engine::fuzz::fields),
        2 => on_text(adapter::chat::fuzz::delivery),
        3 => on_text(adapter::rooms::fuzz::broadcast),
        4 => on_text(adapter::auth::fuzz::token),
        5 => adapter::auth::fuzz::issuer(bytes),
        6 => on_text(adapter::order_worker::fuzz::job),
        7 => on_text(config::fuzz::file),
        8 => on_text(config::fuzz::migration),
        9 => on_text(config::fuzz::url),
        10 => on_text(webhook::fuzz::webhook),
        11 => webhook::fuzz::target(bytes),
        12 => transport::fuzz::messages(bytes),
        _ => on_text(transport::fuzz::path),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn what_stands_in_the_corpus_does_no_harm() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/parsers");
        let mut chosen = std::collections::BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let input = std::fs::read(entry.unwrap().path()).unwrap();
            chosen.insert(input[0]);
            super::parsers(&input);
        }
        assert_eq!(chosen.len(), 14, "each parser has a seed: {chosen:?}");
    }
}
