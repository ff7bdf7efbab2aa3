//! Listening to the lines of a feed, and looking around meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv, sockopt};
use seqcast_engine::config::Line;
use seqcast_engine::stat::CountersReader;
use seqcast_wire::{SeqNo, Session};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::evidence::{
    Evidence, Interface, KernelDrops, LineEvidence, OtherSocket, Received, Subscriber, Wire,
};
use super::packet::{self, PacketSocket};
use super::procfs::{self, UdpSocket};
use super::rewind;
use crate::interfaces::{self, Address};
use crate::tune::host::{Host, Machine};

/// Datagrams taken from one socket before the others get their turn.
const TURN: usize = 256;

/// What to listen to.
pub(crate) struct Order<'a> {
    pub(crate) lines: &'a [Line],
    /// None: any.
    pub(crate) session: Option<Session>,
    pub(crate) rewind_servers: &'a [SocketAddrV4],
    /// Where running subscribers have their counters.
    pub(crate) counters: &'a Path,
    pub(crate) receive_buffer_bytes: usize,
    pub(crate) span: Duration,
}

/// One line while it is listened to.
struct Ear {
    evidence: LineEvidence,
    own: Option<Socket>,
    wire: Option<PacketSocket>,
    sockets: Vec<UdpSocket>,
    own_inode: Option<u64>,
}

/// Listens.
pub(crate) fn listen(order: &Order<'_>, host: &Machine) -> Evidence {
    let addresses = interfaces::addresses().unwrap_or_default();
    let kernel = kernel_drops(host);
    let subscribers = subscribers(order.counters);
    let mut ears: Vec<_> = order.lines.iter().map(|line| open(line, order, &addresses, host)).collect();
    let began = Instant::now();
    hear(&mut ears, order, began);
    let mut evidence = Evidence {
        listened: began.elapsed(),
        session: order.session.map(|session| session.to_string()),
        kernel: kernel_drops(host).since(kernel),
        firewall: firewall(host),
        subscribers: follow_up(&subscribers, order.counters),
        ..Evidence::default()
    };
    let sockets = udp_sockets(host);
    let own: Vec<_> = ears.iter().filter_map(|ear| ear.own_inode).collect();
    let others: Vec<_> = sockets.into_iter().filter(|socket| !own.contains(&socket.inode)).collect();
    evidence.lines = ears.into_iter().map(|ear| close(ear, host, &others)).collect();
    if let Some(session) = order.session {
        let last = last_heard(&evidence, &session.to_string());
        let ask = |server: &SocketAddrV4| (*server, rewind::ask(*server, session, last));
        evidence.rewind = order.rewind_servers.iter().map(ask).collect();
    }
    evidence
}

/// The number of the last message that is known to exist, else the first.
fn last_heard(evidence: &Evidence, session: &str) -> SeqNo {
    let heard = evidence.lines.iter().filter_map(|line| line.own.as_ref()?.sessions.get(session));
    let next = heard.map(|heard| heard.next).max().unwrap_or(0);
    SeqNo::new(next.saturating_sub(1)).unwrap_or(SeqNo::FIRST)
}

fn open(line: &Line, order: &Order<'_>, addresses: &[Address], host: &Machine) -> Ear {
    let found = address_of(line, addresses);
    let memberships = procfs::memberships(&host.read_text("/proc/net/igmp").unwrap_or_default());
    let joined_before = memberships.iter().filter(|membership| {
        membership.group == *line.group.ip()
            && found.as_ref().is_ok_and(|address| address.interface == membership.interface)
    });
    let joined_before = joined_before.map(|membership| membership.users).sum();
    let sockets: Vec<_> =
        udp_sockets(host).into_iter().filter(|socket| is_for(socket.local, line.group)).collect();
    let (own, join) = match own_socket(line, order.receive_buffer_bytes) {
        Ok(socket) => (Some(socket), Ok(())),
        Err(error) => (None, Err(error.to_string())),
    };
    let index = found.as_ref().map(|address| address.index);
    let wire = match index {
        Ok(index) => PacketSocket::open(index).map_err(|error| error.to_string()),
        Err(error) => Err(error.clone()),
    };
    let interface = found.map(|address| {
        let version = memberships.iter().find(|membership| membership.interface == address.interface);
        let igmp = version.map(|membership| membership.version.clone());
        Interface { igmp, ..interface(host, &address.interface) }
    });
    let granted = own.as_ref().and_then(|socket| sockopt::socket_recv_buffer_size(socket).ok());
    let own_inode = own.as_ref().and_then(|socket| rustix::fs::fstat(socket).ok()).map(|stat| stat.st_ino);
    let evidence = LineEvidence {
        group: line.group,
        source: line.source,
        interface,
        join,
        joined_before,
        wire: wire.as_ref().map(|_| Wire::default()).map_err(Clone::clone),
        own: own.as_ref().map(|_| Received::default()),
        // Linux grants double, for its own bookkeeping, and reports the double.
        buffer_bytes: granted.map(|granted| (order.receive_buffer_bytes, granted / 2)),
        sockets: Vec::new(),
    };
    Ear { evidence, own, wire: wire.ok(), sockets, own_inode }
}

