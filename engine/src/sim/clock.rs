//! Each node's own idea of the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtime::WallClock;
use crate::time::Nanos;

/// Wall clocks of the world begin here: the first second of 2025, in ns since the Unix epoch.
const WALL_ORIGIN_NS: u64 = 1_735_689_600_000_000_000;

/// A node's clocks: a monotonic one that began somewhere and runs a little fast or slow, and a wall clock that is set
/// now and then.
#[derive(Clone, Debug)]
pub(super) struct NodeClock {
    began: Nanos,
    drift_ppm: i64,
    wall_offset_ns: i64,
    wall: Arc<AtomicU64>,
}

impl NodeClock {
    pub(super) fn new(began: Nanos, drift_ppm: i64) -> NodeClock {
        let wall = Arc::new(AtomicU64::new(WALL_ORIGIN_NS));
        NodeClock { began, drift_ppm, wall_offset_ns: 0, wall }
    }

    /// What the monotonic clock shows at `at` of the world's time.
    pub(super) fn monotonic(&self, at: Nanos) -> Nanos {
        let drift = i128::from(at.0) * i128::from(self.drift_ppm) / 1_000_000;
        Nanos((i128::from(self.began.0) + i128::from(at.0) + drift) as u64)
    }

    /// Sets the wall clock forward, or back when negative.
    pub(super) fn jump(&mut self, by_ns: i64) {
        self.wall_offset_ns = self.wall_offset_ns.saturating_add(by_ns);
    }

    /// Lets the node's agents see the wall clock as it is at `at`.
    pub(super) fn show(&self, at: Nanos) {
        let shown = WALL_ORIGIN_NS.saturating_add(at.0).saturating_add_signed(self.wall_offset_ns);
        self.wall.store(shown, Ordering::Relaxed);
    }

    /// The wall clock as agents read it.
    pub(super) fn wall(&self) -> WallClock {
        WallClock::Set(Arc::clone(&self.wall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drifts_and_jumps() {
        let mut clock = NodeClock::new(Nanos(500), -1_000);
        assert_eq!(clock.monotonic(Nanos(0)), Nanos(500));
        assert_eq!(clock.monotonic(Nanos(1_000_000)), Nanos(999_500));
        clock.jump(-7);
        clock.show(Nanos(10));
        assert_eq!(clock.wall().now_ns(), WALL_ORIGIN_NS + 3);
    }
}
