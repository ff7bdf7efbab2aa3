//! From a subscriber's ring to order books and to the application.
//!
//! The application sees every item in order. It hears of a book only while the books are whole: after a lost range, a
//! conflict or an overrun nothing is said of books any more until a snapshot has replaced them.

use seqcast_wire::{SeqNo, Session};

use super::event::{self, Event};
use super::join::{Handover, Snapshot};
use super::meter::Meter;
use crate::book::{Applied, Books, Effect};
use crate::feed::{FeedState, Item};
use crate::ring::broadcast::{Guest, Reader, Tap};
use crate::runtime::{Agent, AgentError};
use crate::time::Nanos;

/// Items taken from the ring in one duty cycle at most: more than a duty cycle of the subscriber brings in full datagrams
/// of short messages. On a thread shared with it the ring would otherwise fill up, and nothing in it be in a cache.
const LIMIT: usize = 8_192;

/// What an application gets to see. All methods have empty bodies: implement what is needed.
pub trait Application: Send {
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
        BookAgent { name: name.into(), input, desk, handover: None, meter }
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

    /// Takes what the ring has, as long as it may be read, and gives the number of items.
    fn read(&mut self) -> Result<usize, AgentError> {
        let BookAgent { input, desk, handover, .. } = self;
        let mut work = 0;
        while work < LIMIT && desk.settle(handover.as_ref()) {
            match input {
                Input::Wait(reader) => {
                    let Some(bytes) = reader.peek() else { break };
                    desk.on_bytes(bytes);
                    reader.advance();
                }
                Input::Disconnect(guest) => match guest.try_next() {
                    Ok(Some(bytes)) => desk.on_bytes(bytes),
                    Ok(None) => break,
                    Err(error) => return Err(AgentError::failed(error)),
                },
                Input::Skip(tap) => match tap.try_next() {
                    Ok(Some(bytes)) => desk.on_bytes(bytes),
                    Ok(None) => break,
                    Err(overrun) => desk.on_skipped(overrun.skipped_bytes),
                },
            }
            work += 1;
        }
        match input {
            Input::Wait(reader) => reader.release(),
            Input::Disconnect(guest) => guest.release(),
            Input::Skip(_) => {}
        }
        Ok(work)
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

    fn on_bytes(&mut self, bytes: &[u8]) {
        if let Some(event) = event::decode(bytes) {
            self.on_event(event);
        }
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
        if self.wholeness != Wholeness::Whole {
            return;
        }
        let applied = self.books.apply(bytes);
        let tells = applied.effect != Effect::None || applied.trade.is_some();
        if tells && self.state != FeedState::Stale {
            self.application.on_book(seq, received, &applied, &self.books);
        }
    }
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