/// The interface that a line comes in at.
fn address_of(line: &Line, addresses: &[Address]) -> Result<Address, String> {
    if line.interface.is_unspecified() && line.group.ip().is_multicast() {
        let all = addresses.iter().find(|address| !address.address.is_loopback());
        return all.cloned().ok_or_else(|| "this host has no interface but loopback".into());
    }
    let wanted = if line.interface.is_unspecified() { *line.group.ip() } else { line.interface };
    let is_it = |address: &&Address| {
        address.address == wanted || wanted.is_loopback() && address.address.is_loopback()
    };
    addresses
        .iter()
        .find(is_it)
        .cloned()
        .ok_or_else(|| format!("no interface of this host has the address {wanted}"))
}

/// Whether a socket bound to `local` gets what is sent to `group`.
fn is_for(local: SocketAddrV4, group: SocketAddrV4) -> bool {
    local.port() == group.port() && (local.ip() == group.ip() || local.ip().is_unspecified())
}

/// A socket as the drivers open it.
fn own_socket(line: &Line, receive_buffer_bytes: usize) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    if line.group.ip().is_multicast() {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SockAddr::from(line.group))?;
    if line.group.ip().is_multicast() {
        socket.set_multicast_all_v4(false)?;
        match line.source {
            Some(source) => socket.join_ssm_v4(&source, line.group.ip(), &line.interface)?,
            None => socket.join_multicast_v4(line.group.ip(), &line.interface)?,
        }
    }
    if sockopt::set_socket_recv_buffer_size_force(&socket, receive_buffer_bytes).is_err() {
        socket.set_recv_buffer_size(receive_buffer_bytes)?;
    }
    Ok(socket)
}

/// Whether an interface is up and has a carrier, as far as can be seen. Not by its `operstate`, which follows up to a
/// second later.
pub(super) fn is_up(host: &impl Host, name: &str) -> bool {
    let file = |file: &str| host.read_text(&format!("/sys/class/net/{name}/{file}")).ok();
    let flags =
        file("flags").and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
    flags.is_none_or(|flags| flags & 1 == 1) && file("carrier").is_none_or(|text| text.trim() != "0")
}

fn interface(host: &impl Host, name: &str) -> Interface {
    let file = |file: &str| host.read_text(&format!("/sys/class/net/{name}/{file}")).unwrap_or_default();
    let filter = |of: &str| {
        let text = host.read_text(&format!("/proc/sys/net/ipv4/conf/{of}/rp_filter")).ok()?;
        text.trim().parse::<u8>().ok()
    };
    let counter = |name: &str| file(&format!("statistics/{name}")).trim().parse().unwrap_or(0_u64);
    Interface {
        name: name.into(),
        is_up: is_up(host, name),
        packets: counter("rx_packets"),
        lost: counter("rx_dropped") + counter("rx_missed_errors") + counter("rx_fifo_errors"),
        // The larger of both counts.
        rp_filter: filter("all").max(filter(name)),
        igmp: None,
    }
}

/// Takes what comes until the time is over.
fn hear(ears: &mut [Ear], order: &Order<'_>, began: Instant) {
    let session = order.session.map(|session| session.to_string());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let left = order.span.saturating_sub(began.elapsed());
        if left.is_zero() {
            return;
        }
        let mut fds = Vec::new();
        for ear in ears.iter() {
            fds.extend(ear.own.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
            fds.extend(ear.wire.iter().map(|wire| PollFd::new(wire.socket(), PollFlags::IN)));
        }
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        // An interruption is looked into like everything else.
        let _ = poll(&mut fds, Some(&timeout));
        for Ear { evidence, own, wire, .. } in ears.iter_mut() {
            if let (Some(socket), Some(received)) = (own, &mut evidence.own) {
                take(socket, &mut buffer, |payload| received.on_datagram(payload));
            }
            if let (Some(socket), Ok(wire)) = (wire, &mut evidence.wire) {
                let group = evidence.group;
                take(socket.socket(), &mut buffer, |packet| {
                    packet::count(wire, packet, group, session.as_deref());
                });
            }
        }
    }
}

fn take(socket: &Socket, buffer: &mut [u8], mut on_datagram: impl FnMut(&[u8])) {
    for _ in 0..TURN {
        match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((bytes, _)) => on_datagram(&buffer[..bytes]),
            Err(_) => return,
        }
    }
}

