//! From a subscriber's ring to order books and to the application.
//!
//! The application sees every item in order. It hears of a book only while the books are whole: after a lost range, a
//! conflict or an overrun nothing is said of books any more until a snapshot has replaced them.

use seqcast_wire::{SeqNo, Session};

use super::batch::Batch;
use super::event::{self, Event};
use super::join::{Handover, Snapshot};
use super::meter::Meter;
use crate::book::{Applied, Books, Effect};
use crate::feed::{FeedState, Item};
use crate::ring::broadcast::{Guest, Reader, Tap};
use crate::runtime::{Agent, AgentError};
use crate::time::Nanos;

/// Items taken from the ring in one duty cycle, or up to a batch more.
const LIMIT: usize = 1024;
/// Items taken in one duty cycle where there are no books: as many as a duty cycle of the intake brings, or the ring fills up
/// and what is read of it has left the cache.
const LIMIT_WITHOUT_BOOKS: usize = 8192;

/// What an application gets to see. All methods have empty bodies: implement what is needed.
pub trait Application: Send {
    /// Whether messages are applied to the books. An application that wants only messages spares what that costs: it is
    /// never told of a book, and the books it is given are as they were made, or as a snapshot left them.
    fn wants_books(&self) -> bool {
        true
    }

    /// A message, whatever it holds, in order. `received` is when it came.
    fn on_message(&mut self, seq: SeqNo, received: Nanos, message: &[u8]) {
        let _ = (seq, received, message);
    }

    /// The message was applied to the books, which are whole.
    fn on_book(&mut self, seq: SeqNo, received: Nanos, applied: &Applied, books: &Books) {
        let _ = (seq, received, applied, books);
    }

    /// The feed's state changed.
    fn on_state(&mut self, state: FeedState) {
        let _ = state;
    }

    /// Messages that no line and no rewind server had: the books are not whole any more.
    fn on_lost(&mut self, first: SeqNo, count: u64) {
        let _ = (first, count);
    }

    /// Two different messages came under one number: somebody forges or a sequencer is broken.
    fn on_conflict(&mut self, seq: SeqNo) {
        let _ = seq;
    }

    /// This application was too slow for its ring and `bytes` of items were overwritten (policy `skip`).
    fn on_skipped(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// Another session begins, or the first.
    fn on_session(&mut self, session: Session) {
        let _ = session;
    }

    /// The books were replaced by a snapshot; the message numbered `next` comes next.
    fn on_snapshot(&mut self, next: SeqNo, books: &Books) {
        let _ = (next, books);
    }

    /// The session is over; `next` would have come next.
    fn on_end(&mut self, next: SeqNo, books: &Books) {
        let _ = (next, books);
    }

    /// There is nothing to see right now: the time to write out what was kept back. Called in every idle duty cycle.
    fn on_idle(&mut self, now: Nanos) {
        let _ = now;
    }

    /// The agent ends, for whatever reason: there will be no more calls.
    fn on_close(&mut self, books: &Books) {
        let _ = books;
    }
}

/// How the application reads the ring, and so what happens when it is too slow.
pub enum Input {
    /// Everything waits for it (`wait`): the ring fills, the feed stashes, then drops and requests again.
    Wait(Reader),
    /// Everything waits for it until the subscriber evicts it (`disconnect`).
    Disconnect(Guest),
    /// It misses what was overwritten and is told (`skip`).
    Skip(Tap),
}

/// Whether the books can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wholeness {
    /// Every message up to now was applied.
    Whole,
    /// Something is missing, and no snapshot will come.
    Broken,
    /// A snapshot was asked for; nothing is read from the ring until it is there.
    Awaiting,
}

/// The agent.
pub struct BookAgent<A> {
    name: String,
    input: Input,
    /// Items taken from the ring: all that were there, up to a batch.
    inbox: Batch,
    /// Bytes that were overwritten behind those items.
    skipped: Option<u64>,
    desk: Desk<A>,
    handover: Option<Handover>,
    meter: Meter,
}

/// The books and who looks at them.
struct Desk<A> {
    books: Books,
    application: A,
    wholeness: Wholeness,
    state: FeedState,
    session: Option<Session>,
    /// Number of the next message to apply; earlier ones are in the snapshot.
    next: SeqNo,
    finish_at_end: bool,
    ended: bool,
    lost_messages: u64,
    skipped_bytes: u64,
    conflicts: u64,
    snapshots: u64,
}

