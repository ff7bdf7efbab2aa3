//! How often and how long the host takes the core away from a thread that spins.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use seqcast_engine::runtime::{Clock, Pinned, pin_current_thread};
use seqcast_engine::stat::Latency;
use seqcast_engine::time::Nanos;
use serde::{Deserialize, Serialize};

use super::place::Place;

/// Two readings of the clock farther apart than this are a gap: reading it takes some tens of nanoseconds.
const GAP: Nanos = Nanos(1_000);
/// Gaps are counted that are longer than these.
const LONGER: [Nanos; 4] = [Nanos(1_000), Nanos(10_000), Nanos(100_000), Nanos(1_000_000)];
/// Percentiles told of the delay.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// What spinning threads saw.
#[derive(Clone, Debug)]
pub(crate) struct Jitter {
    threads: Vec<Spun>,
    span: Nanos,
}

/// What one thread saw.
#[derive(Clone, Debug)]
struct Spun {
    pinned: Pinned,
    gaps: Latency,
    stolen: Nanos,
    longest: Nanos,
    readings: u64,
    /// Times that the kernel gave the core to another thread, where it tells.
    switches: Option<u64>,
}

/// The same in numbers that can be kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct JitterReport {
    /// How long each thread spun.
    pub(crate) seconds: f64,
    /// Threads, in the order of their cores.
    pub(crate) threads: Vec<ThreadReport>,
    /// How much later than it comes a message is seen, if it comes at any time and passes each of the threads: what
    /// the host alone adds, by percentile, in ns.
    pub(crate) delay_ns: Vec<(String, u64)>,
    /// The longest gap.
    pub(crate) longest_ns: u64,
}

/// One thread in numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ThreadReport {
    /// Where it ran.
    pub(crate) place: String,
    /// Gaps longer than so many ns, a second.
    pub(crate) gaps_per_s: Vec<(u64, f64)>,
    /// Part of the time that was gone.
    pub(crate) stolen_part: f64,
    /// Longest gap.
    pub(crate) longest_ns: u64,
    /// Mean time between two readings of the clock, gaps left out.
    pub(crate) reading_ns: f64,
    /// Times a second that the kernel gave the core to another thread; the rest of the gaps are interrupts, and what a
    /// hypervisor took.
    pub(crate) switches_per_s: Option<f64>,
}

