//! Round trips of 64 bytes between two hosts (network namespaces joined by a veth pair): AF_XDP and this project's other
//! drivers against raw UDP sockets, connected and spun on, which are the floor of what the kernel's stack can do.
//!
//! Takes root, and two cores, one for each host. The contenders take turns, repeat by repeat, each with an interface to
//! itself: a program on it would slow the sockets down. Told are the medians of the repeats, and the ratio to the
//! sockets of the same repeat. `--repeats N` and `--round-trips N` change the defaults.
#![allow(clippy::print_stdout)]

#[path = "../engine/tests/io_support/mod.rs"]
mod io_support;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use io_support::wire::{FAR_IP, NEAR_IP, Placed, Wire, on};
use io_support::{now, spec};
use seqcast_engine::io::udp::UdpDriver;
use seqcast_engine::io::uring::UringDriver;
use seqcast_engine::io::xdp::XdpDriver;
use seqcast_engine::io::{Bind, Destination, Driver, DriverConfig, EndpointId, XdpConfig, XdpMode};

const BYTES: usize = 64;
const GROUPS: [Ipv4Addr; 2] = [Ipv4Addr::new(239, 77, 0, 1), Ipv4Addr::new(239, 77, 0, 2)];

/// A datagram that has not come back by then will not.
const LOST_AFTER: Duration = Duration::from_millis(100);

/// One side of a ping-pong.
trait Side: Send {
    /// Sends a datagram that starts with `number`.
    fn send(&mut self, number: u64);

    /// The number of a datagram that has arrived, if one has.
    fn poll(&mut self) -> Option<u64>;

    /// Whether what is sent takes the way that is measured.
    fn is_warm(&self) -> bool {
        true
    }
}

struct Raw(UdpSocket);

impl Side for Raw {
    fn send(&mut self, number: u64) {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&number.to_ne_bytes());
        self.0.send(&bytes).unwrap();
    }

    fn poll(&mut self) -> Option<u64> {
        let mut bytes = [0; BYTES];
        self.0.recv(&mut bytes).ok()?;
        Some(u64::from_ne_bytes(bytes[..8].try_into().unwrap()))
    }
}

struct Driven<D> {
    driver: Placed<D>,
    to: Destination,
}

impl<D: Driver + Send> Side for Driven<D> {
    fn send(&mut self, number: u64) {
        let sent = self.driver.transmit(&[self.to], BYTES, |buffer| {
            buffer.fill(0);
            buffer[..8].copy_from_slice(&number.to_ne_bytes());
            BYTES
        });
        sent.unwrap();
        self.driver.flush(now()).unwrap();
    }

    fn poll(&mut self) -> Option<u64> {
        let mut number = None;
        let on_datagram = |received: seqcast_engine::io::Received<'_>| {
            number = Some(u64::from_ne_bytes(received.bytes[..8].try_into().unwrap()));
        };
        self.driver.poll_rx(now(), 1, on_datagram).unwrap();
        number
    }

    fn is_warm(&self) -> bool {
        self.driver.name() != "xdp" || self.driver.counters().bypass_sent_datagrams > 0
    }
}

