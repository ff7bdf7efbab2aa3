//! An interface as the drivers of this process share it: one program, one lane a queue, a share for each driver.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use seqcast_wire::net::{FRAME_HEADER_BYTES, multicast_address};
use socket2::{Domain, Socket, Type};
use tracing::{info, warn};

use super::lane::{Lane, LaneSizes, LaneSocket, MAX_SHARES, Sender};
use super::netlink::{Link, Netlink};
use super::program::{MAX_QUEUES, Program, ProgramOptions};
use super::sys;
use super::{DriverConfig, XdpMode};

/// Receive frames that a driver has at least, whatever [`DriverConfig::receive_buffers`] says: behind an AF_XDP socket
/// stands no receive buffer of the kernel's.
const MIN_RECEIVE_FRAMES: usize = 1_024;
/// Drivers of interfaces without hardware of their own. A veth pair's native mode is a thread of the kernel's more; the
/// others' hands frames over as those of the interfaces below, where no socket of ours is bound.
const GENERIC_IS_BETTER: [&str; 4] = ["veth", "bonding", "team", "bridge"];
/// Bytes of IPv4 and UDP headers.
const IP_UDP_BYTES: usize = 28;
/// Ethernet header and one tag.
const ETHERNET_BYTES: usize = 18;

/// An interface with our program on it. The last driver that lets go of it takes the program away.
pub(super) struct Port {
    interface: u32,
    link: Link,
    // Before the lanes: nothing is sent to sockets that are closing.
    program: Program,
    lanes: Vec<Lane>,
    sizes: LaneSizes,
    native: bool,
    table: Mutex<Table>,
}

/// Who has what.
#[derive(Default)]
struct Table {
    /// Shares of drivers that are gone, with what was under way in them.
    idle: Vec<Share>,
    /// Shares ever made.
    made: usize,
    taken: Vec<Taken>,
}

struct Taken {
    destination: SocketAddrV4,
    /// Endpoints of this process that want it. More than one are served by the kernel: it gives each a copy.
    endpoints: usize,
}

/// What one driver has of a port: a socket at every lane, and a sender at one of them.
pub(super) struct Share {
    number: usize,
    pub(super) sockets: Vec<LaneSocket>,
    pub(super) sender: Sender,
    /// The lane that it sends through.
    pub(super) sends_at: usize,
}

/// The interfaces that this process has ports on: network namespace and number.
static PORTS: Mutex<Vec<(Namespace, u32, Weak<Port>)>> = Mutex::new(Vec::new());

type Namespace = (u64, u64);