impl<A: Application> BookAgent<A> {
    /// Applies what comes from `input` to `books`, which are empty or hold everything before the first message.
    pub fn new(
        name: impl Into<String>,
        input: Input,
        books: Books,
        application: A,
        meter: Meter,
    ) -> BookAgent<A> {
        let desk = Desk {
            books,
            application,
            wholeness: Wholeness::Whole,
            state: FeedState::Stale,
            session: None,
            next: SeqNo::FIRST,
            finish_at_end: false,
            ended: false,
            lost_messages: 0,
            skipped_bytes: 0,
            conflicts: 0,
            snapshots: 0,
        };
        BookAgent {
            name: name.into(),
            input,
            inbox: Batch::new(),
            skipped: None,
            desk,
            handover: None,
            meter,
        }
    }

    /// Begins with a snapshot, and takes another one whenever the books are not whole any more.
    pub fn joining(mut self, handover: Handover) -> BookAgent<A> {
        handover.ask();
        self.desk.wholeness = Wholeness::Awaiting;
        self.handover = Some(handover);
        self
    }

    /// Takes a snapshot whenever the books are not whole any more.
    pub fn rejoining(mut self, handover: Handover) -> BookAgent<A> {
        self.handover = Some(handover);
        self
    }

    /// Finishes once the session has ended.
    pub fn finishing_at_end(mut self) -> BookAgent<A> {
        self.desk.finish_at_end = true;
        self
    }

    /// Handles what the ring has, as long as it may be read, and gives the number of items.
    fn read(&mut self) -> Result<usize, AgentError> {
        if !self.desk.application.wants_books()
            && let Input::Wait(reader) = &mut self.input
        {
            // Nobody looks ahead: each is read where it stands.
            let (desk, handover) = (&mut self.desk, self.handover.as_ref());
            return Ok(reader.poll(LIMIT_WITHOUT_BOOKS, |bytes| {
                let may = desk.settle(handover);
                if may && let Some(event) = event::decode(bytes) {
                    desk.on_event(event);
                }
                may
            }));
        }
        let mut work = 0;
        while work < LIMIT && self.desk.settle(self.handover.as_ref()) {
            if self.inbox.is_empty() {
                if let Some(bytes) = self.skipped.take() {
                    self.desk.on_skipped(bytes);
                    work += 1;
                    continue;
                }
                self.fetch()?;
                if self.inbox.is_empty() && self.skipped.is_none() {
                    break;
                }
            }
            work += self.desk.on_items(&mut self.inbox);
        }
        Ok(work)
    }

    /// Takes what is in the ring now, up to a batch.
    fn fetch(&mut self) -> Result<(), AgentError> {
        let BookAgent { input, inbox, skipped, .. } = self;
        inbox.clear();
        match input {
            Input::Wait(reader) => {
                while !inbox.is_full()
                    && let Some(bytes) = reader.peek()
                {
                    inbox.push(bytes);
                    reader.advance();
                }
                reader.release();
            }
            Input::Disconnect(guest) => {
                while !inbox.is_full() {
                    match guest.try_next() {
                        Ok(Some(bytes)) => inbox.push(bytes),
                        Ok(None) => break,
                        // What was read before is still told; it stays evicted.
                        Err(_) if !inbox.is_empty() => break,
                        Err(error) => return Err(AgentError::failed(error)),
                    }
                }
                guest.release();
            }
            Input::Skip(tap) => {
                while !inbox.is_full() && skipped.is_none() {
                    match tap.try_next() {
                        Ok(Some(bytes)) => inbox.push(bytes),
                        Ok(None) => break,
                        Err(overrun) => *skipped = Some(overrun.skipped_bytes),
                    }
                }
            }
        }
        Ok(())
    }

    fn report(&mut self) {
        let desk = &self.desk;
        self.meter.set("next", desk.next.value());
        self.meter.set("live_orders", desk.books.live_orders().into());
        self.meter.set("lost_messages_total", desk.lost_messages);
        self.meter.set("skipped_bytes_total", desk.skipped_bytes);
        self.meter.set("conflicts_total", desk.conflicts);
        self.meter.set("snapshots_total", desk.snapshots);
        self.meter.books(desk.books.stats());
    }
}

impl<A: Application> Desk<A> {
    /// Takes a snapshot when one has come; whether the ring may be read.
    fn settle(&mut self, handover: Option<&Handover>) -> bool {
        let Some(handover) = handover else { return true };
        match self.wholeness {
            Wholeness::Whole => true,
            Wholeness::Broken => {
                handover.ask();
                self.wholeness = Wholeness::Awaiting;
                false
            }
            Wholeness::Awaiting => match handover.take_snapshot() {
                Some(snapshot) => self.take_snapshot(*snapshot, handover),
                None => false,
            },
        }
    }

