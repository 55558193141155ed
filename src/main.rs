//! The process: arguments to the terminal face, its answer to the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(lifeboat::cli::run(std::env::args_os()))
}
