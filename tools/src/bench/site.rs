//! Where everybody of a run is: on the loopback interface, on ports that are free now.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::Context;
use seqcast_engine::config::{
    self, Cluster, ClusterNode, Config, Coordinator, FileCoordinator, Line, Prefix, SourceSession,
};
use seqcast_engine::time::Nanos;

use crate::ports::free_ports;

const SESSION: &str = "BENCH00001";
const PUBLISHER: &str = "BENCHPUB";
/// Long enough that nobody is taken for dead, or for lagging, because the host took its core away: a benchmark of the
/// data path is no failover drill.
const PATIENCE: Nanos = Nanos::from_secs(5);

/// The places of one run, and its files, which go when this does.
pub(super) struct Site {
    dir: PathBuf,
    feed: Vec<SocketAddrV4>,
    source: Vec<SocketAddrV4>,
    source_rewind: SocketAddrV4,
    nodes: Vec<NodePlace>,
}

struct NodePlace {
    name: String,
    replication: SocketAddrV4,
    rewind: SocketAddrV4,
}

impl Site {
    /// Places for `nodes` sequencers and a feed on `lines` lines, with files below `dir`. `number` tells the runs of this
    /// process apart.
    pub(super) fn new(dir: &Path, number: u64, nodes: usize, lines: usize) -> anyhow::Result<Site> {
        let mut ports = free_ports(2 * lines + 1 + 2 * nodes)?.into_iter();
        let mut local = |address| SocketAddrV4::new(address, ports.next().unwrap_or(0));
        let [.., high, low] = std::process::id().to_be_bytes();
        let group = |of: usize| Ipv4Addr::new(239, high | 128, low, of as u8 + 1);
        let feed = (0..lines).map(|line| local(group(line))).collect();
        let source = (0..lines).map(|line| local(group(lines + line))).collect();
        let source_rewind = local(Ipv4Addr::LOCALHOST);
        let nodes = (0..nodes).map(|at| NodePlace {
            name: format!("n{}", at + 1),
            replication: local(Ipv4Addr::LOCALHOST),
            rewind: local(Ipv4Addr::LOCALHOST),
        });
        let nodes = nodes.collect();
        let dir = dir.join(format!("seqcast-bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Site { dir, feed, source, source_rewind, nodes })
    }

    /// Where node `at` takes commands.
    pub(super) fn control(&self, at: usize) -> SocketAddrV4 {
        self.nodes[at].replication
    }

    /// `base` with the places of everybody but the sequencers' own.
    pub(super) fn config(&self, base: &Config) -> anyhow::Result<Config> {
        let mut config = base.clone();
        config.snapshot = None;
        let feed = config.feed.as_mut().context("no feed")?;
        feed.session = SESSION.parse()?;
        feed.lines = lines(&self.feed);
        feed.rewind_servers = self.nodes.iter().map(|node| node.rewind).collect();
        feed.snapshot = None;
        let publisher = config.publisher.as_mut().context("no publisher")?;
        publisher.session = PUBLISHER.parse()?;
        publisher.lines = lines(&self.source);
        publisher.rewind_bind = self.source_rewind;
        Ok(config)
    }

    /// `base` with the places of node `at`.
    pub(super) fn node_config(&self, base: &Config, at: usize) -> anyhow::Result<Config> {
        let mut config = self.config(base)?;
        let node = &self.nodes[at];
        let sequencer = config.sequencer.as_mut().context("no sequencer")?;
        sequencer.name.clone_from(&node.name);
        sequencer.sources = vec![config::Source {
            name: "publisher".into(),
            session: SourceSession::Only(PUBLISHER.parse()?),
            lines: lines(&self.source),
            rewind_servers: vec![self.source_rewind],
            acknowledge: true,
        }];
        if let Some(rewind) = &mut config.rewind {
            rewind.bind = node.rewind;
        }
        if let Some(journal) = &mut config.journal {
            journal.dir = self.dir.join(&node.name);
        }
        if self.nodes.len() > 1 {
            // Commits wait for every standby all the time, or there are none.
            sequencer.min_in_sync = Some(self.nodes.len());
            config.cluster = Some(self.cluster());
        }
        config.validate()?;
        Ok(config)
    }

    fn cluster(&self) -> Cluster {
        let of = |node: &NodePlace| ClusterNode { name: node.name.clone(), replication: node.replication };
        Cluster {
            heartbeat: Nanos::from_millis(1),
            suspect_after: PATIENCE,
            max_suspect_after: PATIENCE,
            stagger: Nanos::from_millis(5),
            lag_timeout: PATIENCE,
            window_bytes: 1 << 20,
            record_refresh: Nanos::from_millis(250),
            operators: vec![Prefix::LOOPBACK],
            coordinator: Coordinator::File(FileCoordinator { dir: self.dir.join("coordinator") }),
            nodes: self.nodes.iter().map(of).collect(),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // What cannot be removed is in a directory that is named after this process.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn lines(groups: &[SocketAddrV4]) -> Vec<Line> {
    let line = |group: &SocketAddrV4| Line { group: *group, interface: Ipv4Addr::LOCALHOST, source: None };
    groups.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_is_a_good_one_and_files_go() {
        let dir = tempfile::tempdir().unwrap();
        for nodes in 1..=3 {
            let site = Site::new(dir.path(), nodes as u64, nodes, 2).unwrap();
            for at in 0..nodes {
                let config = site.node_config(&Config::default(), at).unwrap();
                assert_eq!(config.cluster.map_or(1, |cluster| cluster.nodes.len()), nodes);
                assert_eq!(config.feed.unwrap().rewind_servers.len(), nodes);
            }
            assert_eq!(site.config(&Config::default()).unwrap().publisher.unwrap().lines.len(), 2);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
