//! Pacing: how fast datagrams may follow one another.

use crate::time::Nanos;

/// A rate with a bounded burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Bytes of UDP payload per second.
    pub bytes_per_s: u64,
    /// How much unused rate may be saved up and spent at once, as a span of time at that rate.
    pub burst: Nanos,
}

/// Paces by the generic cell rate algorithm: one point in time tells how much is owed.
#[derive(Debug)]
pub(super) struct Pacer {
    pacing: Option<Pacing>,
    /// When all that was sent would have left at the configured rate.
    clear_at: Nanos,
}

impl Pacer {
    pub(super) fn new(pacing: Option<Pacing>) -> Pacer {
        Pacer { pacing, clear_at: Nanos::ZERO }
    }

    /// Whether another datagram may leave at `now`.
    #[inline]
    pub(super) fn is_open(&self, now: Nanos) -> bool {
        self.pacing.is_none_or(|pacing| self.clear_at <= now + pacing.burst)
    }

    /// Counts a datagram that left at `now`.
    #[inline]
    pub(super) fn on_sent(&mut self, now: Nanos, bytes: usize) {
        if let Some(pacing) = self.pacing {
            let cost = (bytes as u64).saturating_mul(1_000_000_000) / pacing.bytes_per_s;
            self.clear_at = self.clear_at.max(now) + Nanos(cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_rate_and_bounds_the_burst() {
        let pacing = Pacing { bytes_per_s: 1_000_000, burst: Nanos::from_millis(5) };
        let mut pacer = Pacer::new(Some(pacing));
        let mut sent = 0u64;
        let start = Nanos::from_secs(100);
        for step in 0..1_000 {
            let now = start + Nanos::from_millis(step);
            while pacer.is_open(now) {
                pacer.on_sent(now, 1_000);
                sent += 1_000;
            }
            // The rate since start, the burst, and one datagram that may overdraw.
            assert!(sent <= step * 1_000 + 5_000 + 1_000, "{sent} bytes after {step} ms");
        }
        assert!(sent >= 999_000, "only {sent} bytes in a second");
    }

    #[test]
    fn is_always_open_without_pacing() {
        let mut pacer = Pacer::new(None);
        pacer.on_sent(Nanos(1), 65_507);
        assert!(pacer.is_open(Nanos(1)));
    }
}
