//! What goes over one hop: numbered messages, each due at its own time, and what the far end sees of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use seqcast::bench::Timing;
use seqcast_engine::agents::publisher::Script;
use seqcast_engine::runtime::Clock;
use seqcast_engine::stat::Latency;
use seqcast_engine::sync::Flag;
use seqcast_engine::time::Nanos;

/// Shortest message: it holds its number.
pub(crate) const MIN_BYTES: usize = 8;
/// Longest message.
pub(crate) const MAX_BYTES: usize = 1_024;

/// What both ends know of a run.
#[derive(Clone)]
pub(crate) struct Flow {
    /// Messages.
    pub(crate) count: u64,
    /// Length of each.
    pub(crate) bytes: usize,
    /// When each is due.
    pub(crate) timing: Timing,
    /// Messages at the start whose latency is not measured.
    pub(crate) warm_up: u64,
    /// Latency is measured of one message in so many, a power of two: a reading of the clock is not free.
    pub(crate) sample: u64,
    /// Raised when everybody is ready.
    pub(crate) go: Flag,
    /// When the first message was due, once that is known.
    start: Arc<AtomicU64>,
    /// Messages that have arrived, in order.
    far: Arc<AtomicU64>,
    seen: Arc<Mutex<Seen>>,
}

/// What the far end saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// From when a message was due to when it was handed to the application.
    pub(crate) latency: Latency,
    /// With bursts: the same, of the last message of each.
    pub(crate) last_of_burst: Latency,
    /// When the last message came, after the first was due.
    pub(crate) took: Nanos,
    /// Messages that came in another order.
    pub(crate) disordered: u64,
}

impl Flow {
    pub(crate) fn new(count: u64, bytes: usize, timing: Timing) -> Flow {
        Flow {
            count,
            bytes,
            timing,
            warm_up: 0,
            sample: 1,
            go: Flag::new(),
            start: Arc::default(),
            far: Arc::default(),
            seen: Arc::default(),
        }
    }

    /// The near end.
    pub(crate) fn near(&self) -> Near {
        Near { flow: self.clone(), at: 0, start: None, message: [0; MAX_BYTES] }
    }

    /// The far end.
    pub(crate) fn far(&self) -> Far {
        Far { flow: self.clone(), clock: Clock::new(), next: 0, seen: Seen::default() }
    }

    /// Messages that have arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.far.load(Ordering::Relaxed)
    }

    /// What the far end saw, once it was closed.
    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Gives the messages, each once it is due: an open loop.
pub(crate) struct Near {
    flow: Flow,
    at: u64,
    start: Option<Nanos>,
    message: [u8; MAX_BYTES],
}

impl Script for Near {
    fn peek(&mut self, now: Nanos) -> Option<(Nanos, &[u8])> {
        if self.start.is_none() && self.flow.go.is_raised() {
            self.start = Some(now);
            self.flow.start.store(now.0, Ordering::Release);
        }
        let due = self.start? + self.flow.timing.due(self.at);
        if self.at == self.flow.count || due > now {
            return None;
        }
        self.message[..MIN_BYTES].copy_from_slice(&self.at.to_le_bytes());
        Some((due, &self.message[..self.flow.bytes]))
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    /// The session goes on: whoever lost something may still ask.
    fn is_finished(&self) -> bool {
        false
    }
}

/// Takes the messages and measures them.
pub(crate) struct Far {
    flow: Flow,
    clock: Clock,
    next: u64,
    seen: Seen,
}

impl Far {
    #[inline]
    pub(crate) fn on_message(&mut self, message: &[u8]) {
        let number = message.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
        if number != self.next {
            self.seen.disordered += 1;
            return;
        }
        self.next += 1;
        if number & (self.flow.sample - 1) == 0 || self.next == self.flow.count {
            self.measure(number);
        }
    }

    fn measure(&mut self, number: u64) {
        let Flow { timing, warm_up, count, .. } = self.flow;
        let took = self.clock.now().since(Nanos(self.flow.start.load(Ordering::Acquire)));
        let latency = took.since(timing.due(number));
        if number >= warm_up {
            self.seen.latency.record(latency);
            if timing.due(number + 1) > timing.due(number) {
                self.seen.last_of_burst.record(latency);
            }
        }
        if self.next == count {
            self.seen.took = took;
        }
        self.flow.far.store(self.next, Ordering::Relaxed);
    }

    /// Nothing more will come.
    pub(crate) fn close(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        *self.flow.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn flow(count: u64) -> Flow {
        Flow::new(count, 32, Timing::Rate(NonZeroU64::new(1_000).unwrap()))
    }

    #[test]
    fn messages_come_when_they_are_due_and_are_measured_from_then() {
        let flow = flow(3);
        let (mut near, mut far) = (flow.near(), flow.far());
        assert_eq!(near.peek(Nanos(5)), None, "not let go");
        flow.go.raise();
        let start = Clock::new().now();
        let mut due = Vec::new();
        while let Some((at, message)) = near.peek(start + Nanos::from_millis(due.len() as u64)) {
            assert_eq!(message.len(), 32);
            far.on_message(message);
            due.push(at.since(start));
            near.advance();
        }
        assert_eq!(due, [Nanos::ZERO, Nanos::from_millis(1), Nanos::from_millis(2)]);
        far.close();
        let seen = flow.take_seen();
        assert_eq!((flow.arrived(), seen.latency.count(), seen.disordered), (3, 3, 0));
    }

    #[test]
    fn what_is_missing_or_comes_twice_shows() {
        let flow = flow(4);
        let mut far = flow.far();
        for number in [0u64, 0, 2, 1] {
            far.on_message(&number.to_le_bytes());
        }
        far.on_message(&[1]);
        far.close();
        assert_eq!((flow.arrived(), flow.take_seen().disordered), (2, 3));
    }
}
