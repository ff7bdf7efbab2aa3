//! What happens in a world, one event a line, and one number for all of it.

use std::fmt;
use std::hash::Hasher;
use std::net::SocketAddrV4;

use rustc_hash::FxHasher;
use seqcast_wire::SeqNo;

use super::fault::FaultClass;
use crate::time::Nanos;

/// Something that happened.
#[derive(Clone, Copy)]
pub(super) enum Event<'a> {
    /// A process began.
    Started { node: usize },
    /// A process ended: killed, failed or finished.
    Stopped { node: usize, why: &'a str },
    /// An agent had its turn and did something.
    Worked { node: usize, agent: &'a str, work: usize },
    /// A datagram left.
    Sent { node: usize, agent: &'a str, to: SocketAddrV4, bytes: usize },
    /// It came to a socket.
    Arrived { node: usize, to: SocketAddrV4, bytes: usize },
    /// It did not, or not as it should.
    Fault { class: FaultClass, node: usize, other: usize },
    /// Frames are in a node's journal, up to `next`.
    Appended { node: usize, next: SeqNo, crc: u32 },
    /// Everything below `next` was told to somebody, so that it can never be taken back.
    Settled { node: usize, next: SeqNo },
    /// A subscriber's application got message `seq`.
    Delivered { node: usize, seq: SeqNo },
    /// A fault of the schedule begins or ends.
    Episode { begins: bool, what: &'a dyn fmt::Display },
}

/// Where lines of a trace go.
pub(super) type Sink = Box<dyn FnMut(&str) + Send>;

/// Takes the events down.
#[derive(Default)]
pub(super) struct Trace {
    hash: FxHasher,
    sink: Option<Sink>,
    events: u64,
}

impl Trace {
    pub(super) fn new(sink: Option<Sink>) -> Trace {
        Trace { sink, ..Trace::default() }
    }

    /// Equal for equal runs.
    pub(super) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Number of events.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    #[inline]
    pub(super) fn event(&mut self, at: Nanos, event: Event<'_>) {
        self.events += 1;
        let (kind, a, b) = event.digits();
        self.hash.write_u64(at.0);
        self.hash.write_u64(kind << 56 | a << 28 ^ b);
        if let Some(sink) = &mut self.sink {
            sink(&format!("{:>10.3} ms  {event}", at.0 as f64 / 1e6));
        }
    }
}

impl Event<'_> {
    /// What tells events apart, for the hash.
    fn digits(&self) -> (u64, u64, u64) {
        match *self {
            Event::Started { node } => (1, node as u64, 0),
            Event::Stopped { node, why } => (2, node as u64, why.len() as u64),
            Event::Worked { node, agent, work } => (3, (node << 8 | agent.len()) as u64, work as u64),
            Event::Sent { node, to, bytes, .. } => {
                (4, (node << 16) as u64 | u64::from(to.port()), bytes as u64)
            }
            Event::Arrived { node, to, bytes } => {
                (5, (node << 16) as u64 | u64::from(to.port()), bytes as u64)
            }
            Event::Fault { class, node, other } => (6, class as u64, (node << 8 | other) as u64),
            Event::Appended { node, next, crc } => (7, node as u64 ^ next.value() << 8, crc.into()),
            Event::Settled { node, next } => (8, node as u64, next.value()),
            Event::Delivered { node, seq } => (9, node as u64, seq.value()),
            Event::Episode { begins, .. } => (10, begins.into(), 0),
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Event::Started { node } => write!(f, "node {node}: started"),
            Event::Stopped { node, why } => write!(f, "node {node}: stopped: {why}"),
            Event::Worked { node, agent, work } => write!(f, "node {node}: {agent} worked ({work})"),
            Event::Sent { node, agent, to, bytes } => {
                write!(f, "node {node}: {agent} sends {bytes} bytes to {to}")
            }
            Event::Arrived { node, to, bytes } => write!(f, "node {node}: {bytes} bytes arrive at {to}"),
            Event::Fault { class, node, other } if node == other => write!(f, "node {node}: FAULT {class}"),
            Event::Fault { class, node, other } => {
                write!(f, "node {node}: FAULT {class} towards node {other}")
            }
            Event::Appended { node, next, crc } => write!(f, "node {node}: journal up to {next}, {crc:08x}"),
            Event::Settled { node, next } => write!(f, "node {node}: told of everything below {next}"),
            Event::Delivered { node, seq } => write!(f, "node {node}: application has {seq}"),
            Event::Episode { begins, what } => {
                write!(f, "{} {what}", if begins { "BEGIN" } else { "END  " })
            }
        }
    }
}
