//! Where the processes of a drill run, and what is between them.
//!
//! With the privileges for it every host is a network namespace of its own, on a bridge in a further one: packets can be
//! dropped, held back and slowed down between any two of them. The namespaces have no names: they end with the drill and
//! its processes, however those end. Without privileges everything runs on the loopback interface, and drills that need
//! a network to break are left out.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::process::{Child, Command};

use anyhow::bail;

use crate::space::Space;

/// A host of a drill, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostId(pub(crate) usize);

/// The hosts' network in namespaces.
const NETWORK: [u8; 3] = [10, 77, 0];
/// Table of the rules that break things.
const TABLE: &str = "inet seqcast_drill";

/// The hosts, and the network between them.
pub(crate) enum Net {
    /// A namespace a host.
    Spaces {
        /// The bridge's, where the operator is.
        hub: Space,
        hosts: Vec<Space>,
    },
    /// All on the loopback interface, and why.
    Loopback {
        /// Why there are no namespaces.
        why: String,
    },
}

/// What becomes of the packets that reach a host from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// All are lost.
    Cut,
    /// UDP: so many in a hundred are lost.
    Loss(u32),
}

impl Net {
    /// Namespaces for so many hosts, or the loopback interface where they cannot be had.
    ///
    /// # Errors
    /// Namespaces were made, and then something failed that should not.
    pub(crate) fn new(hosts: usize, loopback: bool) -> anyhow::Result<Net> {
        if loopback {
            return Ok(Net::Loopback { why: "as asked for".into() });
        }
        match Space::make() {
            Ok(hub) => spaces(hub, hosts),
            Err(error) => Ok(Net::Loopback { why: format!("{error:#}") }),
        }
    }

    /// Whether the network can be broken.
    pub(crate) fn is_breakable(&self) -> bool {
        matches!(self, Net::Spaces { .. })
    }

    /// The host's address.
    pub(crate) fn address(&self, host: HostId) -> Ipv4Addr {
        match self {
            Net::Spaces { .. } => in_network(10 + host.0 as u8),
            Net::Loopback { .. } => Ipv4Addr::new(127, 0, 0, 10 + host.0 as u8),
        }
    }

    /// Where the operator's questions come from.
    pub(crate) fn operator(&self) -> Ipv4Addr {
        match self {
            Net::Spaces { .. } => in_network(1),
            Net::Loopback { .. } => Ipv4Addr::LOCALHOST,
        }
    }

    /// Starts a process on a host.
    pub(crate) fn spawn(&self, host: HostId, command: &mut Command) -> io::Result<Child> {
        match self {
            Net::Spaces { hosts, .. } => hosts[host.0].inside(|| command.spawn())?,
            Net::Loopback { .. } => command.spawn(),
        }
    }

    /// Does `ask` where the operator is.
    pub(crate) fn as_operator<T: Send>(&self, ask: impl FnOnce() -> T + Send) -> io::Result<T> {
        match self {
            Net::Spaces { hub, .. } => hub.inside(ask),
            Net::Loopback { .. } => Ok(ask()),
        }
    }

    /// What comes from `from` is damaged on its way into `to`.
    pub(crate) fn damage(&self, from: HostId, to: HostId, damage: Damage) -> anyhow::Result<()> {
        let what = match damage {
            Damage::Cut => "drop".to_owned(),
            Damage::Loss(percent) => format!("meta l4proto udp numgen random mod 100 < {percent} drop"),
        };
        // On the way in: dropped on the way out the sender would be told, and no network tells.
        let rules = format!(
            "add table {TABLE}\n\
             add chain {TABLE} input {{ type filter hook input priority 0; }}\n\
             add rule {TABLE} input ip saddr {} {what}\n",
            self.address(from)
        );
        self.space(to)?.feed("nft", &["-f", "-"], &rules)
    }

    /// So many in a hundred UDP packets that leave `host` are held back, so that later ones pass them.
    pub(crate) fn reorder(&self, host: HostId, percent: u32) -> anyhow::Result<()> {
        let space = self.space(host)?;
        space.run("tc", "qdisc replace dev eth0 root handle 1: htb default 10")?;
        space.run("tc", "class add dev eth0 parent 1: classid 1:10 htb rate 10gbit")?;
        space.run("tc", "class add dev eth0 parent 1: classid 1:20 htb rate 4mbit burst 1600")?;
        let rules = format!(
            "add table {TABLE}\n\
             add chain {TABLE} output {{ type filter hook output priority 0; }}\n\
             add rule {TABLE} output meta l4proto udp numgen random mod 100 < {percent} meta priority set 1:20\n"
        );
        space.feed("nft", &["-f", "-"], &rules)
    }

    /// What goes to `host` comes no faster than so many kilobits a second.
    pub(crate) fn congest(&self, host: HostId, kbit_per_s: u32) -> anyhow::Result<()> {
        let Net::Spaces { hub, .. } = self else { return self.space(host).map(|_| ()) };
        let port = port_of(host);
        hub.run("tc", &format!("qdisc replace dev {port} root tbf rate {kbit_per_s}kbit burst 8k limit 64k"))
    }

    /// Repairs everything.
    pub(crate) fn heal(&self) -> anyhow::Result<()> {
        let Net::Spaces { hub, hosts } = self else { return Ok(()) };
        for (at, space) in hosts.iter().enumerate() {
            space.feed("nft", &["-f", "-"], &format!("add table {TABLE}\ndelete table {TABLE}\n"))?;
            // Where there is nothing to remove that is said, and no fault.
            let _ = space.run("tc", "qdisc del dev eth0 root");
            let _ = hub.run("tc", &format!("qdisc del dev {} root", port_of(HostId(at))));
        }
        Ok(())
    }

