//! The driver of a command: the configured one, with faults and a tap around it where the command line asks for them.

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seqcast_engine::io::fault::{Fault, FaultCounters, FaultPlan};
use seqcast_engine::io::tap::Tap;
use seqcast_engine::io::{
    AnyDriver, Busy, Destination, Driver, DriverCounters, EndpointId, EndpointSpec, Received,
};
use seqcast_engine::runtime::{Clock, wall_ns};
use seqcast_engine::time::Nanos;

/// A driver and what is around it, dispatched statically. A tap sees what the process sees: faults come before it.
// A process has a handful of drivers, each in one place: their difference in size costs nothing.
#[allow(clippy::large_enum_variant)]
pub enum Wired<D = AnyDriver> {
    /// The driver itself.
    Plain(D),
    /// With faults.
    Faulty(Fault<D>),
    /// With a tap.
    Tapped(Tap<D>),
    /// With both.
    Both(Tap<Fault<D>>),
}

macro_rules! each {
    ($wired:expr, $driver:ident => $call:expr) => {
        match $wired {
            Wired::Plain($driver) => $call,
            Wired::Faulty($driver) => $call,
            Wired::Tapped($driver) => $call,
            Wired::Both($driver) => $call,
        }
    };
}

impl<D: Driver> Wired<D> {
    /// Puts `faults` around `driver`, and a tap that writes to `tap`.
    ///
    /// # Errors
    /// A probability that is none; the file cannot be made.
    pub fn new(driver: D, faults: Option<&FaultPlan>, tap: Option<&Path>) -> io::Result<Wired<D>> {
        let (now, wall) = (Clock::new().now(), wall_ns());
        Ok(match (faults, tap) {
            (None, None) => Wired::Plain(driver),
            (Some(plan), None) => Wired::Faulty(Fault::new(driver, plan)?),
            (None, Some(path)) => Wired::Tapped(Tap::create(driver, path, now, wall)?),
            (Some(plan), Some(path)) => Wired::Both(Tap::create(Fault::new(driver, plan)?, path, now, wall)?),
        })
    }

    /// The faults done to what was received.
    pub fn receive_faults(&self) -> FaultCounters {
        match self {
            Wired::Faulty(fault) => fault.receive_faults(),
            Wired::Both(tap) => tap.inner().receive_faults(),
            Wired::Plain(_) | Wired::Tapped(_) => FaultCounters::default(),
        }
    }
}

impl<D: Driver> Driver for Wired<D> {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        each!(self, driver => driver.open(spec))
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        each!(self, driver => driver.local_addr(endpoint))
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        on_datagram: F,
    ) -> io::Result<usize> {
        each!(self, driver => driver.poll_rx(now, limit, on_datagram))
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        each!(self, driver => driver.transmit(to, max_bytes, fill))
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        each!(self, driver => driver.flush(now))
    }

    fn counters(&self) -> DriverCounters {
        each!(self, driver => driver.counters())
    }

    fn name(&self) -> &'static str {
        each!(self, driver => driver.name())
    }
}

/// A driver that comes to an end, such as a capture, and says so to another thread.
pub struct Played<D> {
    driver: D,
    done: Arc<AtomicBool>,
    is_done: fn(&D) -> bool,
}

impl<D> Played<D> {
    /// Sets `done` once `is_done` says that `driver` has come to its end.
    pub fn new(driver: D, done: Arc<AtomicBool>, is_done: fn(&D) -> bool) -> Played<D> {
        Played { driver, done, is_done }
    }
}

impl<D: Driver> Driver for Played<D> {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        self.driver.open(spec)
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        self.driver.local_addr(endpoint)
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        on_datagram: F,
    ) -> io::Result<usize> {
        let received = self.driver.poll_rx(now, limit, on_datagram)?;
        if received == 0 && (self.is_done)(&self.driver) {
            self.done.store(true, Ordering::Release);
        }
        Ok(received)
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
