//! The driver picked at start, dispatched statically.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;

use super::udp::UdpDriver;
#[cfg(target_os = "linux")]
use super::uring::UringDriver;
#[cfg(all(target_os = "linux", feature = "xdp"))]
use super::xdp::XdpDriver;
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
    /// `xdp` where this process may use it, else as [`DriverChoice::Auto`]. What it is refused on one interface is told
    /// when an endpoint is opened there.
    Xdp,
}

impl std::str::FromStr for DriverChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DriverChoice, String> {
        match text {
            "auto" => Ok(DriverChoice::Auto),
            "uring" => Ok(DriverChoice::Uring),
            "udp" => Ok(DriverChoice::Udp),
            "xdp" => Ok(DriverChoice::Xdp),
            _ => Err(format!("unknown driver {text:?}, must be auto, uring, udp or xdp")),
        }
    }
}

/// Why another driver was opened than the best one: for the log, once at start.
#[derive(Debug)]
pub struct Notice {
    /// The driver that is used.
    pub used: &'static str,
    /// What the kernel said, first of the best driver.
    pub causes: Vec<io::Error>,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = if self.used == "udp" { "plain sockets" } else { self.used };
        write!(f, "using {used}")?;
        for (at, cause) in self.causes.iter().enumerate() {
            write!(f, "{} {cause}", if at == 0 { ":" } else { ";" })?;
        }
        Ok(())
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
    /// AF_XDP.
    #[cfg(all(target_os = "linux", feature = "xdp"))]
    Xdp(XdpDriver),
}

/// Opens the driver that `choice` asks for; where that leaves room, the best that can be had, with a notice when it is
/// not the first choice.
///
/// # Errors
/// What the configuration lacks, or why io_uring cannot be had when it was asked for by name.
pub fn open_best(choice: DriverChoice, config: &DriverConfig) -> io::Result<(AnyDriver, Option<Notice>)> {
    type Open = fn(&DriverConfig) -> io::Result<AnyDriver>;
    config.validate()?;
    let in_turn: &[Open] = match choice {
        DriverChoice::Udp => &[open_udp],
        DriverChoice::Uring => &[open_uring],
        DriverChoice::Auto => &[open_uring, open_udp],
        DriverChoice::Xdp => &[open_xdp, open_uring, open_udp],
    };
    let mut causes = Vec::new();
    for open in in_turn {
        match open(config) {
            Ok(driver) if causes.is_empty() => return Ok((driver, None)),
            Ok(driver) => {
                let used = driver.name();
                return Ok((driver, Some(Notice { used, causes })));
            }
            Err(cause) => causes.push(cause),
        }
    }
    Err(causes.swap_remove(0))
}

fn open_udp(config: &DriverConfig) -> io::Result<AnyDriver> {
    UdpDriver::new(config).map(AnyDriver::Udp)
}

#[cfg(all(target_os = "linux", feature = "xdp"))]
fn open_xdp(config: &DriverConfig) -> io::Result<AnyDriver> {
    XdpDriver::new(config).map(AnyDriver::Xdp)
}

#[cfg(not(all(target_os = "linux", feature = "xdp")))]
fn open_xdp(_: &DriverConfig) -> io::Result<AnyDriver> {
    let text = "this program was built without AF_XDP (Linux, feature `xdp`)";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
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
            #[cfg(all(target_os = "linux", feature = "xdp"))]
            AnyDriver::Xdp($driver) => $call,
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
