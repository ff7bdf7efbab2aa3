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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dues(pace: Pace, start: u64, stamps: &[Option<u64>]) -> Vec<u64> {
        let mut timetable = Timetable::new(pace);
        timetable.start(Nanos(start));
        timetable.start(Nanos(start.saturating_add(77)));
        stamps.iter().map(|stamp| timetable.next_due(*stamp).0).collect()
    }

    fn per_s(rate: u64) -> Pace {
        Pace::Rate(NonZeroU64::new(rate).unwrap())
    }

    #[test]
    fn a_rate_spreads_messages_evenly_without_drift() {
        assert_eq!(dues(per_s(4), 1_000, &[None; 3]), [1_000, 250_001_000, 500_001_000]);
        let thirds = dues(per_s(3), 0, &[None; 7]);
        assert_eq!((thirds[1], thirds[3], thirds[6]), (333_333_333, 1_000_000_000, 2_000_000_000));
        assert_eq!(dues(per_s(u64::MAX), 5, &[None; 3]), [5, 5, 5]);
    }

    #[test]
    fn as_fast_is_due_at_the_start() {
        assert_eq!(dues(Pace::AsFast, 9, &[None, Some(700), None]), [9, 9, 9]);
    }

    #[test]
    fn a_recording_is_played_from_its_first_stamp() {
        let stamps = [Some(1_000), Some(1_500), None, Some(1_200), Some(3_000)];
        assert_eq!(dues(Pace::Recorded { speed: 1.0 }, 10, &stamps), [10, 510, 510, 510, 2_010]);
        assert_eq!(dues(Pace::Recorded { speed: 2.0 }, 10, &stamps), [10, 260, 260, 260, 1_010]);
        assert_eq!(dues(Pace::Recorded { speed: 0.5 }, 10, &stamps), [10, 1_010, 1_010, 1_010, 4_010]);
        assert_eq!(dues(Pace::Recorded { speed: 1e-300 }, 10, &stamps)[1], u64::MAX, "never");
    }

    #[test]
    fn speeds_are_above_nothing() {
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Pace::Recorded { speed }.check().unwrap_err();
            assert!(error.to_string().contains("above 0"), "{error}");
        }
        assert!(Pace::Recorded { speed: 0.001 }.check().is_ok());
    }

    proptest! {
        /// Nothing overflows, and no message is due before the one before.
        #[test]
        fn dues_never_go_back(
            start: u64,
            rate in 1u64..,
            speed in 1e-9f64..1e9,
            stamps in prop::collection::vec(any::<Option<u64>>(), 0..20),
        ) {
            for pace in [Pace::AsFast, per_s(rate), Pace::Recorded { speed }] {
                let dues = dues(pace, start, &stamps);
                prop_assert!(dues.is_sorted() && dues.iter().all(|due| *due >= start), "{pace:?} {dues:?}");
            }
        }
    }
}
