//! The `seqcast` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    seqcast::cli::main()
}
