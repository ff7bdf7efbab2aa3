//! The driver picked at start, dispatched statically.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;

use super::udp::UdpDriver;
#[cfg(target_os = "linux")]
use super::uring::UringDriver;
use super::{Busy, Destination, Driver, DriverConfig, DriverCounters, EndpointId, EndpointSpec, Received};
use crate::time::Nanos;

/// Which driver to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// `uring` where the kernel allows it, else `udp`.
    #[default]
    Auto,
    /// `uring` or nothing.
    Uring,
    /// Plain sockets.
    Udp,
}

impl std::str::FromStr for DriverChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DriverChoice, String> {
        match text {
            "auto" => Ok(DriverChoice::Auto),
            "uring" => Ok(DriverChoice::Uring),
            "udp" => Ok(DriverChoice::Udp),
            _ => Err(format!("unknown driver {text:?}, must be auto, uring or udp")),
        }
    }
}

/// Why another driver was opened than the best one: for the log, once at start.
#[derive(Debug)]
pub struct Notice {
    /// What the kernel said.
    pub cause: io::Error,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "using plain sockets: {}", self.cause)
    }
}

/// A driver picked at start. The calls are matched, not virtual.
// A process has a handful of drivers, each in one place: their difference in size costs nothing.
#[allow(clippy::large_enum_variant)]
pub enum AnyDriver {
    /// io_uring.
    #[cfg(target_os = "linux")]
    Uring(UringDriver),
    /// Plain sockets.
    Udp(UdpDriver),
}

/// Opens the driver that `choice` asks for; with [`DriverChoice::Auto`] gives a notice when it is not io_uring.
///
/// # Errors
/// What the configuration lacks, or why io_uring cannot be had when it was asked for by name.
pub fn open_best(choice: DriverChoice, config: &DriverConfig) -> io::Result<(AnyDriver, Option<Notice>)> {
    config.validate()?;
    match choice {
        DriverChoice::Udp => Ok((AnyDriver::Udp(UdpDriver::new(config)?), None)),
        DriverChoice::Uring => Ok((open_uring(config)?, None)),
        DriverChoice::Auto => match open_uring(config) {
            Ok(driver) => Ok((driver, None)),
            Err(cause) => Ok((AnyDriver::Udp(UdpDriver::new(config)?), Some(Notice { cause }))),
        },
    }
}

#[cfg(target_os = "linux")]
fn open_uring(config: &DriverConfig) -> io::Result<AnyDriver> {
    UringDriver::new(config).map(AnyDriver::Uring)
}

#[cfg(not(target_os = "linux"))]
fn open_uring(_: &DriverConfig) -> io::Result<AnyDriver> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring is Linux only"))
}

macro_rules! each {
    ($any:expr, $driver:ident => $call:expr) => {
        match $any {
            #[cfg(target_os = "linux")]
            AnyDriver::Uring($driver) => $call,
            AnyDriver::Udp($driver) => $call,
        }
    };
}

impl Driver for AnyDriver {
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
