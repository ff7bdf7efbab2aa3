//! The two clocks: one for intervals, one for the time of day.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::time::Nanos;

/// All clocks of a process count from here, so that their readings can be compared.
static ORIGIN: OnceLock<u64> = OnceLock::new();

/// The monotonic clock of this process: the processor's time stamp counter where it can be trusted, the kernel's
/// monotonic clock elsewhere.
///
/// For intervals only: it is calibrated once and then drifts against the system clock. All clocks of one process
/// share their origin and calibration; readings of different processes cannot be compared.
#[derive(Clone, Debug)]
pub struct Clock {
    counter: quanta::Clock,
    origin: u64,
}

impl Clock {
    /// A clock. The first one of a process calibrates, which takes up to a fifth of a second: make it at start.
    pub fn new() -> Clock {
        let counter = quanta::Clock::new();
        let origin = *ORIGIN.get_or_init(|| counter.raw());
        Clock { counter, origin }
    }

    /// Time since the first clock of this process was made. Read it once per duty cycle and hand it down.
    ///
    /// Readings on one core never go backwards; whoever compares readings of two cores must allow for some tens of
    /// nanoseconds ([`Nanos::since`] saturates at zero).
    pub fn now(&self) -> Nanos {
        Nanos(self.counter.delta_as_nanos(self.origin, self.counter.raw()))
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// The system's wall clock: nanoseconds since the Unix epoch, 0 for a clock set before it.
///
/// It may jump either way. It never orders anything and never guards anything: it is a label for people, and event
/// time is made from it by max(previous + 1, wall).
pub fn wall_ns() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Tells the time of day to those who put it into frames.
#[derive(Clone, Debug, Default)]
pub enum WallClock {
    /// The system's; see [`wall_ns`].
    #[default]
    System,
    /// One that somebody else sets, in ns since the Unix epoch.
    Set(Arc<AtomicU64>),
}

impl WallClock {
    /// Nanoseconds since the Unix epoch. May jump either way.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        match self {
            WallClock::System => wall_ns(),
            WallClock::Set(time) => time.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_of_one_process_share_an_origin() {
        let first = Clock::new();
        let second = Clock::new();
        assert_eq!(first.origin, second.origin);
        let earlier = first.now();
        // Two readings may be taken on two cores, whose counters differ by less than this.
        assert!(second.now() + Nanos::from_millis(1) > earlier);
    }

    #[test]
    fn wall_clock_counts_nanoseconds_since_1970() {
        let year_2020 = 1_577_836_800_000_000_000;
        assert!(wall_ns() > year_2020);
    }
}
