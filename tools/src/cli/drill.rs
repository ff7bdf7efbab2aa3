//! `seqcast drill`: failover drills with real processes.

use std::io::Write;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::{Verdict, process};
use crate::drill::report::Report;
use crate::drill::scenario::{SCENARIOS, Scenario, named};
use crate::drill::{Drills, Options};
use crate::output::{Output, UsageError};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the drills
    List,
    /// Run drills by name, or `all`
    ///
    /// Real processes of this program: nodes, publishers, subscribers; each node in a network namespace of its own
    /// where that is allowed (as root), on the loopback interface elsewhere. Exit code 1: something was lost, repeated
    /// or reordered, records or books differ, or a drill did not come to its end. How long an outage was decides
    /// nothing.
    Run(RunArgs),
}

#[derive(clap::Args)]
struct RunArgs {
    /// Names of drills, or `all`
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Run each so many times
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    nodes: u16,
    /// Publishers
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    publishers: u16,
    /// Subscribers
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    subscribers: u16,
    /// Messages a second, of all publishers together
    #[arg(long, default_value = "4000", value_name = "PER_SECOND")]
    rate: NonZeroU64,
    /// Who keeps the record of who leads
    #[arg(long, value_enum, default_value_t)]
    coordinator: CoordinatorArg,
    /// On the loopback interface, even where namespaces are allowed
    #[arg(long)]
    loopback: bool,
    /// Override a key of the nodes' configuration, such as cluster.suspect_after=20ms; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Directory for journals, logs and traces; what a failed drill leaves stays there
    /// [default: one in the system's directory for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep what successful drills leave too
    #[arg(long)]
    keep: bool,
    /// Write a picture of every fault of the first repetition, and of every failed one, to this directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum CoordinatorArg {
    /// Files in a directory
    #[default]
    File,
    /// Three members of etcd, started for the drills
    Etcd,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    match &args.command {
        Command::List => list(output),
        Command::Run(args) => drill(args, output),
    }
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    about: &'static str,
    cluster: bool,
    steps: Vec<String>,
}

fn list(output: Output) -> anyhow::Result<Verdict> {
    let listed: Vec<Listed> = SCENARIOS
        .iter()
        .map(|&Scenario { name, about, cluster, steps, .. }| Listed {
            name,
            about,
            cluster,
            steps: steps.iter().map(ToString::to_string).collect(),
        })
        .collect();
    output.print(&listed, |data| {
        let width = listed.iter().map(|one| one.name.len()).max().unwrap_or(0);
        for one in &listed {
            writeln!(data, "{:width$}  {}", one.name, one.about)?;
        }
        Ok(())
    })?;
    Ok(Verdict::Good)
}

/// The drills that `names` mean, each once.
fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    let mut chosen: Vec<&'static Scenario> = Vec::new();
    for name in names {
        let found: Vec<&'static Scenario> = match name.as_str() {
            "all" => SCENARIOS.iter().collect(),
            name => vec![named(name).ok_or_else(|| {
                let near = SCENARIOS.iter().max_by(|a, b| {
                    let likeness = |scenario: &Scenario| strsim::jaro_winkler(name, scenario.name);
                    likeness(a).total_cmp(&likeness(b))
                });
                let near = near.map_or("all", |scenario| scenario.name);
                UsageError(format!(
                    "{name:?} is no drill; did you mean {near}? `seqcast drill list` lists them"
                ))
            })?],
        };
        for scenario in found {
            if chosen.iter().all(|one| one.name != scenario.name) {
                chosen.push(scenario);
            }
        }
    }
    Ok(chosen)
}

fn drill(args: &RunArgs, output: Output) -> anyhow::Result<Verdict> {
    let scenarios = chosen(&args.names)?;
    let stop = process::stop_on_signals()?;
    let temporary = || std::env::temp_dir().join(format!("seqcast-drill-{}", std::process::id()));
    let options = Options {
        nodes: args.nodes.into(),
        publishers: args.publishers.into(),
        subscribers: args.subscribers.into(),
        rate: args.rate.get(),
        etcd: args.coordinator == CoordinatorArg::Etcd,
        loopback: args.loopback,
        dir: std::path::absolute(args.dir.clone().unwrap_or_else(temporary))?,
        keep: args.keep,
        svg: args.svg.clone(),
        set: args.set.clone(),
    };
    let drills = Drills::prepare(options, stop.clone())?;
    let reports: Vec<_> = scenarios.iter().map(|scenario| drills.run(scenario, args.repeat)).collect();
    let interrupted = stop.is_set();
    let report = Report {
        passed: !interrupted && reports.iter().all(|drill| drill.is_good()),
        nodes: args.nodes.into(),
        coordinator: if args.coordinator == CoordinatorArg::Etcd { "etcd" } else { "file" },
        publishers: args.publishers.into(),
        subscribers: args.subscribers.into(),
        messages_per_s: args.rate.get(),
        network: drills.network(),
        drills: reports,
    };
    output.print(&report, |data| report.write_text(data))?;
    Ok(match (report.passed, interrupted) {
        (true, _) => Verdict::Good,
        (false, true) => Verdict::Incomplete,
        (false, false) => Verdict::Bad,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drills_are_chosen_once_each_and_unknown_ones_get_a_suggestion() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(&names).map(|found| found.iter().map(|one| one.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["restart", "restart"]).unwrap(), ["restart"]);
        assert_eq!(names(&["handover", "all"]).unwrap().len(), SCENARIOS.len());
        let error = names(&["kill-primry"]).unwrap_err().to_string();
        assert!(error.contains("did you mean kill-primary?"), "{error}");
    }
}
