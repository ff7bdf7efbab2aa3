//! What the tests of drivers share: endpoints on loopback, sending and receiving with a bound.
#![allow(dead_code, unreachable_pub)]

#[cfg(all(target_os = "linux", feature = "xdp"))]
pub mod wire;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use seqcast_engine::io::{Bind, Busy, Destination, Driver, DriverConfig, EndpointId, EndpointSpec};
use seqcast_engine::time::Nanos;

pub const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Only a hang takes this long.
const BOUND: Duration = Duration::from_secs(60);

/// Where a case plays: two hosts, near and far, which are one for most drivers: any maker of drivers is a stage on
/// this host's loopback.
pub trait Stage {
    type Driver: Driver;

    fn near(&self, config: &DriverConfig) -> Self::Driver;

    fn far(&self, config: &DriverConfig) -> Self::Driver;

    fn near_ip(&self) -> Ipv4Addr {
        LOCALHOST
    }

    fn far_ip(&self) -> Ipv4Addr {
        LOCALHOST
    }

    /// Another address of the far host.
    fn other_far_ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 0, 2)
    }

    /// Of multicast.
    fn ttl(&self) -> u8 {
        0
    }

    /// A plain socket on the far host.
    fn far_socket(&self) -> UdpSocket {
        UdpSocket::bind((self.far_ip(), 0)).unwrap()
    }

    fn local(&self, address: Ipv4Addr) -> EndpointSpec {
        spec(Bind::Local { local: SocketAddrV4::new(address, 0), multicast_ttl: self.ttl() })
    }

    fn near_local(&self) -> EndpointSpec {
        self.local(self.near_ip())
    }

    fn far_local(&self) -> EndpointSpec {
        self.local(self.far_ip())
    }

    /// A line as the far host sends it.
    fn far_sender(&self, group: SocketAddrV4) -> EndpointSpec {
        let local = SocketAddrV4::new(self.far_ip(), 0);
        spec(Bind::Sender { local, to: group, multicast_ttl: self.ttl() })
    }

    /// A line as the near host receives it.
    fn line(&self, group: SocketAddrV4) -> EndpointSpec {
        spec(Bind::Line { group, interface: self.near_ip(), source: None })
    }

    fn open_line(&self, driver: &mut Self::Driver, group: Ipv4Addr) -> (EndpointId, SocketAddrV4) {
        let endpoint = driver.open(&self.line(SocketAddrV4::new(group, 0))).unwrap();
        (endpoint, driver.local_addr(endpoint))
    }
}

impl<D: Driver, F: Fn(&DriverConfig) -> D> Stage for F {
    type Driver = D;

    fn near(&self, config: &DriverConfig) -> D {
        self(config)
    }

    fn far(&self, config: &DriverConfig) -> D {
        self(config)
    }
}

/// A datagram received: endpoint, sender, bytes.
pub type Seen = (EndpointId, SocketAddrV4, Vec<u8>);

/// Small memory: many tests run at once.
pub fn small() -> DriverConfig {
    DriverConfig { receive_buffers: 64, send_slots: 64, ..DriverConfig::default() }
}

pub fn spec(bind: Bind) -> EndpointSpec {
    EndpointSpec { bind, receive_buffer_bytes: 1 << 20, send_buffer_bytes: 1 << 20 }
}

pub fn line(group: SocketAddrV4) -> EndpointSpec {
    spec(Bind::Line { group, interface: LOCALHOST, source: None })
}

/// A local endpoint at a free port.
pub fn local(address: Ipv4Addr) -> EndpointSpec {
    spec(Bind::Local { local: SocketAddrV4::new(address, 0), multicast_ttl: 0 })
}

/// A group of this process and case: tests run side by side.
pub fn group(case: u8, member: u8) -> Ipv4Addr {
    Ipv4Addr::new(239, case, std::process::id() as u8, member)
}

/// Opens a line at a free port.
pub fn open_line<D: Driver>(driver: &mut D, group: Ipv4Addr) -> (EndpointId, SocketAddrV4) {
    let endpoint = driver.open(&line(SocketAddrV4::new(group, 0))).unwrap();
    (endpoint, driver.local_addr(endpoint))
}

pub fn now() -> Nanos {
    static START: OnceLock<Instant> = OnceLock::new();
    Nanos(START.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < BOUND, "{what}: not after {BOUND:?}");
        std::thread::yield_now();
    }
}

pub fn poll<D: Driver>(driver: &mut D, seen: &mut Vec<Seen>) -> usize {
    let before = seen.len();
    let given = driver
        .poll_rx(now(), 64, |received| {
            seen.push((received.endpoint, received.from, received.bytes.to_vec()));
        })
        .unwrap();
    assert_eq!(given, seen.len() - before, "the number given is that of the calls");
    given
}

pub fn receive<D: Driver>(driver: &mut D, count: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    until(&format!("{count} datagrams"), || {
        poll(driver, &mut seen);
        seen.len() >= count
    });
    seen
}

/// Sends at once, flushing as long as there is no room.
pub fn send<D: Driver>(driver: &mut D, to: &[Destination], bytes: &[u8]) {
    until("room to send", || {
        let sent = driver.transmit(to, bytes.len(), |buffer| {
            buffer.copy_from_slice(bytes);
            bytes.len()
        });
        driver.flush(now()).unwrap();
        sent != Err(Busy)
    });
}

pub fn to(endpoint: EndpointId, to: SocketAddrV4) -> Destination {
    Destination { endpoint, to }
}

/// Bytes that tell where they stand in which datagram.
pub fn pattern(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number * 31 + at * 7) as u8).collect()
}
