//! A sequencer's nodes at a site.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use serde_json::Value;

use super::*;

/// Nodes of a cluster.
pub const NODES: usize = 3;

/// A sequencer's nodes at a site.
pub struct Nodes<'a> {
    pub site: &'a Site,
    pub replication: Vec<SocketAddrV4>,
    pub rewind: Vec<SocketAddrV4>,
    pub snapshot: Vec<SocketAddrV4>,
}

fn listed(addresses: &[SocketAddrV4]) -> String {
    let quoted: Vec<_> = addresses.iter().map(|address| format!("'{address}'")).collect();
    format!("[{}]", quoted.join(", "))
}

impl<'a> Nodes<'a> {
    /// Nodes on ports of their own.
    pub fn new(site: &'a Site) -> Nodes<'a> {
        let ports = free_ports(3 * NODES);
        let at = |from: usize| {
            let ports = ports[from * NODES..][..NODES].iter();
            ports.map(|&port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).collect()
        };
        Nodes { site, replication: at(0), rewind: at(1), snapshot: at(2) }
    }

    /// Section `[cluster]`.
    pub fn cluster(&self) -> String {
        let node =
            |(at, address): (usize, &SocketAddrV4)| format!("{{name='n{at}', replication='{address}'}}");
        let nodes: Vec<_> = self.replication.iter().enumerate().map(node).collect();
        let dir = self.site.path("coordinator");
        // Many processes share few cores here: only the end of a connection is a death.
        format!(
            "{{suspect_after='20s', max_suspect_after='60s', lag_timeout='20s', \
             coordinator={{kind='file', dir='{}'}}, node=[{}]}}",
            dir.display(),
            nodes.join(", ")
        )
    }

    /// Node number `at`, to be started.
    pub fn node(&self, at: usize) -> Seqcast {
        let journal = self.site.path(&format!("journal{at}"));
        self.site
            .sequence()
            .set("sequencer.name", &format!("n{at}"))
            .set("sequencer.min_in_sync", "2")
            .set("journal.dir", &format!("{:?}", journal.display().to_string()))
            .set("rewind.bind", &self.rewind[at].to_string())
            .set("snapshot.bind", &self.snapshot[at].to_string())
            .set("cluster", &self.cluster())
            .set("runtime", "{spins=10, yields=2, park_max='200us'}")
    }

    /// Starts node number `at`.
    pub fn start(&self, at: usize) -> Proc {
        self.node(at).start()
    }

    /// A subscriber that knows the rewind servers of all nodes.
    pub fn subscribe(&self, record: &Path) -> Seqcast {
        self.site
            .subscribe(record)
            .set("feed.rewind_servers", &listed(&self.rewind))
            .set("runtime", "{spins=10, yields=2, park_max='200us'}")
    }

    /// Its books from a snapshot server.
    pub fn join(&self, record: &Path) -> Proc {
        let servers = format!("{{servers={}, username='demo', password='demo'}}", listed(&self.snapshot));
        self.subscribe(record).set("feed.snapshot", &servers).set("subscriber.start", "snapshot").start()
    }

    /// What `seqcast status` says.
    pub fn status(&self) -> Value {
        let path = self.site.path("status.toml");
        std::fs::write(&path, "").expect("writing a configuration");
        let status = Seqcast::new("status").arg("--json").arg("--config").arg(path);
        status.set("cluster", &self.cluster()).start().done().json()
    }

    /// Waits until a node other than `not` leads, with `members` nodes in its set, and gives it.
    pub fn primary(&self, not: Option<usize>, members: usize) -> usize {
        let mut found = None;
        wait_for("a primary with its standbys", || {
            let status = self.status();
            let place = |name: &str| name.strip_prefix('n').and_then(|at| at.parse().ok());
            let primary: Option<usize> = status["primary"].as_str().and_then(place);
            let report = primary.map(|at| &status["nodes"][at]["status"]);
            let stored = report.and_then(|report| report["stored"].as_array()).map_or(0, Vec::len);
            found = primary.filter(|&at| Some(at) != not && stored == members);
            found.is_some()
        });
        found.expect("it was waited for")
    }
}