    fn space(&self, host: HostId) -> anyhow::Result<&Space> {
        match self {
            Net::Spaces { hosts, .. } => Ok(&hosts[host.0]),
            Net::Loopback { why, .. } => bail!("the loopback interface cannot be broken ({why})"),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Net::Spaces { hosts, .. } => write!(f, "{} network namespaces on a bridge", hosts.len()),
            Net::Loopback { why, .. } => write!(f, "the loopback interface ({why})"),
        }
    }
}

fn in_network(host: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, host)
}

/// The host's port of the bridge.
fn port_of(host: HostId) -> String {
    format!("port{}", host.0)
}

fn spaces(hub: Space, count: usize) -> anyhow::Result<Net> {
    let hosts = (0..count).map(|_| Space::make()).collect::<anyhow::Result<Vec<_>>>()?;
    let mut batch = format!(
        "link set lo up\nlink add bridge type bridge mcast_snooping 0\n\
         addr add {}/24 dev bridge\nlink set bridge up\n",
        in_network(1)
    );
    for (at, space) in hosts.iter().enumerate() {
        let (port, path) = (port_of(HostId(at)), space.path());
        batch += &format!(
            "link add {port} type veth peer name eth0 netns {path}\n\
             link set {port} master bridge up\n"
        );
    }
    hub.feed("ip", &["-batch", "-"], &batch)?;
    let net = Net::Spaces { hub, hosts };
    let Net::Spaces { hosts, .. } = &net else { unreachable!("just made") };
    for (at, space) in hosts.iter().enumerate() {
        let address = net.address(HostId(at));
        let batch = format!(
            "link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nroute add 224.0.0.0/4 dev eth0\n"
        );
        space.feed("ip", &["-batch", "-"], &batch)?;
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;

    const PORT: u16 = 4_000;
    const HANG: Duration = Duration::from_secs(60);

    /// Two hosts and a socket on each; `None` where namespaces cannot be had.
    fn pair() -> Option<(Net, [UdpSocket; 2])> {
        let net = Net::new(2, false).unwrap();
        let Net::Spaces { hosts, .. } = &net else {
            eprintln!("skipped: {net}");
            return None;
        };
        let socket = |host: usize| {
            let address = (net.address(HostId(host)), PORT);
            hosts[host].inside(|| UdpSocket::bind(address)).unwrap().unwrap()
        };
        let sockets = [socket(0), socket(1)];
        sockets.iter().for_each(|socket| socket.set_read_timeout(Some(HANG)).unwrap());
        Some((net, sockets))
    }

    fn send(net: &Net, sockets: &[UdpSocket; 2], from: usize, byte: u8) {
        sockets[from].send_to(&[byte], (net.address(HostId(1 - from)), PORT)).unwrap();
    }

    fn next(socket: &UdpSocket) -> u8 {
        let mut byte = [0];
        socket.recv(&mut byte).unwrap();
        byte[0]
    }

    #[test]
    fn what_is_cut_is_cut_one_way_until_it_is_healed() {
        let Some((net, sockets)) = pair() else { return };
        send(&net, &sockets, 0, 1);
        assert_eq!(next(&sockets[1]), 1);
        net.damage(HostId(0), HostId(1), Damage::Cut).unwrap();
        send(&net, &sockets, 0, 2);
        send(&net, &sockets, 1, 3);
        assert_eq!(next(&sockets[0]), 3, "the other way is open");
        net.heal().unwrap();
        net.heal().unwrap();
        send(&net, &sockets, 0, 4);
        assert_eq!(next(&sockets[1]), 4, "what was cut off does not come later");
    }

    #[test]
    fn some_are_lost_and_some_come_late() {
        let Some((net, sockets)) = pair() else { return };
        net.damage(HostId(0), HostId(1), Damage::Loss(50)).unwrap();
        net.reorder(HostId(1), 50).unwrap();
        net.congest(HostId(1), 100_000).unwrap();
        let (mut there, mut back) = (Vec::new(), Vec::new());
        for byte in 0..200 {
            send(&net, &sockets, 0, byte);
            send(&net, &sockets, 1, byte);
        }
        net.damage(HostId(0), HostId(1), Damage::Loss(0)).unwrap();
        while back.len() < 200 {
            back.push(next(&sockets[0]));
        }
        net.heal().unwrap();
        send(&net, &sockets, 0, 255);
        while there.last() != Some(&255) {
            there.push(next(&sockets[1]));
        }
        assert!((2..200).contains(&there.len()), "{} of 200 came", there.len() - 1);
        assert!(!back.is_sorted(), "all came, some were passed by others");
        back.sort_unstable();
        assert_eq!(back, (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn the_operator_reaches_every_host_and_processes_are_where_they_belong() {
        let Some((net, _sockets)) = pair() else { return };
        for host in [HostId(0), HostId(1)] {
            let mut command = Command::new("ip");
            command.args(["-o", "addr", "show", "dev", "eth0"]).stdout(Stdio::piped());
            let output = net.spawn(host, &mut command).unwrap().wait_with_output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.contains(&net.address(host).to_string()), "{said}");
            let ask = || UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", (net.address(host), PORT));
            assert_eq!(net.as_operator(ask).unwrap().unwrap(), 1);
        }
    }

    #[test]
    fn the_loopback_interface_is_not_broken() {
        let net = Net::new(3, true).unwrap();
        assert!(!net.is_breakable());
        let error = net.damage(HostId(0), HostId(1), Damage::Cut).unwrap_err().to_string();
        assert!(error.contains("cannot be broken (as asked for)"), "{error}");
        net.heal().unwrap();
        assert_eq!(net.as_operator(|| 7).unwrap(), 7);
    }
}
