//! `[cluster]`: the nodes that hold one order between them, and who decides which of them leads.

use std::fmt;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::section::IoDriver;
use super::text::{self, Text, text_by_from_str};
use super::unit::{self, Prefix};
use crate::time::Nanos;

/// Port of etcd for its clients.
const ETCD_PORT: u16 = 2_379;

/// `[cluster]`: hot standbys. Without it a sequencer is alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// How often nodes say that they are alive when they have nothing else to say.
    #[serde(default = "heartbeat", with = "text")]
    pub heartbeat: Nanos,
    /// A node that is silent for this long is suspected.
    #[serde(default = "suspect_after", with = "text")]
    pub suspect_after: Nanos,
    /// False suspicions lengthen `suspect_after` up to this.
    #[serde(default = "max_suspect_after", with = "text")]
    pub max_suspect_after: Nanos,
    /// How much longer each further standby waits before it takes over, so that they do not race.
    #[serde(default = "stagger", with = "text")]
    pub stagger: Nanos,
    /// A standby whose acknowledgements stand still for this long while there is something to acknowledge leaves the
    /// in-sync set.
    #[serde(default = "lag_timeout", with = "text")]
    pub lag_timeout: Nanos,
    /// Bytes of the journal that may be on their way to one standby.
    #[serde(default = "window_bytes", with = "unit::size")]
    pub window_bytes: usize,
    /// Which driver moves the stream; none: that of `io.driver`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<IoDriver>,
    /// How often a node reads the coordinator's record when nothing else makes it.
    #[serde(default = "record_refresh", with = "text")]
    pub record_refresh: Nanos,
    /// Who may ask a node how it stands and command it, beside the nodes themselves: whoever has such an address, for
    /// nobody proves who he is.
    #[serde(default = "operators", with = "text::list")]
    pub operators: Vec<Prefix>,
    /// Who keeps the record of the primary and the in-sync set.
    pub coordinator: Coordinator,
    /// The nodes, one to [`MAX_NODES`](crate::limits::MAX_NODES), in the same order on all of them: a node's number in
    /// the record and in the stream is its place here.
    #[serde(rename = "node")]
    pub nodes: Vec<ClusterNode>,
}

/// `[[cluster.node]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterNode {
    /// Its name: the `sequencer.name` of its process.
    pub name: String,
    /// Where it takes the stream (UDP) and control connections (TCP).
    #[serde(with = "text")]
    pub replication: SocketAddrV4,
}

/// `[cluster.coordinator]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Coordinator {
    /// A directory, for nodes on one machine.
    File(FileCoordinator),
    /// An etcd cluster.
    Etcd(EtcdCoordinator),
}

/// `[cluster.coordinator]` of `kind = "file"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileCoordinator {
    /// The directory, the same for all nodes; made when it is missing.
    pub dir: PathBuf,
}

/// `[cluster.coordinator]` of `kind = "etcd"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdCoordinator {
    /// The clients' addresses of etcd's members; tried in turn.
    #[serde(with = "text::list")]
    pub endpoints: Vec<Endpoint>,
    /// What the key of the record begins with; the feed's session follows.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// How long one endpoint may take to answer.
    #[serde(default = "request_timeout", with = "text")]
    pub request_timeout: Nanos,
    /// User name, where etcd asks for one; with `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// File of the authority (PEM) that signed the endpoints' certificates; none: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// File of this node's certificate (PEM), where etcd asks for one; with `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// File of the certificate's key (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// The clients' address of a member of etcd: `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    secure: bool,
    host: String,
    port: u16,
}

impl Endpoint {
    /// Whether it is spoken to over TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }
}

impl FromStr for Endpoint {
    type Err = ();

    fn from_str(text: &str) -> Result<Endpoint, ()> {
        let (secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, port.parse().map_err(|_| ())?)
            }
            Some(_) if !rest.ends_with(']') => return Err(()),
            _ => (rest, ETCD_PORT),
        };
        if port == 0 || !is_host(host) {
            return Err(());
        }
        Ok(Endpoint { secure, host: host.to_ascii_lowercase(), port })
    }
}

/// Whether `host` is a name, an IPv4 address or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !host.is_empty() && host.len() <= 253 && host.bytes().all(fits)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

text_by_from_str!(Endpoint, "an address such as \"http://10.1.0.9:2379\" (or https://)");

fn heartbeat() -> Nanos {
    Nanos::from_millis(1)
}

fn suspect_after() -> Nanos {
    Nanos::from_millis(50)
}

fn max_suspect_after() -> Nanos {
    Nanos::from_secs(2)
}

fn stagger() -> Nanos {
    Nanos::from_millis(10)
}

fn lag_timeout() -> Nanos {
    Nanos::from_millis(500)
}

fn window_bytes() -> usize {
    1 << 20
}

fn record_refresh() -> Nanos {
    Nanos::from_millis(250)
}

fn operators() -> Vec<Prefix> {
    vec![Prefix::LOOPBACK]
}

fn prefix() -> String {
    "/seqcast/".into()
}

fn request_timeout() -> Nanos {
    Nanos::from_millis(250)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn endpoints_are_read_whole_or_refused() {
        for (text, written) in [
            ("http://10.1.0.9:2379", "http://10.1.0.9:2379"),
            ("http://10.1.0.9", "http://10.1.0.9:2379"),
            ("https://Etcd-1.example.org:1/", "https://etcd-1.example.org:1"),
            ("https://[::1]:2379", "https://[::1]:2379"),
            ("http://[fd00::1]", "http://[fd00::1]:2379"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), written);
            assert_eq!(endpoint.is_secure(), text.starts_with("https"));
        }
        for text in [
            "",
            "10.1.0.9:2379",
            "ftp://10.1.0.9:2379",
            "http://",
            "http://:2379",
            "http://host:",
            "http://host:0",
            "http://host:65536",
            "http://host:+1",
            "http://user:secret@host:1",
            "http://host:1/v3",
            "http://host?x",
            "http://a b",
            "http://::1:5",
            "http://[::1",
            "http://[no]:5",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_endpoint_that_reads_back_or_none(text in "(https?://)?\\PC{0,20}(:[0-9]{0,6})?/?") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
            }
        }
    }
}
