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
