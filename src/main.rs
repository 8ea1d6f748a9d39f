//! The `framewright` binary: the command line, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    framewright::cli::run(std::env::args_os(), &mut std::io::stdout(), &mut std::io::stderr())
}
