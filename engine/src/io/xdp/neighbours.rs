//! Ethernet addresses of the hosts that we send to, as the kernel's routes and neighbour table have them.
//!
//! A host not known yet is no error: its datagrams take the kernel's way, which has the kernel ask for its address (ARP),
//! and the next look finds it. What is known is watched for changes, and kept alive by telling the kernel every few
//! seconds that it is in use: the kernel does not see the datagrams that pass it by.

use std::net::Ipv4Addr;

use super::netlink::{Netlink, News};
use crate::time::Nanos;

const SETS: usize = 64;
const WAYS: usize = 4;
/// News are asked for once in this time: one call.
const NEWS_EVERY: Nanos = Nanos::from_millis(1);
/// A host that is not known is looked up again after this time, unless news come before.
const RETRY_AFTER: Nanos = Nanos::from_millis(100);
/// A host that is known is confirmed, and one on another way looked up again, after this time.
const CONFIRM_AFTER: Nanos = Nanos::from_secs(5);

/// What is known of the hosts that one interface sends to: a fixed number of places, four for each remainder of the
/// address. A host that finds them taken pushes another out, which has to be looked up again.
pub(super) struct Neighbours {
    interface: u32,
    requests: Netlink,
    news: Netlink,
    places: Box<[[Place; WAYS]; SETS]>,
    /// Which place of its set is given up next.
    victim: usize,
    /// No place is due before.
    next_due: Nanos,
    next_news: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    host: Ipv4Addr,
    /// From where it is sent to: part of the way.
    source: Ipv4Addr,
    /// The first station on the way there: the host itself, or a gateway. Unspecified when there is no way here.
    station: Ipv4Addr,
    ethernet: Option<[u8; 6]>,
    /// When it is looked up again; never, for a place that is empty.
    due: Nanos,
}

const EMPTY: Place = Place {
    host: Ipv4Addr::UNSPECIFIED,
    source: Ipv4Addr::UNSPECIFIED,
    station: Ipv4Addr::UNSPECIFIED,
    ethernet: None,
    due: Nanos::NEVER,
};

impl Neighbours {
    /// For `interface`, in the network namespace of this thread.
    pub(super) fn new(interface: u32) -> std::io::Result<Neighbours> {
        Ok(Neighbours {
            interface,
            requests: Netlink::new()?,
            news: Netlink::for_news()?,
            places: Box::new([[EMPTY; WAYS]; SETS]),
            victim: 0,
            next_due: Nanos::NEVER,
            next_news: Nanos::ZERO,
        })
    }

    /// The Ethernet address that leads from `source` to `host`, if it is known; else it will be looked up.
    #[inline]
    pub(super) fn find(&mut self, source: Ipv4Addr, host: Ipv4Addr) -> Option<[u8; 6]> {
        let set = &self.places[set_of(host)];
        match set.iter().find(|place| place.host == host && place.source == source) {
            Some(place) => place.ethernet,
            None => {
                self.note(source, host);
                None
            }
        }
    }

    #[cold]
    fn note(&mut self, source: Ipv4Addr, host: Ipv4Addr) {
        let set = &mut self.places[set_of(host)];
        let at = set.iter().position(|place| place.due == Nanos::NEVER).unwrap_or(self.victim);
        self.victim = (self.victim + 1) % WAYS;
        set[at] = Place { host, source, due: Nanos::ZERO, ..EMPTY };
        self.next_due = Nanos::ZERO;
    }

    /// Takes news and looks up one host, if one is due. A comparison or two when there is nothing to do.
    #[inline]
    pub(super) fn tick(&mut self, now: Nanos) {
        if now >= self.next_news {
            self.next_news = now + NEWS_EVERY;
            self.take_news();
        }
        if now >= self.next_due {
            self.look_up_next(now);
        }
    }