fn close(ear: Ear, host: &Machine, after: &[UdpSocket]) -> LineEvidence {
    let Ear { mut evidence, sockets, .. } = ear;
    if let Ok(before) = &mut evidence.interface {
        let now = interface(host, &before.name);
        before.packets = now.packets.saturating_sub(before.packets);
        before.lost = now.lost.saturating_sub(before.lost);
    }
    for socket in after.iter().filter(|socket| is_for(socket.local, evidence.group)) {
        let before =
            sockets.iter().find(|before| before.inode == socket.inode).map_or(0, |before| before.drops);
        evidence.sockets.push(OtherSocket {
            owner: owner(host, socket.inode),
            dropped: socket.drops,
            dropped_meanwhile: socket.drops.saturating_sub(before),
        });
    }
    evidence
}

/// `name (pid)` of a process that has a socket open.
fn owner(host: &Machine, inode: u64) -> Option<String> {
    let link = format!("socket:[{inode}]");
    let processes = host.list("/proc").ok()?;
    processes.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).find_map(|process| {
        let dir = format!("/proc/{process}/fd");
        let has = host
            .list(&dir)
            .ok()?
            .iter()
            .any(|fd| host.link_name(&format!("{dir}/{fd}")).is_ok_and(|to| to == link));
        let comm = has.then(|| host.read_text(&format!("/proc/{process}/comm")).ok())??;
        Some(format!("{} ({process})", comm.trim()))
    })
}

fn udp_sockets(host: &Machine) -> Vec<UdpSocket> {
    procfs::udp_sockets(&host.read_text("/proc/net/udp").unwrap_or_default())
}

fn kernel_drops(host: &Machine) -> KernelDrops {
    let read = |path| host.read_text(path).unwrap_or_default();
    procfs::drops(&read("/proc/net/snmp"), &read("/proc/net/netstat"))
}

/// The rules of nftables that drop or reject, if it is there.
fn firewall(host: &Machine) -> Option<Result<Vec<String>, String>> {
    let rules = match host.run("nft", &["list", "ruleset"]) {
        Ok(rules) => rules,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error.to_string())),
    };
    let drops = |line: &&str| {
        line.split([' ', ';']).any(|word| word == "drop" || word == "reject") && !line.contains("hook output")
    };
    Some(Ok(rules.lines().map(str::trim).filter(drops).map(str::to_owned).collect()))
}

type Readings = BTreeMap<u32, BTreeMap<String, u64>>;

/// The counters of running subscribers, by process.
fn subscribers(dir: &Path) -> Readings {
    let mut found = Readings::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(reader) = CountersReader::open(&entry.path()) else { continue };
        let process = reader.process_id();
        // One that was killed leaves its file behind.
        if reader.name() == "subscribe" && Path::new(&format!("/proc/{process}")).exists() {
            let readings = reader.readings().into_iter().map(|reading| (reading.label, reading.value));
            found.insert(process, readings.collect());
        }
    }
    found
}

fn follow_up(before: &Readings, dir: &Path) -> Vec<Subscriber> {
    let after = subscribers(dir);
    let both = before.iter().filter_map(|(process, before)| Some((*process, before, after.get(process)?)));
    both.map(|(process, before, after)| {
        let of = |readings: &BTreeMap<String, u64>, name: &str| {
            readings.get(&format!("seqcast_subscriber_{name}")).copied().unwrap_or(0)
        };
        let more = |name: &str| of(after, name).saturating_sub(of(before, name));
        Subscriber {
            process,
            expected: (of(before, "expected"), of(after, "expected")),
            missing: of(after, "missing_messages"),
            unanswered_meanwhile: more("unanswered_requests_total"),
            wrong_session_meanwhile: more("wrong_session_datagrams_total"),
            kernel_dropped_meanwhile: more("kernel_dropped_datagrams_total"),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn sockets_of_a_line_are_known_by_their_address() {
        let group: SocketAddrV4 = "239.1.1.1:5000".parse().unwrap();
        for (local, is) in [
            ("239.1.1.1:5000", true),
            ("0.0.0.0:5000", true),
            ("239.1.1.2:5000", false),
            ("0.0.0.0:5001", false),
        ] {
            assert_eq!(is_for(local.parse().unwrap(), group), is, "{local}");
        }
    }

    #[test]
    fn a_line_has_an_interface() {
        let address = |name: &str, index, address| Address { interface: name.into(), index, address };
        let all = [address("lo", 1, Ipv4Addr::LOCALHOST), address("eth0", 2, Ipv4Addr::new(10, 0, 0, 3))];
        let line = |group: &str, interface: &str| Line {
            group: group.parse().unwrap(),
            interface: interface.parse().unwrap(),
            source: None,
        };
        let name = |line: Line| address_of(&line, &all).map(|address| address.interface);
        assert_eq!(name(line("239.1.1.1:5", "127.0.0.1")).unwrap(), "lo");
        assert_eq!(name(line("239.1.1.1:5", "0.0.0.0")).unwrap(), "eth0");
        assert_eq!(name(line("10.0.0.3:5", "0.0.0.0")).unwrap(), "eth0");
        assert!(name(line("239.1.1.1:5", "10.0.0.4")).unwrap_err().contains("10.0.0.4"));
    }
}
