//! The command line: subcommands, exit codes, and how a failure ends the program.
//!
//! Standard output is data, standard error is talk. Each subcommand is one file here, with its `Args` and
//! `run(args, output)`.

mod bench;
mod book;
mod config;
mod demo;
mod doctor;
mod drill;
mod generate;
mod journal;
mod process;
mod promote;
mod publish;
mod retire;
mod sequence;
mod sim;
mod stats;
mod status;
mod subscribe;
mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use bench::bench_main;

use crate::output::{self, Output, StdoutClosed, UsageError};

const EXIT_CODES: &str = "\
Exit codes:
  0  done, and the verdict is good
  1  done, and the verdict is bad: differences, or what --strict forbids
  2  the command line makes no sense
  3  something could not be read, written or run";

#[derive(Parser)]
#[command(name = "seqcast", version, about = "Sequenced market-data feeds and order books", after_help = EXIT_CODES)]
struct Cli {
    /// Print JSON on standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole path in one process, with faults injected, and a verdict
    #[command(after_help = EXIT_CODES)]
    Demo(demo::Args),
    /// Make a realistic ITCH 5.0 trading day from a seed
    #[command(after_help = EXIT_CODES)]
    Gen(generate::Args),
    /// Count what files hold: messages, sessions, gaps
    #[command(after_help = EXIT_CODES)]
    Stats(stats::Args),
    /// Build order books from a file and show them
    #[command(after_help = EXIT_CODES)]
    Book(book::Args),
    /// Publish a feed from a file, a capture or the generator
    #[command(after_help = EXIT_CODES)]
    Publish(publish::Args),
    /// Put the feeds of publishers into one order and publish that
    #[command(after_help = EXIT_CODES)]
    Sequence(sequence::Args),
    /// Receive a feed, keep its order books, and show or record it
    #[command(after_help = EXIT_CODES)]
    Subscribe(subscribe::Args),
    /// Check, print, follow or export a journal
    #[command(after_help = EXIT_CODES)]
    Journal(journal::Args),
    /// Simulate publishers, sequencers and subscribers under faults, any number of seeds, and judge each run
    #[command(after_help = EXIT_CODES)]
    Sim(sim::Args),
    /// Show who leads a cluster, who follows, and how far everything is
    ///
    /// Exit code 1: something is not as it should be. 3: no node answers.
    #[command(after_help = EXIT_CODES)]
    Status(status::Args),
    /// Make a node of a cluster its primary: the one before hands over in order, or is deposed
    ///
    /// Exit code 1: the node refused.
    #[command(after_help = EXIT_CODES)]
    Promote(promote::Args),
    /// Let the primary of a cluster hand over in order; it stays as a standby
    ///
    /// Exit code 1: the node refused.
    #[command(after_help = EXIT_CODES)]
    Retire(retire::Args),
    /// Failover drills: break a cluster of real processes on purpose, and prove that nothing was lost
    #[command(after_help = EXIT_CODES)]
    Drill(drill::Args),
    /// Compare this host with what Seqcast likes, change it, and change it back
    #[command(after_help = EXIT_CODES)]
    Tune(tune::Args),
    /// Find out what is wrong with this host for a configuration, or why a feed brings no data
    ///
    /// Exit code 1: something does not work.
    #[command(after_help = EXIT_CODES)]
    Doctor(doctor::Args),
    /// Measure how fast this is on this host, and compare results
    ///
    /// Exit code 1: not everything that was sent arrived, or a result is worse than allowed.
    #[command(after_help = EXIT_CODES)]
    Bench(bench::Args),
    /// Print or check configurations
    #[command(after_help = EXIT_CODES)]
    Config(config::Args),
}

/// How a subcommand ended, when it could run; see the exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Bad,
    /// Part of the work was done and printed; what could not be done was said.
    Incomplete,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> ExitCode {
        match verdict {
            Verdict::Good => ExitCode::SUCCESS,
            Verdict::Bad => ExitCode::from(1),
            Verdict::Incomplete => ExitCode::from(3),
        }
    }
}

/// The program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    let output = Output { json: cli.json };
    ended(match cli.command {
        Command::Demo(args) => demo::run(&args, output),
        Command::Gen(args) => generate::run(&args, output),
        Command::Stats(args) => stats::run(&args, output),
        Command::Book(args) => book::run(&args, output),
        Command::Publish(args) => publish::run(&args, output),
        Command::Sequence(args) => sequence::run(&args, output),
        Command::Subscribe(args) => subscribe::run(&args, output),
        Command::Journal(args) => journal::run(&args, output),
        Command::Sim(args) => sim::run(&args, output),
        Command::Status(args) => status::run(&args, output),
        Command::Promote(args) => promote::run(&args, output),
        Command::Retire(args) => retire::run(&args, output),
        Command::Drill(args) => drill::run(&args, output),
        Command::Tune(args) => tune::run(&args, output),
        Command::Doctor(args) => doctor::run(&args, output),
        Command::Bench(args) => bench::run(&args, output),
        Command::Config(args) => config::run(&args, output),
    })
}

/// Says what is wrong with the command line, or what was asked about it.
fn misunderstood(error: &clap::Error) -> ExitCode {
    // A closed stream is no reason to panic: whoever asked is gone.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// Says what went wrong, if anything did.
fn ended(ended: anyhow::Result<Verdict>) -> ExitCode {
    ended.map_or_else(|error| failure(&error), ExitCode::from)
}

fn failure(error: &anyhow::Error) -> ExitCode {
    if StdoutClosed::caused(error) {
        return ExitCode::SUCCESS;
    }
    output::say(format_args!("{error:#}"));
    ExitCode::from(if error.is::<UsageError>() { 2 } else { 3 })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
