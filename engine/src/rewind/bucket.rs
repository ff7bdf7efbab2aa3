//! Token buckets, kept as points in time (the generic cell rate algorithm).

use crate::time::Nanos;

/// What may be sent: a rate of datagrams and of bytes, of which `burst` may be saved up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Datagrams per second.
    pub datagrams_per_s: u64,
    /// Bytes of UDP payload per second.
    pub bytes_per_s: u64,
    /// How much unused rate may be saved up, as a span of time at that rate.
    pub burst: Nanos,
}

/// How much of a bucket is used: the two points in time at which all that was sent has been earned again. A level that
/// lies in the past is a full bucket, whatever happened before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    datagrams_until: Nanos,
    bytes_until: Nanos,
}

impl Level {
    /// Whether the bucket is as full as it can be.
    pub(super) fn is_full(&self, now: Nanos) -> bool {
        self.full_at() <= now
    }

    /// When the bucket will be as full as it can be, if nothing more is taken.
    pub(super) fn full_at(&self) -> Nanos {
        self.datagrams_until.max(self.bytes_until)
    }

    /// Whether another datagram may be taken.
    pub(super) fn is_open(&self, now: Nanos, bucket: &Bucket) -> bool {
        self.full_at() <= now + bucket.burst
    }

    /// Takes a datagram of `bytes`.
    pub(super) fn take(&mut self, now: Nanos, bucket: &Bucket, bytes: usize) {
        self.datagrams_until = self.datagrams_until.max(now) + cost(1, bucket.datagrams_per_s);
        self.bytes_until = self.bytes_until.max(now) + cost(bytes as u64, bucket.bytes_per_s);
    }

    /// Gives back `bytes` that were taken and not sent.
    pub(super) fn give_back(&mut self, bucket: &Bucket, bytes: usize) {
        self.bytes_until = self.bytes_until - cost(bytes as u64, bucket.bytes_per_s);
    }
}

fn cost(units: u64, per_s: u64) -> Nanos {
    Nanos(units.saturating_mul(1_000_000_000) / per_s.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rate_and_burst_of_datagrams_and_bytes() {
        let by_datagrams =
            Bucket { datagrams_per_s: 1_000, bytes_per_s: u64::MAX, burst: Nanos::from_millis(10) };
        let by_bytes =
            Bucket { datagrams_per_s: u64::MAX, bytes_per_s: 1_000_000, burst: Nanos::from_millis(10) };
        for bucket in [by_datagrams, by_bytes] {
            let (mut level, mut taken) = (Level::default(), 0);
            let start = Nanos::from_secs(5);
            for step in 0..500 {
                let now = start + Nanos::from_millis(step);
                while level.is_open(now, &bucket) {
                    level.take(now, &bucket, 1_000);
                    taken += 1;
                }
                assert!(taken <= step + 10 + 1, "{taken} after {step} ms");
            }
            assert!(taken >= 500, "{taken}");
            assert!(!level.is_full(start + Nanos::from_millis(499)));
            assert!(level.is_full(start + Nanos::from_millis(512)));
        }
    }

    #[test]
    fn what_was_not_sent_is_given_back() {
        let bucket = Bucket { datagrams_per_s: u64::MAX, bytes_per_s: 1_000_000, burst: Nanos::ZERO };
        let mut level = Level::default();
        level.take(Nanos(0), &bucket, 1_472);
        level.give_back(&bucket, 1_372);
        assert_eq!(level.full_at(), Nanos::from_micros(100));
    }
}