/// Whose interfaces this thread sees.
fn namespace() -> io::Result<Namespace> {
    let metadata = fs::metadata("/proc/thread-self/ns/net")?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Port {
    /// The port on the interface that has `address`: one that is there already, with the sizes it was made with, or a new
    /// one.
    pub(super) fn at(address: Ipv4Addr, config: &DriverConfig) -> io::Result<Arc<Port>> {
        let mut netlink = Netlink::new()?;
        if address.is_unspecified() {
            return Err(refusal("no interface is named: give the address of one"));
        }
        let interface = netlink
            .interface_of(address)?
            .ok_or_else(|| refusal(&format!("no interface here has the address {address}")))?;
        let namespace = namespace()?;
        let mut ports = lock(&PORTS);
        ports.retain(|(_, _, port)| port.strong_count() > 0);
        let known = ports.iter().find(|known| (known.0, known.1) == (namespace, interface));
        if let Some(port) = known.and_then(|known| known.2.upgrade()) {
            return Ok(port);
        }
        let port = Arc::new(Port::open(interface, netlink.link(interface)?, config)?);
        ports.push((namespace, interface, Arc::downgrade(&port)));
        Ok(port)
    }

    fn open(interface: u32, link: Link, config: &DriverConfig) -> io::Result<Port> {
        if link.ethernet.is_none() {
            return Err(refusal(&format!("{} is no Ethernet interface", link.name)));
        }
        let control = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        let queues = sys::receive_queues(&control, &link.name);
        if queues > MAX_QUEUES {
            let name = &link.name;
            warn!(
                interface = name,
                queues, "only {MAX_QUEUES} receive queues are bypassed (`ethtool -L {name} combined …`)"
            );
        }
        let lanes = queues.min(MAX_QUEUES) as usize;
        let sizes = lane_sizes(config, link.mtu, lanes);
        let driver = sys::driver_name(&control, &link.name);
        let generic_is_better = GENERIC_IS_BETTER.contains(&&driver[..]);
        let modes: &[bool] = match config.xdp.mode {
            XdpMode::Auto if generic_is_better => &[false, true],
            XdpMode::Auto => &[true, false],
            XdpMode::Native => &[true],
            XdpMode::Generic => &[false],
        };
        let mut refused = io::Error::other("no mode to try");
        for &native in modes {
            let bound = attach(interface, sizes, native)
                .and_then(|program| Port::bind(interface, &link, config, program, native, (lanes, sizes)));
            match bound {
                Ok(port) => return Ok(port),
                Err(error) => refused = error,
            }
        }
        Err(io::Error::new(refused.kind(), format!("{}: {refused}", link.name)))
    }

    fn bind(
        interface: u32,
        link: &Link,
        config: &DriverConfig,
        program: Program,
        native: bool,
        (lanes, sizes): (usize, LaneSizes),
    ) -> io::Result<Port> {
        let zero_copy = native && config.xdp.zero_copy;
        let lanes = (0..lanes as u32)
            .map(|queue| Lane::new(interface, queue, sizes, zero_copy))
            .collect::<io::Result<Vec<Lane>>>()?;
        let link = link.clone();
        let port = Port { interface, link, program, lanes, sizes, native, table: Mutex::default() };
        info!("{port}");
        for shortfall in port.lanes.first().map_or(&[][..], Lane::shortfalls) {
            info!(interface = port.link.name, "{shortfall}");
        }
        Ok(port)
    }

    pub(super) fn interface(&self) -> u32 {
        self.interface
    }

    pub(super) fn ethernet(&self) -> [u8; 6] {
        self.link.ethernet.unwrap_or_default()
    }

    pub(super) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Longest datagram that leaves in one frame.
    pub(super) fn max_payload_bytes(&self) -> usize {
        (self.link.mtu.saturating_sub(IP_UDP_BYTES)).min(self.sizes.frame_bytes - FRAME_HEADER_BYTES)
    }

    /// A share for a driver: one that another has left, or a new one.
    pub(super) fn share(&self) -> io::Result<Share> {
        let mut table = lock(&self.table);
        if let Some(mut share) = table.idle.pop() {
            // What came for the last driver after it had gone.
            for (lane, socket) in self.lanes.iter().zip(&mut share.sockets) {
                socket.receive(lane, usize::MAX, |_| {});
            }
            return Ok(share);
        }
        if table.made == MAX_SHARES {
            let text = format!("{} is shared by {MAX_SHARES} drivers already", self.link.name);
            return Err(refusal(&text));
        }
        let number = table.made;
        let sends_at = number % self.lanes.len();
        let mut sockets = Vec::new();
        let mut ring = None;
        for (at, lane) in self.lanes.iter().enumerate() {
            let (socket, transmit) = LaneSocket::new(lane, self.interface, number, at == sends_at)?;
            self.program.put_socket(first_socket(number) + lane.queue(), socket.socket())?;
            sockets.push(socket);
            ring = ring.or(transmit);
        }
        let ring = ring.ok_or_else(|| io::Error::other("no lane to send through"))?;
        let sender = Sender::new(&self.lanes[sends_at], number / self.lanes.len(), ring);
        table.made += 1;
        Ok(Share { number, sockets, sender, sends_at })
    }

    /// Takes a share back when its driver ends.
    pub(super) fn park(&self, mut share: Share) {
        let socket = share.sockets[share.sends_at].socket();
        share.sender.flush(&self.lanes[share.sends_at], socket);
        // What the kernel has not sent by now would be sent for the next driver: rather have one share less.
        if share.sender.is_drained() {
            lock(&self.table).idle.push(share);
        }
    }

    /// Has frames for `destination` come to `share`. False when another endpoint of this process has it: then the kernel
    /// serves all of them.
    pub(super) fn take(&self, destination: SocketAddrV4, share: &Share) -> io::Result<bool> {
        let mut table = lock(&self.table);
        if let Some(taken) = table.taken.iter_mut().find(|taken| taken.destination == destination) {
            taken.endpoints += 1;
            self.program.leave(destination)?;
            return Ok(false);
        }
        let ethernet = match *destination.ip() {
            group if group.is_multicast() => multicast_address(group),
            _ => self.ethernet(),
        };
        self.program.take(destination, ethernet, first_socket(share.number))?;
        table.taken.push(Taken { destination, endpoints: 1 });
        Ok(true)
    }

    /// An endpoint that took `destination` is gone.
    pub(super) fn leave(&self, destination: SocketAddrV4) {
        let mut table = lock(&self.table);
        let Some(at) = table.taken.iter().position(|taken| taken.destination == destination) else { return };
        table.taken[at].endpoints -= 1;
        if table.taken[at].endpoints == 0 {
            table.taken.swap_remove(at);
            if let Err(error) = self.program.leave(destination) {
                warn!(%error, %destination, "the XDP program keeps a destination that nobody wants");
            }
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.native { "native" } else { "generic" };
        let copies = if self.lanes.iter().all(Lane::is_zero_copy) { "zero copy" } else { "copying" };
        write!(f, "XDP on {}: {mode} mode, {copies}, {} queue(s)", self.link.name, self.lanes.len())
    }
}

fn attach(interface: u32, sizes: LaneSizes, native: bool) -> io::Result<Program> {
    let options =
        ProgramOptions { max_frame_bytes: sizes.max_receive_bytes() as u16, pass_unfinished: !native };
    let mut program = Program::load(options, MAX_SHARES as u32 * MAX_QUEUES)?;
    program.attach(interface, native)?;
    Ok(program)
}

fn lane_sizes(config: &DriverConfig, mtu: usize, lanes: usize) -> LaneSizes {
    let mut sizes = LaneSizes {
        frame_bytes: 2_048,
        receive_frames: config.receive_buffers.max(MIN_RECEIVE_FRAMES),
        // One datagram may go to many destinations, a frame each.
        send_frames: (config.send_slots + super::MAX_DESTINATIONS).next_multiple_of(64),
        senders: MAX_SHARES.div_ceil(lanes),
    };
    if mtu + ETHERNET_BYTES > sizes.max_receive_bytes() {
        sizes.frame_bytes = 4_096;
    }
    sizes
}

fn first_socket(share: usize) -> u32 {
    share as u32 * MAX_QUEUES
}

fn refusal(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// What a panic elsewhere has left is whole: nothing in here panics halfway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_fit_the_interface_and_are_bounded() {
        let config = DriverConfig::default();
        let sizes = lane_sizes(&config, 1_500, 1);
        assert_eq!((sizes.frame_bytes, sizes.receive_frames, sizes.send_frames), (2_048, 1_024, 320));
        assert_eq!((sizes.senders, lane_sizes(&config, 1_500, 3).senders), (8, 3));
        assert_eq!(lane_sizes(&config, 9_000, 1).frame_bytes, 4_096);
        let many = DriverConfig { receive_buffers: 8_192, ..config };
        assert_eq!(lane_sizes(&many, 1_500, 1).receive_frames, 8_192);
    }

    #[test]
    fn what_is_no_ethernet_is_refused_by_name() {
        let refused = |address| Port::at(address, &DriverConfig::default()).err().unwrap().to_string();
        assert!(refused(Ipv4Addr::LOCALHOST).contains("lo is no Ethernet interface"));
        assert!(refused(Ipv4Addr::new(198, 51, 100, 7)).contains("198.51.100.7"));
        assert!(refused(Ipv4Addr::UNSPECIFIED).contains("address of one"));
    }
}
