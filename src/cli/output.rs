//! What the commands print. The only place that writes to the terminal.

use std::borrow::Cow;
use std::io::{self, Write};

/// A line for the user or for the next program. An output that nobody reads any
/// more, such as the pipe to `head`, is no error.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Text of somebody else on one line: with control characters it could move the
/// cursor or pretend to be another event.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// A line about what goes on, beside the output.
pub(super) fn note(text: &str) {
    // Nobody is left to be told.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Why the command failed, with what led to it.
pub(super) fn error(error: &anyhow::Error) {
    note(&format!("fanfare: {error:#}"));
}
