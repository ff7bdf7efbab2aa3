//! Sizes of a driver's memory, fixed when it is made.

use std::io;

use crate::limits::MAX_DATAGRAM_BYTES;
use crate::time::Nanos;

/// Sizes and options of a driver. All memory is taken when the driver is made, none later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverConfig {
    /// Longest datagram that is sent or received, 1 to [`MAX_DATAGRAM_BYTES`]. Longer ones that arrive are counted as
    /// truncated and dropped; [`Driver::transmit`](super::Driver::transmit) lends no more than this.
    pub max_datagram_bytes: usize,
    /// Datagrams (with `gro`: runs of them) that may wait between the kernel and the agent, a power of two up to
    /// 32,768. `uring` and `xdp` only: `udp` leaves them in the socket. `xdp` takes at least 1,024, at each queue.
    pub receive_buffers: usize,
    /// Datagrams that may wait to be sent or be on their way, 1 to 16,384.
    pub send_slots: usize,
    /// Hand runs of equal-sized datagrams to the same destination to the kernel as one (UDP segmentation offload).
    /// `uring` only.
    pub gso: bool,
    /// Take runs of datagrams from the kernel as one (UDP receive offload). Each receive buffer then takes 64 KiB. A
    /// run of full-sized datagrams costs a sixth, one of small datagrams a twentieth; a lone datagram costs the same.
    /// `uring` only.
    pub gro: bool,
    /// When nothing was sent for so long, send a datagram of no meaning to ourselves over the loopback interface, so that the
    /// next real one finds the kernel's code and data in the caches; zero: never. What goes past the kernel gains nothing.
    pub keep_warm: Nanos,
    /// `xdp` only.
    pub xdp: XdpConfig,
}

/// Options of the `xdp` driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpConfig {
    /// Where the program that picks our datagrams out runs.
    pub mode: XdpMode,
    /// In native mode, have the interface read and write our memory itself where it can.
    pub zero_copy: bool,
    /// Compute UDP check sums of what is sent and verify those of what arrives.
    pub checksums: bool,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Natively where the interface can, else generically. A veth pair, which has no hardware, generically.
    #[default]
    Auto,
    /// In the interface's driver, or not at all.
    Native,
    /// In the kernel's stack, right behind the driver: every interface can.
    Generic,
}

impl Default for XdpConfig {
    fn default() -> XdpConfig {
        XdpConfig { mode: XdpMode::Auto, zero_copy: true, checksums: true }
    }
}

impl Default for DriverConfig {
    fn default() -> DriverConfig {
        DriverConfig {
            max_datagram_bytes: 2_048,
            receive_buffers: 256,
            send_slots: 256,
            gso: true,
            gro: true,
            keep_warm: Nanos::ZERO,
            xdp: XdpConfig::default(),
        }
    }
}

impl DriverConfig {
    /// Checks the bounds that the fields name.
    ///
    /// # Errors
    /// `InvalidInput` with the field, its value and its bounds.
    pub fn validate(&self) -> io::Result<()> {
        let refuse = |what: &str, is: usize, must: &str| {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{what} is {is}, must be {must}")))
        };
        if !(1..=MAX_DATAGRAM_BYTES).contains(&self.max_datagram_bytes) {
            return refuse("max_datagram_bytes", self.max_datagram_bytes, "1 to 65507");
        }
        if !self.receive_buffers.is_power_of_two() || self.receive_buffers > 32_768 {
            return refuse("receive_buffers", self.receive_buffers, "a power of two up to 32768");
        }
        if !(1..=16_384).contains(&self.send_slots) {
            return refuse("send_slots", self.send_slots, "1 to 16384");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked_and_named() {
        DriverConfig::default().validate().unwrap();
        let refused = |config: DriverConfig, word: &str| {
            let text = config.validate().unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        };
        refused(DriverConfig { max_datagram_bytes: 65_508, ..DriverConfig::default() }, "65508");
        refused(DriverConfig { max_datagram_bytes: 0, ..DriverConfig::default() }, "max_datagram_bytes");
        refused(DriverConfig { receive_buffers: 1_000, ..DriverConfig::default() }, "power of two");
        refused(DriverConfig { receive_buffers: 65_536, ..DriverConfig::default() }, "32768");
        refused(DriverConfig { send_slots: 0, ..DriverConfig::default() }, "send_slots");
    }
}
