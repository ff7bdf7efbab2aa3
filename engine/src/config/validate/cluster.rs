//! What `[cluster]` means together with itself and with the rest.

use std::net::SocketAddrV4;

use super::{Found, bytes_text, is_nobody};
use crate::config::cluster::{Cluster, ClusterNode, Coordinator, EtcdCoordinator};
use crate::config::{Config, Sequencer};
use crate::limits::{MAX_DATAGRAM_BYTES, MAX_NODES};

/// Nodes' names stand in counters, messages and commands.
const NAME_BYTES: usize = 32;
/// Silence of fewer heartbeats than this is a datagram or two lost, no silence.
const MIN_HEARTBEATS: u64 = 3;

impl Found {
    /// The cluster, and what a sequencer says of it; without one, what a sequencer says of itself alone.
    pub(super) fn check_cluster(&mut self, config: &Config) {
        let nodes = config.cluster.as_ref().map_or(1, |cluster| cluster.nodes.len());
        if let Some(min) = config.sequencer.as_ref().and_then(|sequencer| sequencer.min_in_sync) {
            let nodes = nodes.clamp(1, MAX_NODES);
            if min == 0 {
                self.add("sequencer.min_in_sync", "is 0", format!("give 1 to {nodes}"));
            } else if min > nodes {
                let what = match config.cluster {
                    Some(_) => {
                        format!("is {min}, and `cluster.node` has {nodes} items: nothing could be admitted")
                    }
                    None => format!("is {min}, and this node is alone: nothing could be admitted"),
                };
                let remedy = "lower it, or name further nodes, each with a [[cluster.node]]";
                self.add("sequencer.min_in_sync", what, remedy);
            }
        }
        let Some(cluster) = &config.cluster else { return };
        self.check_nodes(&cluster.nodes);
        self.check_detection(cluster);
        self.check_coordinator(&cluster.coordinator);
        if let Some(sequencer) = &config.sequencer {
            self.check_membership(sequencer, &cluster.nodes);
        }
    }

    fn check_nodes(&mut self, nodes: &[ClusterNode]) {
        if nodes.is_empty() || nodes.len() > MAX_NODES {
            let what = format!("has {} items", nodes.len());
            self.add("cluster.node", what, format!("a cluster has 1 to {MAX_NODES} nodes"));
        }
        for (index, node) in nodes.iter().enumerate() {
            let key = format!("cluster.node[{index}]");
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            if !(1..=NAME_BYTES).contains(&node.name.len()) || !node.name.bytes().all(fits) {
                let remedy = format!(
                    "give it a name of 1 to {NAME_BYTES} ASCII letters, digits, dots, dashes or underscores"
                );
                self.add(format!("{key}.name"), format!("is `{}`", node.name), remedy);
            }
            self.check_address(&format!("{key}.replication"), node.replication);
            for (other_index, other) in nodes[..index].iter().enumerate() {
                let other_key = format!("cluster.node[{other_index}]");
                if node.name == other.name {
                    let what = format!("is `{}`, as `{other_key}.name`", node.name);
                    self.add(format!("{key}.name"), what, "give each node its own name");
                }
                if node.replication == other.replication {
                    let what = format!("is {}, as `{other_key}.replication`", node.replication);
                    self.add(format!("{key}.replication"), what, "give each node its own address or port");
                }
            }
        }
    }

    fn check_address(&mut self, key: &str, address: SocketAddrV4) {
        if address.port() == 0 || is_nobody(*address.ip()) {
            let remedy = "give the node's own address and port, as the other nodes reach it";
            self.add(key, format!("is {address}, where nobody can be reached"), remedy);
        }
    }

