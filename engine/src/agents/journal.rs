//! The journal's agents: the hot one that appends what the sequencer ordered, and the cold one that prepares segments,
//! removes old ones and makes the record durable.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use tracing::{error, info, warn};

use super::meter::Meter;
use crate::frame::{Frame, Kind};
use crate::journal::{AppendError, Journal, JournalReader, Mark, Preparer, Syncer, close};
use crate::ring::broadcast::Reader;
use crate::runtime::{Agent, AgentError};
use crate::sync::{Flag, Watermark};
use crate::time::Nanos;

/// Frames appended in one duty cycle at most; readers see them together.
const LIMIT: usize = 1024;
/// How often a refused segment is tried again.
const RETRY: Nanos = Nanos::from_millis(100);

/// Where the agent that appends leaves the journal when it ends, for the cold one to close.
pub type Retired = Arc<ArrayQueue<Journal>>;

/// A place for one journal.
pub fn retired() -> Retired {
    Arc::new(ArrayQueue::new(1))
}

/// Appends the frames of the sequencer's ring.
pub struct JournalAgent {
    ring: Reader,
    /// There until the agent is closed.
    journal: Option<Journal>,
    retired: Retired,
    appended: Watermark,
    ended: Flag,
    over: Flag,
    meter: Meter,
}

impl JournalAgent {
    /// Appends what comes from `ring`, moves `appended`, raises `ended` once the end of the session is appended, and
    /// finishes when `over` is raised.
    pub fn new(
        ring: Reader,
        journal: Journal,
        retired: Retired,
        appended: Watermark,
        (ended, over): (Flag, Flag),
        meter: Meter,
    ) -> JournalAgent {
        if journal.chain().ended() {
            ended.raise();
        }
        JournalAgent { ring, journal: Some(journal), retired, appended, ended, over, meter }
    }

    fn append(&mut self) -> Result<usize, AgentError> {
        let Some(journal) = &mut self.journal else { return Ok(0) };
        let mut work = 0;
        let mut ended = false;
        while work < LIMIT {
            let Some(bytes) = self.ring.peek() else { break };
            match journal.append(bytes) {
                Ok(_) => ended |= Frame::view(bytes).is_ok_and(|frame| frame.kind() == Kind::End),
                // The ring fills, the sequencer refuses, the publishers wait: nothing is lost.
                Err(AppendError::NotReady) => break,
                Err(error) => return Err(AgentError::failed(error)),
            }
            self.ring.advance();
            work += 1;
        }
        if work > 0 {
            self.appended.advance(journal.publish());
            self.ring.release();
        }
        if ended {
            self.ended.raise();
        }
        Ok(work)
    }

    fn report(&mut self) {
        let Some(journal) = &self.journal else { return };
        self.meter.set("next", journal.chain().next().value());
        self.meter.set("stalls_total", journal.stalls());
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
        if self.over.is_raised() { Err(AgentError::Finished) } else { Ok(work) }
    }

    fn on_close(&mut self, _now: Nanos) {
        // What is still in the ring was never acknowledged; append it all the same, it costs nothing.
        while matches!(self.append(), Ok(work) if work > 0) {}
        self.report();
        if let Some(journal) = self.journal.take() {
            let _ = self.retired.push(journal);
        }
    }
}

/// The end of the session takes no number, so no watermark tells that it is on disk.
struct DurableEnd {
    /// It is in the journal.
    appended: Flag,
    /// It is on disk.
    durable: Flag,
}

/// The cold side of the journal. It blocks: it needs a thread of its own, which ends after the other's.
pub struct JournalUpkeep {
    preparer: Preparer,
    syncer: Syncer,
    mark: Mark,
    reader: JournalReader,
    retired: Retired,
    /// Lowest number that somebody still needs.
    keep_from: Watermark,
    durable: Watermark,
    /// There when commits wait for the disk.
    end: Option<DurableEnd>,
    refused: bool,
    retry_at: Nanos,
}

impl JournalUpkeep {
    /// Prepares and retains, keeping what is not below `keep_from`.
    pub fn new(
        parts: (Preparer, Syncer, Mark, JournalReader),
        retired: Retired,
        keep_from: Watermark,
        durable: Watermark,
    ) -> JournalUpkeep {
        let (preparer, syncer, mark, reader) = parts;
        let retry_at = Nanos::ZERO;
        JournalUpkeep {
            preparer,
            syncer,
            mark,
            reader,
            retired,
            keep_from,
            durable,
            end: None,
            refused: false,
            retry_at,
        }
    }

    /// Syncs whatever is appended and moves the durable watermark: for `durability = "disk"`. Raises `durable_end` once the
    /// end of the session, of which `appended_end` tells that it is in the journal, is on disk too.
    pub fn syncing(mut self, appended_end: Flag, durable_end: Flag) -> JournalUpkeep {
        self.end = Some(DurableEnd { appended: appended_end, durable: durable_end });
        self
    }

    /// Makes durable what is not.
    fn sync(&mut self) -> Result<usize, AgentError> {
        let Some(end) = &self.end else { return Ok(0) };
        let has_ended = end.appended.is_raised();
        if self.durable.load() >= self.reader.next() && has_ended == end.durable.is_raised() {
            return Ok(0);
        }
        // A sync that failed proves nothing by succeeding later: the node stops and is checked at its restart.
        self.durable.advance(self.syncer.poll().map_err(AgentError::failed)?);
        if has_ended {
            end.durable.raise();
        }
        Ok(1)
    }
}

impl Agent for JournalUpkeep {
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
        Ok(work + self.sync()?)
    }

    fn on_close(&mut self, _now: Nanos) {
        // Without the journal the other agent did not end in order: the next start then looks for itself.
        if let Some(journal) = self.retired.pop()
            && let Err(error) = close(journal, &mut self.syncer, &mut self.mark)
        {
            warn!("the journal was not closed: {error}");
        }
    }
}
