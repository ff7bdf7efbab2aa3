//! Latencies in histograms of fixed range and size.

use std::fmt;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use hdrhistogram::Histogram;

use crate::time::Nanos;

/// Longest latency that is told apart; longer ones count as this.
const MAX_NS: u64 = 60_000_000_000;
/// Decimal digits that are kept.
const DIGITS: u8 = 3;

/// A histogram of latencies from 1 ns to 60 s, exact to three digits. All its memory (about 220 kB) is taken at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    histogram: Histogram<u64>,
}

impl Latency {
    /// An empty one.
    pub fn new() -> Latency {
        // The bounds are constants that the library accepts, as every test here shows.
        let histogram = Histogram::new_with_bounds(1, MAX_NS, DIGITS).expect("constant bounds");
        Latency { histogram }
    }

    /// Counts a latency. Less than a nanosecond counts as 0, more than a minute as a minute.
    #[inline]
    pub fn record(&mut self, latency: Nanos) {
        self.histogram.saturating_record(latency.0.min(MAX_NS));
    }

    /// Number of latencies.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// Adds all of `other`: of another thread, or of another interval.
    pub fn merge(&mut self, other: &Latency) {
        // Both have the same bounds, so that nothing is out of range.
        self.histogram.add(&other.histogram).expect("equal bounds");
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.histogram.reset();
    }

    /// The usual percentiles.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| Nanos(self.histogram.value_at_quantile(quantile));
        Percentiles {
            count: self.count(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: Nanos(self.histogram.max()),
        }
    }

    /// The histogram itself.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

impl Default for Latency {
    fn default() -> Latency {
        Latency::new()
    }
}

/// A distribution in one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Number of latencies.
    pub count: u64,
    /// Half of all are no longer than this.
    pub p50: Nanos,
    /// Nine in ten.
    pub p90: Nanos,
    /// 99 in a hundred.
    pub p99: Nanos,
    /// 999 in a thousand.
    pub p99_9: Nanos,
    /// The longest.
    pub max: Nanos,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Percentiles { count, p50, p90, p99, p99_9, max } = self;
        write!(f, "p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}, max {max} ({count} samples)")
    }
}

/// A recorder for one thread and a reader for another: they swap two histograms, so that neither waits nor locks.
pub fn swapped() -> (LatencyWriter, LatencyReader) {
    // Room for both histograms on either side, so that no push fails.
    let spare = Arc::new(ArrayQueue::new(2));
    let filled = Arc::new(ArrayQueue::new(2));
    let writer = LatencyWriter {
        active: Some(Box::default()),
        spare: Arc::clone(&spare),
        filled: Arc::clone(&filled),
    };
    (writer, LatencyReader { other: Some(Box::default()), spare, filled })
}

type Queue = Arc<ArrayQueue<Box<Latency>>>;

/// Records on the thread that measures. Hands in what it has when dropped.
#[derive(Debug)]
pub struct LatencyWriter {
    /// Taken only at the end.
    active: Option<Box<Latency>>,
    spare: Queue,
    filled: Queue,
}

impl LatencyWriter {
    /// Counts a latency.
    #[inline]
    pub fn record(&mut self, latency: Nanos) {
        if let Some(active) = &mut self.active {
            active.record(latency);
        }
    }

    /// Hands over what was recorded if the reader asked for it. Call it now and then, such as once per duty cycle.
    #[inline]
    pub fn poll_swap(&mut self) {
        if let Some(empty) = self.spare.pop()
            && let Some(filled) = self.active.replace(empty)
        {
            let _ = self.filled.push(filled);
        }
    }
}

impl Drop for LatencyWriter {
    fn drop(&mut self) {
        if let Some(active) = self.active.take() {
            let _ = self.filled.push(active);
        }
    }
}

/// Collects on another thread what a [`LatencyWriter`] records.
#[derive(Debug)]
pub struct LatencyReader {
    /// The empty histogram, while it is here.
    other: Option<Box<Latency>>,
    spare: Queue,
    filled: Queue,
}