    /// Handles the next item, or as many as are messages that follow one another, and gives their number.
    fn on_items(&mut self, inbox: &mut Batch) -> usize {
        let handled = if self.wholeness == Wholeness::Whole { self.on_run(inbox) } else { 0 };
        inbox.advance(handled);
        if handled > 0 {
            return handled;
        }
        let Some(bytes) = inbox.rest().next() else { return 0 };
        if let Some(event) = event::decode(bytes) {
            self.on_event(event);
        }
        inbox.advance(1);
        1
    }

    /// Handles the messages that come next, together, and gives their number.
    fn on_run(&mut self, inbox: &Batch) -> usize {
        let Desk { books, application, state, next, .. } = self;
        let told = *state != FeedState::Stale;
        let from = next.value();
        let run = inbox.rest().enumerate().map_while(|(nth, bytes)| match event::decode(bytes)? {
            Event { received, item: Item::Message { seq, bytes } } if seq.value() == from + nth as u64 => {
                Some((seq, received, bytes))
            }
            _ => None,
        });
        let mut handled = 0;
        if !application.wants_books() {
            for (seq, received, bytes) in run {
                application.on_message(seq, received, bytes);
                *next = seq.next();
                handled += 1;
            }
            return handled;
        }
        let mut heard = run.clone();
        books.apply_all(run.map(|(.., bytes)| bytes), |books, bytes, applied| {
            let Some((seq, received, _)) = heard.next() else { return };
            application.on_message(seq, received, bytes);
            *next = seq.next();
            handled += 1;
            if told && is_news(applied) {
                application.on_book(seq, received, applied, books);
            }
        });
        handled
    }

    fn on_skipped(&mut self, bytes: u64) {
        self.skipped_bytes += bytes;
        self.wholeness = Wholeness::Broken;
        self.application.on_skipped(bytes);
    }

    fn take_snapshot(&mut self, snapshot: Snapshot, handover: &Handover) -> bool {
        if snapshot.next < self.next {
            // Older than what was read from the ring already: there would be a hole behind it.
            handover.ask();
            return false;
        }
        self.books = snapshot.books;
        self.next = snapshot.next;
        self.session = Some(snapshot.session);
        self.wholeness = Wholeness::Whole;
        self.snapshots += 1;
        handover.resume(snapshot.next);
        self.application.on_snapshot(snapshot.next, &self.books);
        true
    }

    fn on_event(&mut self, event: Event<'_>) {
        match event.item {
            Item::Message { seq, bytes } => self.on_message(seq, event.received, bytes),
            Item::Lost { first, count } => {
                self.lost_messages += count;
                let end = first.saturating_add(count);
                if end > self.next {
                    self.next = end;
                    self.wholeness = Wholeness::Broken;
                }
                self.application.on_lost(first, count);
            }
            Item::State(state) => {
                self.state = state;
                self.application.on_state(state);
            }
            Item::Conflict { seq } => {
                self.conflicts += 1;
                self.wholeness = Wholeness::Broken;
                self.application.on_conflict(seq);
            }
            Item::Session(session) => {
                if self.session.is_some_and(|known| known != session) {
                    self.books.clear();
                    self.next = SeqNo::FIRST;
                    self.wholeness = Wholeness::Whole;
                }
                self.session = Some(session);
                self.application.on_session(session);
            }
            Item::End { next } => {
                self.ended = true;
                self.application.on_end(next, &self.books);
            }
        }
    }

    fn on_message(&mut self, seq: SeqNo, received: Nanos, bytes: &[u8]) {
        if seq < self.next {
            return;
        }
        self.application.on_message(seq, received, bytes);
        self.next = seq.next();
        if self.wholeness != Wholeness::Whole || !self.application.wants_books() {
            return;
        }
        let applied = self.books.apply(bytes);
        if self.state != FeedState::Stale && is_news(&applied) {
            self.application.on_book(seq, received, &applied, &self.books);
        }
    }
}

/// Whether an application hears of it.
#[inline]
fn is_news(applied: &Applied) -> bool {
    applied.effect != Effect::None || applied.trade.is_some()
}

impl<A: Application> Agent for BookAgent<A> {
    fn name(&self) -> &str {
        &self.name
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let work = self.read()?;
        if work == 0 {
            self.desk.application.on_idle(now);
        }
        if self.meter.is_due(now) {
            self.report();
        }
        if self.desk.finish_at_end && self.desk.ended {
            return Err(AgentError::Finished);
        }
        Ok(work)
    }

    fn on_close(&mut self, _now: Nanos) {
        // Whatever ended the process, what was received before is still told.
        while matches!(self.read(), Ok(work) if work > 0) {}
        self.report();
        self.desk.application.on_close(&self.desk.books);
    }
}
