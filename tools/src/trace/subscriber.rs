use seqcast_engine::agents::books::Application;
use seqcast_engine::book::Books;
use seqcast_engine::time::Nanos;
use seqcast_wire::SeqNo;

use super::{Event, Trace, hash_of};

/// Traces what a subscriber's application sees.
pub(crate) struct Tracer(Trace);

impl Tracer {
    /// Writes to `trace`.
    pub(crate) fn new(trace: Trace) -> Tracer {
        Tracer(trace)
    }
}

impl Application for Tracer {
    fn on_message(&mut self, seq: SeqNo, _received: Nanos, message: &[u8]) {
        self.0.put(Event::Arrived { seq: seq.value(), hash: hash_of(message) });
    }

    fn on_lost(&mut self, first: SeqNo, count: u64) {
        self.0.put(Event::Lost { first: first.value(), count });
    }

    fn on_conflict(&mut self, seq: SeqNo) {
        self.0.put(Event::Conflict { seq: seq.value() });
    }

    fn on_snapshot(&mut self, next: SeqNo, _books: &Books) {
        self.0.put(Event::Snapshot { next: next.value() });
    }

    fn on_end(&mut self, next: SeqNo, books: &Books) {
        self.0.put(Event::Ended { next: next.value(), digest: books.digest() });
    }

    fn on_idle(&mut self, _now: Nanos) {
        self.0.flush();
    }

    fn on_close(&mut self, _books: &Books) {
        self.0.flush();
    }
}
