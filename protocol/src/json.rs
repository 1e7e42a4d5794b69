//! Small readings of raw JSON members.
//!
//! Messages are read as raw members first and converted one by one, so that a
//! member of the wrong type gives an error that names it instead of "invalid".
//! A member that is `null` reads as `None`, like one that is absent.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Reads the members of an object. Arrays are refused, although serde would
/// take their elements for members in order.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    if !text.trim_ascii_start().starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The member as a string, if it is one.
pub(crate) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw.get())
        .ok()
        .map(Cow::Owned)
}

/// The member as a string; a number gives its digits as they were written.
pub(crate) fn text_or_number(raw: &RawValue) -> Option<Cow<'_, str>> {
    let is_number = raw
        .get()
        .starts_with(|first: char| first.is_ascii_digit() || first == '-');
    if is_number {
        Some(Cow::Borrowed(raw.get()))
    } else {
        text(raw)
    }
}

/// The strings of an array; whatever else is in it is passed over.
pub(crate) fn texts(raw: &RawValue) -> Vec<Cow<'_, str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    elements.into_iter().filter_map(text).collect()
}

/// Appends `text` as a JSON string with its quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to memory does not fail");
}
