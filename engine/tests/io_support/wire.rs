//! Two hosts and a wire between them: network namespaces, joined by a veth pair.
#![allow(clippy::print_stdout)]

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use seqcast_engine::io::xdp::XdpDriver;
use seqcast_engine::io::{
    Busy, Destination, Driver, DriverConfig, DriverCounters, EndpointId, EndpointSpec, Received, XdpConfig,
    XdpMode,
};
use seqcast_engine::runtime::pin_current_thread;
use seqcast_engine::time::Nanos;

use super::Stage;

pub const NEAR_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const FAR_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub const OTHER_FAR_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

/// A network namespace, kept as long as this.
pub type Host = Arc<File>;

/// The two hosts. The thread that made them is the near one from then on.
pub struct Wire {
    pub near: Host,
    pub far: Host,
}

impl Wire {
    /// None, with a word on why, where this process may not make namespaces or may not use AF_XDP in them.
    pub fn new() -> Option<Wire> {
        match Wire::made().and_then(|wire| XdpDriver::new(&super::small()).map(|_| wire)) {
            Ok(wire) => Some(wire),
            Err(error) => {
                println!("skipped: {error}");
                None
            }
        }
    }

    fn made() -> io::Result<Wire> {
        let far = new_host()?;
        let near = new_host()?;
        let far_path = format!("/proc/{}/fd/{}", std::process::id(), far.as_raw_fd());
        ip(&format!("link add near type veth peer name far netns {far_path}"))?;
        set_up("near", &[NEAR_IP])?;
        on(&far, || set_up("far", &[FAR_IP, OTHER_FAR_IP]))?;
        Ok(Wire { near, far })
    }
}

fn set_up(interface: &str, addresses: &[Ipv4Addr]) -> io::Result<()> {
    // Else the first thing on the wire is a host looking for routers.
    let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    ip("link set lo up")?;
    for address in addresses {
        ip(&format!("address add {address}/24 dev {interface}"))?;
    }
    ip(&format!("link set {interface} up"))
}

/// Runs `ip` on the host where this thread is.
pub fn ip(arguments: &str) -> io::Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {arguments}: {}", text.trim())))
}

/// Moves this thread to a new host.
fn new_host() -> io::Result<Host> {
    // SAFETY: the thread keeps its descriptors (`FILES` is not among the flags).
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)?;
    }
    here()
}

fn here() -> io::Result<Host> {
    Ok(Arc::new(File::open("/proc/thread-self/ns/net")?))
}

/// Does something on another host.
pub fn on<T>(host: &Host, work: impl FnOnce() -> T) -> T {
    let back = here().unwrap();
    let go = |host: &Host| move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    go(host);
    let done = work();
    go(&back);
    done
}

/// A driver that lives on a host: its endpoints are opened there.
pub struct Placed<D> {
    pub inner: D,
    host: Host,
}

impl<D: Driver> Placed<D> {
    pub fn new(inner: D, host: &Host) -> Placed<D> {
        Placed { inner, host: Arc::clone(host) }
    }
}

impl<D: Driver> Driver for Placed<D> {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        on(&self.host, || self.inner.open(spec))
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        self.inner.local_addr(endpoint)
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        on_datagram: F,
    ) -> io::Result<usize> {
        self.inner.poll_rx(now, limit, on_datagram)
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        self.inner.transmit(to, max_bytes, fill)
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        self.inner.flush(now)
    }

    fn counters(&self) -> DriverCounters {
        self.inner.counters()
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}

/// AF_XDP drivers on both hosts.
pub struct XdpStage<'a> {
    wire: &'a Wire,
    mode: XdpMode,
}

impl<'a> XdpStage<'a> {
    pub fn new(wire: &'a Wire, mode: XdpMode) -> XdpStage<'a> {
        // The kernel queues frames on the core that sent them: a thread that is moved to another one overtakes itself.
        pin_current_thread(Some(rustix::thread::sched_getcpu()));
        XdpStage { wire, mode }
    }

    fn make(&self, config: &DriverConfig, host: &Host) -> Placed<XdpDriver> {
        let xdp = XdpConfig { mode: self.mode, ..config.xdp.clone() };
        Placed::new(XdpDriver::new(&DriverConfig { xdp, ..config.clone() }).unwrap(), host)
    }
}

impl Stage for XdpStage<'_> {
    type Driver = Placed<XdpDriver>;

    fn near(&self, config: &DriverConfig) -> Placed<XdpDriver> {
        self.make(config, &self.wire.near)
    }

    fn far(&self, config: &DriverConfig) -> Placed<XdpDriver> {
        self.make(config, &self.wire.far)
    }

    fn near_ip(&self) -> Ipv4Addr {
        NEAR_IP
    }

    fn far_ip(&self) -> Ipv4Addr {
        FAR_IP
    }

    fn other_far_ip(&self) -> Ipv4Addr {
        OTHER_FAR_IP
    }

    fn ttl(&self) -> u8 {
        1
    }

    fn far_socket(&self) -> UdpSocket {
        on(&self.wire.far, || UdpSocket::bind((FAR_IP, 0)).unwrap())
    }
}
