//! `seqcast retire`: the primary hands over in order, and stays as a standby.

use anyhow::Context;
use seqcast_engine::agents::links::OperatorCommand;

use super::Verdict;
use super::process::ConfigArgs;
use super::{promote, status};
use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Name of the node [default: the primary]
    #[arg(value_name = "NODE")]
    node: Option<String>,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let config = args.config.load()?;
    let cluster = status::cluster(&config)?;
    let node = match &args.node {
        Some(name) => name.clone(),
        None => {
            let primary = status::primary_of(&status::ask_all(cluster));
            let at = primary
                .context("nobody leads: `seqcast status` shows why; name the node that is to retire")?;
            cluster.nodes[at].name.clone()
        }
    };
    promote::tell(cluster, &node, OperatorCommand::Retire, output)
}