impl LatencyReader {
    /// Adds what was handed over so far to `total` and asks for more. What is asked for comes with the writer's next
    /// [`LatencyWriter::poll_swap`], so call it again; gives whether anything was added.
    pub fn collect(&mut self, total: &mut Latency) -> bool {
        let mut added = false;
        while let Some(mut filled) = self.filled.pop() {
            added |= !filled.is_empty();
            total.merge(&filled);
            filled.clear();
            self.other = Some(filled);
        }
        if let Some(empty) = self.other.take() {
            let _ = self.spare.push(empty);
        }
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    #[test]
    fn percentiles_of_known_values() {
        let mut latency = Latency::new();
        assert_eq!(latency.percentiles(), Percentiles::default());
        for us in 1..=1_000 {
            latency.record(Nanos::from_micros(us));
        }
        let Percentiles { count, p50, p90, p99, p99_9, max } = latency.percentiles();
        assert_eq!(count, 1_000);
        for (is, should_us) in [(p50, 500), (p90, 900), (p99, 990), (p99_9, 999), (max, 1_000)] {
            assert!(is.0.abs_diff(should_us * 1_000) <= should_us, "{is}: exact to three digits");
        }
        latency.clear();
        assert!(latency.is_empty());
    }

    #[test]
    fn latencies_out_of_range_are_counted_at_its_ends() {
        let mut latency = Latency::new();
        for ns in [0, 1, MAX_NS, MAX_NS + 1, u64::MAX] {
            latency.record(Nanos(ns));
        }
        let Percentiles { count, p99, max, .. } = latency.percentiles();
        assert_eq!((count, p99), (5, max));
        assert!(max.0.abs_diff(MAX_NS) <= MAX_NS / 1_000);
    }

    #[test]
    fn a_line_for_people() {
        let mut latency = Latency::new();
        latency.record(Nanos(8_000));
        let line = latency.percentiles().to_string();
        assert_eq!(line, "p50 8.0 µs, p90 8.0 µs, p99 8.0 µs, p99.9 8.0 µs, max 8.0 µs (1 samples)");
    }

    #[test]
    fn what_is_asked_for_comes_with_the_next_swap() {
        let (mut writer, mut reader) = swapped();
        let mut total = Latency::new();
        writer.record(Nanos(1));
        writer.poll_swap();
        assert!(!reader.collect(&mut total), "nobody had asked");
        writer.record(Nanos(2));
        writer.poll_swap();
        writer.record(Nanos(3));
        assert!(reader.collect(&mut total));
        assert_eq!(total.count(), 2);
        drop(writer);
        assert!(reader.collect(&mut total));
        assert!(!reader.collect(&mut total));
        assert_eq!(total.count(), 3);
    }

    #[test]
    fn nothing_is_lost_or_counted_twice_between_threads() {
        const RECORDS: u64 = 200_000;
        let (mut writer, mut reader) = swapped();
        let mut total = Latency::new();
        thread::scope(|scope| {
            let recording = scope.spawn(move || {
                for ns in 0..RECORDS {
                    writer.record(Nanos(ns));
                    writer.poll_swap();
                }
            });
            while !recording.is_finished() {
                reader.collect(&mut total);
            }
        });
        reader.collect(&mut total);
        assert_eq!(total.count(), RECORDS);
        let mut expected = Latency::new();
        (0..RECORDS).for_each(|ns| expected.record(Nanos(ns)));
        assert_eq!(total, expected);
    }

    proptest! {
        #[test]
        fn merging_is_recording_everything_in_one(
            left in prop::collection::vec(0u64..2 * MAX_NS, 0..50),
            right in prop::collection::vec(0u64..2 * MAX_NS, 0..50),
        ) {
            let recorded = |values: &[u64]| {
                let mut latency = Latency::new();
                values.iter().for_each(|&ns| latency.record(Nanos(ns)));
                latency
            };
            let mut merged = recorded(&left);
            merged.merge(&recorded(&right));
            prop_assert_eq!(merged, recorded(&[left, right].concat()));
        }
    }
}
