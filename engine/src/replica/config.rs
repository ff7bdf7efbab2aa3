use seqcast_wire::repl::APPEND_BYTES;

use crate::frame;
use crate::limits::{ETHERNET_PAYLOAD_BYTES, MAX_DATAGRAM_BYTES};
use crate::time::Nanos;

/// Smallest datagram that may be configured: a frame of one small message fits.
const MIN_DATAGRAM_BYTES: usize = 256;
/// Largest window that may be configured.
const MAX_WINDOW_BYTES: usize = 1 << 30;
/// Most datagrams that a stash may be configured for.
const MAX_STASH_DATAGRAMS: usize = 1 << 16;

/// The longest message whose frame fits one datagram of `datagram_bytes`. A frame travels whole, so whoever numbers
/// messages for standbys refuses what is longer than the largest datagram of their drivers takes.
pub const fn max_message_bytes(datagram_bytes: usize) -> usize {
    let frames = datagram_bytes.saturating_sub(APPEND_BYTES) / frame::ALIGN_BYTES * frame::ALIGN_BYTES;
    frames.saturating_sub(frame::HEADER_BYTES)
}

/// Settings of the replication stream, the same on every node: each may be primary or standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Datagrams are packed up to this size (UDP payload). A frame that alone is larger travels alone in a larger one.
    pub max_datagram_bytes: usize,
    /// Bytes of datagrams on their way to one standby that it did not acknowledge: what its socket's receive buffer holds.
    pub window_bytes: usize,
    /// Primary and standby speak at least this often.
    pub heartbeat: Nanos,
    /// What was sent again is not sent once more before this time: longer than a round trip between any two nodes.
    pub retransmit_after: Nanos,
    /// A standby counts as caught up when it verified all that there was this long ago.
    pub caught_up_within: Nanos,
    /// Datagrams that a standby keeps while earlier ones are missing, `max_datagram_bytes` of memory each. More than
    /// fit the window are of no use.
    pub stash_datagrams: usize,
}

impl Default for StreamConfig {
    fn default() -> StreamConfig {
        StreamConfig {
            max_datagram_bytes: ETHERNET_PAYLOAD_BYTES,
            window_bytes: 1 << 20,
            heartbeat: Nanos::from_micros(500),
            retransmit_after: Nanos::from_millis(2),
            caught_up_within: Nanos::from_millis(10),
            stash_datagrams: 1 << 10,
        }
    }
}

/// A setting of replication that cannot work, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("replication: {setting} is {actual}, must be {min} to {max}")]
pub struct StreamConfigError {
    /// Name of the setting.
    pub setting: &'static str,
    /// As configured.
    pub actual: u64,
    /// Least that works.
    pub min: u64,
    /// Most that works.
    pub max: u64,
}

pub(super) fn within(
    setting: &'static str,
    actual: u64,
    min: u64,
    max: u64,
) -> Result<(), StreamConfigError> {
    if (min..=max).contains(&actual) { Ok(()) } else { Err(StreamConfigError { setting, actual, min, max }) }
}

impl StreamConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), StreamConfigError> {
        let size = self.max_datagram_bytes as u64;
        within("max_datagram_bytes", size, MIN_DATAGRAM_BYTES as u64, MAX_DATAGRAM_BYTES as u64)?;
        within("window_bytes", self.window_bytes as u64, 2 * size, MAX_WINDOW_BYTES as u64)?;
        within("stash_datagrams", self.stash_datagrams as u64, 1, MAX_STASH_DATAGRAMS as u64)?;
        within("heartbeat (ns)", self.heartbeat.0, 1, u64::MAX)?;
        within("retransmit_after (ns)", self.retransmit_after.0, 1, u64::MAX)?;
        within("caught_up_within (ns)", self.caught_up_within.0, 1, u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named() {
        let good = StreamConfig::default();
        assert_eq!(good.check(), Ok(()));
        for (name, config) in [
            ("max_datagram_bytes", StreamConfig { max_datagram_bytes: 100, ..good.clone() }),
            ("max_datagram_bytes", StreamConfig { max_datagram_bytes: 65_508, ..good.clone() }),
            ("window_bytes", StreamConfig { window_bytes: 2_943, ..good.clone() }),
            ("stash_datagrams", StreamConfig { stash_datagrams: 0, ..good.clone() }),
            ("heartbeat (ns)", StreamConfig { heartbeat: Nanos::ZERO, ..good.clone() }),
            ("retransmit_after (ns)", StreamConfig { retransmit_after: Nanos::ZERO, ..good.clone() }),
            ("caught_up_within (ns)", StreamConfig { caught_up_within: Nanos::ZERO, ..good.clone() }),
        ] {
            let error = config.check().unwrap_err();
            assert_eq!(error.setting, name);
            assert!(error.to_string().starts_with("replication: "), "{error}");
        }
    }

    #[test]
    fn the_longest_message_fits_exactly() {
        for datagram_bytes in [256, 1_472, MAX_DATAGRAM_BYTES] {
            let longest = max_message_bytes(datagram_bytes);
            assert!(APPEND_BYTES + frame::framed_bytes(longest) <= datagram_bytes);
            assert!(APPEND_BYTES + frame::framed_bytes(longest + 1) > datagram_bytes);
        }
        assert_eq!(max_message_bytes(100), 0);
    }
}
