//! Ping-pong of datagrams between two threads: over raw sockets, which are the floor, and over our driver.
//!
//! Public, so that rivals can be measured by the same hands.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use anyhow::Context;
use seqcast_engine::config::Config;
use seqcast_engine::io::{AnyDriver, Bind, Destination, Driver, EndpointSpec};
use seqcast_engine::runtime::{Clock, StopFlag, pin_current_thread};
use seqcast_engine::stat::Latency;
use seqcast_engine::time::Nanos;
use seqcast_engine::topology::{self, Node};
use socket2::{Domain, Protocol, Socket, Type};

use super::place::Place;
use super::schedule::Timing;
use crate::ports::free_ports;

/// Shortest payload: it holds the number of the ping.
pub const MIN_BYTES: usize = 8;
/// Longest payload.
pub const MAX_BYTES: usize = 1_400;
/// When nothing has come or gone for so long after the last ping, the pongs that are missing are lost.
const STRAGGLING: Nanos = Nanos::from_secs(10);
/// Receive and send buffer of each socket.
const SOCKET_BYTES: usize = 1 << 20;

/// How datagrams are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// From one socket to the other.
    Unicast,
    /// Each end listens to a group of its own.
    Multicast,
}

/// One end.
pub trait Wire: Send {
    /// Sends `bytes`; `false` when there is no room now.
    ///
    /// # Errors
    /// What the system refused.
    fn send(&mut self, bytes: &[u8]) -> io::Result<bool>;

    /// Hands what has come to `on`, without waiting.
    ///
    /// # Errors
    /// What the system refused.
    fn receive(&mut self, now: Nanos, on: impl FnMut(&[u8])) -> io::Result<()>;

    /// The end of a duty cycle, which every turn of the loop is.
    ///
    /// # Errors
    /// What the system refused.
    fn flush(&mut self, now: Nanos) -> io::Result<()>;
}

/// Plain non-blocking sockets, one system call each.
pub struct RawWire {
    sending: UdpSocket,
    /// With multicast, the one that has joined.
    receiving: Option<UdpSocket>,
    buffer: [u8; MAX_BYTES],
}

impl RawWire {
    /// Two ends that send to each other.
    ///
    /// # Errors
    /// What the system refused.
    pub fn between(a: UdpSocket, b: UdpSocket) -> io::Result<[RawWire; 2]> {
        let end = |socket: UdpSocket, other: SocketAddr| {
            socket.set_nonblocking(true)?;
            socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BYTES)?;
            socket.connect(other)?;
            io::Result::Ok(RawWire { sending: socket, receiving: None, buffer: [0; MAX_BYTES] })
        };
        let (at_a, at_b) = (a.local_addr()?, b.local_addr()?);
        Ok([end(a, at_b)?, end(b, at_a)?])
    }

    /// Both ends, on the loopback interface.
    ///
    /// # Errors
    /// What the system refused.
    pub fn pair(addressing: Addressing) -> io::Result<[RawWire; 2]> {
        let wire = |sending, receiving| RawWire { sending, receiving, buffer: [0; MAX_BYTES] };
        match addressing {
            Addressing::Unicast => RawWire::between(local()?, local()?),
            Addressing::Multicast => {
                let [of_a, of_b] = groups()?;
                let end = |own: SocketAddrV4, other: SocketAddrV4| {
                    let sending = local()?;
                    socket2::SockRef::from(&sending).set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
                    sending.connect(other)?;
                    io::Result::Ok(wire(sending, Some(joined(own)?)))
                };
                Ok([end(of_a, of_b)?, end(of_b, of_a)?])
            }
        }
    }
}

fn local() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BYTES)?;
    Ok(socket)
}

fn joined(group: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.bind(&group.into())?;
    socket.join_multicast_v4(group.ip(), &Ipv4Addr::LOCALHOST)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A group for each end that no other process of this host has.
fn groups() -> io::Result<[SocketAddrV4; 2]> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let ports = free_ports(2)?;
    Ok([0, 1]
        .map(|end| SocketAddrV4::new(Ipv4Addr::new(239, high | 128, low, 200 + end), ports[end as usize])))
}

