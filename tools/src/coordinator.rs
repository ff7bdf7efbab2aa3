//! The coordinator that a configuration names.

use anyhow::Context;
use seqcast_engine::config::{Config, Coordinator as Section};
use seqcast_engine::coordinator::FileCoordinator;
use seqcast_engine::replica::{Coordinator, NodeId};

use crate::etcd::EtcdCoordinator;

/// Opens the coordinator of `[cluster]` for the node that the configuration is for; none without a cluster.
pub(crate) fn open(config: &Config) -> anyhow::Result<Option<Box<dyn Coordinator>>> {
    let Some(cluster) = &config.cluster else { return Ok(None) };
    let session = config.feed()?.session;
    let name = &config.sequencer()?.name;
    let at = cluster.nodes.iter().position(|node| node.name == *name);
    let node = NodeId(at.context("sequencer.name is none of the cluster's nodes")? as u16);
    Ok(Some(match &cluster.coordinator {
        Section::File(file) => Box::new(FileCoordinator::open(&file.dir, session, node)?),
        Section::Etcd(etcd) => Box::new(EtcdCoordinator::new(etcd, session)?),
    }))
}
