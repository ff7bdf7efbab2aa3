//! Sequencer egress: what is committed goes out on the lines.
//!
//! It reads the journal in place, so that after a restart it goes on from the last published number without a second
//! source, and a slow line never holds the sequencer's ring. Only the primary publishes; a node that becomes primary goes on
//! from the last number that it knows to be published.

use seqcast_wire::{SeqNo, Session};

use super::leadership::{Directive, Directives};
use super::meter::Meter;
use super::publisher::{OutLine, open_lines};
use super::trace::{Stage, Trace};
use crate::downstream::{MessageSource, Sender, SenderConfig};
use crate::frame::Kind;
use crate::io::{Destination, Driver};
use crate::journal::{Cursor, JournalReader, Published, ReadError};
use crate::runtime::{Agent, AgentError};
use crate::sync::{Flag, Watermark};
use crate::time::Nanos;

/// Counters of a node that publishes.
const PUBLISHING: [&str; 6] =
    ["next", "messages_total", "datagrams_total", "heartbeats_total", "paced_total", "oversize_total"];

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

/// The way out, while this node leads.
struct Publishing {
    sender: Sender,
    source: Committed,
}

/// What an egress is built from.
pub struct EgressPlan {
    /// The lines.
    pub lines: Vec<OutLine>,
    /// The send path's settings.
    pub sender: SenderConfig,
    /// The feed's session.
    pub session: Session,
    /// What is published.
    pub journal: JournalReader,
    /// When to publish, and from where.
    pub directives: Directives,
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
    directives: Directives,
    config: SenderConfig,
    session: Session,
    journal: JournalReader,
    committed: Watermark,
    /// While this node leads.
    publishing: Option<Publishing>,
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
        Ok(Egress {
            driver,
            lines,
            directives: plan.directives,
            config: plan.sender,
            session: plan.session,
            journal: plan.journal,
            committed: plan.committed,
            publishing: None,
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

    /// Takes up or lays down publishing.
    fn direct(&mut self, directive: Directive) -> Result<(), AgentError> {
        let Directive::Lead(lead) = directive else {
            self.publishing = None;
            return Ok(());
        };
        // What the primary before published last may not be known here: repeats are harmless, a hole is not.
        let from = lead.published.min(lead.chain.next()).max(self.journal.oldest());
        let cursor = self.journal.cursor_at(from);
        let cursor =
            cursor.ok_or_else(|| AgentError::failed(format_args!("message {from} is not in the journal")))?;
        let sender = Sender::new(&self.config, self.session, from).map_err(AgentError::failed)?;
        let source = Committed { cursor, watermark: self.committed.clone(), error: None };
        self.publishing = Some(Publishing { sender, source });
        Ok(())
    }

    fn send(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let Some(Publishing { sender, source }) = &mut self.publishing else { return Ok(0) };
        let size = sender.max_datagram_bytes();
        let before = sender.next();
        let mut sent = 0;
        while sent < SEND_LIMIT {
            match self.driver.transmit(&self.lines, size, |buffer| sender.fill(now, source, buffer)) {
                Ok(0) | Err(_) => break,
                Ok(_) => sent += 1,
            }
        }
        if let Some(error) = source.error.take() {
            return Err(AgentError::failed(error));
        }
        if sender.next() > before {
            self.published.advance(sender.next());
            self.mark.advance(sender.next());
            if let Some(trace) = &self.trace {
                trace.mark_range(Stage::Published, before, sender.next());
            }
        }
        Ok(sent)
    }

    /// Ends the session once all of it is published, and tells whether nothing is left to do.
    fn end(&mut self, now: Nanos) -> bool {
        let Some(Publishing { sender, source }) = &mut self.publishing else { return false };
        if self.ended.is_raised() && sender.next() == source.watermark.load() {
            sender.end(now);
        }
        let answered = self.answered.load();
        if answered > self.answered_before {
            self.answered_before = answered;
            sender.linger_on(now);
        }
        sender.finished(now)
    }

    fn report(&mut self) {
        if let Some(Publishing { sender, .. }) = &self.publishing {
            let stats = sender.stats();
            self.meter.set("next", sender.next().value());
            self.meter.set("messages_total", stats.messages);
            self.meter.set("datagrams_total", stats.datagrams);
            self.meter.set("heartbeats_total", stats.heartbeats);
            self.meter.set("paced_total", stats.paced);
            self.meter.set("oversize_total", stats.oversize);
        } else {
            self.meter.expect(&PUBLISHING);
        }
        self.meter.driver(&self.driver.counters());
    }
}

impl<D: Driver + Send> Agent for Egress<D> {
    fn name(&self) -> &str {
        "egress"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        while let Some(directive) = self.directives.take() {
            self.direct(directive)?;
        }
        let work = self.send(now)?;
        self.driver.flush(now)?;
        let is_over = self.end(now);
        if self.meter.is_due(now) {
            self.report();
        }
        if is_over {
            self.over.raise();
        }
        if self.over.is_raised() { Err(AgentError::Finished) } else { Ok(work) }
    }

    fn on_close(&mut self, _now: Nanos) {
        self.report();
    }
}
