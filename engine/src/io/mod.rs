//! Drivers behind one narrow seam: datagrams in, datagrams out.
//!
//! A driver knows endpoints and memory, never sequence numbers. Receive buffers are lent to a closure; datagrams to
//! send are written by a closure straight into the driver's memory and may go to several destinations (lines) from
//! that one buffer. Nothing here allocates after the endpoints are open.
//!
//! | module | what |
//! |---|---|
//! | [`any`] | picks a driver at start: io_uring where the kernel allows it, else plain sockets |
//! | `xdp` | Linux, feature `xdp`: past the kernel's network stack by AF_XDP |
//! | [`uring`] | Linux: multishot receives into provided buffers, batched sends, GSO and GRO |
//! | [`udp`] | plain non-blocking sockets, wherever there are sockets |
//! | [`store`] | a journal's segments in files |
//! | [`pcap`] | plays capture files; a reader of captures for tools |
//! | [`fault`] | around a driver: seeded loss, duplicates, delay, reordering |
//! | [`tap`] | around a driver: writes what passes as pcapng |
//! | [`tcp`] | non-blocking TCP for snapshots and rewinds; no driver |

mod backlog;
mod config;
mod drops;
mod socket;
mod warm;

pub mod any;
pub mod fault;
pub mod pcap;
pub mod store;
pub mod tap;
pub mod tcp;
pub mod udp;
#[cfg(target_os = "linux")]
pub mod uring;
#[cfg(all(target_os = "linux", feature = "xdp"))]
pub mod xdp;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

pub use self::any::{AnyDriver, DriverChoice, open_best};
pub use self::config::{DriverConfig, XdpConfig, XdpMode};
use crate::time::Nanos;

/// Destinations of one [`Driver::transmit`].
pub const MAX_DESTINATIONS: usize = 64;

/// An endpoint of one driver, numbered from 0 in the order of opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u16);

/// What an endpoint is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Receives a line: datagrams to `group`. A multicast group is joined on `interface` (the unspecified address
    /// lets the kernel choose), source-specific when `source` is given; a unicast address is simply bound.
    Line {
        /// Group (or local unicast address) and port.
        group: SocketAddrV4,
        /// Address of the local interface to join on.
        interface: Ipv4Addr,
        /// Only datagrams of this sender (IGMPv3 source-specific join).
        source: Option<Ipv4Addr>,
    },
    /// Sends and receives from a local address; port 0 takes a free one. Multicast sent from here leaves through
    /// the interface that has `local`'s address and is looped back to this host.
    Local {
        /// Local address and port.
        local: SocketAddrV4,
        /// Time to live of multicast sent from here.
        multicast_ttl: u8,
    },
    /// Sends to one group (or one receiver) and nowhere else, and receives nothing: a line, as who sends it has it.
    /// Leaves as from [`Bind::Local`]. The kernel looks the way up once, not at each datagram.
    Sender {
        /// Local address and port.
        local: SocketAddrV4,
        /// The only [`Destination::to`].
        to: SocketAddrV4,
        /// Time to live of multicast.
        multicast_ttl: u8,
    },
}

impl Bind {
    /// The one receiver of what is sent from here, where there is but one. Nothing is ever received there.
    pub(crate) fn only_to(&self) -> Option<SocketAddrV4> {
        if let Bind::Sender { to, .. } = self { Some(*to) } else { None }
    }

    /// Whether nothing is ever received here.
    pub(in crate::io) fn only_sends(&self) -> bool {
        self.only_to().is_some()
    }
}

/// An endpoint to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// What to bind.
    pub bind: Bind,
    /// Receive buffer to ask the kernel for; what it grants is read back and reported when it is less.
    pub receive_buffer_bytes: usize,
    /// Send buffer to ask the kernel for.
    pub send_buffer_bytes: usize,
}

/// A datagram received, borrowed from the driver for the length of a call.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Where it arrived.
    pub endpoint: EndpointId,
    /// Who sent it.
    pub from: SocketAddrV4,
    /// The UDP payload.
    pub bytes: &'a [u8],
}

/// Where a datagram goes: out of `endpoint`, to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// A [`Bind::Local`] or [`Bind::Sender`] endpoint of the same driver.
    pub endpoint: EndpointId,
    /// Receiver.
    pub to: SocketAddrV4,
}

