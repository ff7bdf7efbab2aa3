//! The time between duty cycles, and what it says about the thread itself.

use std::fmt;

use crate::time::Nanos;

const BUCKETS: usize = 64;

/// Keeps the distribution of the time between duty cycles in buckets of powers of two.
///
/// An agent that suspects a peer because of its silence must know whether it was away itself (descheduled, stopped,
/// stuck in a page fault): see [`StallTracker::stalled_longer_than`]. Such an agent keeps a tracker of its own and
/// feeds it the `now` of every duty cycle; each [`Runner`](super::Runner) keeps one for its report.
#[derive(Clone, PartialEq, Eq)]
pub struct StallTracker {
    threshold: Nanos,
    previous: Option<Nanos>,
    /// Intervals by size: bucket 0 is for zero, bucket b for 2^(b-1) up to 2^b - 1 ns; the last holds the rest.
    counts: [u64; BUCKETS],
    /// When the latest interval of each bucket ended.
    ended: [Nanos; BUCKETS],
    stalls: u64,
    max: Nanos,
}

impl StallTracker {
    /// A tracker that counts every interval longer than `threshold` as a stall.
    pub fn new(threshold: Nanos) -> StallTracker {
        StallTracker {
            threshold,
            previous: None,
            counts: [0; BUCKETS],
            ended: [Nanos::ZERO; BUCKETS],
            stalls: 0,
            max: Nanos::ZERO,
        }
    }

    /// A duty cycle begins. Gives the interval since the one before; zero for the first.
    pub fn on_cycle(&mut self, now: Nanos) -> Nanos {
        let Some(previous) = self.previous.replace(now) else { return Nanos::ZERO };
        let interval = now.since(previous);
        let bucket = bucket_of(interval);
        self.counts[bucket] += 1;
        self.ended[bucket] = now;
        self.stalls += u64::from(interval > self.threshold);
        self.max = self.max.max(interval);
        interval
    }

    /// Whether this thread may have been away for longer than `span` at any time since `since`: then a silence since
    /// that time proves nothing about whoever was silent.
    ///
    /// Errs on one side only: no interval longer than `span` that ended after `since` is ever missed, but one down to
    /// half of `span` may be taken for it.
    pub fn stalled_longer_than(&self, span: Nanos, since: Nanos) -> bool {
        (bucket_of(span)..BUCKETS).any(|bucket| self.counts[bucket] > 0 && self.ended[bucket] > since)
    }

    /// Intervals longer than the threshold.
    pub fn stalls(&self) -> u64 {
        self.stalls
    }

    /// The threshold.
    pub fn threshold(&self) -> Nanos {
        self.threshold
    }

    /// Longest interval.
    pub fn max(&self) -> Nanos {
        self.max
    }

    /// Intervals seen.
    pub fn intervals(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The distribution: for each power of two that occurred, the largest interval that it stands for and the number
    /// of intervals, in ascending order.
    pub fn buckets(&self) -> impl Iterator<Item = (Nanos, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|&(_, &count)| count > 0)
            .map(|(bucket, &count)| (Nanos(largest_in(bucket)), count))
    }
}

impl fmt::Debug for StallTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StallTracker")
            .field("threshold", &self.threshold)
            .field("stalls", &self.stalls)
            .field("max", &self.max)
            .field("buckets", &self.buckets().collect::<Vec<_>>())
            .finish()
    }
}

fn bucket_of(interval: Nanos) -> usize {
    ((u64::BITS - interval.0.leading_zeros()) as usize).min(BUCKETS - 1)
}

const fn largest_in(bucket: usize) -> u64 {
    if bucket == BUCKETS - 1 { u64::MAX } else { (1 << bucket) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(intervals: &[u64]) -> (StallTracker, Nanos) {
        let mut tracker = StallTracker::new(Nanos(1_000));
        let mut now = Nanos(5);
        tracker.on_cycle(now);
        for &interval in intervals {
            now = now + Nanos(interval);
            assert_eq!(tracker.on_cycle(now), Nanos(interval));
        }
        (tracker, now)
    }

    #[test]
    fn the_first_cycle_is_no_interval() {
        let (tracker, _) = after(&[]);
        assert_eq!((tracker.intervals(), tracker.max()), (0, Nanos::ZERO));
        assert!(!tracker.stalled_longer_than(Nanos::ZERO, Nanos::ZERO));
    }

    #[test]
    fn stalls_are_intervals_longer_than_the_threshold() {
        let (tracker, _) = after(&[1_000, 1_001, 10, 5_000, 0]);
        assert_eq!(tracker.stalls(), 2);
        assert_eq!(tracker.max(), Nanos(5_000));
        let buckets: Vec<_> = tracker.buckets().map(|(upto, count)| (upto.0, count)).collect();
        assert_eq!(buckets, [(0, 1), (15, 1), (1_023, 2), (8_191, 1)]);
    }

    #[test]
    fn a_stall_before_the_silence_began_excuses_nothing() {
        let (tracker, now) = after(&[9_000, 10, 10]);
        let stall_ended = now - Nanos(20);
        assert!(tracker.stalled_longer_than(Nanos(2_000), stall_ended - Nanos(1)));
        assert!(!tracker.stalled_longer_than(Nanos(2_000), stall_ended));
    }

    #[test]
    fn a_clock_that_stands_still_is_an_interval_of_zero() {
        let (tracker, _) = after(&[0, 0]);
        assert_eq!(tracker.buckets().collect::<Vec<_>>(), [(Nanos::ZERO, 2)]);
    }

    proptest! {
        #[test]
        fn no_stall_is_missed_and_none_below_half_the_span_is_taken_for_one(
            intervals in prop::collection::vec(0u64..1 << 40, 1..50),
            span in 0u64..1 << 40,
            since in 0u64..1 << 44,
        ) {
            let (tracker, _) = after(&intervals);
            let mut end = 5;
            let (mut longer, mut above_half) = (false, false);
            for interval in intervals {
                end += interval;
                longer |= end > since && interval > span;
                above_half |= end > since && interval >= span / 2;
            }
            let stalled = tracker.stalled_longer_than(Nanos(span), Nanos(since));
            prop_assert!(!longer || stalled);
            prop_assert!(above_half || !stalled);
        }
    }
}
