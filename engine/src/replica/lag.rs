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