/// Round trips in nanoseconds, sorted.
fn ping_pong(
    mut near: Box<dyn Side>,
    mut far: Box<dyn Side>,
    cores: &[CoreId],
    round_trips: usize,
) -> Vec<u64> {
    let over = AtomicBool::new(false);
    let mut times = Vec::with_capacity(round_trips);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            cores.last().map(|core| core_affinity::set_for_current(*core));
            while !over.load(Ordering::Relaxed) {
                if let Some(number) = far.poll() {
                    far.send(number);
                }
            }
        });
        cores.first().map(|core| core_affinity::set_for_current(*core));
        let mut number = 0;
        let (mut warm, mut lost) = (0, 0);
        while times.len() < round_trips {
            number += 1;
            let start = Instant::now();
            near.send(number);
            while near.poll() != Some(number) {
                if start.elapsed() > LOST_AFTER {
                    break;
                }
            }
            let time = start.elapsed();
            lost += usize::from(time > LOST_AFTER);
            assert!(lost < 1_000, "most datagrams are lost");
            warm += usize::from(near.is_warm());
            assert!(number < 10_000 || warm > 0, "nothing goes past the kernel");
            if warm > 500 && time <= LOST_AFTER {
                times.push(time.as_nanos() as u64);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    times.sort_unstable();
    times
}

fn raw(wire: &Wire) -> (Box<dyn Side>, Box<dyn Side>) {
    let near = UdpSocket::bind((NEAR_IP, 0)).unwrap();
    let far = on(&wire.far, || UdpSocket::bind((FAR_IP, 0)).unwrap());
    near.connect(far.local_addr().unwrap()).unwrap();
    far.connect(near.local_addr().unwrap()).unwrap();
    for socket in [&near, &far] {
        socket.set_nonblocking(true).unwrap();
    }
    (Box::new(Raw(near)), Box::new(Raw(far)))
}

/// Each sends to a group that the other has joined, as feeds do.
fn driven<D: Driver + Send + 'static>(wire: &Wire, make: impl Fn() -> D) -> (Box<dyn Side>, Box<dyn Side>) {
    let side = |host, ip, joins: usize| {
        let mut driver = Placed::new(make(), host);
        let group = SocketAddrV4::new(GROUPS[joins], 4_400);
        driver.open(&spec(Bind::Line { group, interface: ip, source: None })).unwrap();
        let to = SocketAddrV4::new(GROUPS[1 - joins], 4_400);
        let sender = Bind::Sender { local: SocketAddrV4::new(ip, 0), to, multicast_ttl: 1 };
        let endpoint: EndpointId = driver.open(&spec(sender)).unwrap();
        Driven { driver, to: Destination { endpoint, to } }
    };
    (Box::new(side(&wire.near, NEAR_IP, 0)), Box::new(side(&wire.far, FAR_IP, 1)))
}

fn xdp(mode: XdpMode) -> XdpDriver {
    let xdp = XdpConfig { mode, ..XdpConfig::default() };
    XdpDriver::new(&DriverConfig { xdp, ..DriverConfig::default() }).unwrap()
}

type Contender = (&'static str, fn(&Wire) -> (Box<dyn Side>, Box<dyn Side>));

const CONTENDERS: [Contender; 5] = [
    ("raw sockets", raw),
    ("xdp, generic", |wire| driven(wire, || xdp(XdpMode::Generic))),
    ("xdp, native", |wire| driven(wire, || xdp(XdpMode::Native))),
    ("udp driver", |wire| driven(wire, || UdpDriver::new(&DriverConfig::default()).unwrap())),
    ("uring driver", |wire| driven(wire, || UringDriver::new(&DriverConfig::default()).unwrap())),
];

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().map_or(default, |value| value.parse().unwrap())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let Some(wire) = Wire::new() else { return };
    // Asked once: a thread that is pinned sees its own core only.
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    assert!(cores.len() > 1, "each host takes a core of its own");
    let (repeats, round_trips) = (argument("--repeats", 7), argument("--round-trips", 10_000));
    let mut results = vec![Vec::new(); CONTENDERS.len()];
    for _ in 0..repeats {
        for ((name, make), results) in CONTENDERS.iter().zip(&mut results) {
            let (near, far) = make(&wire);
            let times = ping_pong(near, far, &cores, round_trips);
            let at = |share: f64| times[(times.len() as f64 * share) as usize] as f64 / 1e3;
            eprintln!("{name:<14} {:>8.2}", at(0.5));
            results.push([at(0.5), at(0.9), at(0.99)]);
        }
    }
    println!("{:<14} {:>8} {:>8} {:>8}  {:>8}", "64 B, µs", "p50", "p90", "p99", "p50/raw");
    for ((name, _), result) in CONTENDERS.iter().zip(&results) {
        let of = |at: usize| median(result.iter().map(|times| times[at]).collect());
        let ratio = median(result.iter().zip(&results[0]).map(|(this, raw)| this[0] / raw[0]).collect());
        println!("{name:<14} {:>8.2} {:>8.2} {:>8.2}  {ratio:>8.2}", of(0), of(1), of(2));
    }
}