impl Jitter {
    /// Spins on `threads` cores of `place` at the same time for `span`.
    pub(crate) fn measure(place: &Place, threads: usize, span: Duration) -> Jitter {
        let threads = threads.clamp(1, place.cores());
        let span = Nanos(span.as_nanos() as u64);
        let start = Barrier::new(threads);
        let threads = thread::scope(|scope| {
            let spinning: Vec<_> = (0..threads)
                .map(|at| {
                    let (core, start) = (place.core(at), &start);
                    scope.spawn(move || {
                        let pinned = pin_current_thread(core);
                        let clock = Clock::new();
                        start.wait();
                        spin(pinned, &clock, span)
                    })
                })
                .collect();
            spinning.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        Jitter { threads, span }
    }

    /// How much later than it comes a message is seen, in `quantile` of all cases, if it comes at any time and passes
    /// each of the threads: the time from a moment to the end of the gap that it falls into.
    pub(crate) fn delay_at(&self, quantile: f64) -> Nanos {
        let allowed = (1.0 - quantile) * self.span.0 as f64;
        // Moments that are delayed by more than a time: of each gap, what is beyond that time. It falls as time grows.
        let beyond = |delay: u64| {
            let of = |spun: &Spun| {
                let longer = spun.gaps.histogram().iter_recorded();
                longer
                    .map(|step| (step.value_iterated_to(), step.count_at_value()))
                    .filter(|(gap, _)| *gap > delay)
                    .map(|(gap, count)| (gap - delay) as f64 * count as f64)
                    .sum::<f64>()
            };
            self.threads.iter().map(of).sum::<f64>()
        };
        let (mut low, mut high) = (0, self.longest().0);
        while low < high {
            let middle = low + (high - low) / 2;
            if beyond(middle) <= allowed {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Nanos(low)
    }

    /// The longest gap.
    pub(crate) fn longest(&self) -> Nanos {
        self.threads.iter().map(|spun| spun.longest).max().unwrap_or(Nanos::ZERO)
    }

    /// All gaps of all threads.
    pub(crate) fn gaps(&self) -> Latency {
        let mut all = Latency::new();
        self.threads.iter().for_each(|spun| all.merge(&spun.gaps));
        all
    }

    pub(crate) fn report(&self) -> JitterReport {
        let delay = |(name, quantile): (&str, f64)| (name.to_owned(), self.delay_at(quantile).0);
        JitterReport {
            seconds: self.span.0 as f64 / 1e9,
            threads: self.threads.iter().map(|spun| spun.report(self.span)).collect(),
            delay_ns: QUANTILES.map(delay).to_vec(),
            longest_ns: self.longest().0,
        }
    }
}

impl Spun {
    fn report(&self, span: Nanos) -> ThreadReport {
        let seconds = span.0.max(1) as f64 / 1e9;
        let histogram = self.gaps.histogram();
        let longer = |than: Nanos| {
            let count: u64 = histogram
                .iter_recorded()
                .filter(|step| step.value_iterated_to() > than.0)
                .map(|step| step.count_at_value())
                .sum();
            (than.0, count as f64 / seconds)
        };
        ThreadReport {
            place: self.pinned.to_string(),
            gaps_per_s: LONGER.map(longer).to_vec(),
            stolen_part: self.stolen.0 as f64 / span.0.max(1) as f64,
            longest_ns: self.longest.0,
            reading_ns: span.since(self.stolen).0 as f64 / self.readings.max(1) as f64,
            switches_per_s: self.switches.map(|switches| switches as f64 / seconds),
        }
    }
}

fn spin(pinned: Pinned, clock: &Clock, span: Nanos) -> Spun {
    let mut spun = Spun {
        pinned,
        gaps: Latency::new(),
        stolen: Nanos::ZERO,
        longest: Nanos::ZERO,
        readings: 0,
        switches: None,
    };
    let switches = involuntary_switches();
    let start = clock.now();
    let mut last = start;
    while last.since(start) < span {
        let now = clock.now();
        let gap = now.since(last);
        if gap > GAP {
            spun.gaps.record(gap);
            spun.stolen = Nanos(spun.stolen.0 + gap.0);
            spun.longest = spun.longest.max(gap);
        }
        spun.readings += 1;
        last = now.max(last);
    }
    spun.switches = switches.zip(involuntary_switches()).map(|(before, after)| after.saturating_sub(before));
    spun
}

/// Of this thread.
fn involuntary_switches() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqcast_engine::config::Idle;

    fn jitter(gaps: &[u64], span: Nanos) -> Jitter {
        let mut spun = Spun {
            pinned: Pinned { wanted: None, got: vec![0] },
            gaps: Latency::new(),
            stolen: Nanos(gaps.iter().sum()),
            longest: Nanos(gaps.iter().copied().max().unwrap_or(0)),
            readings: 1_000,
            switches: Some(3),
        };
        gaps.iter().for_each(|gap| spun.gaps.record(Nanos(*gap)));
        Jitter { threads: vec![spun], span }
    }

    #[test]
    fn the_delay_is_that_of_a_moment_not_of_a_gap() {
        // A tenth of a second in one gap: a tenth of all moments fall into it, and each waits for its end.
        let one = jitter(&[100_000_000], Nanos::from_secs(1));
        assert_eq!(one.delay_at(0.5), Nanos::ZERO);
        assert!(one.delay_at(0.9) < Nanos(100_000), "nearly the start of it, as exact as the histogram is");
        let p99 = one.delay_at(0.99).0 as f64;
        assert!((p99 - 90e6).abs() < 1e6, "one moment in a hundred waits for nine tenths of it: {p99}");
        // Ten thousand gaps of 10 µs take the same time, and nobody waits long.
        let many = jitter(&[10_000; 10_000], Nanos::from_secs(1));
        assert!((many.delay_at(0.99).0 as f64 - 9_000.0).abs() < 100.0);
        assert_eq!(jitter(&[], Nanos::from_secs(1)).delay_at(0.999), Nanos::ZERO);
    }

    #[test]
    fn gaps_are_counted_by_length() {
        let report = jitter(&[2_000, 20_000, 20_000, 2_000_000], Nanos::from_secs(2)).report();
        let thread = &report.threads[0];
        assert_eq!(thread.gaps_per_s, [(1_000, 2.0), (10_000, 1.5), (100_000, 0.5), (1_000_000, 0.5)]);
        assert_eq!((thread.switches_per_s, thread.longest_ns), (Some(1.5), 2_000_000));
        assert!((thread.stolen_part - 2_042_000.0 / 2e9).abs() < 1e-9);
    }

    #[test]
    fn a_host_is_measured_for_as_long_as_asked() {
        let place = Place::new(&[], Idle::Spin).unwrap();
        let jitter = Jitter::measure(&place, 1, Duration::from_millis(5));
        let report = jitter.report();
        assert_eq!(report.threads.len(), 1);
        assert!(report.threads[0].reading_ns > 0.0);
        assert!(jitter.delay_at(0.5) <= jitter.delay_at(0.999) && jitter.delay_at(0.999) <= jitter.longest());
    }
}
