//! The command line of a program that measures others beside this one.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::common::{Common, Defaults};
use crate::bench::{Report, Session};
use crate::cli::{self, EXIT_CODES};
use crate::output::Output;

#[derive(Parser)]
#[command(after_help = EXIT_CODES)]
struct Cli<What: Subcommand> {
    /// Print JSON on standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    what: What,
}

/// The program `name`, which measures others beside Seqcast: it has the options of `seqcast bench`, and `What` for
/// subcommands. `run` measures what was asked for; the report is printed and written as that of `seqcast bench` is.
pub fn bench_main<What: Subcommand>(
    name: &'static str,
    about: &'static str,
    run: impl FnOnce(&Session, &What) -> anyhow::Result<Report>,
) -> ExitCode {
    let matches = Cli::<What>::command().name(name).about(about).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::<What>::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return cli::misunderstood(&error),
    };
    let Cli { json, common, what } = cli;
    let ended = common.session(Defaults::USUAL).and_then(|session| {
        let report = run(&session, &what)?;
        common.finish(&report, Output { json })
    });
    cli::ended(ended)
}
