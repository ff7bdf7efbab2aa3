//! Ports for everybody that a command starts on this machine.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

/// Lowest port that is tried.
const LEAST: u16 = 10_000;
/// A range with fewer ports is none.
const FEW: u16 = 1_000;
/// Times that another port is tried for each that is wanted, before any will do.
const TRIES: usize = 16;

/// `count` different ports that no UDP socket and no TCP listener of this host has now. Where the system tells which
/// ports it gives to sockets that ask for none, these are others: no such socket has taken one before its owner binds it.
///
/// # Errors
/// What the system refused.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let range = unassigned();
    let mut held = Vec::with_capacity(count);
    let mut tries = count * TRIES;
    while held.len() < count {
        tries = tries.saturating_sub(1);
        let port = range.as_ref().filter(|_| tries > 0).map_or(0, any_of);
        let udp = match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)) {
            Ok(udp) => udp,
            Err(_) if port != 0 => continue,
            Err(error) => return Err(error),
        };
        let port = udp.local_addr()?.port();
        // Held until all are found, so that none comes twice.
        if let Ok(tcp) = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            held.push((port, udp, tcp));
        }
    }
    Ok(held.into_iter().map(|(port, ..)| port).collect())
}

/// The ports that the kernel gives to nobody by itself, or most of them; none where it does not tell.
fn unassigned() -> Option<RangeInclusive<u16>> {
    let assigned = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = assigned.split_whitespace().map(str::parse);
    beside(ends.next()?.ok()?, ends.next()?.ok()?)
}

/// The ports below `first`, or else those above `last`.
fn beside(first: u16, last: u16) -> Option<RangeInclusive<u16>> {
    let (below, above) = (LEAST..=first.saturating_sub(1), last.saturating_add(1).max(LEAST)..=u16::MAX);
    [below, above].into_iter().find(|range| range.end().saturating_sub(*range.start()) >= FEW)
}

/// One of them by chance: whoever else looks for ports at the same time takes others.
fn any_of(range: &RangeInclusive<u16>) -> u16 {
    let count = u64::from(range.end() - range.start()) + 1;
    range.start() + (RandomState::new().hash_one(0) % count) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_differ_and_are_free() {
        let ports = free_ports(200).unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 200);
        assert!(!ports.contains(&0));
    }

    #[test]
    fn what_the_kernel_gives_away_is_left_to_it() {
        assert_eq!(beside(32_768, 60_999), Some(10_000..=32_767));
        assert_eq!(beside(1_024, 60_999), Some(61_000..=65_535));
        assert_eq!(beside(1_024, 65_535), None);
        let range = 10_000..=10_001;
        assert!((0..100).all(|_| range.contains(&any_of(&range))));
    }
}
