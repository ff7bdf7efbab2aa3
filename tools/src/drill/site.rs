//! Where everybody is, and the configurations that say so.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use super::net::{HostId, Net};
use crate::ports::free_ports;

/// Session of the feed.
pub(crate) const SESSION: &str = "DRILL00001";

/// What a drill is made of.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Sequencers; one is alone, several are a cluster.
    pub(crate) nodes: usize,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// Messages a second, of all publishers together.
    pub(crate) rate: u64,
    /// Overrides of the nodes' configuration.
    pub(crate) set: Vec<String>,
}

/// Who keeps the record of a cluster.
#[derive(Clone, Debug)]
pub(crate) enum CoordinatorSite {
    /// A directory, which every node knows by a name of its own.
    File,
    /// An etcd cluster at these addresses, and what the record's key begins with.
    Etcd(Vec<SocketAddrV4>, String),
}

/// A publisher's places.
#[derive(Clone, Debug)]
pub(crate) struct PublisherSite {
    pub(crate) session: String,
    lines: [SocketAddrV4; 2],
    rewind: SocketAddrV4,
}

/// A sequencer's places.
#[derive(Clone, Debug)]
pub(crate) struct NodeSite {
    pub(crate) name: String,
    pub(crate) host: HostId,
    pub(crate) replication: SocketAddrV4,
    rewind: SocketAddrV4,
    snapshot: SocketAddrV4,
    pub(crate) journal: PathBuf,
    /// By this name the node knows the coordinator's directory.
    pub(crate) coordinator: PathBuf,
}

/// All places of a drill.
pub(crate) struct Site {
    pub(crate) dir: PathBuf,
    feed: [SocketAddrV4; 2],
    pub(crate) nodes: Vec<NodeSite>,
    pub(crate) publishers: Vec<PublisherSite>,
    coordinator: CoordinatorSite,
    operator: Ipv4Addr,
    /// Address of each host's interface.
    interfaces: Vec<Ipv4Addr>,
    set: Vec<String>,
}

/// The host of all publishers.
pub(crate) fn publishers_host(shape: &Shape) -> HostId {
    HostId(shape.nodes)
}

/// The host of all subscribers.
pub(crate) fn subscribers_host(shape: &Shape) -> HostId {
    HostId(shape.nodes + 1)
}

/// The host of the coordinator, if it is a process.
pub(crate) fn coordinator_host(shape: &Shape) -> HostId {
    HostId(shape.nodes + 2)
}

/// Hosts of a drill.
pub(crate) fn hosts(shape: &Shape) -> usize {
    shape.nodes + 3
}

impl Site {
    /// Places in `net` for `shape`, files in `dir`.
    pub(crate) fn new(
        shape: &Shape,
        net: &Net,
        dir: &Path,
        coordinator: CoordinatorSite,
    ) -> anyhow::Result<Site> {
        let mut ports = Ports::new(net, 2 + 3 * shape.nodes + 3 * shape.publishers)?;
        let group = |line: u8, port| SocketAddrV4::new(group_of(net, line), port);
        let feed = [group(0, ports.next()), group(1, ports.next())];
        let nodes = (0..shape.nodes).map(|at| {
            let (name, host) = (format!("n{}", at + 1), HostId(at));
            let place = |port| SocketAddrV4::new(net.address(host), port);
            NodeSite {
                replication: place(ports.next()),
                rewind: place(ports.next()),
                snapshot: place(ports.next()),
                journal: dir.join(&name).join("journal"),
                coordinator: dir.join(&name).join("coordinator"),
                name,
                host,
            }
        });
        let nodes = nodes.collect();
        let publishers = (0..shape.publishers).map(|at| PublisherSite {
            session: format!("DRILLPUB{:02}", at + 1),
            lines: [0, 1].map(|line| group(2 + 2 * at as u8 + line, ports.next())),
            rewind: SocketAddrV4::new(net.address(publishers_host(shape)), ports.next()),
        });
        let publishers = publishers.collect();
        let interfaces = (0..hosts(shape)).map(|host| match net.is_breakable() {
            true => net.address(HostId(host)),
            false => Ipv4Addr::LOCALHOST,
        });
        Ok(Site {
            dir: dir.into(),
            feed,
            nodes,
            publishers,
            coordinator,
            operator: net.operator(),
            interfaces: interfaces.collect(),
            set: shape.set.clone(),
        })
    }

    /// Overrides of the nodes' configuration.
    pub(crate) fn overrides(&self) -> &[String] {
        &self.set
    }

    /// The directory of the coordinator's files, whatever the nodes call it.
    pub(crate) fn coordinator_dir(&self) -> PathBuf {
        self.dir.join("coordinator")
    }

    /// Configuration of node `at`.
    pub(crate) fn node_config(&self, at: usize) -> String {
        let node = &self.nodes[at];
        let mut text = self.common(node.host);
        let _ = writeln!(text, "[sequencer]\nname = \"{}\"", node.name);
        for (at, publisher) in self.publishers.iter().enumerate() {
            let PublisherSite { session, rewind, .. } = publisher;
            let _ = writeln!(
                text,
                "[[sequencer.source]]\nname = \"pub{}\"\nsession = \"{session}\"\nrewind_servers = [\"{rewind}\"]",
                at + 1
            );
            self.lines(&mut text, "sequencer.source", &publisher.lines, node.host);
        }
        let NodeSite { journal, rewind, snapshot, .. } = node;
        let _ = writeln!(
            text,
            "[journal]\ndir = \"{}\"\nsegment_bytes = \"1MiB\"\n\
             [rewind]\nbind = \"{rewind}\"\nallow = [\"10.0.0.0/8\", \"127.0.0.0/8\"]\n\
             [snapshot]\nbind = \"{snapshot}\"\nusername = \"drill\"\npassword = \"drill\"",
            journal.display(),
        );
        if self.nodes.len() > 1 {
            self.cluster(&mut text, node);
        }
        text
    }

