//! Sequencer egress: what is committed goes out on the lines.
//!
//! It reads the journal in place, so that after a restart it goes on from the last published number without a second
//! source, and a slow line never holds the sequencer's ring.

use seqcast_wire::SeqNo;

use super::meter::Meter;
use super::publisher::{OutLine, open_lines};
use super::trace::{Stage, Trace};
use crate::downstream::{MessageSource, Sender};
use crate::frame::Kind;
use crate::io::{Destination, Driver};
use crate::journal::{Cursor, Published, ReadError};
use crate::runtime::{Agent, AgentError};
use crate::sync::{Flag, Watermark};
use crate::time::Nanos;

/// Datagrams sent in one duty cycle at most.
const SEND_LIMIT: usize = 64;

/// The committed part of the journal, from a number on.
struct Committed {
    cursor: Cursor,
    /// Everything below is committed.
    watermark: Watermark,
    error: Option<ReadError>,
}

impl MessageSource for Committed {
    fn peek(&mut self) -> Option<(SeqNo, &[u8])> {
        let seq = self.cursor.seq();
        if seq >= self.watermark.load() {
            return None;
        }
        match self.cursor.peek_frame() {
            Ok(Some(frame)) if frame.kind() == Kind::Message => Some((seq, frame.payload())),
            Ok(_) => None,
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }

    fn advance(&mut self) {
        self.cursor.advance();
    }
}

/// What an egress is built from.
pub struct EgressPlan {
    /// The lines.
    pub lines: Vec<OutLine>,
    /// The send path; its next number is the cursor's.
    pub sender: Sender,
    /// Where publishing goes on.
    pub cursor: Cursor,
    /// The commit watermark.
    pub committed: Watermark,
    /// The published watermark, for whoever keeps what is not published yet.
    pub published: Watermark,
    /// The published watermark that survives the process.
    pub mark: Published,
    /// What the rewind server answered; see [`Rewind::open`](super::rewind::Rewind::open).
    pub answered: Watermark,
    /// Raised when the end of the session is in the journal.
    pub ended: Flag,
    /// Raised here when the end of the session was published for as long as it lingers, and nobody has asked for what
    /// was lost for as long: nobody has anything left to do.
    pub over: Flag,
}

/// The agent.
pub struct Egress<D> {
    driver: D,
    lines: Vec<Destination>,
    sender: Sender,
    source: Committed,
    published: Watermark,
    mark: Published,
    answered: Watermark,
    answered_before: SeqNo,
    ended: Flag,
    over: Flag,
    trace: Option<Trace>,
    meter: Meter,
}

impl<D: Driver> Egress<D> {
    /// Opens one endpoint a line.
    ///
    /// # Errors
    /// What the driver refused.
    pub fn open(mut driver: D, plan: EgressPlan, meter: Meter) -> Result<Egress<D>, AgentError> {
        let lines = open_lines(&mut driver, &plan.lines)?;
        let source = Committed { cursor: plan.cursor, watermark: plan.committed, error: None };
        Ok(Egress {
            driver,
            lines,
            sender: plan.sender,
            source,
            published: plan.published,
            mark: plan.mark,
            answered_before: plan.answered.load(),
            answered: plan.answered,
            ended: plan.ended,
            over: plan.over,
            trace: None,
            meter,
        })
    }

    /// Marks the time each message was handed to the driver.
    pub fn traced(mut self, trace: Trace) -> Egress<D> {
        self.trace = Some(trace);
        self
    }

    fn send(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let size = self.sender.max_datagram_bytes();
        let before = self.sender.next();
        let mut sent = 0;
        while sent < SEND_LIMIT {
            let (sender, source) = (&mut self.sender, &mut self.source);
            match self.driver.transmit(&self.lines, size, |buffer| sender.fill(now, source, buffer)) {
                Ok(0) | Err(_) => break,
                Ok(_) => sent += 1,
            }
        }
        if let Some(error) = self.source.error.take() {
            return Err(AgentError::failed(error));
        }
        self.driver.flush(now)?;
        if self.sender.next() > before {
            self.published.advance(self.sender.next());
            self.mark.advance(self.sender.next());
            if let Some(trace) = &self.trace {
                trace.mark_range(Stage::Published, before, self.sender.next());
            }
        }
        Ok(sent)
    }

    fn report(&mut self) {
        let stats = self.sender.stats();
        self.meter.set("next", self.sender.next().value());
        self.meter.set("messages_total", stats.messages);
        self.meter.set("datagrams_total", stats.datagrams);
        self.meter.set("heartbeats_total", stats.heartbeats);
        self.meter.set("paced_total", stats.paced);
        self.meter.set("oversize_total", stats.oversize);
        self.meter.driver(&self.driver.counters());
    }
}

impl<D: Driver + Send> Agent for Egress<D> {
    fn name(&self) -> &str {
        "egress"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let work = self.send(now)?;
        if self.ended.is_raised() && self.sender.next() == self.source.watermark.load() {
            self.sender.end(now);
        }
        let answered = self.answered.load();
        if answered > self.answered_before {
            self.answered_before = answered;
            self.sender.linger_on(now);
        }
        if self.meter.is_due(now) {
            self.report();
        }
        if self.sender.finished(now) {
            self.over.raise();
            return Err(AgentError::Finished);
        }
        Ok(work)
    }

    fn on_close(&mut self, _now: Nanos) {
        self.report();
    }
}
