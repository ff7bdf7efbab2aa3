//! What a run looks at in a subscriber: when each message was in its book.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use seqcast_engine::agents::books::Application;
use seqcast_engine::agents::trace::{Stage, Trace};
use seqcast_engine::book::{Applied, Books};
use seqcast_engine::stat::Latency;
use seqcast_engine::time::Nanos;
use seqcast_wire::SeqNo;

/// The stages between which latency is told; the last one is the whole way.
pub(crate) const SPANS: [(Stage, Stage, &str); 6] = [
    (Stage::Scheduled, Stage::Sent, "publisher: due → handed to the driver"),
    (Stage::Sent, Stage::Admitted, "→ numbered by the sequencer"),
    (Stage::Admitted, Stage::Published, "→ journaled, committed, published"),
    (Stage::Published, Stage::Received, "→ received in order"),
    (Stage::Received, Stage::Applied, "→ applied to the book"),
    (Stage::Scheduled, Stage::Applied, WHOLE),
];
/// Name of the last one.
pub(crate) const WHOLE: &str = "all: due → in the book";

/// How far a subscriber is, seen from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Far(Arc<AtomicU64>);

impl Far {
    /// Messages received.
    pub(super) fn messages(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Messages received, in order.
    pub(super) received: u64,
    /// Messages that never came.
    pub(super) lost: u64,
    /// By [`SPANS`]; all but the last are empty unless the subscriber is traced.
    pub(super) spans: Vec<Latency>,
    /// From due to the last of each burst being in the book.
    pub(super) bursts: Latency,
    /// Messages whose times were forgotten before they were in the book: so many were under way.
    pub(super) untimed: u64,
    /// When the last message was in the book, after the first was due.
    pub(super) took: Nanos,
}

/// Where it is left at the end.
pub(super) type Left = Arc<Mutex<Observed>>;

/// The application.
pub(super) struct Observer {
    observed: Observed,
    left: Left,
    far: Far,
    trace: Trace,
    is_traced: bool,
    /// Messages up to this number are not measured.
    warm_up: u64,
    /// Messages of a burst; 1: there are none.
    burst: u64,
    first_due: Option<Nanos>,
}

impl Observer {
    /// Measures after `warm_up` messages; times of being sent and numbered are in `trace`. `is_traced`: by all stages.
    pub(super) fn new(trace: Trace, is_traced: bool, warm_up: u64, burst: u64) -> Observer {
        let spans = SPANS.iter().map(|_| Latency::new()).collect();
        Observer {
            observed: Observed { spans, ..Observed::default() },
            left: Left::default(),
            far: Far::default(),
            trace,
            is_traced,
            warm_up,
            burst,
            first_due: None,
        }
    }

    pub(super) fn left(&self) -> Left {
        Arc::clone(&self.left)
    }

    pub(super) fn far(&self) -> Far {
        self.far.clone()
    }

    fn measure(&mut self, seq: SeqNo, now: Nanos) {
        let Some(due) = self.trace.at(Stage::Scheduled, seq) else {
            self.observed.untimed += 1;
            return;
        };
        let first = *self.first_due.get_or_insert(due);
        self.observed.took = now.since(first);
        if seq.value() <= self.warm_up {
            return;
        }
        if self.burst > 1 && seq.value().is_multiple_of(self.burst) {
            self.observed.bursts.record(now.since(due));
        }
        let Some((whole, parts)) = self.observed.spans.split_last_mut() else { return };
        whole.record(now.since(due));
        if self.is_traced {
            for ((from, to, _), latency) in SPANS.iter().zip(parts) {
                let to = if *to == Stage::Applied { Some(now) } else { self.trace.at(*to, seq) };
                if let (Some(from), Some(to)) = (self.trace.at(*from, seq), to) {
                    latency.record(to.since(from));
                }
            }
        }
    }
}

impl Application for Observer {
    fn on_message(&mut self, _seq: SeqNo, _received: Nanos, _message: &[u8]) {
        self.observed.received += 1;
        self.far.0.store(self.observed.received, Ordering::Relaxed);
    }

    fn on_book(&mut self, seq: SeqNo, _received: Nanos, _applied: &Applied, _books: &Books) {
        self.measure(seq, self.trace.now());
    }

    fn on_lost(&mut self, _first: SeqNo, count: u64) {
        self.observed.lost += count;
    }

    fn on_close(&mut self, _books: &Books) {
        let observed = std::mem::take(&mut self.observed);
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = observed;
    }
}
