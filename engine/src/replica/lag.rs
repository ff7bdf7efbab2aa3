//! How far a peer is behind, in messages and in time.

use seqcast_wire::repl::Reach;

use crate::time::Nanos;

/// How far a peer is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Messages that it did not verify.
    pub messages: u64,
    /// How long it has been behind without any progress; zero when it is not behind.
    pub stuck: Nanos,
    /// How long ago there was no more than it verified by now; zero when it is not behind.
    pub age: Nanos,
}

/// Measures a [`Lag`]. Time in which this node itself stood still does not count against the peer.
#[derive(Debug)]
pub(super) struct LagMeter {
    /// A longer time between two polls is this node's own pause; this much of it counts.
    pause: Nanos,
    polled_at: Nanos,
    end: Reach,
    verified: Reach,
    progress_at: Nanos,
    /// What there was when the goal was set, and when.
    goal: (Reach, Nanos),
    /// The peer verified all that there was then.
    caught_up_at: Nanos,
}

impl LagMeter {
    pub(super) fn new(pause: Nanos) -> LagMeter {
        LagMeter {
            pause,
            polled_at: Nanos::ZERO,
            end: Reach::NOTHING,
            verified: Reach::NOTHING,
            progress_at: Nanos::ZERO,
            goal: (Reach::NOTHING, Nanos::ZERO),
            caught_up_at: Nanos::ZERO,
        }
    }

    /// How far the peer is, as it last said.
    pub(super) fn verified(&self) -> Reach {
        self.verified
    }

    pub(super) fn on_verified(&mut self, now: Nanos, verified: Reach) {
        if verified > self.verified {
            self.progress_at = now;
        }
        self.verified = verified;
    }

    /// Call often: the time between two calls is the resolution.
    pub(super) fn poll(&mut self, now: Nanos, end: Reach) {
        let paused = now.since(self.polled_at).since(self.pause);
        self.progress_at = self.progress_at + paused;
        self.goal.1 = self.goal.1 + paused;
        self.caught_up_at = self.caught_up_at + paused;
        (self.polled_at, self.end) = (now, end);
        if self.verified >= end {
            (self.progress_at, self.caught_up_at, self.goal) = (now, now, (end, now));
        } else if self.verified >= self.goal.0 {
            self.caught_up_at = self.goal.1;
            self.goal = (end, now);
        }
    }

    pub(super) fn lag(&self, now: Nanos) -> Lag {
        if self.verified >= self.end {
            return Lag { messages: 0, stuck: Nanos::ZERO, age: Nanos::ZERO };
        }
        Lag {
            messages: self.end.next.since(self.verified.next),
            stuck: now.since(self.progress_at),
            age: now.since(self.caught_up_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use seqcast_wire::SeqNo;

    use super::*;

    fn to(next: u64) -> Reach {
        Reach::to(SeqNo::new(next).unwrap())
    }

    #[test]
    fn age_is_how_old_the_verified_state_is_whatever_progress_is_made() {
        let mut meter = LagMeter::new(Nanos(10));
        meter.poll(Nanos(1_000), to(1));
        for n in 1..=100 {
            // Three messages each time, the peer verifies one.
            meter.on_verified(Nanos(1_000 + n), to(1 + n));
            meter.poll(Nanos(1_000 + n), to(1 + 3 * n));
        }
        let lag = meter.lag(Nanos(1_100));
        assert_eq!((lag.messages, lag.stuck), (200, Nanos::ZERO));
        // What it verified by now, number 100, was there at 1034; the goals on the way are powers of three.
        assert!((66..=81).contains(&lag.age.0), "{lag:?}");
        meter.on_verified(Nanos(1_101), to(301));
        meter.poll(Nanos(1_101), to(301));
        assert_eq!(meter.lag(Nanos(1_150)), Lag { messages: 0, stuck: Nanos::ZERO, age: Nanos::ZERO });
    }

    #[test]
    fn the_end_of_the_session_is_behind_too() {
        let mut meter = LagMeter::new(Nanos(10));
        meter.on_verified(Nanos(5), to(7));
        meter.poll(Nanos(5), to(7));
        let ended = Reach { ended: true, ..to(7) };
        meter.poll(Nanos(10), ended);
        let lag = meter.lag(Nanos(11));
        assert_eq!((lag.messages, lag.stuck), (0, Nanos(6)));
    }

    #[test]
    fn pauses_of_this_node_count_in_part() {
        let mut meter = LagMeter::new(Nanos(10));
        meter.poll(Nanos(1_000_000), to(5));
        assert_eq!(
            meter.lag(Nanos(1_000_000)).stuck,
            Nanos(10),
            "nothing was measured before the first poll"
        );
        meter.poll(Nanos(2_000_000), to(5));
        assert_eq!(meter.lag(Nanos(2_000_000)).stuck, Nanos(20));
        meter.poll(Nanos(2_000_007), to(5));
        assert_eq!(meter.lag(Nanos(2_000_007)).age, Nanos(27));
    }
}
