//! What clients call themselves, each text once: a connection keeps a number.

use std::sync::{Arc, RwLock};

/// Texts that are kept: more than there are libraries and versions in use. Clients
/// beyond that have none.
const MAX_TEXTS: usize = 256;

/// Characters of a text.
const MAX_LENGTH: usize = 64;

/// The texts; the number of the first one is 1.
#[derive(Debug, Default)]
pub(super) struct Clients(RwLock<Vec<Arc<str>>>);

impl Clients {
    /// The number of a library and its version, 0 for none.
    pub(super) fn number(&self, library: &str, version: &str) -> u16 {
        let text = [library, version].join(" ");
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX_LENGTH {
            return 0;
        }
        let known = |texts: &[Arc<str>]| texts.iter().position(|known| **known == *text);
        let found = known(&self.0.read().expect(SOUND));
        let position = found.or_else(|| {
            let mut texts = self.0.write().expect(SOUND);
            // Somebody may have been faster.
            known(&texts).or_else(|| {
                (texts.len() < MAX_TEXTS).then(|| {
                    texts.push(text.into());
                    texts.len() - 1
                })
            })
        });
        position.map_or(0, |position| u16::try_from(position + 1).unwrap_or(0))
    }

    /// The text of a number.
    pub(super) fn text(&self, number: u16) -> Option<Arc<str>> {
        let position = usize::from(number).checked_sub(1)?;
        self.0.read().expect(SOUND).get(position).cloned()
    }
}

const SOUND: &str = "the texts are never poisoned: no panic under their lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once() {
        let clients = Clients::default();

        let first = clients.number("js", "8.6.0");
        assert_eq!(clients.number("js", "8.6.0"), first);
        let other = clients.number("swift", "");

        assert_eq!(clients.text(first).as_deref(), Some("js 8.6.0"));
        assert_eq!(clients.text(other).as_deref(), Some("swift"));
        assert_eq!(clients.number("", ""), 0);
        assert_eq!(clients.number(&"x".repeat(65), ""), 0);
        assert_eq!(clients.text(0), None);
    }

    #[test]
    fn any_number_of_texts_takes_bounded_room() {
        let clients = Clients::default();
        for number in 0..1_000 {
            clients.number("js", &number.to_string());
        }
        assert_eq!(clients.0.read().unwrap().len(), MAX_TEXTS);
        assert_eq!(clients.number("js", "999"), 0);
        assert_ne!(clients.number("js", "0"), 0);
    }
}
