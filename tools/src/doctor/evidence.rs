//! What was seen while listening to a feed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use seqcast_wire::mold::{Downstream, Kind};

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// For how long was listened.
    pub(crate) listened: Duration,
    /// The session that is wanted; none: any.
    pub(crate) session: Option<String>,
    pub(crate) lines: Vec<LineEvidence>,
    /// Datagrams that the kernel dropped meanwhile, on the whole host.
    pub(crate) kernel: KernelDrops,
    /// Rules of the firewall that drop or reject; or why they cannot be seen.
    pub(crate) firewall: Option<Result<Vec<String>, String>>,
    pub(crate) rewind: Vec<(SocketAddrV4, Rewind)>,
    pub(crate) subscribers: Vec<Subscriber>,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct LineEvidence {
    pub(crate) group: SocketAddrV4,
    pub(crate) source: Option<Ipv4Addr>,
    /// The interface it comes in at; or why there is none.
    pub(crate) interface: Result<Interface, String>,
    /// Whether it could be joined, or bound.
    pub(crate) join: Result<(), String>,
    /// How many sockets had joined before.
    pub(crate) joined_before: u32,
    /// What came in at the interface; or why that cannot be seen.
    pub(crate) wire: Result<Wire, String>,
    /// What our own socket got; none: it could not be had.
    pub(crate) own: Option<Received>,
    /// Receive buffer asked for and granted.
    pub(crate) buffer_bytes: Option<(usize, usize)>,
    /// Sockets of others on the same address.
    pub(crate) sockets: Vec<OtherSocket>,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) is_up: bool,
    /// Packets that came in meanwhile, and those that its driver lost.
    pub(crate) packets: u64,
    pub(crate) lost: u64,
    /// The reverse path filter that counts: 0 none, 1 strict, 2 loose.
    pub(crate) rp_filter: Option<u8>,
    /// Version of IGMP, as the kernel speaks it there.
    pub(crate) igmp: Option<String>,
}

/// What a packet socket saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    /// Datagrams of the line, by sender.
    pub(crate) senders: BTreeMap<Ipv4Addr, u64>,
    /// Datagrams to the line's address at other ports.
    pub(crate) other_ports: BTreeMap<u16, u64>,
    /// MoldUDP64 of the wanted session at other addresses.
    pub(crate) elsewhere: BTreeMap<SocketAddrV4, u64>,
    /// Fragments to the line's address, which are put together again only if all come.
    pub(crate) fragments: u64,
    /// Questions of a switch or router who is in which group.
    pub(crate) igmp_queries: u64,
}

impl Wire {
    pub(crate) fn datagrams(&self) -> u64 {
        self.senders.values().sum()
    }
}

/// Drops of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelDrops {
    /// By the reverse path filter.
    pub(crate) reverse_path: u64,
    /// For want of room in a receive buffer.
    pub(crate) receive_buffer: u64,
    /// With a wrong check sum.
    pub(crate) checksum: u64,
}

/// A socket of another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OtherSocket {
    /// `name (pid)`, where that can be seen.
    pub(crate) owner: Option<String>,
    /// What it dropped since it was opened, and meanwhile.
    pub(crate) dropped: u64,
    pub(crate) dropped_meanwhile: u64,
}

/// What a rewind server did with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rewind {
    /// It answered.
    Answered,
    /// It has not what was asked for: another session.
    OtherSession(String),
    /// Nothing came back.
    Silent,
    /// The question did not get there.
    Unreachable(String),
}

/// A running subscriber, by its counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) process: u32,
    /// The number it waits for, before and after.
    pub(crate) expected: (u64, u64),
    /// What it knows to be missing.
    pub(crate) missing: u64,
    pub(crate) unanswered_meanwhile: u64,
    pub(crate) wrong_session_meanwhile: u64,
    pub(crate) kernel_dropped_meanwhile: u64,
}

/// What a socket got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) datagrams: u64,
    pub(crate) not_mold: u64,
    pub(crate) sessions: BTreeMap<String, Heard>,
}

/// What was heard of a session on one line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) data: u64,
    pub(crate) heartbeats: u64,
    pub(crate) ended: bool,
    /// The number that comes next.
    pub(crate) next: u64,
    pub(crate) coverage: Coverage,
}

impl Received {
    pub(crate) fn on_datagram(&mut self, payload: &[u8]) {
        self.datagrams += 1;
        let Ok(datagram) = Downstream::parse(payload) else {
            self.not_mold += 1;
            return;
        };
        let heard = self.sessions.entry(datagram.session().to_string()).or_default();
        heard.next = heard.next.max(datagram.next().value());
        match datagram.kind() {
            Kind::Data(_) => {
                heard.data += 1;
                heard.coverage.add(datagram.first().value(), datagram.next().value());
            }
            Kind::Heartbeat => heard.heartbeats += 1,
            Kind::EndOfSession => heard.ended = true,
        }
    }
}

/// Which numbers came, as ranges from the first to before the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage(BTreeMap<u64, u64>);

impl Coverage {
    /// More ranges than this are no news any more.
    const MOST: usize = 4_096;

    pub(crate) fn add(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        // Whatever it touches becomes one with it.
        while let Some((&start, &end)) = self.0.range(..=to).next_back().filter(|&(_, &end)| end >= from) {
            (from, to) = (from.min(start), to.max(end));
            self.0.remove(&start);
        }
        if self.0.len() < Coverage::MOST {
            self.0.insert(from, to);
        }
    }

    pub(crate) fn merge(&mut self, other: &Coverage) {
        other.0.iter().for_each(|(&from, &to)| self.add(from, to));
    }

    /// The holes between the first and the last number.
    pub(crate) fn holes(&self) -> Vec<(u64, u64)> {
        self.0.iter().zip(self.0.iter().skip(1)).map(|((_, &end), (&start, _))| (end, start)).collect()
    }

    pub(crate) fn missing(&self) -> u64 {
        self.holes().iter().map(|(from, to)| to - from).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holes_are_what_did_not_come(ranges in prop::collection::vec((1_u64..60, 0_u64..8), 1..20)) {
            let mut coverage = Coverage::default();
            let mut came = std::collections::BTreeSet::new();
            for (from, count) in ranges {
                coverage.add(from, from + count);
                came.extend(from..from + count);
            }
            let (Some(&first), Some(&last)) = (came.first(), came.last()) else { return Ok(()) };
            let holes: Vec<u64> = coverage.holes().iter().flat_map(|&(from, to)| from..to).collect();
            let missing: Vec<u64> = (first..=last).filter(|number| !came.contains(number)).collect();
            prop_assert_eq!(coverage.missing(), missing.len() as u64);
            prop_assert_eq!(holes, missing);
        }
    }
}