impl Wire for RawWire {
    fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match self.sending.send(bytes) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            // The other end was closed: nobody receives any more.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn receive(&mut self, _now: Nanos, mut on: impl FnMut(&[u8])) -> io::Result<()> {
        let socket = self.receiving.as_ref().unwrap_or(&self.sending);
        match socket.recv(&mut self.buffer) {
            Ok(length) => on(&self.buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn flush(&mut self, _now: Nanos) -> io::Result<()> {
        Ok(())
    }
}

/// Our driver.
pub struct DriverWire {
    driver: AnyDriver,
    to: [Destination; 1],
}

impl DriverWire {
    /// Both ends, on the loopback interface, each with a driver of its own as `config` asks for; and the driver's name
    /// and notices.
    ///
    /// # Errors
    /// A driver or a socket cannot be had.
    pub fn pair(
        config: &Config,
        addressing: Addressing,
    ) -> anyhow::Result<([DriverWire; 2], &'static str, Vec<String>)> {
        let mut node = Node::default();
        let groups = groups()?;
        let mut end = |own: SocketAddrV4, other: SocketAddrV4| {
            let mut driver = topology::driver(config, &mut node)?;
            let spec = |bind| EndpointSpec {
                bind,
                receive_buffer_bytes: SOCKET_BYTES,
                send_buffer_bytes: SOCKET_BYTES,
            };
            let (interface, local) = (Ipv4Addr::LOCALHOST, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
            let (sending, address) = match addressing {
                Addressing::Unicast => {
                    let both = driver.open(&spec(Bind::Local { local, multicast_ttl: 1 }))?;
                    (both, driver.local_addr(both))
                }
                Addressing::Multicast => {
                    driver.open(&spec(Bind::Line { group: own, interface, source: None }))?;
                    (driver.open(&spec(Bind::Sender { local, to: other, multicast_ttl: 1 }))?, own)
                }
            };
            anyhow::Ok((driver, sending, address))
        };
        let (a, a_sending, a_address) = end(groups[0], groups[1])?;
        let (b, b_sending, b_address) = end(groups[1], groups[0])?;
        let name = a.name();
        let wire = |driver, endpoint, to| DriverWire { driver, to: [Destination { endpoint, to }] };
        Ok(([wire(a, a_sending, b_address), wire(b, b_sending, a_address)], name, node.notices().to_vec()))
    }
}

impl Wire for DriverWire {
    fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let sent = self.driver.transmit(&self.to, bytes.len(), |buffer| {
            buffer[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        });
        Ok(sent.is_ok())
    }

    fn receive(&mut self, now: Nanos, mut on: impl FnMut(&[u8])) -> io::Result<()> {
        self.driver.poll_rx(now, 16, |datagram| on(datagram.bytes)).map(drop)
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        self.driver.flush(now)
    }
}

/// How to play.
#[derive(Clone, Copy)]
pub struct Play<'a> {
    /// Where the two threads are.
    pub place: &'a Place,
    /// Length of a ping, [`MIN_BYTES`] to [`MAX_BYTES`].
    pub bytes: usize,
    /// Pings.
    pub count: u64,
    /// Pings at the start that are not measured.
    pub warm_up: u64,
    /// When each ping is due.
    pub timing: Timing,
}

/// What came of it.
pub struct Played {
    /// When it was.
    pub began: SystemTime,
    /// From when each ping was due to its pong.
    pub round_trips: Latency,
    /// Pings sent.
    pub sent: u64,
    /// Pongs received.
    pub received: u64,
}

/// Plays ping-pong: the first end sends at its times, waiting for nobody, the second sends back what comes.
///
/// # Errors
/// What the system refused.
pub fn play<W: Wire>(ends: [W; 2], play: Play<'_>, stop: &StopFlag) -> anyhow::Result<Played> {
    let [pinging, ponging] = ends;
    let (start, over) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        let (start, over) = (&start, &over);
        let pong = scope.spawn(move || {
            pin_current_thread(play.place.core(1));
            let clock = Clock::new();
            start.wait();
            pong(ponging, play, &clock, over)
        });
        on_a_pinned_thread(play.place.core(0), || {
            let clock = Clock::new();
            start.wait();
            let played = ping(pinging, play, &clock, stop);
            over.store(true, Ordering::Release);
            let ponged = pong.join().map_err(|_| anyhow::anyhow!("the thread that sends back panicked"))?;
            ponged.context("sending back")?;
            played.context("pinging")
        })
    })
}

/// Runs `what` on a thread of its own, pinned: pinning lasts as long as its thread.
fn on_a_pinned_thread<T: Send>(core: Option<usize>, what: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let pinned = scope.spawn(|| {
            pin_current_thread(core);
            what()
        });
        match pinned.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn ping(mut wire: impl Wire, play: Play<'_>, clock: &Clock, stop: &StopFlag) -> io::Result<Played> {
    let mut idler = play.place.idler(2);
    let mut payload = [0; MAX_BYTES];
    let mut played = Played { began: SystemTime::now(), round_trips: Latency::new(), sent: 0, received: 0 };
    let start = clock.now();
    let due = |number: u64| start + play.timing.due(number);
    let mut moved = start;
    while played.received < play.count && !stop.is_set() {
        let now = clock.now();
        let mut work = 0;
        wire.receive(now, |pong| {
            let number = pong.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
            if number < played.sent {
                played.received += 1;
                work += 1;
                if number >= play.warm_up {
                    played.round_trips.record(clock.now().since(due(number)));
                }
            }
        })?;
        if played.sent < play.count && due(played.sent) <= now {
            payload[..MIN_BYTES].copy_from_slice(&played.sent.to_le_bytes());
            if wire.send(&payload[..play.bytes])? {
                played.sent += 1;
                work += 1;
            }
        } else if played.sent == play.count && now > moved + STRAGGLING {
            break;
        }
        wire.flush(now)?;
        if work > 0 {
            moved = now;
        }
        idler.idle(work);
    }
    Ok(played)
}

fn pong(mut wire: impl Wire, play: Play<'_>, clock: &Clock, over: &AtomicBool) -> io::Result<()> {
    let mut idler = play.place.idler(2);
    let mut waiting = Vec::with_capacity(64 * play.bytes);
    while !over.load(Ordering::Acquire) {
        let now = clock.now();
        wire.receive(now, |ping| {
            if ping.len() == play.bytes {
                waiting.extend_from_slice(ping);
            }
        })?;
        let mut sent = 0;
        for ping in waiting.chunks_exact(play.bytes) {
            if !wire.send(ping)? {
                break;
            }
            sent += 1;
        }
        waiting.drain(..sent * play.bytes);
        wire.flush(now)?;
        idler.idle(sent);
    }
    Ok(())
}
