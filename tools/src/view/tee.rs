//! Several applications as one.

use seqcast_engine::agents::books::Application;
use seqcast_engine::book::{Applied, Books};
use seqcast_engine::feed::FeedState;
use seqcast_engine::time::Nanos;
use seqcast_wire::{SeqNo, Session};

/// Shows everything to several applications, in their order.
#[derive(Default)]
pub struct Tee(Vec<Box<dyn Application>>);

impl Tee {
    /// Of nothing yet.
    pub fn new() -> Tee {
        Tee::default()
    }

    /// Adds one.
    pub fn with(mut self, application: impl Application + 'static) -> Tee {
        self.0.push(Box::new(application));
        self
    }

    fn each(&mut self, show: impl FnMut(&mut Box<dyn Application>)) {
        self.0.iter_mut().for_each(show);
    }
}

impl Application for Tee {
    fn on_message(&mut self, seq: SeqNo, received: Nanos, message: &[u8]) {
        self.each(|one| one.on_message(seq, received, message));
    }

    fn on_book(&mut self, seq: SeqNo, received: Nanos, applied: &Applied, books: &Books) {
        self.each(|one| one.on_book(seq, received, applied, books));
    }

    fn on_state(&mut self, state: FeedState) {
        self.each(|one| one.on_state(state));
    }

    fn on_lost(&mut self, first: SeqNo, count: u64) {
        self.each(|one| one.on_lost(first, count));
    }

    fn on_conflict(&mut self, seq: SeqNo) {
        self.each(|one| one.on_conflict(seq));
    }

    fn on_skipped(&mut self, bytes: u64) {
        self.each(|one| one.on_skipped(bytes));
    }

    fn on_session(&mut self, session: Session) {
        self.each(|one| one.on_session(session));
    }

    fn on_snapshot(&mut self, next: SeqNo, books: &Books) {
        self.each(|one| one.on_snapshot(next, books));
    }

    fn on_end(&mut self, next: SeqNo, books: &Books) {
        self.each(|one| one.on_end(next, books));
    }

    fn on_idle(&mut self, now: Nanos) {
        self.each(|one| one.on_idle(now));
    }

    fn on_close(&mut self, books: &Books) {
        self.each(|one| one.on_close(books));
    }
}
