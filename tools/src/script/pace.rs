//! When messages are due.

use std::num::NonZeroU64;

use seqcast_engine::time::Nanos;

/// How fast a script is played. The clock starts when it is first asked for a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as the messages are taken.
    AsFast,
    /// This many messages a second, each at its own time: message `n` (from 0) is due `n / rate` seconds after the
    /// start, whatever became of those before. Who falls behind catches up, and latency counts from the due time.
    Rate(NonZeroU64),
    /// As it was recorded, `speed` times as fast: by the stamps of the messages, counted from the first. A stamp that
    /// lies behind an earlier one is due at once, and so is a message without.
    Recorded {
        /// 1 is the recorded speed, 2 is twice as fast.
        speed: f64,
    },
}

/// A pace at which nothing would ever be due.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("cannot play at a speed of {speed}: give a number above 0; 1 is the recorded speed")]
pub struct PaceError {
    /// As asked for.
    pub speed: f64,
}

impl Pace {
    /// Whether messages would ever be due.
    ///
    /// # Errors
    /// A speed that is no number above 0.
    pub fn check(self) -> Result<Pace, PaceError> {
        match self {
            Pace::Recorded { speed } if !(speed > 0.0 && speed.is_finite()) => Err(PaceError { speed }),
            pace => Ok(pace),
        }
    }
}

/// Tells when each message is due, in their order.
#[derive(Debug)]
pub(super) struct Timetable {
    pace: Pace,
    start: Option<Nanos>,
    first_stamp_ns: Option<u64>,
    /// Messages asked about so far.
    count: u64,
    /// When the latest was due.
    due: Nanos,
}

impl Timetable {
    pub(super) fn new(pace: Pace) -> Timetable {
        Timetable { pace, start: None, first_stamp_ns: None, count: 0, due: Nanos::ZERO }
    }

    /// The first call starts the clock.
    pub(super) fn start(&mut self, now: Nanos) {
        self.start.get_or_insert(now);
    }

    /// When the next message is due, which has this stamp; never before the one before.
    pub(super) fn next_due(&mut self, stamp_ns: Option<u64>) -> Nanos {
        let after = match self.pace {
            Pace::AsFast => Nanos::ZERO,
            Pace::Rate(rate) => {
                let ns = u128::from(self.count) * 1_000_000_000 / u128::from(rate.get());
                Nanos(u64::try_from(ns).unwrap_or(u64::MAX))
            }
            Pace::Recorded { speed } => stamp_ns.map_or(Nanos::ZERO, |stamp_ns| {
                let first_ns = *self.first_stamp_ns.get_or_insert(stamp_ns);
                // The conversion saturates.
                Nanos((stamp_ns.saturating_sub(first_ns) as f64 / speed) as u64)
            }),
        };
        self.count += 1;
        self.due = self.due.max(self.start.unwrap_or_default() + after);
        self.due
    }
}