    fn check_detection(&mut self, cluster: &Cluster) {
        self.at_least_one("cluster.heartbeat", &cluster.heartbeat.0);
        self.at_least_one("cluster.record_refresh", &cluster.record_refresh.0);
        if cluster.suspect_after.0 < cluster.heartbeat.0.saturating_mul(MIN_HEARTBEATS) {
            let what = format!(
                "is less than {MIN_HEARTBEATS} of `cluster.heartbeat`: a lost datagram would look like death"
            );
            self.add("cluster.suspect_after", what, "make it longer, or the heartbeat shorter");
        }
        if cluster.max_suspect_after < cluster.suspect_after {
            let what = "is less than `cluster.suspect_after`";
            self.add("cluster.max_suspect_after", what, "make it at least as long");
        }
        if cluster.stagger > cluster.max_suspect_after {
            let what =
                "is more than `cluster.max_suspect_after`: the second standby would hardly ever take over";
            self.add("cluster.stagger", what, "make it a few milliseconds: the time that a takeover needs");
        }
        if cluster.lag_timeout.0 < cluster.heartbeat.0.saturating_mul(MIN_HEARTBEATS) {
            let what = format!(
                "is less than {MIN_HEARTBEATS} of `cluster.heartbeat`: a lost datagram would look like a lag"
            );
            self.add("cluster.lag_timeout", what, "make it longer, or the heartbeat shorter");
        }
        if cluster.window_bytes < MAX_DATAGRAM_BYTES {
            let what = format!("is {}, less than one datagram may have", bytes_text(cluster.window_bytes));
            self.add("cluster.window_bytes", what, "give at least 64KiB");
        }
    }

    fn check_coordinator(&mut self, coordinator: &Coordinator) {
        match coordinator {
            Coordinator::File(file) if file.dir.as_os_str().is_empty() => {
                let remedy = "name a directory that all nodes of this machine can write to";
                self.add("cluster.coordinator.dir", "is empty", remedy);
            }
            Coordinator::File(_) => {}
            Coordinator::Etcd(etcd) => self.check_etcd(etcd),
        }
    }

    fn check_etcd(&mut self, etcd: &EtcdCoordinator) {
        let key = |name: &str| format!("cluster.coordinator.{name}");
        self.at_least_one(&key("request_timeout"), &etcd.request_timeout.0);
        if etcd.endpoints.is_empty() {
            self.add(
                key("endpoints"),
                "is empty",
                "name the members of etcd, such as [\"http://10.1.0.9:2379\"]",
            );
        }
        for (index, endpoint) in etcd.endpoints.iter().enumerate() {
            if etcd.endpoints[..index].contains(endpoint) {
                self.add(
                    key(&format!("endpoints[{index}]")),
                    format!("repeats {endpoint}"),
                    "name each member once",
                );
            }
        }
        if etcd.prefix.is_empty() || etcd.prefix.contains(char::is_control) {
            let remedy = "give what the key of the record begins with, such as \"/seqcast/\"";
            self.add(key("prefix"), "is empty or holds control characters", remedy);
        }
        for (name, is_there, other, other_is_there) in [
            ("user", etcd.user.is_some(), "password", etcd.password.is_some()),
            ("password", etcd.password.is_some(), "user", etcd.user.is_some()),
            ("cert", etcd.cert.is_some(), "key", etcd.key.is_some()),
            ("key", etcd.key.is_some(), "cert", etcd.cert.is_some()),
        ] {
            if is_there && !other_is_there {
                let what = format!("is given, but `{}` is not", key(other));
                self.add(key(name), what, "give both or neither");
            }
        }
        let secure = etcd.endpoints.iter().filter(|endpoint| endpoint.is_secure()).count();
        for (name, file) in [("ca", &etcd.ca), ("cert", &etcd.cert), ("key", &etcd.key)] {
            if file.is_some() && secure == 0 {
                let what = format!("is given, but no item of `{}` begins with https://", key("endpoints"));
                self.add(key(name), what, "write https:// there, or leave it out");
            }
        }
        if secure > 0 && secure < etcd.endpoints.len() {
            let what = "mixes http:// and https://: what is secret on one would be told on another";
            self.add(key("endpoints"), what, "use one of them for all members");
        }
    }

    fn check_membership(&mut self, sequencer: &Sequencer, nodes: &[ClusterNode]) {
        if !nodes.iter().any(|node| node.name == sequencer.name) {
            let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
            let what = format!("is `{}`, which `cluster.node` does not name", sequencer.name);
            let remedy =
                format!("use the name of this process's node (known: {}), or add the node", names.join(", "));
            self.add("sequencer.name", what, remedy);
        }
    }
}
