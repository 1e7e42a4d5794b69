//! Names of rooms as channels: one reversible rule for every foreign name.
//!
//! A room is text in which `:` separates segments, such as `city:Саратов`; a channel
//! name has few characters. [`encode`] makes the one of the other, [`decode`] goes
//! back. The prefix `private-` or `presence-` belongs to neither.
//!
//! There is one channel for each room: rules are written for rooms, and a second
//! spelling would be a way around them. So [`decode`] takes only what [`encode`]
//! makes. `clients/room-vectors.json` holds examples for every implementation.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use unicode_normalization::UnicodeNormalization as _;

/// Separates the segments of a room.
const ROOM_SEPARATOR: char = ':';

/// Separates them in a channel name, where `:` is not allowed.
const CHANNEL_SEPARATOR: char = ';';

/// Begins a segment that is not written as it stands.
const ESCAPE: char = '=';

/// What may stand before an encoded room.
const PREFIXES: [&str; 2] = ["private-", "presence-"];

/// The text is not what [`encode`] makes of any room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the canonical name of a room")]
pub struct NotCanonical;

/// The part of a channel name that stands for `room`.
///
/// The text is brought into Unicode's form C first: keyboards and file systems
/// spell "й" in two ways, and both mean one room.
#[must_use]
pub fn encode(room: &str) -> String {
    let room: String = room.nfc().collect();
    let mut name = String::with_capacity(room.len());
    for (position, segment) in room.split(ROOM_SEPARATOR).enumerate() {
        if position > 0 {
            name.push(CHANNEL_SEPARATOR);
        }
        if is_plain(segment) {
            name.push_str(segment);
        } else {
            name.push(ESCAPE);
            URL_SAFE_NO_PAD.encode_string(segment, &mut name);
        }
    }
    name
}

/// The room that the part of a channel name behind its prefix stands for.
///
/// # Errors
/// [`encode`] never makes such a name.
pub fn decode(name: &str) -> Result<String, NotCanonical> {
    let mut room = String::with_capacity(name.len());
    for (position, segment) in name.split(CHANNEL_SEPARATOR).enumerate() {
        if position > 0 {
            room.push(ROOM_SEPARATOR);
        }
        match segment.strip_prefix(ESCAPE) {
            Some(escaped) => {
                let bytes = URL_SAFE_NO_PAD.decode(escaped).map_err(|_| NotCanonical)?;
                room.push_str(std::str::from_utf8(&bytes).map_err(|_| NotCanonical)?);
            }
            None => room.push_str(segment),
        }
    }
    if encode(&room) == name {
        Ok(room)
    } else {
        Err(NotCanonical)
    }
}

/// The room of a whole channel name.
///
/// # Errors
/// The name has neither prefix, or the rest is not canonical.
pub fn of_channel(channel: &str) -> Result<String, NotCanonical> {
    let name = PREFIXES
        .iter()
        .find_map(|prefix| channel.strip_prefix(prefix))
        .ok_or(NotCanonical)?;
    decode(name)
}

fn is_plain(segment: &str) -> bool {
    !segment.is_empty()
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.,@-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors(list: &str) -> Vec<Value> {
        let vectors: Value =
            serde_json::from_str(include_str!("../../../clients/room-vectors.json")).unwrap();
        vectors[list].as_array().unwrap().clone()
    }

    #[test]
    fn enc_vectors() {
        for vector in vectors("encode") {
            let text = |member: &str| vector[member].as_str().unwrap();
            let channel = text("channel");

            assert_eq!(format!("private-{}", encode(text("room"))), channel);
            assert_eq!(of_channel(channel).as_deref(), Ok(text("decoded")));
        }
        let cyrillic =
            "private-city;=0J_QtdGC0YDQvtC_0LDQstC70L7QstGB0Lot0JrQsNC80YfQsNGC0YHQutC40Lk";
        assert_eq!(
            of_channel(cyrillic).as_deref(),
            Ok("city:Петропавловск-Камчатский")
        );
    }

    #[test]
    fn enc_rejects_noncanonical() {
        for name in vectors("reject") {
            let name = name.as_str().unwrap();

            assert_eq!(of_channel(name), Err(NotCanonical), "{name}");
        }
        assert_eq!(of_channel("operators"), Err(NotCanonical));
    }
}
