//! `seqcast config`: prints and checks configurations.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use seqcast_engine::config::{Config, ConfigError, Position, Problem};
use serde::Serialize;

use super::Verdict;
use crate::output::{Output, UsageError};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the default configuration, with a comment at every key
    Default,
    /// Check a configuration: prints what is wrong, and where
    Check(CheckArgs),
    /// Print the configuration that a process would have
    Show(ShowArgs),
}

#[derive(clap::Args)]
struct CheckArgs {
    /// Configuration file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
}

#[derive(clap::Args)]
struct ShowArgs {
    /// Configuration file [default: all roles on the loopback interface of this machine]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

/// Keys given on the command line.
#[derive(clap::Args)]
struct Overrides {
    /// Override a key, such as feed.session=ABC or feed.line[1].group=239.1.2.3:5000; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Overrides {
    /// The configuration of a process: from `file` (none: the default), changed by these, and checked. An override
    /// that cannot be is an error of the command line.
    fn load(&self, file: Option<&Path>) -> anyhow::Result<Config> {
        Config::load(file, &self.set).map_err(|error| {
            if self.blames(&error) { UsageError(error.to_string()).into() } else { error.into() }
        })
    }

    /// Whether one of these could not be applied.
    fn blames(&self, error: &ConfigError) -> bool {
        self.set.contains(&error.origin)
    }
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    match &args.command {
        Command::Default => {
            output.print(&Config::default(), |data| data.write_all(Config::default_toml().as_bytes()))?;
            Ok(Verdict::Good)
        }
        Command::Check(args) => check(args, output),
        Command::Show(args) => {
            let config = args.overrides.load(args.file.as_deref())?;
            let toml = config.to_toml()?;
            output.print(&config, |data| data.write_all(toml.as_bytes()))?;
            Ok(Verdict::Good)
        }
    }
}

#[derive(Serialize)]
struct Checked {
    file: String,
    ok: bool,
    problems: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    key: String,
    what: String,
    line: Option<usize>,
    column: Option<usize>,
    remedy: String,
}

impl From<Problem> for Found {
    fn from(problem: Problem) -> Found {
        let Problem { key, what, at, remedy } = problem;
        let (line, column) = at.map(|Position { line, column }| (line, column)).unzip();
        Found { key, what, line, column, remedy }
    }
}

fn check(args: &CheckArgs, output: Output) -> anyhow::Result<Verdict> {
    let file = args.file.display().to_string();
    // A file that is not there is no verdict about what is in it.
    File::open(&args.file).with_context(|| format!("cannot read {file}"))?;
    let error = match Config::load(Some(&args.file), &args.overrides.set) {
        Ok(_) => {
            let checked = Checked { file, ok: true, problems: Vec::new() };
            output.print(&checked, |data| writeln!(data, "{}: ok", checked.file))?;
            return Ok(Verdict::Good);
        }
        Err(error) if args.overrides.blames(&error) => return Err(UsageError(error.to_string()).into()),
        Err(error) => error,
    };
    let text = error.to_string();
    let problems = error.problems.into_iter().map(Found::from).collect();
    output.print(&Checked { file, ok: false, problems }, |data| writeln!(data, "{text}"))?;
    Ok(Verdict::Bad)
}