    /// Configuration of publisher `at`, on `host`.
    pub(crate) fn publisher_config(&self, at: usize, host: HostId) -> String {
        let PublisherSite { session, rewind, lines } = &self.publishers[at];
        let mut text = self.common(host);
        let _ = writeln!(
            text,
            "[publisher]\nsession = \"{session}\"\nrewind_bind = \"{rewind}\"\nwindow_messages = 4096\n\
             allow = [\"10.0.0.0/8\", \"127.0.0.0/8\"]"
        );
        self.lines(&mut text, "publisher", lines, host);
        text
    }

    /// Configuration of the subscribers, on `host`: lines and rewind servers, and nothing else.
    pub(crate) fn subscriber_config(&self, host: HostId) -> String {
        self.common(host)
    }

    fn common(&self, host: HostId) -> String {
        let rewind: Vec<_> = self.nodes.iter().map(|node| format!("\"{}\"", node.rewind)).collect();
        let mut text = format!("[feed]\nsession = \"{SESSION}\"\nrewind_servers = [{}]\n", rewind.join(", "));
        self.lines(&mut text, "feed", &self.feed, host);
        // Processes stay until the drill has seen the end. Many share few cores: none may keep one for itself.
        text.push_str(
            "[send]\nend_of_session = \"120s\"\n[memory]\nring_bytes = \"8MiB\"\n[stat]\ndir = \"\"\n\
             [runtime]\nspins = 10\nyields = 2\npark_max = \"200us\"\n",
        );
        text
    }

    fn lines(&self, text: &mut String, of: &str, lines: &[SocketAddrV4], host: HostId) {
        let interface = self.interfaces[host.0];
        for line in lines {
            let _ = writeln!(text, "[[{of}.line]]\ngroup = \"{line}\"\ninterface = \"{interface}\"");
        }
    }

    fn cluster(&self, text: &mut String, me: &NodeSite) {
        let _ = writeln!(text, "[cluster]\noperators = [\"{}\"]\n[cluster.coordinator]", self.operator);
        match &self.coordinator {
            CoordinatorSite::File => {
                let _ = writeln!(text, "kind = \"file\"\ndir = \"{}\"", me.coordinator.display());
            }
            CoordinatorSite::Etcd(endpoints, prefix) => {
                let all: Vec<_> = endpoints.iter().map(|at| format!("\"http://{at}\"")).collect();
                let _ = writeln!(
                    text,
                    "kind = \"etcd\"\nendpoints = [{}]\nprefix = \"{prefix}\"",
                    all.join(", ")
                );
            }
        }
        for NodeSite { name, replication, .. } in &self.nodes {
            let _ = writeln!(text, "[[cluster.node]]\nname = \"{name}\"\nreplication = \"{replication}\"");
        }
    }
}

/// A line's group. On the loopback interface other drills may run, each with groups of its own.
fn group_of(net: &Net, line: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    if net.is_breakable() {
        Ipv4Addr::new(239, 77, 0, line + 1)
    } else {
        Ipv4Addr::new(239, high | 128, low, line + 1)
    }
}

/// Ports: any in a namespace, free ones elsewhere.
struct Ports(Vec<u16>);

impl Ports {
    fn new(net: &Net, count: usize) -> anyhow::Result<Ports> {
        if net.is_breakable() {
            return Ok(Ports((31_000..).take(count).collect()));
        }
        Ok(Ports(free_ports(count)?))
    }

    fn next(&mut self) -> u16 {
        self.0.pop().expect("enough were asked for")
    }
}

#[cfg(test)]
mod tests {
    use seqcast_engine::config::{Config, Coordinator};

    use super::*;

    fn site(nodes: usize, coordinator: CoordinatorSite) -> (Shape, Site) {
        let shape = Shape { nodes, publishers: 2, subscribers: 2, rate: 1_000, set: Vec::new() };
        let net = Net::new(hosts(&shape), true).unwrap();
        let site = Site::new(&shape, &net, Path::new("/somewhere"), coordinator).unwrap();
        (shape, site)
    }

    #[test]
    fn every_configuration_is_a_good_one() {
        let etcd = CoordinatorSite::Etcd(vec!["10.0.0.1:2379".parse().unwrap()], "/drill/".into());
        for (nodes, coordinator) in [(1, CoordinatorSite::File), (3, CoordinatorSite::File), (3, etcd)] {
            let (shape, site) = site(nodes, coordinator.clone());
            for at in 0..nodes {
                let config = Config::parse(&site.node_config(at)).unwrap();
                assert_eq!(config.sequencer.unwrap().sources.len(), 2);
                let cluster = config.cluster.as_ref();
                assert_eq!(cluster.map_or(1, |cluster| cluster.nodes.len()), nodes);
                let is_etcd =
                    matches!(cluster.map(|cluster| &cluster.coordinator), Some(Coordinator::Etcd(_)));
                assert_eq!(is_etcd, matches!(coordinator, CoordinatorSite::Etcd(..)));
            }
            let publisher = Config::parse(&site.publisher_config(1, publishers_host(&shape))).unwrap();
            assert_eq!(publisher.publisher.unwrap().session.to_string(), "DRILLPUB02");
            let subscriber = Config::parse(&site.subscriber_config(subscribers_host(&shape))).unwrap();
            assert_eq!(subscriber.feed.unwrap().rewind_servers.len(), nodes);
        }
    }
}