    fn take_news(&mut self) {
        let Neighbours { news, places, next_due, .. } = self;
        let used = |place: &&mut Place| place.due != Nanos::NEVER;
        news.poll_news(self.interface, |news| {
            for place in places.iter_mut().flatten().filter(used) {
                if news == News::Anything || news == News::Neighbour(place.station) {
                    place.due = Nanos::ZERO;
                    *next_due = Nanos::ZERO;
                }
            }
        });
    }

    #[cold]
    fn look_up_next(&mut self, now: Nanos) {
        let Some(place) = self.places.iter_mut().flatten().min_by_key(|place| place.due) else { return };
        if place.due <= now {
            let known = place.ethernet.is_some();
            match look_up(&mut self.requests, self.interface, place) {
                Found::Neighbour => {
                    if known {
                        self.requests.use_neighbour(self.interface, place.station);
                    }
                    place.due = now + CONFIRM_AFTER;
                }
                Found::NoNeighbourYet => place.due = now + RETRY_AFTER,
                Found::NoWayHere => place.due = now + CONFIRM_AFTER,
            }
        }
        let next = self.places.iter().flatten().map(|place| place.due).min();
        self.next_due = next.unwrap_or(Nanos::NEVER);
    }
}

enum Found {
    Neighbour,
    /// The kernel does not know its address yet.
    NoNeighbourYet,
    /// It is this host, or behind another interface, or nowhere.
    NoWayHere,
}

fn look_up(requests: &mut Netlink, interface: u32, place: &mut Place) -> Found {
    place.ethernet = None;
    place.station = Ipv4Addr::UNSPECIFIED;
    let way = requests.way(place.source, place.host).ok().flatten();
    let Some(way) = way.filter(|way| way.interface == interface) else { return Found::NoWayHere };
    place.station = way.gateway.unwrap_or(place.host);
    place.ethernet = requests.neighbour(interface, place.station).ok().flatten();
    if place.ethernet.is_some() { Found::Neighbour } else { Found::NoNeighbourYet }
}

/// Hosts of one network differ in their last bytes.
#[inline]
fn set_of(host: Ipv4Addr) -> usize {
    let [_, _, c, d] = host.octets();
    (usize::from(d) ^ usize::from(c) << 3) % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

    /// Interface 1 is the loopback in every namespace: nothing leaves by it.
    fn neighbours() -> Neighbours {
        Neighbours::new(1).unwrap()
    }

    #[test]
    fn what_has_no_way_here_is_looked_up_once_and_again_later() {
        let mut neighbours = neighbours();
        assert_eq!(neighbours.find(HERE, HERE), None);
        assert_eq!(neighbours.next_due, Nanos::ZERO);
        neighbours.tick(Nanos(5));
        let due = neighbours.places.iter().flatten().map(|place| place.due).min().unwrap();
        assert_eq!(due, Nanos(5) + CONFIRM_AFTER);
        assert_eq!((neighbours.find(HERE, HERE), neighbours.next_due), (None, due));
    }

    #[test]
    fn places_are_bounded_and_the_last_come_are_there() {
        let mut neighbours = neighbours();
        let hosts: Vec<Ipv4Addr> = (0..600u32).map(|host| Ipv4Addr::from(0x0A00_0000 + host)).collect();
        for host in &hosts {
            assert_eq!(neighbours.find(HERE, *host), None);
        }
        for host in &hosts[hosts.len() - SETS..] {
            assert!(neighbours.places.iter().flatten().any(|place| place.host == *host), "{host}");
        }
        for host in &hosts[..WAYS] {
            let set = &mut neighbours.places[set_of(*host)];
            set[0] = Place { host: *host, source: HERE, ethernet: Some([7; 6]), ..EMPTY };
            assert_eq!(neighbours.find(HERE, *host), Some([7; 6]));
            assert_eq!(
                neighbours.find(Ipv4Addr::UNSPECIFIED, *host),
                None,
                "from elsewhere it is another way"
            );
        }
    }
}
