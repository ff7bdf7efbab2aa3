//! Where everybody of a run is: on the loopback interface, or at the two ends of a wire, on ports that are free now.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::Context;
use seqcast_engine::config::{
    self, Cluster, ClusterNode, Config, Coordinator, FileCoordinator, IoDriver, Line, Prefix, SourceSession,
};
use seqcast_engine::time::Nanos;

use crate::ports::free_ports;

const SESSION: &str = "BENCH00001";
/// Long enough that nobody is taken for dead, or for lagging, because the host took its core away: a benchmark of the
/// data path is no failover drill.
const PATIENCE: Nanos = Nanos::from_secs(5);

/// The places of one run, and its files, which go when this does.
pub(super) struct Site {
    dir: PathBuf,
    feed: Vec<SocketAddrV4>,
    sources: Vec<SourcePlace>,
    nodes: Vec<NodePlace>,
    ends: Ends,
}

/// The addresses of everybody but the standbys, and of those, and which driver moves the stream between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) near: Ipv4Addr,
    pub(super) far: Ipv4Addr,
    pub(super) driver: Option<IoDriver>,
}

impl Ends {
    /// All on the loopback interface.
    pub(super) const LOOPBACK: Ends =
        Ends { near: Ipv4Addr::LOCALHOST, far: Ipv4Addr::LOCALHOST, driver: None };

    /// Who may ask for anything.
    fn everybody(&self) -> Vec<Prefix> {
        vec![Prefix::LOOPBACK, Prefix::host(self.near), Prefix::host(self.far)]
    }

    /// That of node `at`; the first one is to lead.
    fn of(&self, at: usize) -> Ipv4Addr {
        if at == 0 { self.near } else { self.far }
    }
}

struct SourcePlace {
    lines: Vec<SocketAddrV4>,
    rewind: SocketAddrV4,
}

struct NodePlace {
    name: String,
    replication: SocketAddrV4,
    rewind: SocketAddrV4,
}

impl Site {
    /// Places for `sources` publishers, `nodes` sequencers and a feed, each on `lines` lines, with files below `dir`.
    /// `number` tells the runs of this process apart.
    pub(super) fn new(
        dir: &Path,
        number: u64,
        sources: usize,
        nodes: usize,
        lines: usize,
        ends: Ends,
    ) -> anyhow::Result<Site> {
        let mut ports = free_ports(lines + sources * (lines + 1) + 2 * nodes)?.into_iter();
        let mut local = |address| SocketAddrV4::new(address, ports.next().unwrap_or(0));
        let [.., high, low] = std::process::id().to_be_bytes();
        let group = |of: usize| Ipv4Addr::new(239, high | 128, low, of as u8 + 1);
        let feed = (0..lines).map(|line| local(group(line))).collect();
        // All sources share the groups: their ports tell them apart.
        let sources = (0..sources).map(|_| SourcePlace {
            lines: (0..lines).map(|line| local(group(lines + line))).collect(),
            rewind: local(ends.near),
        });
        let sources = sources.collect();
        let nodes = (0..nodes).map(|at| NodePlace {
            name: format!("n{}", at + 1),
            replication: local(ends.of(at)),
            rewind: local(ends.of(at)),
        });
        let nodes = nodes.collect();
        let dir = dir.join(format!("seqcast-bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Site { dir, feed, sources, nodes, ends })
    }

    /// Where node `at` takes commands.
    pub(super) fn control(&self, at: usize) -> SocketAddrV4 {
        self.nodes[at].replication
    }

    /// `base` with the places of the feed and of source `at`.
    pub(super) fn config(&self, base: &Config, at: usize) -> anyhow::Result<Config> {
        let mut config = base.clone();
        config.snapshot = None;
        let feed = config.feed.as_mut().context("no feed")?;
        feed.session = SESSION.parse()?;
        feed.lines = lines(&self.feed, self.ends.near);
        feed.rewind_servers = self.nodes.iter().map(|node| node.rewind).collect();
        feed.snapshot = None;
        let publisher = config.publisher.as_mut().context("no publisher")?;
        let source = &self.sources[at];
        publisher.session = session(at).parse()?;
        publisher.lines = lines(&source.lines, self.ends.near);
        publisher.rewind_bind = source.rewind;
        publisher.allow = self.ends.everybody();
        Ok(config)
    }

    /// `base` with the places of node `at`.
    pub(super) fn node_config(&self, base: &Config, at: usize) -> anyhow::Result<Config> {
        let mut config = self.config(base, 0)?;
        let node = &self.nodes[at];
        let interface = self.ends.of(at);
        if let Some(feed) = &mut config.feed {
            feed.lines = lines(&self.feed, interface);
        }
        let sequencer = config.sequencer.as_mut().context("no sequencer")?;
        sequencer.name.clone_from(&node.name);
        let source = |(at, source): (usize, &SourcePlace)| {
            Ok(config::Source {
                name: format!("publisher{}", at + 1),
                session: SourceSession::Only(session(at).parse()?),
                lines: lines(&source.lines, interface),
                rewind_servers: vec![source.rewind],
                acknowledge: true,
            })
        };
        sequencer.sources = self.sources.iter().enumerate().map(source).collect::<anyhow::Result<_>>()?;
        if let Some(rewind) = &mut config.rewind {
            rewind.bind = node.rewind;
            rewind.allow = self.ends.everybody();
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
            driver: self.ends.driver,
            record_refresh: Nanos::from_millis(250),
            operators: self.ends.everybody(),
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

/// Of source `at`.
fn session(at: usize) -> String {
    format!("BENCHPUB{:02}", at + 1)
}

fn lines(groups: &[SocketAddrV4], interface: Ipv4Addr) -> Vec<Line> {
    let line = |group: &SocketAddrV4| Line { group: *group, interface, source: None };
    groups.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_is_a_good_one_and_files_go() {
        let dir = tempfile::tempdir().unwrap();
        for nodes in 1..=3 {
            let site = Site::new(dir.path(), nodes as u64, 64, nodes, 4, Ends::LOOPBACK).unwrap();
            for at in 0..nodes {
                let config = site.node_config(&Config::default(), at).unwrap();
                assert_eq!(config.cluster.map_or(1, |cluster| cluster.nodes.len()), nodes);
                assert_eq!(config.feed.unwrap().rewind_servers.len(), nodes);
                assert_eq!(config.sequencer.unwrap().sources.len(), 64);
            }
            let sources = [0, 63].map(|at| site.config(&Config::default(), at).unwrap().publisher.unwrap());
            assert!(sources.iter().all(|source| source.lines.len() == 4));
            assert_ne!(sources[0].session, sources[1].session);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
