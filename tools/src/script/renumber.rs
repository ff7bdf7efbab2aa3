//! Captures whose sequence numbers were blanked out by whoever published them.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seqcast_engine::io::{Busy, Destination, Driver, DriverCounters, EndpointId, EndpointSpec, Received};
use seqcast_engine::time::Nanos;
use seqcast_wire::{SeqNo, Session};

use super::number::{Numberer, is_unnumbered};

/// Around a driver: gives datagrams of MoldUDP64 that say sequence number 0 the session asked for, and numbers in the
/// order of their arrival, each endpoint (line) from 1. Everything else passes untouched.
#[derive(Debug)]
pub struct Renumber<D> {
    driver: D,
    session: Session,
    /// By endpoint.
    next: Vec<SeqNo>,
    numberer: Numberer,
    renumbered: Renumbered,
}

/// How many datagrams were given numbers, seen from any thread. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Renumbered(Arc<AtomicU64>);

impl Renumbered {
    /// Datagrams so far.
    pub fn datagrams(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<D: Driver> Renumber<D> {
    /// Wraps `driver`, before any endpoint is opened.
    pub fn new(driver: D, session: Session) -> Renumber<D> {
        let (numberer, renumbered) = (Numberer::new(), Renumbered::default());
        Renumber { driver, session, next: Vec::new(), numberer, renumbered }
    }

    /// Where to see how many datagrams were numbered, once the driver is given away.
    pub fn renumbered(&self) -> Renumbered {
        self.renumbered.clone()
    }

    /// The driver inside.
    pub fn driver(&self) -> &D {
        &self.driver
    }
}

impl<D: Driver> Driver for Renumber<D> {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        let endpoint = self.driver.open(spec)?;
        self.next.resize(usize::from(endpoint.0) + 1, SeqNo::FIRST);
        Ok(endpoint)
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        self.driver.local_addr(endpoint)
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        mut on_datagram: F,
    ) -> io::Result<usize> {
        let Renumber { driver, session, next, numberer, renumbered } = self;
        driver.poll_rx(now, limit, |received| {
            if !is_unnumbered(received.bytes) {
                return on_datagram(received);
            }
            let Some(next) = next.get_mut(usize::from(received.endpoint.0)) else {
                return on_datagram(received);
            };
            match numberer.number(received.bytes, *session, *next) {
                Some((bytes, numbered)) => {
                    *next = numbered.next();
                    renumbered.0.fetch_add(1, Ordering::Relaxed);
                    on_datagram(Received { bytes, ..received });
                }
                None => on_datagram(received),
            }
        })
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        self.driver.transmit(to, max_bytes, fill)
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        self.driver.flush(now)
    }

    fn counters(&self) -> DriverCounters {
        self.driver.counters()
    }

    fn name(&self) -> &'static str {
        self.driver.name()
    }
}

#[cfg(test)]
mod tests {
    use seqcast_engine::io::Bind;
    use seqcast_engine::io::pcap::{Pace, PcapDriver};

    use super::super::testing::{A, B, capture, datagram};
    use super::*;

    fn line(group: &str) -> EndpointSpec {
        let interface = std::net::Ipv4Addr::UNSPECIFIED;
        let bind = Bind::Line { group: group.parse().unwrap(), interface, source: None };
        EndpointSpec { bind, receive_buffer_bytes: 0, send_buffer_bytes: 0 }
    }

    #[test]
    fn each_line_is_numbered_in_its_own_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blank.pcapng");
        let lying = [&datagram("", 0, &["x"])[..], b"more"].concat();
        let sent = [
            (A, datagram("", 0, &["a", "b"])),
            (B, datagram("", 0, &["a"])),
            (A, datagram("", 0, &[])),
            (B, lying.clone()),
            (A, datagram("KEPT", 9, &["z"])),
            (B, datagram("", 0, &["b"])),
            (A, datagram("", 0, &["c"])),
            (A, b"short".to_vec()),
        ];
        capture(&path, &sent);
        let session = "GIVEN".parse().unwrap();
        let mut driver = Renumber::new(PcapDriver::open_file(&path, Pace::AsFast).unwrap(), session);
        let renumbered = driver.renumbered();
        let (a, b) = (driver.open(&line(A)).unwrap(), driver.open(&line(B)).unwrap());
        let mut received = Vec::new();
        driver.poll_rx(Nanos::ZERO, 100, |one| received.push((one.endpoint, one.bytes.to_vec()))).unwrap();
        let expected = [
            (a, datagram("GIVEN", 1, &["a", "b"])),
            (b, datagram("GIVEN", 1, &["a"])),
            (a, datagram("GIVEN", 3, &[])),
            (b, lying),
            (a, datagram("KEPT", 9, &["z"])),
            (b, datagram("GIVEN", 2, &["b"])),
            (a, datagram("GIVEN", 3, &["c"])),
            (a, b"short".to_vec()),
        ];
        assert_eq!(received, expected);
        assert_eq!(renumbered.datagrams(), 5);
        assert_eq!(driver.counters().received_datagrams, 8);
    }
}
