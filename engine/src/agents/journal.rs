//! The journal's agents: the hot one that appends what the sequencer ordered, and the cold one that prepares segments,
//! removes old ones and makes the record durable.

use tracing::{error, info};

use super::meter::Meter;
use crate::frame::{Frame, Kind};
use crate::journal::{AppendError, Journal, JournalReader, Preparer, Syncer};
use crate::mem::store::Store;
use crate::ring::broadcast::Reader;
use crate::runtime::{Agent, AgentError};
use crate::sync::{Flag, Watermark};
use crate::time::Nanos;

/// Frames appended in one duty cycle at most; readers see them together.
const LIMIT: usize = 1024;
/// How often a refused segment is tried again.
const RETRY: Nanos = Nanos::from_millis(100);

/// Appends the frames of the sequencer's ring.
pub struct JournalAgent {
    ring: Reader,
    journal: Journal,
    appended: Watermark,
    ended: Flag,
    meter: Meter,
}

impl JournalAgent {
    /// Appends what comes from `ring`, moves `appended`, and raises `ended` once the end of the session is appended.
    pub fn new(ring: Reader, journal: Journal, appended: Watermark, ended: Flag, meter: Meter) -> JournalAgent {
        if journal.chain().ended() {
            ended.raise();
        }
        JournalAgent { ring, journal, appended, ended, meter }
    }

    fn append(&mut self) -> Result<usize, AgentError> {
        let mut work = 0;
        let mut ended = false;
        while work < LIMIT {
            let Some(bytes) = self.ring.peek() else { break };
            match self.journal.append(bytes) {
                Ok(_) => ended |= Frame::view(bytes).is_ok_and(|frame| frame.kind() == Kind::End),
                // The ring fills, the sequencer refuses, the publishers wait: nothing is lost.
                Err(AppendError::NotReady) => break,
                Err(error) => return Err(AgentError::failed(error)),
            }
            self.ring.advance();
            work += 1;
        }
        if work > 0 {
            self.appended.advance(self.journal.publish());
            self.ring.release();
        }
        if ended {
            self.ended.raise();
        }
        Ok(work)
    }

    fn report(&mut self) {
        self.meter.set("next", self.journal.chain().next().value());
        self.meter.set("stalls_total", self.journal.stalls());
        self.meter.set("ring_lag_bytes", self.ring.lag_bytes());
    }
}

impl Agent for JournalAgent {
    fn name(&self) -> &str {
        "journal"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let work = self.append()?;
        if self.meter.is_due(now) {
            self.report();
        }
        Ok(work)
    }

    fn on_close(&mut self, _now: Nanos) {
        // What is still in the ring was never acknowledged; append it all the same, it costs nothing.
        while matches!(self.append(), Ok(work) if work > 0) {}
        self.report();
    }
}

/// The cold side of the journal. It blocks: it needs a thread of its own.
pub struct JournalUpkeep<S> {
    preparer: Preparer<S>,
    syncer: Option<Syncer<S>>,
    reader: JournalReader,
    /// Lowest number that somebody still needs.
    keep_from: Watermark,
    durable: Watermark,
    refused: bool,
    retry_at: Nanos,
}

impl<S: Store> JournalUpkeep<S> {
    /// Prepares and retains; with `syncer`, moves `durable` as well.
    pub fn new(
        preparer: Preparer<S>,
        syncer: Option<Syncer<S>>,
        reader: JournalReader,
        keep_from: Watermark,
        durable: Watermark,
    ) -> JournalUpkeep<S> {
        JournalUpkeep { preparer, syncer, reader, keep_from, durable, refused: false, retry_at: Nanos::ZERO }
    }
}

impl<S: Store> Agent for JournalUpkeep<S> {
    fn name(&self) -> &str {
        "journal-upkeep"
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        let mut work = 0;
        if now >= self.retry_at {
            match self.preparer.poll(self.keep_from.load()) {
                Ok(busy) => {
                    work += usize::from(busy);
                    if busy && std::mem::take(&mut self.refused) {
                        info!("the journal has room again and goes on");
                    }
                }
                Err(refusal) => {
                    if !std::mem::replace(&mut self.refused, true) {
                        error!("the journal cannot go on past its last segment: {refusal}");
                    }
                    self.retry_at = now + RETRY;
                }
            }
        }
        if let Some(syncer) = &mut self.syncer
            && self.durable.load() < self.reader.next()
        {
            // A sync that failed proves nothing by succeeding later: the node stops and is checked at its restart.
            self.durable.advance(syncer.poll().map_err(AgentError::failed)?);
            work += 1;
        }
        Ok(work)
    }
}
