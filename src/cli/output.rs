//! What the commands print. The only place that writes to the terminal.

use std::io::{self, Write};

/// A line for the user or for the next program. An output that nobody reads any
/// more, such as the pipe to `head`, is no error.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
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