/// The checks of [`Driver::transmit`]; `only_to` gives [`Bind::only_to`] of an endpoint.
#[inline]
pub(crate) fn check_destinations(to: &[Destination], only_to: impl Fn(EndpointId) -> Option<SocketAddrV4>) {
    assert!(to.len() <= MAX_DESTINATIONS, "at most {MAX_DESTINATIONS} destinations");
    for Destination { endpoint, to } in to {
        if let Some(only) = only_to(*endpoint) {
            assert_eq!(*to, only, "{endpoint:?} sends to one receiver only");
        }
    }
}

/// The driver has no room for another datagram now; try again after the next [`Driver::flush`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the driver's send buffers are full")]
pub struct Busy;

/// What a driver counted since it was made. Plain numbers; agents copy them into mapped counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// Datagrams received.
    pub received_datagrams: u64,
    /// Bytes received (UDP payload).
    pub received_bytes: u64,
    /// Datagrams longer than a receive buffer: dropped.
    pub truncated_datagrams: u64,
    /// Datagrams that the kernel reports as dropped because a socket's receive buffer was full. `uring` learns it with
    /// the next datagram (`SO_RXQ_OVFL`), `udp` within a second of polling (`SO_MEMINFO`), as does `xdp`, also for frames
    /// that found its receive ring full.
    pub kernel_dropped_datagrams: u64,
    /// Times a multishot receive ended and was armed again, mostly because receive buffers ran out (`ENOBUFS`). The
    /// datagrams stay in the socket meanwhile: nothing is lost by it.
    pub rearms: u64,
    /// Datagrams sent, once per destination.
    pub sent_datagrams: u64,
    /// Bytes sent (UDP payload), once per destination.
    pub sent_bytes: u64,
    /// Sends that the kernel refused for good: the datagram is lost on that destination.
    pub send_errors: u64,
    /// [`Driver::transmit`] calls refused with [`Busy`].
    pub busy: u64,
    /// Sends that carried more than one datagram by segmentation offload.
    pub segmented_sends: u64,
    /// Of the datagrams received, those that came past the kernel's network stack (`xdp`).
    pub bypass_received_datagrams: u64,
    /// Of the datagrams sent, those that went past it.
    pub bypass_sent_datagrams: u64,
    /// Frames that came past it and were refused: lengths that contradict one another, wrong check sums.
    pub malformed_frames: u64,
}

/// Moves datagrams. See the module's documentation for the contract; `tests/io_conformance.rs` tests it.
pub trait Driver {
    /// Opens an endpoint. Only at start: may allocate and call the kernel.
    ///
    /// # Errors
    /// What the kernel refused, with the address in the message.
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId>;

    /// The address an endpoint is bound to, its port filled in.
    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4;

    /// Hands up to about `limit` received datagrams to `on_datagram`, in the order of arrival per endpoint, and gives
    /// their number. Never blocks.
    ///
    /// # Errors
    /// Only when the driver cannot go on; what concerns one datagram is counted. A [`pcap`] driver fails where its
    /// file is cut off or damaged.
    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        on_datagram: F,
    ) -> io::Result<usize>;

    /// Lets `fill` write a datagram of at most `max_bytes` into the driver's memory and queues it for each of `to`.
    /// The memory lent is as long as that, or as [`DriverConfig::max_datagram_bytes`] when that is less, and holds
    /// anything. `fill` gives the datagram's length; 0 takes the claim back and nothing is sent. Gives that length.
    ///
    /// Datagrams to one destination leave in order, except that a send which found the socket full may be overtaken.
    ///
    /// # Errors
    /// [`Busy`], and `fill` is not called, when there is no room: back-pressure, counted.
    ///
    /// # Panics
    /// When `to` is longer than [`MAX_DESTINATIONS`], an endpoint is not one of this driver, a [`Bind::Sender`] endpoint
    /// is to send to another receiver than its own, or `fill` gives more than the length of its buffer.
    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy>;

    /// Hands what is queued to the kernel and takes back finished send buffers. Call once per duty cycle. Never
    /// blocks.
    ///
    /// # Errors
    /// Only when the driver cannot go on.
    fn flush(&mut self, now: Nanos) -> io::Result<()>;

    /// What was counted so far.
    fn counters(&self) -> DriverCounters;

    /// Short name for reports: `uring`, `udp`, `pcap`, …
    fn name(&self) -> &'static str;
}
