//! The `fanfare` program: reads its arguments and runs one command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
