//! `seqcast promote`: makes a node primary.

use std::io::Write;
use std::time::Duration;

use seqcast_engine::agents::links::OperatorCommand;
use seqcast_engine::config::Cluster;
use serde::Serialize;

use super::Verdict;
use super::process::ConfigArgs;
use super::status;
use crate::control;
use crate::output::{Output, UsageError};

/// Longer than a node takes to say that it does not know.
const PATIENCE: Duration = Duration::from_secs(35);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Name of the node
    #[arg(value_name = "NODE")]
    node: String,
}

#[derive(Serialize)]
struct Told<'a> {
    node: &'a str,
    #[serde(flatten)]
    outcome: control::Outcome,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let config = args.config.load()?;
    tell(status::cluster(&config)?, &args.node, OperatorCommand::Promote, output)
}

/// Tells the node `name` what to do, and the user what became of it.
pub(super) fn tell(
    cluster: &Cluster,
    name: &str,
    command: OperatorCommand,
    output: Output,
) -> anyhow::Result<Verdict> {
    let Some(node) = cluster.nodes.iter().find(|node| node.name == name) else {
        let known: Vec<_> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
        return Err(UsageError(format!("{name:?} is no node; known: {}", known.join(", "))).into());
    };
    let outcome = control::command(node.replication, command, PATIENCE)
        .map_err(|error| anyhow::anyhow!("{name} at {}: {error}", node.replication))?;
    let told = Told { node: name, outcome };
    output.print(&told, |data| {
        let control::Outcome { command, outcome, what } = &told.outcome;
        writeln!(data, "{name}: {command}: {outcome}: {what}")
    })?;
    Ok(match told.outcome.outcome.as_str() {
        "done" => Verdict::Good,
        "refused" => Verdict::Bad,
        _ => Verdict::Incomplete,
    })
}
