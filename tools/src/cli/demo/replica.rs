//! What the demo looks at in a subscriber: its books, and the time that each message took to get there.

use std::sync::{Arc, Mutex, PoisonError};

use seqcast_engine::agents::books::Application;
use seqcast_engine::agents::trace::{Stage, Trace};
use seqcast_engine::book::{Applied, Books};
use seqcast_engine::stat::Latency;
use seqcast_engine::time::Nanos;
use seqcast_wire::SeqNo;

pub(super) use crate::bench::SPANS;

/// Every this many messages the books are summed up, so that replicas can be compared on the way too.
pub(super) const CHECKPOINT: u64 = 50_000;

/// What came out.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) messages: u64,
    pub(super) joined_at: Option<SeqNo>,
    pub(super) lost_messages: u64,
    /// Digests of the books by number, one a checkpoint.
    pub(super) digests: Vec<(u64, u64)>,
    pub(super) end: Option<(SeqNo, u64)>,
    pub(super) live_orders: u32,
    pub(super) symptoms: u64,
    pub(super) latencies: Vec<Latency>,
}

/// Where the outcome is left at the end.
pub(super) type Left = Arc<Mutex<Outcome>>;

/// The application.
pub(super) struct Replica {
    outcome: Outcome,
    left: Left,
    /// How many multiples of [`CHECKPOINT`] were passed.
    checkpoints: u64,
    trace: Option<Trace>,
}

impl Replica {
    pub(super) fn new(trace: Option<Trace>) -> Replica {
        let latencies = SPANS.iter().map(|_| Latency::new()).collect();
        Replica {
            outcome: Outcome { latencies, ..Outcome::default() },
            left: Left::default(),
            checkpoints: 0,
            trace,
        }
    }

    pub(super) fn left(&self) -> Left {
        Arc::clone(&self.left)
    }
}

impl Application for Replica {
    fn on_book(&mut self, seq: SeqNo, _received: Nanos, _applied: &Applied, books: &Books) {
        if let Some(trace) = &self.trace {
            trace.mark(Stage::Applied, seq);
            for ((from, to, _), latency) in SPANS.iter().zip(&mut self.outcome.latencies) {
                if let (Some(from), Some(to)) = (trace.at(*from, seq), trace.at(*to, seq)) {
                    latency.record(to.since(from));
                }
            }
        }
        // The first change at or after each multiple: the same one in every replica.
        if seq.value() / CHECKPOINT > self.checkpoints {
            self.checkpoints = seq.value() / CHECKPOINT;
            self.outcome.digests.push((seq.value(), books.digest()));
        }
    }

    fn on_message(&mut self, _seq: SeqNo, _received: Nanos, _message: &[u8]) {
        self.outcome.messages += 1;
    }

    fn on_lost(&mut self, _first: SeqNo, count: u64) {
        self.outcome.lost_messages += count;
    }

    fn on_snapshot(&mut self, next: SeqNo, _books: &Books) {
        self.outcome.joined_at = Some(next);
        self.checkpoints = next.value() / CHECKPOINT;
    }

    fn on_end(&mut self, next: SeqNo, books: &Books) {
        self.outcome.end = Some((next, books.digest()));
        self.outcome.live_orders = books.live_orders();
        self.outcome.symptoms = books.stats().symptoms();
    }

    fn on_close(&mut self, _books: &Books) {
        let outcome = std::mem::take(&mut self.outcome);
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }
}
